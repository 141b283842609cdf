"""`demo`: from two models to a rollback and an alert. Runs the commands it prints, and checks what came of them."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate import clock
from tidegate.cli.app import App, command
from tidegate.cli.demo.stage import Stage, bold
from tidegate.cli.demo.watching import watch
from tidegate.cli.platform.processes import PORT
from tidegate.client.login import login_url
from tidegate.errors import MissingExtra, PortInUse, TidegateError
from tidegate.settings import CONTROL_PORT, GATEWAY_PORT, Settings

if TYPE_CHECKING:
    from tidegate.cli.demo.models import DemoFiles

NAME = "tumor"
REQUESTS = 200
PORTS_TRIED_MAX = 200
CANARY_MIN, CANARY_MAX = 4, 40
"""Of 200 requests at 10 %, fewer than 4 or more than 40 come about once in 100,000 demos."""


@command("demo", "tidegate demo", "tidegate demo --exit", "tidegate demo --data-dir ./demo --port 9000")
@click.option("--exit", "exit_", is_flag=True, help="Stop the platform at the end: code 0, or 1 and the reason.")
@click.option("--port", type=PORT, help="The gateway's port [default: 8000, or a free one].")
@click.option("--control-port", type=PORT, help="The control plane's port [default: 8800, or a free one].")
def demo(app: App, exit_: bool, port: int | None, control_port: int | None) -> None:
    """Show the whole way on this machine: train, register, deploy, predict, split traffic, promote, roll back; then
    rows that moved, labels that come late, what monitors find, the alert and a report.

    Prints each command as you would type it, and what came back. The platform it starts keeps its data apart from
    yours, in ~/.tidegate-demo (wiped when the demo starts) unless --data-dir is given, and runs on afterwards.
    """
    missing = [name for name in ("sklearn", "joblib", "fastapi", "mlflow", "psutil") if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the demo needs {', '.join(missing)}: pip install 'tidegate[platform]'")
    stage = Stage(app, _data_dir(app))
    try:
        stage.prepare(wipe=app.data_dir is None)
        _play(stage, port, control_port)
    except BaseException:
        if exit_:
            stage.stop(quiet=True)
        elif stage.started:
            stage.say(f"\nThe platform still runs; stop it with: {stage.down_line()}")
        raise
    if exit_:
        stage.show("The end: stop the platform", "down")
    else:
        _farewell(stage)
    stage.say(f"\nThe demo took {clock.monotonic() - stage.began_s:.0f} s.")
    if app.json:
        app.emit({"done": True, "data_dir": str(stage.data_dir), "stopped": exit_, **stage.facts}, str)


def _data_dir(app: App) -> Path:
    own = Settings.from_env(data_dir=app.data_dir).data_dir
    return own if app.data_dir is not None else own.with_name(own.name + "-demo")


def _play(stage: Stage, port: int | None, control_port: int | None) -> None:
    where = (shlex.quote(str(stage.data_dir)), shlex.quote(str(stage.folder)))
    stage.say("Each line that starts with $ is run as it stands; type it yourself to do the same.\n")
    stage.say(f"$ export TIDEGATE_DATA_DIR={where[0]}\n$ cd {where[1]}")
    files = _start_and_train(stage, port, control_port)
    first = _register(stage, files, files.first_model, "v1.0.0")
    second = _register(stage, files, files.second_model, "v2.0.0")
    stage.show("Deploy the first version", "deploy", f"{NAME}:{first}")
    stage.show("Send it a real row", "predict", NAME, "--data", _request(files.one_row))
    _canary(stage, files, first, second)
    stage.show("It does well: give it everything", "promote", NAME, second)
    _expect_traffic(stage, {second: 100.0})
    _ask_again(stage, files, second)
    stage.show("Second thoughts: take the change back", "rollback", NAME)
    _expect_traffic(stage, {first: 90.0, second: 10.0})
    watch(stage, files, NAME)
    stage.show("How the endpoint came here", "status", NAME)


def _start_and_train(stage: Stage, port: int | None, control_port: int | None) -> DemoFiles:
    """Start the platform and train meanwhile."""
    from tidegate.cli.demo.models import train

    gateway = port or _free_ports(stage, GATEWAY_PORT, count=2)
    control = control_port or _free_ports(stage, CONTROL_PORT, count=1)
    ports: list[str] = [] if gateway == GATEWAY_PORT else ["--port", str(gateway)]
    ports += [] if control == CONTROL_PORT else ["--control-port", str(control)]
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train, stage.folder)
        stage.started = True
        stage.show("Start the platform", "up", "--detach", *ports)
        files = training.result()
    stage.say(
        f"\n{bold('Train two models on the breast cancer data of scikit-learn')}\n"
        f"  {files.first_model}: logistic regression, trained on few rows\n"
        f"  {files.second_model}: a forest of 100 trees, trained on all but {files.holdout}, which neither has seen"
    )
    return files


def _register(stage: Stage, files: DemoFiles, model: str, label: str) -> str:
    """Register a model through the gate and return the number of its version."""
    gate = ("--validation-data", files.holdout, "--target", "benign", "--min-score", "0.9")
    stage.show(
        f"Take in {model}, if it passes the gate", "register", model, "--name", NAME, "--label", label,
        "--allow-pickle", *gate,
    )  # fmt: skip
    with App(data_dir=stage.data_dir).client() as client:
        return client.models.version(NAME, label).version


def _canary(stage: Stage, files: DemoFiles, first: str, second: str) -> None:
    stage.show("Give the second version 10 % of the traffic", "traffic", NAME, f"{first}=90", f"{second}=10")
    _expect_traffic(stage, {first: 90.0, second: 10.0})
    stage.say_title(f"Send {REQUESTS} real requests, a row each, and see who answers (X-Tidegate-Version)")
    summary = stage.keep("predictions.txt", "predict", NAME, "--file", files.rows, "--rows-per-request", "1")
    answered = {version: int(count) for count, version in re.findall(r"(\d+) by version (\S+?)(?:,|$)", summary)}
    stage.facts["answered_by"] = answered
    if sum(answered.values()) != REQUESTS or not CANARY_MIN <= answered.get(second, 0) <= CANARY_MAX:
        raise TidegateError(f"about 10 % of {REQUESTS} requests should have gone to version {second}: {answered}")


def _ask_again(stage: Stage, files: DemoFiles, version: str) -> None:
    output = stage.show("The same row again", "predict", NAME, "--data", _request(files.one_row))
    if f'"model_version":"{version}"' not in output.replace(" ", ""):
        raise TidegateError(f"version {version} has all of the traffic, but another answered: {output.strip()}")


def _expect_traffic(stage: Stage, wanted: dict[str, float]) -> None:
    with App(data_dir=stage.data_dir).client() as client:
        routed = {version: share for version, share in client.endpoints.get(NAME).traffic.items() if share > 0}
    if routed != wanted:
        raise TidegateError(f"the endpoint should route {wanted}, but routes {routed}")


def _farewell(stage: Stage) -> None:
    with App(data_dir=stage.data_dir).client() as client:
        control, gateway, login = client.location.url, client.gateway.url, login_url(client)
    stage.facts |= {"gateway_url": gateway, "url": control}
    stage.say(
        f"\n{bold('The platform runs on in the background')}\n"
        f"  gateway   {gateway}/predict/{NAME}, its docs {gateway}/docs\n"
        f"  API       {control}/api/v1/status, its docs {control}/api/docs\n"
        f"  console   {login} (logs in once, within 5 minutes)\n"
        f"  look      {shlex.join(['tidegate', 'status', '--data-dir', str(stage.data_dir)])}\n"
        f"  stop it   {stage.down_line()}"
    )
    if shutil.which("tidegate") is None:
        stage.say(f"  (tidegate is not on your PATH: it is {Path(sys.executable).with_name('tidegate')})")


def _request(row: list[float]) -> str:
    import orjson

    return orjson.dumps({"features": row}).decode()


def _free_ports(stage: Stage, wanted: int, count: int) -> int:
    """The first of `count` free ports in a row, from `wanted` upwards."""
    for first in range(wanted, wanted + PORTS_TRIED_MAX):
        if all(_is_free(port) for port in range(first, first + count)):
            if first != wanted:
                stage.say(f"Port {wanted} is taken on this machine: {first} will do.")
            return first
    raise PortInUse(
        f"no port from {wanted} to {wanted + PORTS_TRIED_MAX} is free: name one with --port, --control-port"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
