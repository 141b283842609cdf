"""Files of the heavy frameworks as bytes, with none of them installed: what they are, and what is said of them."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.names import check_device
from tidegate.errors import InvalidArgument, MissingLibrary, NotAModel
from tidegate.packaging import read_source
from tidegate.runtimes import open_model


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def samples(pickle: bytes = b"\x80\x02]q\x00.") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle)
    return buffer.getvalue()


def exported(path: Path, **changed: bytes) -> Path:
    """What `torch.export.save` writes, as far as it is looked at; `changed` by the last part of a member's name."""
    node = {"target": "torch.ops.aten.relu.default", "inputs": [{"name": "self"}], "outputs": []}
    config = json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": False}}}).encode()
    members = {
        "m/archive_format": b"pt2",
        "m/models/model.json": json.dumps({"graph": {"nodes": [node]}}).encode(),
        "m/data/weights/weight_0": b"\0\0\0\0",
        "m/data/weights/model_weights_config.json": config,
        "m/data/constants/model_constants_config.json": b'{"config": {}}',
        "m/data/sample_inputs/model.pt": samples(),
    }
    by_end = {name.rpartition("/")[2].partition(".")[0]: name for name in members if not name.endswith("model.pt")}
    by_end["samples"] = "m/data/sample_inputs/model.pt"
    return zipped(path, members | {by_end.get(end, f"m/{end}"): content for end, content in changed.items()})


def test_an_exported_program_without_code_needs_no_grant(tmp_path: Path) -> None:
    source = read_source(exported(tmp_path / "m.pt2"))
    assert (source.format, source.pickle_reason) == ("torch_export", None)


def graph(**node: Any) -> bytes:
    return json.dumps({"nodes": [{"target": "torch.ops.aten.relu.default", "inputs": [], **node}]}).encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"model": graph(target="torch.os.system")},
        {"model": graph(target="torch.ops.aten.from_file.default")},
        {"model": graph(target="torch.ops.aten.__class__")},
        {"model": graph(target="torch.ops.mine.run.default")},
        {"model": graph(inputs=[{"arg": {"as_operator": "torch.load"}}])},
        {"model": json.dumps({"expr_str": "__import__('os')"}).encode()},
        {"model": json.dumps({"expr_str": "s0.__class__"}).encode()},
        {"model": json.dumps({"in_spec": '{"__enum__": true, "fqn": "os:x"}'}).encode()},
        {"model": b"{ no JSON"},
        {"model_weights_config": b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'},
        {"model_constants_config": b'{"config": {"c": {"path_name": "opaque_obj_0"}}}'},
        {"samples": samples(b"\x80\x02cos\nsystem\n.")},
        {"samples": samples(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")},
        {"samples": b"\x80\x02cos\nsystem\n."},
        {"data/aotinductor/model/model.so": b"\x7fELF"},
        {"data/weights/model.pt": b"\x80\x02."},
    ],
)
def test_an_exported_program_with_code_needs_the_grant(tmp_path: Path, changed: dict[str, bytes]) -> None:
    assert "can run code" in str(read_source(exported(tmp_path / "m.pt2", **changed)).pickle_reason)


@pytest.mark.parametrize(
    "expression", ["s3", "Symbol('s3', positive=True, integer=True)", "Max(1, s0) + 2*u1", "FloorDiv(s0 - 1, 2) >= 1.5"]
)
def test_sizes_are_arithmetic(tmp_path: Path, expression: str) -> None:
    content = json.dumps({"expr_str": expression}).encode()
    assert read_source(exported(tmp_path / "m.pt2", model=content)).pickle_reason is None


def script(path: Path) -> Path:
    return zipped(path, {"m/data.pkl": b"\x80\x02.", "m/constants.pkl": b"\x80\x02.", "m/version": b"3"})


def keras(path: Path, layer: dict[str, Any]) -> Path:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    return zipped(path, {"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}},
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "elsewhere"}},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": None, "class_name": "Mine", "registered_name": "package>Mine"},
    ],
)
def test_keras_files(tmp_path: Path, layer: dict[str, Any]) -> None:
    plain = read_source(keras(tmp_path / "plain.keras", DENSE))
    assert (plain.format, plain.pickle_reason) == ("keras", None)
    assert read_source(keras(tmp_path / "code.keras", layer)).pickle_reason is not None


def saved_model(folder: Path, op: bytes = b"MatMul") -> Path:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x10\x0a\x01x\x12" + bytes([len(op)]) + op)
    return folder


def test_saved_models(tmp_path: Path) -> None:
    plain = read_source(saved_model(tmp_path / "plain"))
    assert (plain.format, plain.pickle_reason) == ("savedmodel", None)
    assert "PyFunc" in str(read_source(saved_model(tmp_path / "active", b"PyFunc")).pickle_reason)


def test_a_file_of_torch_save_is_refused_with_what_to_save(tmp_path: Path) -> None:
    with pytest.raises(NotAModel, match=r"torch\.export\.save.*torch\.jit\.save"):
        read_source(zipped(tmp_path / "m.pt", {"m/data.pkl": b"\x80\x02}.", "m/version": b"3"}))


def catboost(path: Path) -> Path:
    path.write_bytes(b"CBM1\x04\0\0\0abcd")
    return path


def dense(path: Path) -> Path:
    return keras(path, DENSE)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "m.pt2": exported,
    "m.pt": script,
    "m.keras": dense,
    "folder": saved_model,
    "m.cbm": catboost,
}


@pytest.mark.parametrize(
    ("file", "module", "extra"),
    [
        ("m.pt2", "torch", "torch"),
        ("m.pt", "torch", "torch"),
        ("m.keras", "tensorflow", "tensorflow"),
        ("folder", "tensorflow", "tensorflow"),
        ("m.cbm", "catboost", "catboost"),
    ],
)
def test_a_framework_that_is_missing_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, module: str, extra: str
) -> None:
    path = tmp_path / file
    MAKERS[file](path)
    monkeypatch.setitem(sys.modules, module, None)  # also where it is installed
    for runtime in ("torch", "tensorflow", "catboost"):
        monkeypatch.delitem(sys.modules, f"tidegate.runtimes.{runtime}_model", raising=False)
    with pytest.raises(MissingLibrary, match=rf"pip install 'tidegate\[{extra}\]'"):
        open_model(path, "m", into=tmp_path / "package", allow_pickle=True)


def test_devices_by_name() -> None:
    assert [check_device(name) for name in ("cpu", "auto", "cuda", "cuda:1")]
    for name in ("gpu", "cuda:", "cuda:x", "CPU", ""):
        with pytest.raises(InvalidArgument, match="none of cpu, auto, cuda"):
            check_device(name)
