"""PyTorch programs (TorchScript, `torch.export`) from the file to the answer, compared with PyTorch's own answers."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from support.frameworks import needs, serving
from support.platform import Platform, tidegate

needs("torch")

import torch

from tidegate.adapters.sandbox.inspection import (
    AccelerationRequest,
    InspectionRequest,
    run_acceleration,
    run_inspection,
)
from tidegate.errors import ModelLoadFailed, NoSuchDevice, NotAModel, PickleNotGranted, UnfitInput
from tidegate.packaging import read_source, wrap
from tidegate.packaging.filelist import write_list
from tidegate.runtimes import load, open_model
from tidegate.wire.replicas.manifest import Accelerated, Manifest
from tidegate.wire.signature import Signature

ROWS = {
    "left": np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),
    "right": np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32),
}


class TwoSided(torch.nn.Module):  # type: ignore[misc]
    """Two inputs, two named outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.norm = torch.nn.Linear(4, 8), torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8)
        self.last = torch.nn.Linear(8, 3)

    def forward(self, left: Any, right: Any) -> Any:
        logits = self.last(torch.relu(self.norm(self.left(left) + self.right(right))))
        return {"logits": logits, "probability": torch.softmax(logits, -1)}


class Centred(torch.nn.Module):  # type: ignore[misc]
    """Its rows depend on one another."""

    def forward(self, x: Any) -> Any:
        return x - x.mean(0)


def said() -> dict[str, np.ndarray[Any, Any]]:
    with torch.inference_mode():
        answer = TwoSided().eval()(*[torch.from_numpy(array) for array in ROWS.values()])
    return {name: value.numpy() for name, value in answer.items()}


def exported(path: Path, module: Any, example: tuple[Any, ...], dynamic: bool = True) -> Path:
    rows = torch.export.Dim("rows")
    shapes = tuple({0: rows} for _ in example) if dynamic else None
    torch.export.save(torch.export.export(module.eval(), example, dynamic_shapes=shapes), path)
    return path


