"""What goes into an image's context: just what the version needs, readable for any user."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support.control import SIGNATURE
from support.models import Models
from tidegate.adapters.images.context import (
    MODULES,
    PROGRAM,
    check_grant,
    pins_of,
    write_model,
    write_program,
    write_requirements,
)
from tidegate.errors import PickleNotGranted
from tidegate.packaging import read_source, wrap
from tidegate.wire.replicas.manifest import Accelerated, Manifest, read_manifest

CONTROL_PLANE = {"mlflow", "mlflow-skinny", "sqlalchemy", "fastapi", "alembic", "psutil", "rich", "urllib3"}


def _package(models: Models, name: str, into: Path, **options: object) -> Manifest:
    package = wrap(read_source(Path(models.path(name))), into, allow_pickle=True, **options)  # type: ignore[arg-type]
    return Manifest(
        name="m",
        version="1",
        digest=package.digest,
        package_dir=str(into),
        framework="sklearn",
        signature=SIGNATURE,
        example=[0.0, 1.0],
        pickle_granted=True,
    )


def _names(manifest: Manifest, package: Path) -> set[str]:
    return {pin.name for pin in pins_of(manifest, package, None, platform.machine())}


def test_a_pickle_brings_the_libraries_it_names_and_no_control_plane(models: Models, tmp_path: Path) -> None:
    manifest = _package(models, "logistic.joblib", tmp_path / "package")
    names = _names(manifest, tmp_path / "package")
    assert {"scikit-learn", "joblib", "scipy", "numpy", "uvicorn", "hpack", "pip"} <= names
    assert not names & (CONTROL_PLANE | {"pandas", "onnxruntime"})
    columns = msgspec.structs.replace(manifest, signature=msgspec.structs.replace(SIGNATURE, kind="columns"))
    assert "pandas" in _names(columns, tmp_path / "package")


def test_a_faster_form_brings_only_what_computes_it_and_leaves_the_pickle_out(models: Models, tmp_path: Path) -> None:
    manifest = _package(models, "forest.joblib", tmp_path / "package")
    form = tmp_path / "package.fast"
    form.mkdir()
    (form / "form.json").write_text("{}")
    fast = msgspec.structs.replace(manifest, accelerated=Accelerated("dense", form.name), pickle_granted=False)
    assert not _names(fast, tmp_path / "package") & {"scikit-learn", "joblib", "onnxruntime"}
    (form / "model.onnx").touch()
    assert "onnxruntime" in _names(fast, tmp_path / "package")
    check_grant(fast, tmp_path / "package")
    (tmp_path / "context").mkdir()
    write_model(fast, tmp_path / "package", tmp_path / "context")
    files = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*")}
    assert files == {"model", "model/manifest.json", "model/form", "model/form/form.json", "model/form/model.onnx"}


def test_xgboost_brings_scikit_learn_where_it_was_saved_from_its_class(models: Models, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows, labels = models.rows, models.made["forest"].predict(models.rows)
    xgboost.XGBClassifier(n_estimators=2).fit(rows, labels).save_model(tmp_path / "class.ubj")
    xgboost.train({}, xgboost.DMatrix(rows, labels), 2).save_model(tmp_path / "booster.ubj")
    for name, needs_it in (("class", True), ("booster", False)):
        package = tmp_path / name
        made = wrap(read_source(tmp_path / f"{name}.ubj"), package)
        manifest = Manifest("m", "1", made.digest, str(package), "xgboost", SIGNATURE, [0.0, 1.0])
        names = _names(manifest, package)
        assert ("scikit-learn" in names, "xgboost" in names) == (needs_it, True)
        assert not [found for found in names if found.startswith("nvidia")]


def test_a_pickle_that_nobody_granted_is_refused(models: Models, tmp_path: Path) -> None:
    manifest = _package(models, "small.joblib", tmp_path / "package")
    check_grant(manifest, tmp_path / "package")
    with pytest.raises(PickleNotGranted, match="--allow-pickle"):
        check_grant(msgspec.structs.replace(manifest, pickle_granted=False), tmp_path / "package")


def test_what_a_models_own_code_imports_comes_along(models: Models, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "helper.py").write_text("import yaml\nfrom PIL import Image\nfrom . import nothing\nimport os\n")
    manifest = _package(models, "logistic.joblib", tmp_path / "package", code_dir=code)
    assert "pyyaml" in _names(manifest, tmp_path / "package")  # Pillow is not installed, so it was not needed


def test_files_are_for_any_user_to_read_and_for_none_to_write(models: Models, tmp_path: Path) -> None:
    manifest = _package(models, "small.joblib", tmp_path / "package")
    context = tmp_path / "context"
    context.mkdir(mode=0o700)
    write_model(manifest, tmp_path / "package", context)
    write_program(context)
    write_requirements(pins_of(manifest, tmp_path / "package", None, platform.machine()), context)
    paths = [path for folder in ("model", "program") for path in [context / folder, *(context / folder).rglob("*")]]
    assert {oct(path.stat().st_mode & 0o777) for path in paths} == {"0o755", "0o644"}
    served = read_manifest(context / "model" / "manifest.json")
    assert served.package_path(context / "model" / "manifest.json") == (context / "model" / "package").resolve()
    lines = (context / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines)
    assert not [line for line in lines if line.startswith("pip==")]


def test_the_program_is_whole(tmp_path: Path) -> None:
    """A replica imports from it alone: nothing of Tidegate that it needs is left out."""
    write_program(tmp_path)
    assert {path.name for path in (tmp_path / "program" / "tidegate").iterdir()} == {*PROGRAM, *MODULES}
    asked = "import sys; sys.path.insert(0, sys.argv[1]); import tidegate.server.__main__ as m; print(m.__file__)"
    argv = [sys.executable, "-c", asked, str(tmp_path / "program")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout.startswith(str(tmp_path))
