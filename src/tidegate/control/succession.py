"""An upgrade: `tidegate up` takes the place of a control plane of an earlier release. Gateways and replicas serve on.

Called by `run` and `detach` before the data directory is taken. Never touches one of the same release or a later one,
and none before everything is looked at that could keep its successor from starting.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from time import sleep

from packaging.version import Version

from tidegate.adapters.local.processes import ProcessRef, option, processes_of, send
from tidegate.clock import monotonic
from tidegate.control.checks import check_port, holder_of
from tidegate.control.options import Options
from tidegate.control.state import ControlState, read_state
from tidegate.errors import DataDirInUse, TidegateError
from tidegate.loops.processes.gateways import MODULE
from tidegate.settings import Settings
from tidegate.system.ending import LEAVE
from tidegate.version import __version__

CONTROL = "tidegate.control"
LEAVES_WITHIN_S, KILLED_WITHIN_S, POLL_S = 20.0, 5.0, 0.05
BEFORE_RELEASES_WERE_WRITTEN = "0"


def succeed(options: Options, settings: Settings) -> bool:
    """End the control plane of an earlier release that runs on the data directory at the same addresses; False if none.

    One that does not leave in time is killed: whatever it was doing is done again by its successor. Raises what would
    keep this one from starting, and leaves the earlier one as it is.
    """
    data_dir = settings.data_dir
    state = read_state(data_dir)
    if state is None or not _is_to_be_replaced(state, options) or holder_of(data_dir) != state.pid:
        return False
    running = _process(state.pid, data_dir)
    if running is None:  # it runs on another machine, or in another container: its number is somebody else's here
        return False
    try:
        _check(options, settings)
    except TidegateError:
        sys.stderr.write("nothing was changed: the control plane of the earlier release runs on\n")
        raise
    sys.stdout.write(f"upgrading to Tidegate {__version__}: what runs serves on\n")
    sys.stdout.flush()
    _end(running, data_dir)
    return True


def _check(options: Options, settings: Settings) -> None:
    """That this installation is whole, and its settings, database and ports are ones to start with."""
    from tidegate.control import platform  # noqa: F401 - a second of imports, which the process needs anyway
    from tidegate.wiring import check

    check(settings)
    check_port(options.host, 0, "--host")
    gateways = [one.argv for one in processes_of(settings.data_dir) if one.module == MODULE]
    wanted = {"--port": options.port, "--grpc-port": options.grpc_port} if options.gateways else {}
    for name, port in wanted.items():
        # The API's own port is the earlier one's, and gateways share theirs with their successors.
        if str(port) not in [option(argv, name) for argv in gateways]:
            check_port(options.host, port, name)


def _is_to_be_replaced(state: ControlState, options: Options) -> bool:
    same_place = (state.url, state.gateway_url) == (options.control_url, options.gateway_url)
    return same_place and Version(state.release or BEFORE_RELEASES_WERE_WRITTEN) < Version(__version__)


def _process(pid: int, data_dir: Path) -> ProcessRef | None:
    """The control plane of this data directory with that number, if there is such a process on this machine."""
    found = (one for one in processes_of(data_dir) if one.module == CONTROL)
    return next((one.ref for one in found if one.ref.pid == pid), None)


def _end(running: ProcessRef, data_dir: Path) -> None:
    """Raises `DataDirInUse` when it cannot be ended."""
    send(running, LEAVE)  # a release that does not know this signal dies of it, which a platform survives
    deadline = monotonic() + LEAVES_WITHIN_S
    while holder_of(data_dir) == running.pid:
        if monotonic() >= deadline + KILLED_WITHIN_S:
            raise DataDirInUse(
                f"the control plane of an earlier release (process {running.pid}) does not end: stop it with "
                f"'tidegate down --data-dir {data_dir}'",
                pid=running.pid,
            )
        if monotonic() >= deadline:
            send(running, signal.SIGKILL)
        sleep(POLL_S)