def quietly(save: Callable[[], Any]) -> Any:
    """TorchScript is deprecated by its makers, and is still what many have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return save()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "two.pt2"
    return exported(path, TwoSided(), (torch.rand(2, 4), torch.rand(2, 2)))


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "two.pt"
    example = (torch.rand(2, 4), torch.rand(2, 2))
    quietly(lambda: torch.jit.trace(TwoSided().eval(), example, strict=False).save(str(path)))
    return path


def opened(path: Path, into: Path, **options: Any) -> Any:
    return open_model(path, "m", into=into / "package", **options)


@pytest.mark.parametrize("kind", ["program", "script"])
def test_names_and_answers_are_the_programs_own(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = request.getfixturevalue(kind)
    manifest, runtime = opened(path, tmp_path, allow_pickle=kind == "script")
    assert manifest.framework == "torch"
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.signature.inputs] == [
        ("left", "FP32", (-1, 4)),
        ("right", "FP32", (-1, 2)),
    ]
    answers = runtime.predict(ROWS, None)
    assert list(answers) == ["logits", "probability"]
    for name, expected in said().items():
        np.testing.assert_allclose(answers[name], expected, rtol=1e-6, atol=1e-6)
    assert manifest.batchable
    assert torch.get_num_threads() == 1


def test_an_ordinary_program_needs_no_grant_and_a_script_does(program: Path, script: Path) -> None:
    assert read_source(program).pickle_reason is None
    assert "TorchScript" in str(read_source(script).pickle_reason)


def test_rows_that_depend_on_one_another_are_not_merged(tmp_path: Path) -> None:
    manifest, _ = opened(exported(tmp_path / "centred.pt2", Centred(), (torch.rand(3, 4),)), tmp_path)
    assert not manifest.batchable


def test_a_program_for_one_row_is_run_row_after_row(tmp_path: Path) -> None:
    module = torch.nn.Linear(4, 2)
    _, runtime = opened(exported(tmp_path / "one.pt2", module, (torch.rand(1, 4),), dynamic=False), tmp_path)
    answer = runtime.predict({"input": ROWS["left"]}, None)["prediction"]
    np.testing.assert_allclose(answer, module(torch.from_numpy(ROWS["left"])).detach().numpy(), rtol=1e-6, atol=1e-6)


def test_a_program_for_two_rows_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"exactly 2 rows.*dynamic_shapes"):
        opened(exported(tmp_path / "two.pt2", torch.nn.Linear(4, 2), (torch.rand(2, 4),), dynamic=False), tmp_path)


def test_pictures_of_any_size_are_tried_large_enough(tmp_path: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    path = tmp_path / "picture.pt2"
    free = ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(network.eval(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=free), path)
    manifest, runtime = opened(path, tmp_path)
    assert manifest.signature.inputs[0].shape == (-1, 3, -1, -1)
    assert runtime.predict({"input": np.zeros((2, 3, 20, 24), np.float32)}, None)["prediction"].shape == (2, 2)


def test_a_script_without_shapes_takes_what_its_layers_take(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    quietly(lambda: torch.jit.script(torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU())).save(str(path)))
    manifest, runtime = opened(path, tmp_path, allow_pickle=True)
    assert manifest.signature.inputs[0].shape == (-1, 6)
    with pytest.raises(UnfitInput, match="mat1 and mat2") as refused:
        runtime.predict({"input": np.zeros((1, 7), np.float32)}, None)
    assert "Traceback" not in refused.value.message


def test_pickles_of_modules_are_refused_with_what_to_save(tmp_path: Path) -> None:
    for name, content in (("state.pt", TwoSided().state_dict()), ("module.pt", torch.nn.Linear(2, 1))):
        torch.save(content, tmp_path / name)
        with pytest.raises(NotAModel, match=r"torch\.export\.save.*torch\.jit\.save"):
            read_source(tmp_path / name)
    torch.save({"w": torch.rand(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(NotAModel, match=r"torch\.export\.save"):
        read_source(tmp_path / "old.pt")


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def rewritten(program: Path, path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename.partition("/")[2], old.read(info)))
    return path


def in_weights(name: str, content: bytes, poison: bytes) -> bytes:
    if name == "data/weights/model_weights_config.json":
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')
    return poison if name.startswith("data/weights/weight_") else content


def in_samples(name: str, content: bytes, poison: bytes) -> bytes:
    return poison if name == "data/sample_inputs/model.pt" else content


def in_operator(name: str, content: bytes, poison: bytes) -> bytes:
    if name != "models/model.json":
        return content
    return content.replace(b'"torch.ops.aten.linear.default"', b'"torch.os.system"', 1)


def in_expression(name: str, content: bytes, poison: bytes) -> bytes:
    if name != "models/model.json":
        return content
    graph = json.loads(content)
    sizes = graph["graph_module"]["graph"]["tensor_values"]["left"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "__import__('os').getpid()"
    return json.dumps(graph).encode()


@pytest.mark.parametrize("change", [in_weights, in_samples, in_operator, in_expression])
def test_a_program_that_could_run_code_needs_the_grant(
    program: Path, tmp_path: Path, change: Callable[[str, bytes, bytes], bytes]
) -> None:
    """Each is a way by which `torch.export.load` would run what the file says."""
    trap = tmp_path / "sprung"
    buffer = io.BytesIO()
    torch.save(Harmful(trap), buffer)
    harmful = rewritten(program, tmp_path / "bad.pt2", lambda name, old: change(name, old, buffer.getvalue()))
    with pytest.raises(PickleNotGranted, match="--allow-pickle"):
        opened(harmful, tmp_path)
    assert not trap.exists()
    if change in (in_weights, in_samples):
        with pytest.raises((ModelLoadFailed, NotAModel)):
            opened(harmful, tmp_path, allow_pickle=True)
        assert trap.exists()


def test_a_rewritten_program_without_harm_still_needs_none(program: Path, tmp_path: Path) -> None:
    assert read_source(rewritten(program, tmp_path / "same.pt2", lambda _, old: old)).pickle_reason is None


def test_a_program_in_front_of_another_needs_the_grant(program: Path, tmp_path: Path) -> None:
    """Two tables of contents: PyTorch's reader and Python's could see different programs."""
    twice = tmp_path / "twice.pt2"
    twice.write_bytes(program.read_bytes() + program.read_bytes())
    assert read_source(twice).pickle_reason is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_named_with_those_that_are(program: Path, tmp_path: Path) -> None:
    for device in ("cuda", "cuda:0"):
        with pytest.raises(NoSuchDevice, match=r"cuda.*available: cpu"):
            opened(program, tmp_path, device=device)
    manifest, _ = opened(program, tmp_path / "auto", device="auto")
    assert manifest.device == "auto"


def v2_inputs() -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in ROWS.items()
    ]


def check_v2(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    outputs = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}
    for name, expected in said().items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_from_the_exported_file_to_the_gateways_answer(platform: Platform, program: Path) -> None:
    platform.done("deploy", str(program), "--name", "two", "--device", "auto")
    check_v2(platform.ask("/v2/models/two/infer", {"inputs": v2_inputs()}))
    records = [{name: array[row].tolist() for name, array in ROWS.items()} for row in range(2)]
    assert platform.predict("two", records).status_code == 200
    wrong = [{**v2_inputs()[0], "shape": [4, 5]}, v2_inputs()[1]]
    assert platform.ask("/v2/models/two/infer", {"inputs": wrong}).status_code == 422
    version = platform.api("GET", "/api/v1/models/two/versions/1").json()
    assert (version["framework"], version["pickle_granted"]) == ("torch", False)


@pytest.mark.slow
def test_a_script_is_deployed_with_the_grant_only(platform: Platform, script: Path) -> None:
    refused = platform.failed("register", str(script), "--name", "script")
    assert refused["code"] == "pickle_not_granted"
    platform.done("deploy", str(script), "--name", "script", "--allow-pickle")
    check_v2(platform.ask("/v2/models/script/infer", {"inputs": v2_inputs()}))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_version_for_a_device_that_is_not_there_is_not_taken_in(platform: Platform, program: Path) -> None:
    refused = platform.failed("register", str(program), "--name", "fast", "--device", "cuda:1")
    assert refused["code"] == "no_such_device"
    assert "available: cpu" in refused["error"]
    assert tidegate("serve", str(program), "--device", "gpu").code == 2


@pytest.mark.slow
def test_served_alone(program: Path) -> None:
    with serving(str(program), "--name", "two", "--device", "cpu") as url:
        check_v2(httpx.post(f"{url}/v2/models/two/infer", json={"inputs": v2_inputs()}))


def test_pickle_reads_what_this_test_writes(tmp_path: Path) -> None:
    """The trap of the tests above works."""
    pickle.loads(pickle.dumps(Harmful(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


class Embedded(torch.nn.Module):  # type: ignore[misc]
    """Refuses words it does not know; ONNX counts -1 from the end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.last = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 2)

    def forward(self, words: Any) -> Any:
        return self.last(self.words(words).mean(1))


