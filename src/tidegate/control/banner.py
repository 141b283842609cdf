"""What `tidegate up` prints: where everything is, and how to stop it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegate.control.state import ControlState
from tidegate.version import __version__


def banner(state: ControlState, code: str | None, data_dir: Path, log: str, more: Sequence[str] = ()) -> str:
    """The lines a person needs first, and `more` below them."""
    login = f"{state.url}/login?code={code} (logs in once, within 5 minutes)" if code else "run 'tidegate console'"
    lines = {
        "gateway": state.gateway_url,
        "its docs": f"{state.gateway_url}/docs",
        "API": state.url,
        "its docs ": f"{state.url}/api/docs",
        "console": login,
        "data": str(data_dir),
        "log": log,
        "stop": f"tidegate down --data-dir {data_dir}",
    }
    rows = [f"  {name.strip():<10}{value}" for name, value in lines.items()]
    return "\n".join([f"Tidegate {__version__} is running (process {state.pid})", *rows, *more, ""])
