"""Reads requirements, tells which of them this environment does not meet, gives each set its key. Installs nothing."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

STANDS_IN = {"mlflow": "mlflow-skinny"}
"""A distribution here that serves as well as the one that is named."""
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDES = re.compile(r"^(-r|-c|--requirement|--constraint)(?:\s+|=)(\S+)$")
_LINKS = re.compile(r"^(-f|--find-links)(?:\s+|=)([^:]+)$")
_EXACT = re.compile(r"^==\s*(\d+)\.(\d+)(?:\.\w+)*$")


@dataclass(frozen=True)
class Requirements:
    """One set of requirements: `lines` as pip reads them, `folder` is where their relative paths begin."""

    lines: tuple[str, ...]
    folder: Path | None = None

    @classmethod
    def read(cls, text: str, folder: Path | None = None) -> Requirements:
        """The lines of a requirements file, without comments and empty ones."""
        joined = text.replace("\\\r\n", " ").replace("\\\n", " ")
        lines = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
        return cls(tuple(line for line in lines if line), folder)

    def plus(self, *lines: str) -> Requirements:
        """With more lines."""
        return replace(self, lines=(*self.lines, *lines))

    def names(self, distribution: str) -> bool:
        """Whether a line asks for this distribution by name."""
        wanted = canonicalize_name(distribution)
        return any(canonicalize_name(found.name) == wanted for found in map(_parsed, self.lines) if found)

    def relaxed(self) -> Requirements:
        """With exact pins taken for their minor version: recorded by a tool rather than asked for by a person."""
        return replace(self, lines=tuple(_relaxed(line) for line in self.lines))

    def unmet(self) -> list[str]:
        """The lines that the environment of this process does not meet; a path or URL is never known to be met."""
        return [line for line in self.lines if not line.startswith("-") and not _is_met(line)]

    def written(self) -> str:
        """As a file for the installer, which runs in `folder`: included files are looked for beside the file, and uv
        takes a folder of links for a URL unless it is a whole path.
        """
        lines = []
        for line in self.lines:
            included = _INCLUDES.match(line) or _LINKS.match(line)
            lines.append(f"{included[1]} {self.folder / included[2]}" if included and self.folder else line)
        return "\n".join(lines) + "\n"

    def key(self) -> str:
        """The same for the same set, whatever its order, spelling and comments, on the same Python."""
        lines = sorted(self._normal(line) for line in self.lines)
        where = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
        return hashlib.sha256("\n".join([where, platform.machine(), *lines]).encode()).hexdigest()[:32]

    def _normal(self, line: str) -> str:
        found = _parsed(line)
        if found is not None and found.url is None:
            extras = ",".join(sorted(found.extras))
            marker = f";{found.marker}" if found.marker else ""
            return f"{canonicalize_name(found.name)}[{extras}]{','.join(sorted(map(str, found.specifier)))}{marker}"
        included = _INCLUDES.match(line)
        return f"{line} {self._content(included[2] if included else line)}"

    def _content(self, name: str) -> str:
        """A digest of the file or folder that a line leads to, so that a wheel that changed is another requirement."""
        path = (self.folder or Path()) / name.rpartition("file://")[2].rpartition("@")[2].strip()
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()


def _parsed(line: str) -> Requirement | None:
    try:
        return None if line.startswith("-") else Requirement(line.partition(" --hash")[0])
    except InvalidRequirement:
        return None


def _is_met(line: str) -> bool:
    found = _parsed(line)
    if found is None or found.url is not None:
        return False
    if found.marker is not None and not found.marker.evaluate():
        return True
    version = version_of(found.name)
    return version is not None and found.specifier.contains(version, prereleases=True)


def version_of(distribution: str) -> str | None:
    """Of a distribution in the environment of this process."""
    for name in (distribution, STANDS_IN.get(canonicalize_name(distribution))):
        try:
            if name is not None:
                return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _relaxed(line: str) -> str:
    found = _parsed(line)
    exact = _EXACT.match(str(found.specifier)) if found is not None and found.url is None else None
    if found is None or exact is None:
        return line
    try:
        found.specifier = SpecifierSet(f"=={exact[1]}.{exact[2]}.*")
    except InvalidSpecifier:
        return line
    return str(found)
