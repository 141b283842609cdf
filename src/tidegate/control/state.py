"""DATA/control.json: where the running control plane answers. Written by it, read by CLI, `up --detach`, `down`."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tidegate.system.atomic import write_whole


@dataclass(frozen=True)
class ControlState:
    """The control plane that runs, or ran last when it was killed."""

    pid: int
    url: str
    gateway_url: str
    started_at: float
    release: str = ""
    """Empty for releases that did not write it."""


def write_state(data_dir: Path, state: ControlState) -> None:
    """Replace the file in one step."""
    write_whole(data_dir / "control.json", f"{json.dumps(asdict(state))}\n".encode(), mode=0o600)


def read_state(data_dir: Path) -> ControlState | None:
    """None when there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        body = json.loads((data_dir / "control.json").read_text())
        return ControlState(
            pid=int(body["pid"]),
            url=str(body["url"]),
            gateway_url=str(body["gateway_url"]),
            started_at=float(body["started_at"]),
            release=str(body.get("release", "")),
        )
    return None


def remove_state(data_dir: Path) -> None:
    """Remove the note of where the platform answers."""
    (data_dir / "control.json").unlink(missing_ok=True)
