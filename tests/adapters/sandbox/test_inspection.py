"""Real models in real processes: each way a model can fail, and what the person who registers it is told."""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tidegate.adapters.sandbox import confinement
from tidegate.adapters.sandbox.inspection import (
    InspectionRequest,
    ValidationRequest,
    Watched,
    clean_environment,
    run_inspection,
)
from tidegate.errors import (
    InvalidArgument,
    MissingCode,
    MissingLibrary,
    ModelCrashed,
    ModelLoadFailed,
    ModelTimedOut,
    NotAModel,
    PickleNotGranted,
    ScoreBelowGate,
    ValidationDataUnusable,
)
from tidegate.packaging import read_source, wrap

DATA = load_breast_cancer(as_frame=True)
Packager = Callable[..., Path]


class Calling:
    """Pickles as a call: what a hostile or broken model file does when it is loaded."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def package(tmp_path: Path) -> Packager:
    """Write bytes as a model file and wrap it."""

    def make(content: bytes, filename: str = "m.pkl", code: Path | None = None) -> Path:
        path = tmp_path / filename
        path.write_bytes(content)
        return wrap(read_source(path), tmp_path / "package", code_dir=code, allow_pickle=True).dir

    return make


@pytest.fixture
def trained(package: Packager) -> Path:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(DATA.data, DATA.target)
    return package(pickle.dumps(model))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    shuffled = DATA.frame[list(DATA.frame.columns[::-1])].assign(note="extra")
    shuffled.to_csv(path, index=False)
    return path


def inspect(
    package_dir: Path, validation: ValidationRequest | None = None, *, timeout_s: float = 60.0, allow: bool = True
) -> dict[str, Any]:
    scratch = package_dir.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return run_inspection(InspectionRequest(package_dir, allow, validation), timeout_s=timeout_s, scratch_dir=scratch)


def test_a_good_model_is_described_and_scored(trained: Path, rows: Path) -> None:
    said: list[tuple[float, str]] = []
    scratch = trained.parent / "scratch"
    scratch.mkdir()
    request = InspectionRequest(trained, True, ValidationRequest(rows, "rows.csv", "target"))
    result = run_inspection(
        request, timeout_s=60, scratch_dir=scratch, watched=Watched(lambda share, text: said.append((share, text)))
    )
    assert result["framework"] == "sklearn"
    assert result["metric"] == "accuracy"
    assert result["score"] > 0.95
    assert result["min_score"] == 0.8
    assert result["rows"] == len(DATA.data)
    assert result["batchable"] is True
    assert result["example"] == DATA.data.iloc[0].to_dict()
    assert any("note" in note for note in result["notes"])
    assert result["library_versions"]["scikit-learn"]
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert said[-1][0] == 1.0


def test_a_score_below_the_gate_says_both_numbers(trained: Path, rows: Path) -> None:
    with pytest.raises(ScoreBelowGate, match=r"accuracy is 0\.98\d+ on 569 rows, below the minimum, 0.999") as caught:
        inspect(trained, ValidationRequest(rows, "rows.csv", "target", "accuracy", 0.999))
    assert caught.value.details["metric"] == "accuracy"


def test_validation_data_without_the_target_lists_what_it_has(trained: Path, rows: Path) -> None:
    with pytest.raises(ValidationDataUnusable, match=r"'rows.csv' has no column 'churned'.*it has 'target'"):
        inspect(trained, ValidationRequest(rows, "rows.csv", "churned"))


def test_an_unknown_metric_lists_the_known_ones(trained: Path, rows: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no metric 'speed'.*roc_auc"):
        inspect(trained, ValidationRequest(rows, "rows.csv", "target", "speed"))


def test_a_pickle_without_the_grant_is_not_loaded(package: Packager, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    model = package(pickle.dumps(Calling(os.mkdir, str(mark))))
    with pytest.raises(PickleNotGranted, match="--allow-pickle"):
        inspect(model, allow=False)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ((os._exit, 3), "exit code 3"),
        ((ctypes.string_at, 0), "SIGSEGV"),
        ((os.abort,), "SIGABRT"),
    ],
    ids=["exit", "segfault", "abort"],
)
def test_a_model_that_crashes_on_load_is_told_by_how_it_died(package: Packager, call: Any, told: str) -> None:
    model = package(pickle.dumps(Calling(*call)))
    with pytest.raises(ModelCrashed, match=told) as caught:
        inspect(model)
    assert "loading the model" in caught.value.message


def test_a_model_that_calls_sys_exit_is_refused(package: Packager) -> None:
    with pytest.raises(ModelLoadFailed, match="ended the process"):
        inspect(package(pickle.dumps(Calling(sys.exit, 0))))


def test_a_model_that_hangs_ends_when_whoever_follows_it_has_enough(package: Packager) -> None:
    class Enough(Exception):
        pass

    def look() -> None:
        raise Enough

    model = package(pickle.dumps(Calling(time.sleep, 600)))
    (scratch := model.parent / "scratch").mkdir()
    with pytest.raises(Enough):
        run_inspection(InspectionRequest(model, True), timeout_s=60, scratch_dir=scratch, watched=Watched(look=look))
    for told in (ValueError, Enough):

        def tell(_done: float, _text: str, told: type[Exception] = told) -> None:
            raise told

        with pytest.raises(told):
            run_inspection(InspectionRequest(model, True), timeout_s=60, scratch_dir=scratch, watched=Watched(tell))


def test_a_model_that_hangs_ends_at_the_deadline_with_its_children(package: Packager) -> None:
    marker = f"import time; time.sleep(997.{os.getpid()})"
    child = [sys.executable, "-c", marker]
    hanging = (Calling(subprocess.Popen, child), Calling(time.sleep, 600))
    with pytest.raises(ModelTimedOut, match=r"within 6 s.*loading the model"):
        inspect(package(pickle.dumps(hanging)), timeout_s=6)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert marker not in listed


def test_a_child_in_a_session_of_its_own_ends_too(package: Packager) -> None:
    if confinement.way() != "user":
        return  # the platform's own user: what it started cannot be told from the platform
    marker = f"import time; time.sleep(998.{os.getpid()})"
    child = f"import os, subprocess; subprocess.Popen({[sys.executable, '-c', marker]!r}, start_new_session=True)"
    with pytest.raises(ModelCrashed, match="exit code 3"):
        inspect(package(pickle.dumps(Calling(exec, f"{child}; os._exit(3)"))))
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert marker not in listed


@pytest.mark.parametrize(
    "leave",
    [
        "os.mkfifo('result.json')",
        "os.symlink('/dev/zero', 'result.json')",
        "os.mkdir('result.json')",
        "os.truncate(os.open('result.json', os.O_CREAT | os.O_RDWR), 1 << 34)",
        "open('result.json', 'w').write('[' * 200_000)",
        "open('result.json', 'w').write('[]')",
        "open('result.json', 'w').write('{\"ok\": false, \"error\": {}}')",
    ],
    ids=["pipe", "device", "folder", "huge", "nested", "list", "no error"],
)
def test_whatever_a_model_leaves_as_its_result_ends_in_a_refusal(package: Packager, leave: str) -> None:
    hostile = package(pickle.dumps(Calling(exec, f"import os; {leave}; os._exit(3)")))
    for _ in range(2):  # nor does it stand in the way of the next process in that folder
        with pytest.raises(ModelCrashed, match="exit code 3"):
            inspect(hostile)


def test_what_raises_on_load_is_told_without_a_traceback(package: Packager) -> None:
    with pytest.raises(ModelLoadFailed, match="ValueError: invalid literal") as caught:
        inspect(package(pickle.dumps(Calling(int, "seven"))))
    assert "Traceback" not in caught.value.message


def test_a_pickle_that_is_no_model_is_told_what_it_holds(package: Packager) -> None:
    with pytest.raises(NotAModel, match=r"DataFrame, which has no 'predict'"):
        inspect(package(pickle.dumps(pd.DataFrame({"a": [1]}))))


def test_an_unfitted_model_is_refused(package: Packager) -> None:
    with pytest.raises(NotAModel, match="never fitted"):
        inspect(package(pickle.dumps(LogisticRegression())))


def test_a_model_of_another_minor_version_of_scikit_learn_is_refused(package: Packager) -> None:
    import sklearn

    saved = pickle.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    here = sklearn.__version__.encode()
    other = b"1.2.3"[: len(here)].ljust(len(here), b"0")
    with pytest.raises(ModelLoadFailed, match=rf"saved with scikit-learn 1\.2.*{sklearn.__version__}"):
        inspect(package(saved.replace(here, other)))


SCRIPT = """
    import pickle, sys
    import numpy as np
    {imports}
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    {definition}
    rows = np.random.default_rng(0).normal(size=(60, 3))
    model = make_pipeline(Doubler(), LogisticRegression()).fit(rows, rows[:, 0] > 0)
    pickle.dump(model, open(sys.argv[1], "wb"))
