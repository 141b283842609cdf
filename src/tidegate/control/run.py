"""The control plane's process from its first check to its last log line. Called by `python -m tidegate.control`."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from tidegate.adapters.local.processes import bound_log, read_tail
from tidegate.clock import now
from tidegate.control import socket_folders
from tidegate.control.banner import banner
from tidegate.control.checks import DataDirLock, check_port, close_to_others, listening_socket, prepare_data_dir
from tidegate.control.descriptors import raise_limit
from tidegate.control.detach import control_log, detach
from tidegate.control.observability import with_prometheus, write_observability
from tidegate.control.options import Options, parse
from tidegate.control.state import ControlState, remove_state, write_state
from tidegate.control.succession import succeed
from tidegate.errors import EXIT_FAILED, Internal, NotRunning, TidegateError
from tidegate.listening import required_key
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.processes.compactor import CompactorSupervisor
from tidegate.loops.processes.gateways import GatewaySettings, GatewaySupervisor
from tidegate.services.platform_keys import check_keys
from tidegate.settings import Settings
from tidegate.system import atomic
from tidegate.system.child_env import inherited_env, storage_keys
from tidegate.system.ending import LEAVE, StopSignals
from tidegate.system.private_memory import keep_memory_private
from tidegate.system.run_dir import run_dir
from tidegate.telemetry import configure_logging
from tidegate.version import __version__

if TYPE_CHECKING:
    from tidegate.control.platform import RunningPlatform

log = logging.getLogger(__name__)

ANSWERS_WITHIN_S = 30.0
LOG_CHECK_S = 10.0


def run(argv: list[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 wrong use; an error is one line on standard error."""
    try:
        options = parse(argv)
        settings = Settings.from_env(data_dir=options.data_dir, backend=options.backend)
        settings = with_prometheus(settings, options)
        required_key(options.host, settings)
        check_keys(settings)
        prepare_data_dir(settings.data_dir)
        return detach(options, settings) if options.detach else _foreground(options, settings)
    except TidegateError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code
    except OSError as error:  # a disk that filled up, or files that went away, under our feet
        where = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"error: the data directory cannot be used: {error.strerror or error}{where}\n")
        return EXIT_FAILED


def _foreground(options: Options, settings: Settings) -> int:
    """Hold the data directory and the API's port, then run until told to stop."""
    keep_memory_private()
    configure_logging("control", settings.log_level)
    raise_limit()
    signals = StopSignals()
    signals.install(LEAVE)
    with ExitStack() as stack:
        succeed(options, settings)
        lock = DataDirLock(settings.data_dir)
        lock.acquire()
        stack.callback(lock.release)
        socket_folders.sweep(run_dir(settings.data_dir))
        for folder in (settings.data_dir, settings.data_dir / "gateways"):
            atomic.sweep(folder, now())
        api_socket = listening_socket(options.host, options.control_port, "--control-port")
        stack.callback(api_socket.close)
        metrics = LoopMetrics(REGISTRY)
        gateway_settings = _gateway_settings(options, settings)
        supervisor = GatewaySupervisor(gateway_settings, metrics)
        compactor_env = {**gateway_settings.env, **storage_keys()}
        compactor = CompactorSupervisor(settings.data_dir, compactor_env, metrics, wanted=options.gateways > 0)
        adopted = supervisor.adopt()
        if options.gateways and not adopted:
            check_port(options.host, options.port, "--port")
            check_port(options.host, options.grpc_port, "--grpc-port")
        from tidegate.control.platform import RunningPlatform  # a second of imports, after the checks

        platform = RunningPlatform(settings, options, supervisor, compactor, metrics)
        try:
            _start(platform, options, api_socket, signals)
            _stay(platform, settings, signals)
        except BaseException:
            if adopted:
                log.exception("this control plane ends; gateways and replicas serve on")
                raise
            platform.stop(signals.at_once)
            raise
        _end(platform, signals)
    return 0


def _end(platform: RunningPlatform, signals: StopSignals) -> None:
    if signals.leave.is_set():
        platform.leave()
        log.info("left; gateways and replicas serve on")
    else:
        platform.stop(signals.at_once)
        log.info("stopped")


def _start(platform: RunningPlatform, options: Options, api_socket: socket.socket, signals: StopSignals) -> None:
    """Until everything answers; then say so, to people and to other processes."""
    data_dir = platform.container.settings.data_dir
    platform.start(api_socket)
    if not platform.wait_for_answers(ANSWERS_WITHIN_S, signals.stop):
        gateway_log = _newest(data_dir / "logs", "gateway-*.log")
        last = " | ".join(read_tail(gateway_log, 3)) if gateway_log else "no gateway wrote one"
        raise NotRunning(f"no gateway answered within {ANSWERS_WITHIN_S:g} s; the end of its log {gateway_log}: {last}")
    if signals.stop.is_set():
        return
    state = ControlState(os.getpid(), options.control_url, options.gateway_url, now(), __version__)
    if not options.quiet:  # a log file is no place for the login URL
        settings = platform.container.settings
        more = write_observability(settings, options) if options.observability else []
        sys.stdout.write(banner(state, platform.container.login_codes.make(), data_dir, "this terminal", more))
        sys.stdout.flush()
    write_state(data_dir, state)
    close_to_others(data_dir)


def _newest(folder: Path, pattern: str) -> Path | None:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def _stay(platform: RunningPlatform, settings: Settings, signals: StopSignals) -> None:
    log.info("running on %s", settings.data_dir)
    try:
        while not signals.stop.wait(LOG_CHECK_S):
            bound_log(control_log(settings.data_dir))
            close_to_others(settings.data_dir)
            if platform.ended_by_itself():
                raise Internal("the API's server ended by itself")
    finally:
        remove_state(settings.data_dir)


def _gateway_settings(options: Options, settings: Settings) -> GatewaySettings:
    env = inherited_env()
    if settings.auth != "key":
        env["TIDEGATE_AUTH"] = settings.auth
    if settings.api_key:
        env["TIDEGATE_API_KEY"] = settings.api_key
    if settings.redis_url:
        env["REDIS_URL"] = settings.redis_url
    return GatewaySettings(
        data_dir=settings.data_dir,
        host=options.host,
        port=options.port,
        grpc_port=options.grpc_port,
        control_url=options.control_url,
        count=options.gateways,
        env={name: value for name, value in env.items() if name not in ("TIDEGATE_URL", "TIDEGATE_DATA_DIR")},
    )
