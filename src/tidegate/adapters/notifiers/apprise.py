"""Apprise's services (`discord://`, `ntfys://`, `tgram://` …), each message sent in a process of its own.

Apprise makes its own connections. So that none leads to where `Reach` does not allow, the process that runs it refuses
whatever is beyond sending: see `apprise_process`. Needs the extra `apprise`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tidegate
from tidegate.adapters.notifiers.reach import DEADLINE_S, Reach
from tidegate.core.alerting.messages import titled
from tidegate.core.alerting.rules import URL_CHARS_MAX
from tidegate.errors import DeliveryFailed, DeliveryRefused, InvalidArgument
from tidegate.system.child_env import inherited_env

START_S_MAX = 30.0
"""How long the process may take beside the deadline of what it sends: it imports what it sends with."""
INSTALL = "this notifier needs Apprise: pip install 'tidegate[apprise]', where the control plane runs"


class Apprise:
    """One message to one of Apprise's URLs."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def send(self, config: Mapping[str, str], _delivery: str, payload: Mapping[str, Any]) -> None:
        """A message that is sent again is seen twice. Apprise does not say whether a failure lasts: all are retried,
        but for addresses that are not allowed, and URLs that it does not know.
        """
        title, lines = titled(payload)
        link = [payload["externalURL"]] if payload["externalURL"] else []
        firing = [one["labels"]["severity"] for one in payload["alerts"] if one["status"] == "firing"]
        kind = "success" if not firing else "failure" if {"high", "critical"} & set(firing) else "warning"
        message = {"title": f"Tidegate {title}", "body": "\n\n".join([*lines, *link]), "kind": kind}
        answer = _asked({"url": config["url"], "message": message, "deadline_s": self._reach.deadline_s}, self._reach)
        if "refused" in answer:
            raise DeliveryRefused(answer["refused"])
        if "failed" in answer:
            raise DeliveryFailed(answer["failed"])


def check_apprise_url(url: str) -> None:
    """Raises `InvalidArgument` for what Apprise cannot send with, or where it is not installed. Nothing is sent."""
    if find_spec("apprise") is None:
        raise InvalidArgument(INSTALL, field="kind")
    if not 0 < len(url) <= URL_CHARS_MAX:
        raise InvalidArgument(f"the URL must have 1 to {URL_CHARS_MAX} characters", field="url")
    try:
        answer = _asked({"url": url, "message": None, "deadline_s": DEADLINE_S}, Reach())
    except DeliveryFailed as error:
        raise InvalidArgument(f"Apprise could not be asked about the URL: {error}", field="url") from error
    if said := answer.get("refused") or answer.get("failed"):
        raise InvalidArgument(said, field="url")


def _asked(job: Mapping[str, Any], reach: Reach) -> dict[str, str]:
    """What the process says: nothing where it was sent, `refused` or `failed` with the reason otherwise."""
    if find_spec("apprise") is None:
        raise DeliveryRefused(INSTALL)
    text = json.dumps({**job, "networks": [str(one) for one in reach.networks]})
    env = {name: value for name, value in inherited_env().items() if not name.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory(prefix="tidegate-apprise-") as home:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tidegate.adapters.notifiers.apprise_process"],
                input=text,
                capture_output=True,
                text=True,
                cwd=home,
                env={**env, "HOME": home, "TMPDIR": home, "PYTHONPATH": _paths(), "PYTHONDONTWRITEBYTECODE": "1"},
                timeout=job["deadline_s"] + START_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeliveryFailed(f"no answer within {job['deadline_s'] + START_S_MAX:g} s") from error
    try:
        found: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        raise DeliveryFailed(f"Apprise's process failed: {said}"[:300]) from None
    return found


def _paths() -> str:
    """Where this process finds its modules, which is not always where an interpreter does by itself.

    Not the directory where the platform was started, which `python -m` adds: what lies there is no module, and what is
    told here may be read, and sent, by Apprise's services. Unless Tidegate itself is found there.
    """
    own, here = Path(tidegate.__file__).resolve().parents[1], _working_directory()
    return os.pathsep.join(path for path in sys.path if path and (Path(path).resolve() != here or here == own))


def _working_directory() -> Path | None:
    try:
        return Path.cwd().resolve()
    except FileNotFoundError:  # somebody deleted it
        return None