"""
DOUBLER = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, rows, labels=None):
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows):
        return rows * 2
"""


def train_by_script(folder: Path, imports: str, definition: str) -> bytes:
    script = textwrap.dedent(SCRIPT).replace("{imports}", imports).replace("{definition}", definition)
    (folder / "train.py").write_text(script)
    subprocess.run([sys.executable, "train.py", "model.pkl"], cwd=folder, check=True)
    return (folder / "model.pkl").read_bytes()


def test_a_class_of_the_training_script_points_to_code_and_then_works(package: Packager, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    content = train_by_script(work, "", DOUBLER)
    with pytest.raises(MissingCode, match=r"'Doubler'.*'__main__'.*--code DIR"):
        package(content)
    code = tmp_path / "features"
    code.mkdir()
    with pytest.raises(MissingCode, match=r"no \.py file there defines it"):
        package(content, code=code)
    (code / "steps.py").write_text(DOUBLER)
    result = inspect(package(content, code=code))
    assert result["signature"]["kind"] == "matrix"


def test_a_local_module_points_to_code_and_then_works(package: Packager, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "my_features.py").write_text(DOUBLER)
    content = train_by_script(work, "from my_features import Doubler", "")
    with pytest.raises(MissingCode, match=r"'Doubler' of the module 'my_features'.*--code DIR"):
        package(content)
    code = tmp_path / "code"
    code.mkdir()
    (code / "my_features.py").write_text(DOUBLER)
    assert inspect(package(content, code=code))["batchable"] is True


def test_a_missing_library_is_named_with_the_line_that_installs_it(package: Packager, tmp_path: Path) -> None:
    content = b"\x80\x04\x8c\x09lifelines\x8c\x0bCoxPHFitter\x93)\x81."
    with pytest.raises(MissingLibrary, match=r"'lifelines'.*pip install lifelines"):
        package(content)
    hidden = b"\x80\x04\x8c\x08builtins\x8c\x0a__import__\x93\x8c\x09lifelines\x85R."
    with pytest.raises(MissingLibrary, match="pip install lifelines"):
        inspect(package(hidden, "hidden.pkl"))


def test_what_the_model_prints_does_not_disturb(package: Packager) -> None:
    noisy = (Calling(print, '{"progress": "x"}' * 5000),)
    with pytest.raises(NotAModel, match="tuple"):
        inspect(package(pickle.dumps(noisy)))


def test_the_models_code_sees_no_secrets(package: Packager, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"TIDEGATE_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "MLFLOW_TRACKING_TOKEN": "t", "DATABASE_URL": "d"}
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    model = package(pickle.dumps(Calling(os.system, "env > env")))
    out = model.parent / "scratch" / "env"
    with pytest.raises(NotAModel):
        inspect(model)
    assert not secret.keys() & {line.partition("=")[0] for line in out.read_text().splitlines()}
    kept = clean_environment({**secret, "PATH": "/bin", "LANG": "C"})
    assert kept["PATH"] == "/bin"
    assert kept["OMP_NUM_THREADS"] == "1"


def test_joblib_files_are_inspected_like_pickles(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), path, compress=3)
    package_dir = wrap(read_source(path), tmp_path / "package", allow_pickle=True).dir
    result = inspect(package_dir)
    assert result["score"] is None
    assert result["signature"]["inputs"][0]["shape"] == [-1, 4]
