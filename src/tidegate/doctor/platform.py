"""Checks of the platform that runs: its control plane and its gateways. Asks over HTTP, as any client does."""

from __future__ import annotations

from tidegate.client import Client
from tidegate.client.locate import read_control_file
from tidegate.doctor.asking import Server
from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.errors import NotRunning, PartUnavailable
from tidegate.version import __version__
from tidegate.wire.rest import Status

ANSWERS_WITHIN_S = 2.0
"""Of each of the client's tries, so that all of them end before the doctor stops waiting."""


def control_plane(facts: DoctorFacts) -> Verdict:
    """Whether it answers with this user's key, and is of this release."""
    try:
        status = _status(facts)
    except NotRunning as error:
        if facts.settings.url is None and read_control_file(facts.settings.data_dir) is None:
            return FindingState.OFF, f"none runs on {facts.settings.data_dir}: 'tidegate up' starts one"
        raise error
    said = f"Tidegate {status.version}, process {status.pid}"
    if status.version != __version__:
        return (
            FindingState.WRONG,
            f"{said}, and this is {__version__}: 'tidegate down' and 'tidegate up' with one release",
        )
    if status.database is not None and status.database.status != "ready":
        return FindingState.WRONG, f"{said}, runs without its database: {status.database.reason}"
    return FindingState.OK, f"{said}, {sum(status.endpoints_by_status.values())} endpoints"


def compactor(facts: DoctorFacts) -> Verdict:
    """Whether captured predictions become Parquet."""
    try:
        said = _status(facts).capture
    except NotRunning:
        return FindingState.OFF, "none is known without a control plane"
    if said is None:
        return FindingState.NOTE, "none has run here: 'tidegate up' starts one (python -m tidegate.compactor)"
    waiting = f"{said.rows} rows compacted, {said.backlog_segments} segments wait"
    if said.status != "ready":
        return FindingState.WRONG, f"{waiting}: {said.reason} (its log is compactor.log, or its container's)"
    if said.quarantined_segments:
        return (
            FindingState.NOTE,
            f"{waiting}; {said.quarantined_segments} set aside in journal/quarantine, with reasons",
        )
    return FindingState.OK, waiting


def gateways(facts: DoctorFacts) -> Verdict:
    """Whether the address that clients call answers, and routes by the newest snapshot."""
    try:
        status = _status(facts)
    except NotRunning:
        return _alone(facts)
    if not status.gateways:
        return (
            FindingState.WRONG,
            "none has asked this control plane for its routing: start one (python -m tidegate.gateway)",
        )
    down = [one.id for one in status.gateways if one.status == "down"]
    if down:
        log = facts.settings.data_dir / "logs" / f"{down[0]}.log"
        return FindingState.WRONG, f"{', '.join(down)} down: the reason is in {log}, or in its container's log"
    return _asked(status)


def _asked(status: Status) -> Verdict:
    server = Server("gateway", "--gateway-url", status.gateway_url)
    try:
        answer = server.get("/v2/health/ready")
    except PartUnavailable as error:  # they ask the control plane: only the clients' address leads nowhere from here
        return FindingState.NOTE, f"{len(status.gateways)} at snapshot {status.revision}; from here, {error.message}"
    said = f"{len(status.gateways)} at {server.where}"
    if answer.status != 200:
        return (
            FindingState.WRONG,
            f"{said}, not ready ({answer.status}): it waits for its first snapshot of the control plane",
        )
    behind = [one.id for one in status.gateways if one.revision != status.revision]
    if behind:
        return FindingState.NOTE, f"{said}; {', '.join(behind)} not yet at snapshot {status.revision}"
    return FindingState.OK, f"{said}, ready, at snapshot {status.revision}"


def _alone(facts: DoctorFacts) -> Verdict:
    """Gateways serve on without a control plane."""
    running = read_control_file(facts.settings.data_dir)
    if running is None or running.gateway_url is None:
        return FindingState.OFF, "none is known without a control plane"
    server = Server("gateway", "--gateway-url", running.gateway_url)
    server.get("/v2/health/ready")
    return FindingState.NOTE, f"{server.where} serves on without its control plane: 'tidegate up' takes over"


def _status(facts: DoctorFacts) -> Status:
    with Client(data_dir=facts.settings.data_dir, url=facts.settings.url, timeout_s=ANSWERS_WITHIN_S) as client:
        return client.platform.status()