def tried(path: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Any], Path, Any]:
    """What registration's last step makes of a program."""
    package = wrap(read_source(path), tmp_path / "package")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = run_inspection(InspectionRequest(package.dir), timeout_s=100, scratch_dir=scratch)
    request = AccelerationRequest(package.dir, scratch / "form", found["signature"], **options)
    record = run_acceleration(request, timeout_s=170, scratch_dir=scratch)
    form = tmp_path / "form"
    if record["kept"]:
        (scratch / "form").rename(form)  # as the store of artifacts does
    return record, form, msgspec.convert(found["signature"], Signature)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dynamic", [True, False], ids=["any rows", "one row"])
def test_a_program_gets_a_graph_that_answers_as_it_does(dynamic: bool, tmp_path: Path) -> None:
    rows = 2 if dynamic else 1
    path = exported(tmp_path / "two.pt2", TwoSided(), (torch.rand(rows, 4), torch.rand(rows, 2)), dynamic)
    record, form, signature = tried(path, tmp_path, asked=True)
    assert record["kept"] == "torch-onnx", record
    assert record["tried"][0]["largest_difference"] <= 1e-5
    manifest = Manifest(
        "m", "1", "ab" * 32, "package", "torch", signature, None, accelerated=Accelerated("torch-onnx", "form")
    )
    write_list(form)
    runtime = load(manifest, tmp_path / "package")
    answers = runtime.predict(ROWS, None)
    assert list(answers) == ["logits", "probability"]
    for name, expected in said().items():
        assert answers[name].dtype == expected.dtype
        np.testing.assert_allclose(answers[name], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UnfitInput):
        runtime.predict({"left": np.ones((2, 5), np.float32), "right": np.ones((2, 2), np.float32)}, None)


@pytest.mark.timeout(300)
def test_a_graph_that_answers_what_the_program_refuses_is_not_kept(tmp_path: Path) -> None:
    path = exported(tmp_path / "words.pt2", Embedded(), (torch.ones(3, 5, dtype=torch.int64),))
    record, form, _ = tried(path, tmp_path, asked=True)
    assert record["kept"] is None
    assert "-1 in 'words': it answers where the original refuses" in record["tried"][0]["reason"]
    assert not form.exists()
    unasked = run_acceleration(
        AccelerationRequest(tmp_path / "package", form, {}), timeout_s=60, scratch_dir=tmp_path / "scratch"
    )
    assert "--accelerate" in unasked["reason"]
