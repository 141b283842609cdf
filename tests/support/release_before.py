"""The release before this one, run from its own source: what a user has on the machine when an upgrade comes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

COMMIT = "92c102349c640cf3b256771661dedd4b87d3ca0e"
"""The last state of the main branch before releases wrote down which they are. A tag, once there are releases."""
ROOT = Path(__file__).parents[2]


def release_before(folder: Path) -> tuple[str, ...]:
    """Unpack it from the repository's history; returns its command. Skips without that history, which fails in CI."""
    git = shutil.which("git") or "git"
    packed = subprocess.run([git, "archive", COMMIT, "src"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode != 0:
        why = f"the history of the repository is not here ({packed.stderr.decode().strip()})"
        (pytest.fail if os.environ.get("TIDEGATE_REQUIRE_SERVICES") else pytest.skip)(why)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as source:
        source.extractall(folder, filter="data")
    return str(_python(folder / "venv", folder / "src")), "-m", "tidegate"


def _python(folder: Path, source: Path) -> Path:
    """An environment with that release and the libraries of this one, by their folder: its own link is not followed."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "release_before.pth").write_text(f"{source}\n{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"
