"""The servers that serving.py compares: how each is installed, started, asked and understood."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import processes
from lib.models import ModelFiles
from lib.platform import platform

PEERS = Path(__file__).resolve().parent.parent / "peers"
CORE = 0
NAME = "benchmark"


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
    """A server under test. `serving` starts it for one model and yields the URL to ask.

    Those with an `environment` run with the Python of that name, which has `packages`; the others run in this one.
    """

    name: str
    form: Form
    serving: Callable[[Server], contextlib.AbstractContextManager[str]]
    note: str = ""
    environment: str = ""


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
def _two_variants(server: Server, *options: str) -> Iterator[str]:
    """A whole platform on the server's core, with the traffic split evenly over two versions of the model."""
    with platform(server.folder, core=CORE, grpc_port=server.grpc_port) as running:
        running.cli("deploy", str(server.model.joblib), "--name", NAME, "--allow-pickle", *options)
        running.cli("register", str(server.model.again), "--name", NAME, "--allow-pickle", *options)
        running.cli("traffic", NAME, "1=50", "2=50")
        yield f"{running.gateway_url}/predict/{NAME}"


@contextlib.contextmanager
def _bare(server: Server) -> Iterator[str]:
    """`tidegate serve` of a registered, accelerated version; the platform that registered it is gone by then."""
    with platform(server.folder, core=CORE) as running:
        running.cli("register", str(server.model.joblib), "--name", NAME, "--allow-pickle")
    with server.run(serve_argv(server), "/predict") as url:
        yield url


def serve_argv(server: Server) -> list[str]:
    """The command that serves version 1 of the model that is registered in the server's folder."""
    ports = ["--port", str(server.port), "--grpc-port", str(server.grpc_port)]
    return [processes.command("tidegate"), "serve", f"{NAME}:1", "--data-dir", str(server.folder / "data"), *ports]


def _uvicorn(server: Server, app: str, model_file: Path) -> _Serving:
    options = ["--host", "127.0.0.1", "--port", str(server.port), "--no-access-log", "--log-level", "warning"]
    argv = [str(server.python), "-m", "uvicorn", "--app-dir", str(PEERS), *options, app]
    return server.run(argv, "/predict", {"MODEL": str(model_file)})


def _mlserver(server: Server, implementation: str, model_file: Path) -> _Serving:
    (metrics_port,) = processes.free_ports(1)
    settings = {"parallel_workers": 0, "http_port": server.port, "host": "127.0.0.1", "debug": False}
    settings |= {"grpc_port": server.grpc_port, "metrics_port": metrics_port}
    model = {"name": "m", "implementation": implementation, "max_batch_size": 64}
    model |= {"max_batch_time": 0.001, "parameters": {"uri": str(model_file)}}
    (server.folder / "settings.json").write_text(json.dumps(settings))
    (server.folder / "model-settings.json").write_text(json.dumps(model))
    argv = [str(server.python.with_name("mlserver")), "start", str(server.folder)]
    return server.run(argv, "/v2/models/m/infer", {"PYTHONPATH": str(PEERS)})


def _bentoml(server: Server, model_file: Path) -> _Serving:
    options = ["--host", "127.0.0.1", "--port", str(server.port)]
    argv = [str(server.python.with_name("bentoml")), "serve", "bentoml_app:Predictor", *options]
    env = {"MODEL": str(model_file), "PYTHONPATH": str(PEERS), "BENTOML_DO_NOT_TRACK": "1"}
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


def _script(server: Server, name: str, model_file: Path) -> _Serving:
    argv = [str(server.python), str(PEERS / name), str(server.port)]
    return server.run(argv, "/predict", {"MODEL": str(model_file)})


def _fastapi(server: Server, model_file: Path) -> _Serving:
    return _uvicorn(server, "fastapi_app:app", model_file)


SKLEARN, ONNX = "mlserver_sklearn.SKLearnModel", "mlserver_onnx.OnnxModel"
TIDEGATE = (
    Contender("tidegate", PLAIN, _two_variants, "gateway, two variants, journal"),
    Contender("tidegate-serve", PLAIN, _bare, "one replica, no platform"),
)
UNACCELERATED = Contender(
    "tidegate-no-accelerate", PLAIN, lambda s: _two_variants(s, "--no-accelerate"), "as tidegate, scikit-learn"
)
FLOOR = Contender("floor", PLAIN, lambda s: _uvicorn(s, "floor:app", s.model.onnx), "F1: bare ASGI, ONNX Runtime")
PEER_SERVERS = (
    Contender("fastapi", PLAIN, lambda s: _fastapi(s, s.model.joblib), "the plain way", "fastapi"),
    Contender("mlserver", V2, lambda s: _mlserver(s, SKLEARN, s.model.joblib), "V2 JSON, batching", "mlserver"),
    Contender("bentoml", ROWS, lambda s: _bentoml(s, s.model.joblib), "adaptive batching", "bentoml"),
    Contender("litserve", PLAIN, lambda s: _script(s, "litserve_app.py", s.model.joblib), "batches", "litserve"),
    Contender("mlflow", MLFLOW, _mlflow, "models serve", "mlflow"),
    Contender("ray", PLAIN, lambda s: _script(s, "ray_app.py", s.model.joblib), "@serve.batch", "ray"),
)
ONNX_SERVERS = (
    Contender("fastapi-onnx", PLAIN, lambda s: _fastapi(s, s.model.onnx), "the plain way, ONNX Runtime", "fastapi"),
    Contender("mlserver-onnx", V2, lambda s: _mlserver(s, ONNX, s.model.onnx), "own runtime, ONNX", "mlserver"),
    Contender("bentoml-onnx", ROWS, lambda s: _bentoml(s, s.model.onnx), "ONNX Runtime", "bentoml"),
    Contender("litserve-onnx", PLAIN, lambda s: _script(s, "litserve_app.py", s.model.onnx), "ONNX", "litserve"),
)
CONTENDERS = {one.name: one for one in (*TIDEGATE, UNACCELERATED, FLOOR, *PEER_SERVERS, *ONNX_SERVERS)}
ENVIRONMENTS = {
    "fastapi": ("fastapi", "uvicorn[standard]", "onnxruntime"),
    "mlserver": ("mlserver", "mlserver-sklearn", "onnxruntime"),
    "bentoml": ("bentoml", "onnxruntime"),
    "litserve": ("litserve", "onnxruntime"),
    "mlflow": ("mlflow",),
    "ray": ("ray[serve]",),
}
"""What each environment has, beside this environment's release of scikit-learn."""
