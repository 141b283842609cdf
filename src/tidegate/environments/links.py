"""What every environment borrows of this one: Tidegate's data plane and the few libraries it needs, as links.

They come after an environment's own libraries on its path, so a version that brings its own NumPy has that. Nothing is
copied or fetched, and an upgrade of Tidegate reaches every environment.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from tidegate.environments.installed import closure, find_here
from tidegate.errors import EnvironmentFailed

BASE = "base"
PTH = "tidegate.pth"


def refresh(root: Path) -> None:
    """Make `ROOT/base` the folder of links to what this process runs on, unless it is already."""
    links = _links()
    digest = hashlib.sha256("\n".join(f"{name}={path}" for name, path in sorted(links.items())).encode()).hexdigest()
    folder = root / f".{BASE}-{digest[:16]}"
    if not folder.is_dir():
        _write(folder, links)
    pointer = root / f".{BASE}-{secrets.token_hex(4)}.link"
    pointer.symlink_to(folder.name)
    pointer.replace(root / BASE)
    for old in root.glob(f".{BASE}-*"):
        if old.is_dir() and not old.is_symlink() and old != folder:
            shutil.rmtree(old, ignore_errors=True)


def lend_to(env_dir: Path) -> None:
    """Put the folder of links at the end of an environment's path, by a relative name: the data directory may move."""
    (site,) = (path for path in (env_dir / "lib").glob("python*/site-packages") if path.is_dir())
    (site / PTH).write_text(os.path.join(*[".."] * 4, BASE) + "\n", encoding="utf-8")  # noqa: PTH118


def _write(folder: Path, links: dict[str, Path]) -> None:
    staged = folder.with_name(f"{folder.name}.part-{secrets.token_hex(4)}")
    staged.mkdir(parents=True)
    for name, path in links.items():
        (staged / name).symlink_to(path)
    try:
        staged.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(staged)


def _links() -> dict[str, Path]:
    """Name on the import path, and where it lies here."""
    links = {"tidegate": Path(__file__).parents[1]}
    for distribution in _closure("tidegate").values():
        if canonicalize_name(distribution.name) == "tidegate":
            continue
        for name in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            path = Path(str(distribution.locate_file(name)))
            if path.exists():
                links[name] = path
    return links


def _closure(name: str) -> dict[str, metadata.Distribution]:
    """A distribution and all that its base install needs, by canonical name."""

    def find(key: str) -> metadata.Distribution:
        found = find_here(key)
        if found is None:
            raise EnvironmentFailed(
                f"this installation of Tidegate is not whole: {key} is missing, and its data plane needs it: "
                "install Tidegate again"
            )
        return found

    return closure([name], find)
