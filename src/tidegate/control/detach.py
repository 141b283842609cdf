"""`tidegate up --detach`: starts the control plane in a session of its own and returns once everything answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any

from tidegate.adapters.local.processes import read_tail, spawn
from tidegate.clock import monotonic
from tidegate.control.banner import banner
from tidegate.control.checks import in_use, one_at_a_time
from tidegate.control.observability import write_observability
from tidegate.control.options import Options
from tidegate.control.probe import ask_json
from tidegate.control.state import ControlState, read_state
from tidegate.control.succession import succeed
from tidegate.errors import DataDirInUse, DataDirUnusable, NotRunning
from tidegate.settings import Settings

STARTS_WITHIN_S = 60.0
ANOTHER_READY_WITHIN_S, ENDPOINTS_WITHIN_S = 60.0, 600.0
"""Endpoints that come back are waited for while one more of them is ready within the first, and up to the second."""
POLL_S = 0.05


def detach(options: Options, settings: Settings) -> int:
    """0 once the platform answers; raises when it cannot start. One that runs already on the same ports is fine."""
    with one_at_a_time(settings.data_dir):
        return _start_or_find(options, settings)


def _start_or_find(options: Options, settings: Settings) -> int:
    if not succeed(options, settings) and (held := in_use(settings.data_dir)):
        return _already(options, settings, held)
    log_file = control_log(settings.data_dir)
    logged_before = log_file.stat().st_size if log_file.exists() else 0
    argv = [sys.executable, "-m", "tidegate.control", *options.argv(settings.data_dir), "--quiet"]
    child, _ = spawn(argv, log_file)
    state = _wait_for_state(child, settings.data_dir)
    if state is None:
        held = in_use(settings.data_dir)
        if child.poll() is not None and held:  # an 'up --foreground' was a moment quicker
            return _already(options, settings, held)
        raise NotRunning(_error_in(log_file, logged_before, child.poll()))
    return _show(state, options, settings)


def control_log(data_dir: Path) -> Path:
    """Where a detached control plane writes."""
    return data_dir / "logs" / "control.log"


def _already(options: Options, settings: Settings, held: DataDirInUse) -> int:
    """Another one holds the data directory: fine when it is (or becomes, within a moment) what was asked for."""
    deadline = monotonic() + STARTS_WITHIN_S
    holder = held.details.get("pid")
    state = _state_of(settings.data_dir, holder)
    while state is None and monotonic() < deadline and _runs(holder):
        sleep(POLL_S)
        state = _state_of(settings.data_dir, holder)
    if state is None or (state.url, state.gateway_url) != (options.control_url, options.gateway_url):
        raise held
    sys.stdout.write("already running: ")
    return _show(state, options, settings)


def _runs(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, TypeError, ValueError):
        return False
    return True


def _wait_for_state(child: subprocess.Popen[bytes], data_dir: Path) -> ControlState | None:
    """The child writes it once its API and its gateways answer; None when it died or takes too long."""
    deadline = monotonic() + STARTS_WITHIN_S
    while child.poll() is None and monotonic() < deadline:
        if state := _state_of(data_dir, child.pid):
            return state
        sleep(POLL_S)
    return None


def _state_of(data_dir: Path, pid: Any) -> ControlState | None:
    """What this very process wrote; one that was killed leaves its file behind."""
    state = read_state(data_dir)
    return state if state is not None and state.pid == pid else None


def _error_in(log_file: Path, logged_before: int, exit_code: int | None) -> str:
    """The child's own error line, or where to look."""
    with log_file.open("rb") as log:
        log.seek(logged_before)
        lines = log.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1]
    ended = f"ended with code {exit_code}" if exit_code is not None else f"did not answer within {STARTS_WITHIN_S:g} s"
    return f"the control plane {ended}; the end of its log {log_file}:\n" + "\n".join(read_tail(log_file, 10))


def _show(state: ControlState, options: Options, settings: Settings) -> int:
    data_dir = settings.data_dir
    token = _token(data_dir)
    left = _wait_for_endpoints(state, token)
    more = write_observability(settings, options) if options.observability else []
    made = ask_json(state.url, "/api/v1/login-codes", token, "POST") or {}
    sys.stdout.write(banner(state, made.get("code"), data_dir, str(control_log(data_dir)), more))
    for endpoint in left:
        sys.stdout.write(f"  note: endpoint {endpoint['name']} is {endpoint['status']}: {endpoint['reason']}\n")
    return 0


def _token(data_dir: Path) -> str:
    try:
        return (data_dir / "token").read_text().strip()
    except FileNotFoundError:
        raise DataDirUnusable(
            f"{data_dir / 'token'} is gone, and nobody gets in without it: 'tidegate down' and 'up' make a new one"
        ) from None


def _wait_for_endpoints(state: ControlState, token: str) -> list[dict[str, Any]]:
    """Give endpoints of an earlier run time to come back; returns those that are not ready.

    No answer, or none of the database's, says nothing about endpoints: it is asked again. Raises `NotRunning` when none
    comes in time.
    """
    started = progress = monotonic()
    endpoints: list[dict[str, Any]] | None = None
    ready = -1
    while True:
        answer = ask_json(state.url, "/api/v1/status", token)
        present = monotonic()
        if answer is not None and answer["revision"] is not None:
            endpoints, counts = answer["endpoints"], answer["endpoints_by_status"]
            if not counts.get("deploying"):
                break
            there = counts.get("ready", 0) + counts.get("asleep", 0)
            ready, progress = (there, present) if there > ready else (ready, progress)
        if present - progress > ANOTHER_READY_WITHIN_S or present - started > ENDPOINTS_WITHIN_S:
            break
        sleep(POLL_S * 4)
    if endpoints is None:
        raise NotRunning(
            f"the control plane (process {state.pid}) runs, but its API at {state.url} did not list the endpoints "
            f"within {ANOTHER_READY_WITHIN_S:g} s: look into its log; 'tidegate status' asks again"
        )
    return [endpoint for endpoint in endpoints if endpoint["status"] not in ("ready", "asleep")]
