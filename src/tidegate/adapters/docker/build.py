"""The `docker` command line: looks at base images, builds, checks, tags and pushes. Runs no replica.

Whether BuildKit or the classic builder builds is the engine's affair; nothing here depends on it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.adapters.docker.engine import address_of, unavailable
from tidegate.core.images.contents import named_by_digest, registry_of
from tidegate.errors import DiskFull, EngineUnavailable, ImageBuildFailed, ImagePushFailed
from tidegate.system.commands import OnLine, Ran, is_full, output, run

ANSWER_TIMEOUT_S, PULL_TIMEOUT_S, BUILD_TIMEOUT_S = 60.0, 1800.0, 3600.0
CHECK_TIMEOUT_S = 300.0
ID_FILE = "image-id"
_PUSHED = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")
_PROBE = (
    "import json, platform, sys, venv; "
    "print(json.dumps([sys.version_info[:2], platform.machine(), platform.libc_ver()]))"
)
_BUILDERS_OWN = (
    *("Step ", "--->", "The command ", "Sending build context", "Removing intermediate", "WARNING:"),
    *("DEPRECATED: ", "Install the buildx", "https://docs.docker.com/go/buildx"),
)
_UNREACHABLE = ("cannot connect to the docker daemon", "error during connect", "failed to connect to the docker api")
_SHARED_OBJECT = (
    "A library of the system is missing in the base image: choose one that has it with --base, or make one (for "
    "libgomp.so.1, which LightGBM needs: Debian's package libgomp1)"
)
_FOREIGN = "exec format error"
_DENIED = ("denied", "unauthorized", "authentication required", "forbidden", "no basic auth credentials")


@dataclass(frozen=True)
class BaseImage:
    """A base image: its id, and the Python, processor and glibc that wheels must fit."""

    ref: str
    id: str
    python: str
    machine: str
    glibc: tuple[int, int]
    platform: str | None = None
    """Where one was asked for: every call on an image of it names it."""


@dataclass(frozen=True)
class Built:
    """A finished image: its id, its size, its layers, and what it runs on (`linux/amd64`)."""

    id: str
    size_bytes: int
    layers: tuple[str, ...]
    platform: str = ""


class DockerCli:
    """`env` is the environment of every call: `DOCKER_HOST`, `DOCKER_CONTEXT` and logins are the command line's own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def check(self) -> str:
        """The engine's version. Raises `EngineUnavailable`, saying which address was asked."""
        ran, out = self._ask("version", "--format", "{{.Server.Version}}")
        if ran.code != 0 or not out.strip():
            raise self._unavailable(ran)
        return out.strip()

    def base(self, ref: str, on_line: OnLine, platform: str | None = None) -> BaseImage:
        """Look at a base image, pulling it where it is not here (for `platform`). Raises `ImageBuildFailed`."""
        ran, out = self._ask("image", "inspect", ref)
        if ran.code != 0 or platform not in (None, _platform(json.loads(out)[0])):
            self._pull(ref, on_line, platform)
            ran, out = self._ask("image", "inspect", ref)
        if ran.code != 0:
            raise self._failure(ran) or ImageBuildFailed(f"the base image {ref!r} cannot be read: {ran.last()}")
        found = json.loads(out)[0]
        if platform not in (None, _platform(found)):
            raise ImageBuildFailed(
                f"the base image {ref!r} is for {_platform(found)}, and {platform} was asked for: choose one that is "
                "there for it with --base",
                base=ref,
            )
        python, machine, glibc = self._probe(ref, platform)
        return BaseImage(ref, str(found["Id"]), python, machine, glibc, platform)

    def _pull(self, ref: str, on_line: OnLine, platform: str | None) -> None:
        on_line(f"pulling the base image {ref}")
        ran = self._run(PULL_TIMEOUT_S, on_line, "pull", *_for(platform), ref)
        if ran.code != 0:
            raise self._failure(ran) or ImageBuildFailed(
                f"the base image {ref!r} is not on this engine and cannot be pulled ({ran.last(1)}): choose one of "
                "'docker image ls' with --base, or make it there first",
                base=ref,
            )

    def _probe(self, ref: str, platform: str | None) -> tuple[str, str, tuple[int, int]]:
        asked = ("run", "--rm", "--network", "none", *_for(platform), "--entrypoint", "python3", ref, "-c", _PROBE)
        ran, out = self._ask(*asked)
        if platform is not None and _FOREIGN in ran.text.lower():
            raise ImageBuildFailed(
                f"the engine at {self.address()} cannot run programs for {platform}, so no image for it can be checked "
                "there: build on such a machine (DOCKER_HOST, or a worker there), or give this one QEMU's binfmt "
                "handlers (Debian: qemu-user-static)",
                base=ref,
            )
        try:
            (major, minor), machine, (libc, libc_version) = json.loads(out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise self._failure(ran) or ImageBuildFailed(
                f"the base image {ref!r} has no working python3 with the module venv ({ran.last(1)}): choose another "
                "with --base, for example python:3.11-slim",
                base=ref,
            ) from None
        if libc != "glibc":
            raise ImageBuildFailed(
                f"the base image {ref!r} is not built on glibc (is it Alpine?), and most Python wheels are: choose "
                "another with --base, for example python:3.11-slim",
                base=ref,
            )
        first, second = (int(part) for part in libc_version.split(".")[:2])
        return f"{major}.{minor}", str(machine), (first, second)

    def build(self, context: Path, on_line: OnLine, platform: str | None = None) -> Built:
        """Build the folder's Dockerfile, with no network and no name yet. Raises `ImageBuildFailed`, `DiskFull`."""
        id_file = context.parent / ID_FILE
        argv = ("build", "--network", "none", *_for(platform), "--iidfile", str(id_file), str(context))
        ran = self._run(BUILD_TIMEOUT_S, on_line, *argv)
        if ran.code != 0:
            why = f"it took longer than {BUILD_TIMEOUT_S:g} s" if ran.timed_out else _without_steps(ran).last()
            raise self._failure(ran) or ImageBuildFailed(f"docker build failed: {why}", log=list(ran.lines[-12:]))
        return self.inspect(id_file.read_text().strip())

    def inspect(self, image: str) -> Built:
        """Raises `ImageBuildFailed` when there is no such image."""
        ran, out = self._ask("image", "inspect", image)
        if ran.code != 0:
            raise self._failure(ran) or ImageBuildFailed(f"the image {image} is gone: {ran.last(1)}")
        found: dict[str, Any] = json.loads(out)[0]
        return Built(found["Id"], int(found["Size"]), tuple(found["RootFS"]["Layers"]), _platform(found))

    def prove(self, image: str, on_line: OnLine, platform: str | None = None) -> None:
        """Have it load its model and predict, on the CPU, with no network and nothing writable but /tmp.

        Raises `ImageBuildFailed`.
        """
        name = f"tidegate-check-{secrets.token_hex(8)}"
        limits = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108
        argv = ("run", "--name", name, *limits, *_for(platform), image, "--check", "--device", "cpu")
        ran = self._run(CHECK_TIMEOUT_S, on_line, *argv)
        if ran.timed_out:
            self._ask("rm", "--force", name)
        if ran.code != 0:
            hint = f". {_SHARED_OBJECT}" if "cannot open shared object file" in ran.text else ""
            raise self._failure(ran) or ImageBuildFailed(
                f"the image was built, but its model does not start in it, so it is not kept: {ran.last()}{hint}",
                log=list(ran.lines[-12:]),
            )

    def tag(self, image: str, tag: str) -> None:
        """Give it its name; an older image of that name loses it."""
        ran, _ = self._ask("tag", image, tag)
        if ran.code != 0:
            raise self._failure(ran) or ImageBuildFailed(f"the image cannot be named {tag!r}: {ran.last(1)}")

    def remove_unnamed(self, image: str) -> None:
        """Remove an image that no name and no container holds; leaves any other alone."""
        ran, out = self._ask("image", "inspect", image)
        if ran.code == 0 and not json.loads(out)[0]["RepoTags"]:
            self._ask("image", "rm", "--no-prune", image)

    def push(self, tag: str, on_line: OnLine) -> str | None:
        """The digest that the registry has it under; None where the engine does not say.

        Raises `ImagePushFailed`; the image stays on this engine.
        """
        ran = self._run(PULL_TIMEOUT_S, on_line, "push", tag)
        if ran.code == 0:
            digests = _PUSHED.findall(ran.text)
            return str(digests[-1]) if digests else self._digest_of(tag)
        registry = registry_of(tag) or "the engine's default registry"
        kept = f"The image is built and stays here as {tag}"
        if any(word in ran.text.lower() for word in _DENIED):
            login = f"docker login {registry_of(tag) or ''}".strip()
            raise ImagePushFailed(
                f"{registry} denies the push of {tag} ({ran.last(1)}): log in with '{login}' as the user that runs "
                f"the platform, and check the name. {kept}",
                image=tag,
            )
        what = "is the registry there?"
        if "http response to https client" in ran.text.lower():
            what = "it speaks plain HTTP: name it in 'insecure-registries' of the engine's settings, or give it TLS."
        raise self._failure(ran) or ImagePushFailed(
            f"{tag} could not be pushed to {registry} ({ran.last(1)}): {what} {kept}", image=tag
        )

    def _digest_of(self, tag: str) -> str | None:
        """What the engine has noted of a push that did not print it."""
        ran, out = self._ask("image", "inspect", tag)
        noted = (json.loads(out)[0].get("RepoDigests") or []) if ran.code == 0 else []
        name = (named_by_digest(tag, "") or "").removesuffix("@")
        return next((str(one).partition("@")[2] for one in noted if str(one).partition("@")[0] == name), None)

    def address(self) -> str:
        """The engine's address as the command line would use it."""
        return address_of(self._env)

    def _failure(self, ran: Ran) -> Exception | None:
        """What went wrong, where it is none of the caller's business."""
        if is_full(ran.text):
            return DiskFull(
                "the disk of the container engine is full, and no image was made: free some space there (for example "
                f"with 'docker system prune') and build again ({ran.last(1)})"
            )
        if any(words in ran.text.lower() for words in _UNREACHABLE):
            return self._unavailable(ran)
        still, _ = self._ask("version", "--format", "{{.Server.Version}}")  # it may have died meanwhile
        return None if still.code == 0 else self._unavailable(still)

    def _unavailable(self, ran: Ran) -> EngineUnavailable:
        return unavailable(self.address(), ran.last(1))

    def _ask(self, *args: str) -> tuple[Ran, str]:
        try:
            return output(["docker", *args], self._env, ANSWER_TIMEOUT_S)
        except FileNotFoundError:
            raise _no_command() from None

    def _run(self, timeout_s: float, on_line: OnLine, *args: str) -> Ran:
        try:
            return run(["docker", *args], self._env, timeout_s, on_line)
        except FileNotFoundError:
            raise _no_command() from None


def _platform(found: Mapping[str, Any]) -> str:
    """Of an image, as the engine describes it."""
    return f"{found.get('Os') or 'linux'}/{found.get('Architecture') or 'unknown'}"


def _for(platform: str | None) -> tuple[str, ...]:
    return () if platform is None else ("--platform", platform)


def _without_steps(ran: Ran) -> Ran:
    """What the programs said that ran in the build, without the builder's own lines around it."""
    lines = tuple(line for line in ran.lines if not line.startswith(_BUILDERS_OWN))
    return Ran(ran.code, lines or ran.lines, ran.timed_out)


def _no_command() -> EngineUnavailable:
    return EngineUnavailable(
        "the command 'docker' is not installed where the platform runs: install Docker (Debian: docker.io) or another "
        "engine's docker command line, and start the platform again"
    )
