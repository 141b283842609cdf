"""The replica's process: load one model version, prove that it predicts, then listen.

`python -m tidegate.server --manifest FILE --uds SOCKET` on a platform, `--manifest FILE --managed` where one of its
engines gives the replica an address of its own, `--model PATH --port 8000` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from tidegate import runtimes
from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.errors import InvalidArgument, KeyRequired, ModelLoadFailed, NotAModel, TidegateError
from tidegate.listening import required_key
from tidegate.runtimes.base.inputs import rows_to_inputs
from tidegate.runtimes.base.runtime import Runtime, wrong_rows
from tidegate.server.replica import build_replica
from tidegate.settings import GATEWAY_PORT, Settings
from tidegate.system.ending import end
from tidegate.system.exhaustion import exhausted
from tidegate.telemetry import configure_logging
from tidegate.wire.replicas.manifest import Manifest, read_manifest

ERROR_LINE = "tidegate-error: "
"""Stands before the JSON of the error that ended this process, on the last line of standard error."""

EXIT_INTERRUPTED = 130
"""What a shell makes of a program that Ctrl-C ended."""


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal ends it; 1 when it cannot, 2 for wrong use."""
    options = _parse(argv)
    settings = Settings.from_env(data_dir=options.data_dir)
    configure_logging("replica", settings.log_level)
    with ExitStack() as stack:
        signal.signal(signal.SIGTERM, partial(_leave, stack))
        if options.uds is not None:
            stack.callback(options.uds.unlink, missing_ok=True)
        try:
            _check(options, stack) if options.check else _serve(options, settings, stack)
        except TidegateError as failure:
            error = exhausted(failure) or failure
            line = (
                ERROR_LINE + json.dumps(error.body(), default=str) if options.on_platform else f"error: {error.message}"
            )
            print(line, file=sys.stderr, flush=True)  # noqa: T201 (read by the platform, or by a person)
            return error.exit_code
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return 0


def _leave(stack: ExitStack, signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the shape of a handler)
    """End cleanly until the loop takes the signal over: as a container's first process it would not hear it at all.

    At once: an exception might come up in a model's code, or where Python only prints it, and this process would go on.
    """
    stack.close()
    end(0)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tidegate serve", description="One replica: one model version, no platform.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", type=Path, help="manifest of a registered version")
    what.add_argument("--model", type=Path, help="a model file or MLflow model directory")
    parser.add_argument("--name", help="name it is served under (default: the file's)")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="load a model whose loading runs code from its file"
    )
    parser.add_argument("--code", type=Path, help="folder of the modules the model needs")
    parser.add_argument("--device", help="cpu, auto, cuda or cuda:N (default: the manifest's, else cpu)")
    parser.add_argument("--uds", type=Path, help="listen on this Unix socket")
    parser.add_argument("--uds-open", action="store_true", help="any user may connect to it: its folder is private")
    parser.add_argument(
        "--managed", action="store_true", help="behind a platform's gateway, with the key in TIDEGATE_API_KEY; no gRPC"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=GATEWAY_PORT)
    parser.add_argument("--grpc-port", type=int, help="port of gRPC (default: the HTTP port + 1)")
    parser.add_argument("--check", action="store_true", help="load the model, predict its example, and end")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--id", default="", help="the replica's id, for whoever lists processes")
    parser.add_argument("--lease-token", type=int, default=0, help="of the control plane's lease, for the same reader")
    options = parser.parse_args(argv)
    if options.managed and options.uds is not None:
        parser.error("--managed is for a host and port: a Unix socket is its platform's in any case")
    options.argv = sys.argv[1:] if argv is None else argv
    options.on_platform = options.managed or options.uds is not None
    return options


def _check(options: argparse.Namespace, stack: ExitStack) -> None:
    """What a build does with its image before it keeps it."""
    manifest, runtime = _open(options, stack)
    prove(runtime, manifest)


def _serve(options: argparse.Namespace, settings: Settings, stack: ExitStack) -> None:
    key = _key(options, settings)
    listen = Listen(options.host, options.port, options.uds, uds_open=options.uds_open)
    # A port in use is found out before the model is loaded; on a platform, what asks finds nobody until it is ready.
    sock = None if options.on_platform else open_socket(listen)
    grpc_sock = None if options.on_platform else open_socket(_grpc_listen(options), "--grpc-port")
    manifest, runtime = _open(options, stack)
    prove(runtime, manifest)
    few_warning_filters()
    sock = sock or open_socket(listen)
    _announce(options, manifest)
    run_server(
        lambda: build_replica(manifest, runtime, settings, key, behind_gateway=options.on_platform),
        sock,
        drain_s=settings.drain_s,
        grpc_sock=grpc_sock,
    )


