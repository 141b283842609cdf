"""Files and directories on their way to the control plane."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tidegate.client.registration.files import code_payload, payload_of, with_progress
from tidegate.errors import InvalidArgument


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]


def test_a_file_goes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(bytes(range(256)) * 10_000)
    payload = payload_of(tmp_path / "m.onnx")
    chunks = list(payload.chunks)
    assert len(chunks) > 1, "it is never whole in memory"
    assert b"".join(chunks) == (tmp_path / "m.onnx").read_bytes()
    assert (payload.name, payload.size_bytes, payload.archive) == ("m.onnx", 2_560_000, False)


def test_a_directory_becomes_a_tar_of_the_announced_size(tmp_path: Path) -> None:
    model = tmp_path / "model"
    deep = model / "data" / ("n" * 120)
    deep.mkdir(parents=True)
    (model / "MLmodel").write_text("flavors: {}\n")
    (model / "empty").write_bytes(b"")
    (deep / "gewöhnlich.bin").write_bytes(b"x" * 513)
    (model / "__pycache__").mkdir()
    (model / "__pycache__" / "a.pyc").write_bytes(b"no")
    payload = payload_of(model)
    data = b"".join(payload.chunks)
    assert (payload.archive, payload.name, payload.size_bytes) == (True, "model", len(data))
    name = f"data/{'n' * 120}/gewöhnlich.bin"
    assert members(data) == {"MLmodel": b"flavors: {}\n", "empty": b"", name: b"x" * 513}


def test_the_same_directory_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("z.py", "a.py") if name == "a" else ("a.py", "z.py"):
            (tmp_path / name / file).write_text(file)
    assert b"".join(payload_of(tmp_path / "a").chunks) == b"".join(payload_of(tmp_path / "b").chunks)


def test_a_package_keeps_its_name_and_a_folder_of_modules_does_not(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "encode.py").write_text("1")
    assert set(members(b"".join(code_payload(tmp_path / "features").chunks))) == {"encode.py"}
    (tmp_path / "features" / "__init__.py").write_text("")
    names = set(members(b"".join(code_payload(tmp_path / "features").chunks)))
    assert names == {"features/encode.py", "features/__init__.py"}
    one = code_payload(tmp_path / "features" / "encode.py")
    assert members(b"".join(one.chunks)) == {"encode.py": b"1"}


@pytest.mark.parametrize(("name", "words"), [("nowhere", "no file or directory"), ("hollow", "holds no files")])
def test_nothing_to_upload(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InvalidArgument, match=words):
        payload_of(tmp_path / name)


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x" * 100)
    payload = payload_of(path)
    path.write_bytes(b"x" * 10)
    with pytest.raises(InvalidArgument, match="shorter"):
        list(payload.chunks)


def test_progress_ends_at_one(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x" * 3_000_000)
    seen: list[tuple[str, float]] = []
    list(with_progress(payload_of(tmp_path / "m.onnx"), lambda *report: seen.append(report)))
    assert seen[-1] == ("uploading m.onnx", 1.0)
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen)


def test_pipes_in_a_folder_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "features.py").write_text("1")
    assert members(b"".join(payload_of(tmp_path).chunks)) == {"features.py": b"1"}
