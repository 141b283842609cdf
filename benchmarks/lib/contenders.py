"""The servers that serving.py compares: how each is installed, started, asked and understood."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import processes
from lib.platform import platform

PEERS = Path(__file__).resolve().parent.parent / "peers"
CORE = 0


@dataclass(frozen=True)
class ModelFiles:
    """One model as its joblib file and as ONNX, with the rows asked and the probabilities that are right."""

    name: str
    joblib: Path
    onnx: Path
    rows: Sequence[Sequence[float]]
    probabilities: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Form:
    """How a server wants one row, and where its answer has the highest probability (None: it gives no such thing)."""

    body: Callable[[Sequence[float]], dict[str, Any]]
    confidence: Callable[[Any], float | None]


PLAIN = Form(lambda row: {"features": row}, lambda answer: float(answer["confidence"]))
ROWS = Form(lambda row: {"features": [row]}, lambda answer: max(answer[0]))
MLFLOW = Form(lambda row: {"inputs": [row]}, lambda answer: None if answer["predictions"] else 0.0)
V2 = Form(
    lambda row: {
        "inputs": [{"name": "predict", "shape": [1, len(row)], "datatype": "FP64", "data": row}],
        "outputs": [{"name": "predict_proba"}],
    },
    lambda answer: max(answer["outputs"][0]["data"]),
)


@dataclass(frozen=True)
class Contender:
    """A server under test. `serving` starts it for one model and yields the URL to ask."""

    name: str
    form: Form
    serving: Callable[[Server], contextlib.AbstractContextManager[str]]
    packages: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class Server:
    """What a contender is given: the model, a folder of its own, and the Python of its environment."""

    model: ModelFiles
    folder: Path
    python: Path
    port: int = field(default_factory=lambda: processes.free_ports(1)[0])
    grpc_port: int = field(default_factory=lambda: processes.free_ports(1)[0])

    @property
    def log(self) -> Path:
        """Where it writes what it says."""
        return self.folder / "server.log"

    def run(self, argv: Sequence[str], path: str, env: Mapping[str, str] | None = None) -> _Serving:
        """Start `argv` on the server's core; the URL is on its port."""
        return _run(self, argv, path, env or {"MODEL": str(self.model.joblib)})


_Serving = contextlib.AbstractContextManager[str]


@contextlib.contextmanager
def _run(server: Server, argv: Sequence[str], path: str, env: Mapping[str, str]) -> Iterator[str]:
    with processes.running(argv[0], argv, server.log, core=CORE, env=env):
        yield f"http://127.0.0.1:{server.port}{path}"


@contextlib.contextmanager
def _tidegate_platform(model_file: Path, server: Server) -> Iterator[str]:
    with platform(server.folder, core=CORE, grpc_port=server.grpc_port) as running:
        grant = ["--allow-pickle"] if model_file.suffix == ".joblib" else []
        running.cli("deploy", str(model_file), "--name", "benchmark", *grant)
        yield f"{running.gateway_url}/predict/benchmark"


def _tidegate_serve(server: Server) -> _Serving:
    serve = [processes.command("tidegate"), "serve", str(server.model.joblib), "--allow-pickle"]
    return server.run([*serve, "--port", str(server.port), "--grpc-port", str(server.grpc_port)], "/predict")


def _uvicorn(server: Server, app: str, model_file: Path) -> _Serving:
    options = ["--host", "127.0.0.1", "--port", str(server.port), "--no-access-log", "--log-level", "warning"]
    argv = [str(server.python), "-m", "uvicorn", "--app-dir", str(PEERS), *options, app]
    return server.run(argv, "/predict", {"MODEL": str(model_file)})


def _mlserver(server: Server) -> _Serving:
    (metrics_port,) = processes.free_ports(1)
    settings = {"parallel_workers": 0, "http_port": server.port, "host": "127.0.0.1", "debug": False}
    settings |= {"grpc_port": server.grpc_port, "metrics_port": metrics_port}
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "max_batch_size": 64}
    model |= {"max_batch_time": 0.001, "parameters": {"uri": str(server.model.joblib)}}
    (server.folder / "settings.json").write_text(json.dumps(settings))
    (server.folder / "model-settings.json").write_text(json.dumps(model))
    return server.run([str(server.python.with_name("mlserver")), "start", str(server.folder)], "/v2/models/m/infer")


def _bentoml(server: Server) -> _Serving:
    options = ["--host", "127.0.0.1", "--port", str(server.port)]
    argv = [str(server.python.with_name("bentoml")), "serve", "bentoml_app:Predictor", *options]
    env = {"MODEL": str(server.model.joblib), "PYTHONPATH": str(PEERS), "BENTOML_DO_NOT_TRACK": "1"}
    return server.run(argv, "/predict", env)


def _mlflow(server: Server) -> _Serving:
    package = server.folder / "mlflow-model"
    code = (
        "import joblib, mlflow.sklearn, sys; mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], "
        "serialization_format='cloudpickle', pip_requirements=['scikit-learn'])"
    )
    if not package.exists():
        processes.run([str(server.python), "-c", code, str(server.model.joblib), str(package)])
    options = ["-p", str(server.port), "-h", "127.0.0.1", "-w", "1", "--env-manager", "local"]
    argv = [str(server.python.with_name("mlflow")), "models", "serve", "-m", str(package), *options]
    return server.run(argv, "/invocations", {"PATH": f"{server.python.parent}:/usr/local/bin:/usr/bin:/bin"})


def _script(name: str) -> Callable[[Server], _Serving]:
    return lambda server: server.run([str(server.python), str(PEERS / name), str(server.port)], "/predict")


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("tidegate", PLAIN, lambda s: _tidegate_platform(s.model.joblib, s), note="gateway and replica"),
        Contender("tidegate-serve", PLAIN, _tidegate_serve, note="one replica, no platform"),
        Contender(
            "tidegate-onnx", PLAIN, lambda s: _tidegate_platform(s.model.onnx, s), note="gateway and replica, ONNX file"
        ),
        Contender(
            "fastapi",
            PLAIN,
            lambda s: _uvicorn(s, "fastapi_app:app", s.model.joblib),
            ("fastapi", "uvicorn[standard]"),
            "the plain way",
        ),
        Contender("mlserver", V2, _mlserver, ("mlserver", "mlserver-sklearn"), "V2 JSON, adaptive batching"),
        Contender("bentoml", ROWS, _bentoml, ("bentoml",), "adaptive batching"),
        Contender("litserve", PLAIN, _script("litserve_app.py"), ("litserve",), "max_batch_size 64"),
        Contender("mlflow", MLFLOW, _mlflow, ("mlflow",), "models serve"),
        Contender("ray", PLAIN, _script("ray_app.py"), ("ray[serve]",), "@serve.batch"),
        Contender("floor", PLAIN, lambda s: _uvicorn(s, "floor:app", s.model.onnx), note="bare ASGI, ONNX Runtime"),
    )
}
"""By name. Those with packages get an environment of their own; the others run in this one."""
