"""What a file is told to be by its content, and what is said of files that are no models."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from tidegate.errors import MissingCode, MissingLibrary, NotAModel, PickleNotGranted, TooLarge
from tidegate.packaging import digest_of, digest_with_name, extract_tar, read_source, scan_pickle, wrap

ROWS = np.random.default_rng(0).normal(size=(60, 4))
LABELS = (ROWS[:, 0] > 0).astype(int)
FOREST = RandomForestClassifier(5, random_state=0).fit(ROWS, LABELS)


def save(folder: Path, kind: str) -> Path:
    path = folder / f"model.{kind}"
    if kind == "pkl":
        path.write_bytes(pickle.dumps(FOREST))
    elif kind == "skops":
        skops.io.dump(FOREST, path)
    elif kind in ("ubj", "json"):
        xgboost.XGBClassifier(n_estimators=2).fit(ROWS, LABELS).save_model(path)
    elif kind == "txt":
        lightgbm.train({"verbose": -1}, lightgbm.Dataset(ROWS, LABELS), num_boost_round=2).save_model(path)
    elif kind == "onnx":
        from onnx import TensorProto, helper

        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", ends[:1], ends[1:])
        path.write_bytes(helper.make_model(graph).SerializeToString())
    else:
        joblib.dump(FOREST, path)
    return path


FORMATS = {
    "joblib": "joblib",
    "pkl": "pickle",
    "skops": "skops",
    "ubj": "xgboost",
    "json": "xgboost",
    "txt": "lightgbm",
    "onnx": "onnx",
}


@pytest.mark.parametrize(("kind", "expected"), FORMATS.items())
def test_the_format_is_told_by_content_not_by_name(tmp_path: Path, kind: str, expected: str) -> None:
    path = save(tmp_path, kind).rename(tmp_path / "upload-7f3a")
    source = read_source(path, f"mine.{kind}")
    assert source.format == expected
    assert source.needs_pickle_grant == (expected in ("joblib", "pickle"))
    assert read_source(path, "misleading.bin").format in (expected, "joblib", "pickle")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_model_that_was_cut_off_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = save(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(NotAModel, match="cut off"):
        read_source(path)


@pytest.mark.parametrize(
    ("name", "content", "looks"),
    [
        ("m.joblib", b"", "is empty"),
        ("m.joblib", b"a,b,c\n1,2,3\n", "a CSV file"),
        ("m.onnx", b"<!DOCTYPE html><html>404</html>", "a web page"),
        ("m.pkl", b"import os\nprint('hello')\n", "Python source code"),
        ("m.json", b'{"a": 1}', "a JSON document that is no XGBoost model"),
        ("m.bin", b"PAR1\x00\x00", "a Parquet file"),
        ("m.pkl", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("m.joblib", gzip.compress(b"just text, and quite a lot of it", mtime=0), "a gzip archive"),
        ("m.pkl", pickle.dumps({"accuracy": 0.9}), "a pickle of plain data"),
        ("m.pkl", os.urandom(4096).replace(b"\x80", b"\x81").replace(b"\x08", b"\x81"), "binary data"),
    ],
)
def test_what_is_no_model_is_told_what_it_looks_like(tmp_path: Path, name: str, content: bytes, looks: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NotAModel) as caught:
        read_source(path)
    assert looks in caught.value.message
    assert ".onnx" in caught.value.message
    assert name in caught.value.message


def test_a_folder_without_mlmodel_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotAModel, match=r"no MLmodel file.*no model\.py"):
        read_source(tmp_path)


@pytest.mark.parametrize("outside", ["../../secret.pkl", "/etc/passwd"])
def test_mlmodel_may_not_name_files_outside(tmp_path: Path, outside: str) -> None:
    flavors = {"sklearn": {"pickled_model": outside, "serialization_format": "pickle"}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
    with pytest.raises(NotAModel, match="outside its folder"):
        read_source(tmp_path)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_the_scan_follows_joblib_over_its_arrays(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump({"model": FOREST, "objects": np.array(["a", None], dtype=object), "big": ROWS}, path, compress=compress)
    scan = scan_pickle(path)
    assert scan.complete
    assert ("sklearn.ensemble._forest", "RandomForestClassifier") in scan.globals
    assert len(scan.sklearn_versions) == 1


@pytest.mark.parametrize("protocol", range(6))
def test_the_scan_reads_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LogisticRegression().fit(ROWS, LABELS), protocol=protocol))
    scan = scan_pickle(path)
    assert scan.complete
    assert any(name == "LogisticRegression" for _, name in scan.globals)


def test_the_scan_runs_nothing_and_bounds_what_a_length_claims(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    mark = tmp_path / "ran"
    path.write_bytes(b"\x80\x04cos\nmkdir\n(V" + str(mark).encode() + b"\ntR.")
    assert scan_pickle(path).globals == {("os", "mkdir")}
    assert not mark.exists()
    path.write_bytes(b"\x80\x04\x8e" + (1 << 50).to_bytes(8, "little") + b"abc")
    assert scan_pickle(path).truncated


def test_a_pickle_without_a_grant_is_not_wrapped(tmp_path: Path) -> None:
    source = read_source(save(tmp_path, "joblib"))
    with pytest.raises(PickleNotGranted, match=r"'model\.joblib'.*--allow-pickle"):
        wrap(source, tmp_path / "package")
    package = wrap(source, tmp_path / "package", allow_pickle=True)
    assert (package.framework, package.needs_pickle_grant) == ("sklearn", True)
    assert package.size_bytes > 0


def test_main_and_local_modules_are_told_apart_from_libraries(tmp_path: Path) -> None:
    def pickled(module: str, name: str) -> Any:
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n)\x81.")
        return read_source(path)

    with pytest.raises(MissingCode, match=r"'Scaler' of the script or notebook"):
        wrap(pickled("__main__", "Scaler"), tmp_path / "a", allow_pickle=True)
    with pytest.raises(MissingCode, match=r"'Ratio' of the module 'company\.features'.*company\.py with --code"):
        wrap(pickled("company.features", "Ratio"), tmp_path / "b", allow_pickle=True)
    with pytest.raises(MissingLibrary, match="pip install imbalanced-learn"):
        wrap(pickled("imblearn.pipeline", "Pipeline"), tmp_path / "c", allow_pickle=True)
    with pytest.raises(MissingLibrary, match="pip install privatelib"):
        wrap(pickled("privatelib.x", "Y"), tmp_path / "d", allow_pickle=True, requirements="privatelib==1.2\n")
    code = tmp_path / "code"
    (code / "company").mkdir(parents=True)
    (code / "company" / "features.py").write_text("class Ratio: ...\n")
    package = wrap(pickled("company.features", "Ratio"), tmp_path / "e", allow_pickle=True, code_dir=code)
    assert (package.dir / "code" / "company" / "features.py").is_file()


def test_the_digest_is_of_what_was_handed_in(tmp_path: Path) -> None:
    path = save(tmp_path, "skops")
    source = read_source(path)
    line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model\n"
    assert digest_of(source) == hashlib.sha256(line.encode()).hexdigest()
    assert wrap(source, tmp_path / "package").digest == digest_of(source)
    handed_in = digest_of(source)
    moved = read_source(path.rename(tmp_path / "upload"), "model.skops")
    assert digest_of(moved) == handed_in
    assert digest_of(read_source(moved.path, "another name.skops")) == handed_in
    named = f"{hashlib.sha256(moved.path.read_bytes()).hexdigest()}  model.skops\n"
    assert digest_with_name(moved) == hashlib.sha256(named.encode()).hexdigest()
    code = tmp_path / "code"
    (code / "__pycache__").mkdir(parents=True)
    (code / "features.py").write_text("A = 1\n")
    with_code = digest_of(moved, code)
    assert with_code != handed_in
    (code / "__pycache__" / "features.pyc").write_bytes(b"\x00")
    assert digest_of(moved, code) == with_code
    assert digest_of(moved, code, "numpy\n") != with_code


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_an_archive_is_unpacked_and_its_model_folder_found(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of((member("model/MLmodel"), b"flavors: {}"), (member("model/x/y.bin"), b"123")))
    root = extract_tar(archive, tmp_path / "out", bytes_max=1000)
    assert root == tmp_path / "out" / "model"
    assert (root / "x" / "y.bin").read_bytes() == b"123"


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (member("../evil"), "outside its folder"),
        (member("/tmp/evil"), "outside its folder"),
        (member("a/../../evil"), "outside its folder"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
        (member("hard", tarfile.LNKTYPE, "MLmodel"), "neither a file nor a folder"),
        (member("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("disk", tarfile.CHRTYPE), "neither a file nor a folder"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_an_archive_cannot_write_outside(tmp_path: Path, info: tarfile.TarInfo, told: str) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of((info, b"")))
    with pytest.raises(NotAModel, match=told):
        extract_tar(archive, tmp_path / "out" / "deep", bytes_max=1000)
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out" / "evil").exists()


@pytest.mark.parametrize(
    "members",
    [
        ((member("a/" * 2500 + "x"), b""),),
        ((member("n" * 300), b""),),
        ((member("a"), b"1"), (member("a/b"), b"2")),
        ((member("a/b"), b"1"), (member("a"), b"2")),
        ((member("."), b"1"),),
    ],
    ids=["deep", "long", "a file, then a folder", "a folder, then a file", "its own folder"],
)
def test_an_archive_whose_names_no_disk_takes_is_refused(
    tmp_path: Path, members: tuple[tuple[tarfile.TarInfo, bytes], ...]
) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of(*members))
    with pytest.raises(NotAModel, match="cannot be unpacked"):
        extract_tar(archive, tmp_path / "out", bytes_max=9000)


def test_a_disk_that_fills_up_while_unpacking_is_no_fault_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of((member("a"), b"1")))

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tidegate.packaging.archive.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        extract_tar(archive, tmp_path / "out", bytes_max=9000)


def test_an_archive_is_bounded_and_must_be_whole(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar_of((member("big"), b"x" * 5000)))
    with pytest.raises(TooLarge, match="4000 bytes"):
        extract_tar(archive, tmp_path / "a", bytes_max=4000)
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(NotAModel, match="cut off"):
        extract_tar(archive, tmp_path / "b", bytes_max=9000)
    archive.write_bytes(b"no tar at all")
    with pytest.raises(NotAModel, match="no tar file"):
        extract_tar(archive, tmp_path / "c", bytes_max=9000)