def _key(options: argparse.Namespace, settings: Settings) -> str | None:
    """What its clients must have: nothing where the socket is theirs alone, the platform's key on any address of its.

    Raises `KeyRequired`.
    """
    if options.uds is not None:
        return None
    if options.managed:
        if not settings.api_key:
            raise KeyRequired("--managed needs the key that the platform's gateways send: set TIDEGATE_API_KEY to it")
        return settings.api_key
    return required_key(options.host, settings)


def _grpc_listen(options: argparse.Namespace) -> Listen:
    return Listen(options.host, options.port + 1 if options.grpc_port is None else options.grpc_port)


def _open(options: argparse.Namespace, stack: ExitStack) -> tuple[Manifest, Runtime]:
    if options.manifest is not None:
        try:
            manifest = read_manifest(options.manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise ModelLoadFailed(f"the manifest {options.manifest} cannot be read: {error}") from None
        if options.device is not None:
            manifest = msgspec.structs.replace(manifest, device=options.device)
        return manifest, runtimes.load(manifest, manifest.package_path(options.manifest))
    if not options.model.exists():
        raise NotAModel(f"there is no file or directory {options.model}")
    if options.code is not None and not options.code.is_dir():
        raise InvalidArgument(f"--code {options.code} is no directory")
    _move_in(options, stack)
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-serve-")))
    name = options.name or options.model.stem
    manifest, runtime = runtimes.open_model(
        options.model,
        name,
        into=scratch / "package",
        allow_pickle=options.allow_pickle,
        code_dir=options.code,
        device=options.device,
    )
    return replace_name(manifest, name), runtime


def _move_in(options: argparse.Namespace, stack: ExitStack) -> None:
    """Go on in the model's own environment, where its requirements do not fit this one; it is built if need be.

    The lock stays open across the exec: nobody removes the environment while this replica runs.
    """
    root = Settings.from_env(data_dir=options.data_dir).files_home / "environments"
    if options.model.is_file() or Path(sys.prefix).parent == root:
        return
    # Only a folder brings requirements: nobody else waits for these imports.
    from tidegate.environments import Environments, environment, requirements_of
    from tidegate.packaging import read_source

    source = read_source(options.model)
    wanted = requirements_of(source, None, granted=options.allow_pickle) if options.allow_pickle else None
    own = stack.enter_context(environment(Environments(root), wanted, source, _tell))
    if own is not None:
        os.set_inheritable(own.lock, True)
        os.execv(own.python, [str(own.python), "-m", "tidegate.server", *options.argv])  # noqa: S606 - our own module


def _tell(step: str) -> None:
    print(step, file=sys.stderr, flush=True)  # noqa: T201 (for whoever waits for it)


def replace_name(manifest: Manifest, name: str) -> Manifest:
    """The manifest under the name it is served by."""
    return msgspec.structs.replace(manifest, name=name)


def prove(runtime: Runtime, manifest: Manifest) -> None:
    """Predict the example: a replica that cannot is not ready, and the first client need not wait for lazy set-up."""
    inputs = rows_to_inputs([manifest.example], runtime.signature)
    try:
        outputs = runtime.predict(inputs, None)
    except TidegateError as error:
        raise ModelLoadFailed(f"the model cannot predict its own example: {error.message}") from None
    except Exception as error:
        raise ModelLoadFailed(f"the model cannot predict its own example: {type(error).__name__}: {error}") from None
    wrong = wrong_rows(outputs, 1) if outputs else "it gave no output"
    if wrong is not None:
        raise ModelLoadFailed(f"the model did not answer its one example row with one row: {wrong}")


def few_warning_filters() -> None:
    """Put Python's own warning filters into a single one, and drop those that libraries added.

    Not where -W was given, or where the model's code makes errors of some warnings: its answers may depend on them.

    scikit-learn puts every filter in force anew for each tree of a forest, on each prediction: with the dozen that its
    import leaves behind this is half of a prediction's time.
    """
    if sys.warnoptions or any(entry[0] == "error" for entry in warnings.filters):
        return
    ignored: Any = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
    warnings.resetwarnings()
    warnings.simplefilter("ignore", ignored)


def _announce(options: argparse.Namespace, manifest: Manifest) -> None:
    if options.managed:
        print(f"serving {manifest.name}, version {manifest.version}, on port {options.port}", flush=True)  # noqa: T201
    elif not options.on_platform:
        url = f"http://{options.host}:{options.port}"
        body = json.dumps({"features": manifest.example}).replace("'", "'\\''")
        grpc = f"gRPC on port {_grpc_listen(options).port}"
        print(f"serving {manifest.name}: {url}/predict, documentation at {url}/docs, {grpc}, stop with Ctrl-C")  # noqa: T201
        print(f"  curl -s {url}/predict -H 'content-type: application/json' -d '{body}'", flush=True)  # noqa: T201


if __name__ == "__main__":
    end(main())
