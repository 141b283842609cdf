"""`up`, `down`, `worker`, `serve`: become (exec) the process that does it. Nothing of the platform is imported here."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from tidegate.cli.app import App, command
from tidegate.core.engines.capabilities import ENGINES
from tidegate.core.names import check_device
from tidegate.errors import InvalidArgument, MissingExtra, NotRunning, UnknownVersion
from tidegate.settings import CONTROL_PORT, GATEWAY_PORT, Settings

PLATFORM_LIBRARIES = ("alembic", "fastapi", "mlflow", "psutil", "sqlalchemy")

PORT = click.IntRange(1, 65535)


@command(
    "up",
    "tidegate up",
    "tidegate up --detach --port 9000 --control-port 9800",
    "tidegate up --detach --gateways 2 --observability",
    "tidegate up --backend docker",
    "tidegate --data-dir ./state up",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=GATEWAY_PORT, show_default=True, help="The gateway's HTTP port.")
@click.option("--grpc-port", type=PORT, help="The gateway's gRPC port [default: PORT + 1].")
@click.option("--control-port", type=PORT, default=CONTROL_PORT, show_default=True, help="The control plane's port.")
@click.option(
    "--gateways",
    type=click.IntRange(0, 64),
    default=1,
    show_default=True,
    help="Gateway processes; with 0, others start them (python -m tidegate.gateway).",
)
@click.option("--gateway-url", metavar="URL", help="Where clients reach the gateway [default: http://HOST:PORT].")
@click.option(
    "--backend",
    type=click.Choice(list(ENGINES)),
    help="Where replicas run that nobody placed [default: TIDEGATE_BACKEND].",
)
@click.option("--detach", is_flag=True, help="Return when everything answers, and leave it running.")
@click.option(
    "--observability", is_flag=True, help="Write configuration, rules and dashboards for Prometheus and Grafana."
)
def up(
    app: App,
    *,
    host: str,
    port: int,
    grpc_port: int | None,
    control_port: int,
    gateways: int,
    gateway_url: str | None,
    backend: str | None,
    detach: bool,
    observability: bool,
) -> None:
    """Start the platform on this machine: control plane, gateway, and the replicas of what was deployed.

    Runs in the foreground until Ctrl-C stops all of it, or with --detach in the background until 'tidegate down'. After
    a crash of the control plane the same command takes over what still runs.
    """
    missing = [name for name in PLATFORM_LIBRARIES if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the platform needs {', '.join(missing)}: pip install 'tidegate[platform]'")
    settings = Settings.from_env(data_dir=app.data_dir)
    arguments = ["--data-dir", str(settings.data_dir), "--host", host, "--port", str(port)]
    arguments += ["--grpc-port", str(grpc_port or port + 1), "--control-port", str(control_port)]
    arguments += ["--gateways", str(gateways), *(["--gateway-url", gateway_url] if gateway_url else [])]
    arguments += ["--backend", backend] if backend else []
    arguments += ["--observability"] if observability else []
    if not detach:
        become("tidegate.control", arguments)
    if not app.json:
        become("tidegate.control", [*arguments, "--detach"])
    run_quietly("tidegate.control", [*arguments, "--detach"])
    app.emit(App(data_dir=settings.data_dir).client().platform.status(), str)


@command("down", "tidegate down", "tidegate down --data-dir ./state")
def down(app: App) -> None:
    """Stop the platform: gateways finish what they have, then replicas, then the control plane.

    Also stops what a control plane that died has left running. What was deployed is back after the next 'tidegate up'.
    """
    if find_spec("psutil") is None:
        raise MissingExtra("stopping the platform needs psutil: pip install 'tidegate[platform]'")
    arguments = ["--data-dir", str(Settings.from_env(data_dir=app.data_dir).data_dir)]
    if not app.json:
        become("tidegate.down", arguments)
    run_quietly("tidegate.down", arguments)
    app.emit({"stopped": True}, str)


@command("worker", "tidegate worker", "tidegate worker --jobs 4", "tidegate --data-dir ./state worker")
@click.option("--jobs", type=click.IntRange(1, 1000), help="Jobs at the same time [default: TIDEGATE_JOB_WORKERS].")
def worker(app: App, *, jobs: int | None) -> None:
    """Run jobs, beside or in the place of others, on this machine or another. Needs RabbitMQ (CELERY_BROKER_URL).

    Runs in the foreground until it is stopped; jobs that do not end within TIDEGATE_WORKER_STOP_S are given back then,
    and run on another worker. Give it the control plane's DATABASE_URL, MLFLOW_TRACKING_URI and TIDEGATE_FILES_DIR, or
    on its machine its --data-dir.
    """
    missing = [name for name in (*PLATFORM_LIBRARIES, "celery") if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"a worker needs {', '.join(missing)}: pip install 'tidegate[platform,celery]'")
    arguments = ["--data-dir", str(Settings.from_env(data_dir=app.data_dir).data_dir)]
    become("tidegate.worker", [*arguments, *(["--jobs", str(jobs)] if jobs else [])])


@command(
    "serve",
    "tidegate serve model.onnx",
    "tidegate serve model.joblib --allow-pickle --port 9000",
    "tidegate serve ./my-model --allow-pickle   # a folder with model.py",
    "tidegate serve vision.pt2 --device cuda:0",
    "tidegate serve churn:3",
)
@click.argument("model", metavar="PATH|NAME:VERSION")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=GATEWAY_PORT, show_default=True, help="HTTP port.")
@click.option("--grpc-port", type=PORT, help="gRPC port [default: PORT + 1].")
@click.option("--name", help="The name it is served under [default: the file's].")
@click.option("--allow-pickle", is_flag=True, help="Load the model although that runs code that came with it.")
@click.option("--code", type=click.Path(exists=True, path_type=Path), help="Folder with modules the model needs.")
@click.option("--device", help="Where to run it: cpu, auto, cuda or cuda:N [default: the version's, else cpu].")
def serve(
    app: App,
    *,
    model: str,
    host: str,
    port: int,
    grpc_port: int | None,
    name: str | None,
    allow_pickle: bool,
    code: Path | None,
    device: str | None,
) -> None:
    """Serve one model in this process, without a platform: a model file or directory, or a registered version.

    It answers POST /predict and the Open Inference Protocol (REST and gRPC), and shows its routes at /docs.
    """
    settings = Settings.from_env(data_dir=app.data_dir)
    data_dir, files_dir = settings.data_dir, settings.files_home
    arguments = ["--data-dir", str(data_dir), "--host", host, "--port", str(port)]
    arguments += ["--grpc-port", str(grpc_port or port + 1)]
    arguments += ["--device", check_device(device)] if device else []
    if not Path(model).exists():
        if name or code or allow_pickle:
            raise InvalidArgument(_neither(model) + "; --name, --code and --allow-pickle go with a path", field="model")
        manifest = _manifest(app, files_dir, model)
        become("tidegate.server", ["--manifest", str(manifest), *arguments], _python(manifest, files_dir))
    arguments += ["--name", name] if name else []
    arguments += ["--allow-pickle"] if allow_pickle else []
    arguments += ["--code", str(code.absolute())] if code else []
    become("tidegate.server", ["--model", str(Path(model).absolute()), *arguments])


def _neither(model: str) -> str:
    return f"{model!r} is neither a file or directory here nor a registered NAME:VERSION"


def _manifest(app: App, files_dir: Path, text: str) -> Path:
    """The manifest of `churn:3`, or of `churn`, `churn:v1.0.0`, `churn@champion` where the platform runs to say."""
    from tidegate.core.names import parse_ref

    try:
        ref = parse_ref(text)
    except InvalidArgument:
        raise InvalidArgument(_neither(text), field="model") from None
    folder = files_dir / "versions" / ref.name
    number = ref.version
    if number is None or not number.isdigit():
        number = _number_of(app, ref.name, f"@{ref.alias}" if ref.alias else ref.version)
    manifest = folder / f"{number}.json"
    if not manifest.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise UnknownVersion(f"{_neither(text)} in {files_dir} (versions of {ref.name!r} there: {known})")
    return manifest


def _python(manifest_file: Path, files_dir: Path) -> str:
    """The interpreter of the version's own environment, where it has one."""
    from tidegate.wire.replicas.manifest import read_manifest

    key = read_manifest(manifest_file).environment
    if key is None:
        return sys.executable
    from tidegate.environments import Environments

    return str(Environments(files_dir / "environments").of_version(key))


def _number_of(app: App, name: str, version: str | None) -> str:
    try:
        client = app.client()
        return client.models.version(name, version).version if version else client.models.get(name).versions[0].version
    except NotRunning:
        raise NotRunning(
            f"which version {version or 'the newest'} of {name!r} is, only the platform knows, and it does not run: "
            "give the version's number, or start it with 'tidegate up'"
        ) from None


def become(module: str, arguments: list[str], python: str = sys.executable) -> NoReturn:
    """Replace this process with `python -m module`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(python, [python, "-m", module, *arguments])  # noqa: S606 - our own module, no shell


def run_quietly(module: str, arguments: list[str]) -> None:
    """Run `python -m module` with its messages on standard error, and end with its code when it fails."""
    code = subprocess.run([sys.executable, "-m", module, *arguments], stdout=sys.stderr, check=False).returncode
    if code != 0:
        sys.exit(code)
