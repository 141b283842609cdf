"""A plain Python class from a folder: what it gets, what its answers become, and what is said when it is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.errors import MissingLibrary, ModelLoadFailed, NotAModel, PickleNotGranted, UnfitInput
from tidegate.runtimes import open_model
from tidegate.runtimes.base.inputs import rows_to_inputs

Served = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Served]:
    """Write a folder and open it as `serve FOLDER` does; what it imported is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def served(code: str, /, **files: str) -> Any:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "model.py").write_text(code)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return open_model(folder, "m", into=tmp_path / "package", allow_pickle=True)

    yield served
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("model", "helpers"):
            del sys.modules[name]


def ask(opened: Any, *rows: Any) -> Any:
    _, runtime = opened
    answers = runtime.predict(rows_to_inputs(rows, runtime.signature), None)
    return {name: array.tolist() for name, array in answers.items()}


NUMBERS = """
import json
from pathlib import Path
from helpers import double

class Scaler:
    example = [1.0, 2.0]

    def load(self, folder):
        self.factor = json.loads((folder / "factor.json").read_text())
        assert json.loads(Path("factor.json").read_text()) == self.factor

    def preprocess(self, inputs):
        return double(inputs)

    def predict(self, inputs):
        assert inputs.dtype == "float64" and inputs.ndim == 2
        return inputs.sum(axis=1) * self.factor
"""


def test_numbers_come_as_a_matrix_through_load_and_preprocess_with_data_and_modules_of_the_folder(
    serve: Served,
) -> None:
    opened = serve(NUMBERS, factor__json="10", helpers__py="def double(x):\n    return x * 2\n")
    manifest, _ = opened
    assert (manifest.framework, manifest.signature.kind, manifest.example) == ("python", "matrix", [1.0, 2.0])
    assert not manifest.batchable, "a class that does not opt in is never merged"
    assert ask(opened, [1, 2], [3, 4]) == {"prediction": [60.0, 140.0]}


COLUMNS = """
class Model:
    example = {"plan": "pro", "seats": 3, "paid": True, "rate": 0.5}
    batch = True

    def predict(self, inputs):
        if (inputs["seats"] < 0).any():
            raise ValueError("seats must not be negative")
        return [f"{row.plan}{row.seats * row.rate}{row.paid}" for row in inputs.itertuples()]
"""


def test_a_record_makes_columns_and_a_data_frame_and_a_value_error_is_a_refusal(serve: Served) -> None:
    opened = serve(COLUMNS)
    manifest, _ = opened
    assert [spec.datatype for spec in manifest.signature.inputs] == ["BYTES", "INT64", "BOOL", "FP64"]
    assert manifest.batchable
    assert ask(opened, {"plan": "007", "seats": 2, "paid": False, "rate": 1.5}) == {"prediction": ["0073.0False"]}
    with pytest.raises(UnfitInput, match="seats must not be negative"):
        ask(opened, {"plan": "a", "seats": -1, "paid": True, "rate": 0.0})


def test_a_class_that_opts_in_but_mixes_its_rows_is_not_merged(serve: Served) -> None:
    code = (
        "class Model:\n    example = [1.0]\n    batch = True\n    def predict(self, x):\n        return x - x.mean()\n"
    )
    assert not serve(code)[0].batchable


TENSORS = """
import numpy as np

class Model:
    signature = {"image": ("FP32", [2, 2]), "weight": "FP64"}

    def predict(self, inputs):
        image = inputs["image"]
        return {"total": image.sum(axis=(1, 2)), "weighted": image * inputs["weight"][:, None, None]}
"""


def test_tensors_come_and_go_by_name(serve: Served) -> None:
    opened = serve(TENSORS)
    assert opened[0].signature.kind == "tensors"
    row = {"image": [[1, 2], [3, 4]], "weight": 2}
    assert ask(opened, row, row) == {"total": [10.0] * 2, "weighted": [[[2.0, 4.0], [6.0, 8.0]]] * 2}


def test_rows_that_are_no_tensors_are_json(serve: Served) -> None:
    code = (
        "import numpy as np\nclass Model:\n    example = {'text': 'a b'}\n"
        "    def predict(self, x):\n        return [{'words': t.split(), 'n': np.int64(len(t))} for t in x['text']]\n"
    )
    opened = serve(code)
    (spec,) = opened[0].signature.outputs
    assert (spec.datatype, spec.json) == ("BYTES", True)
    said = ask(opened, {"text": "é b"}, {"text": ""})["prediction"]
    assert [json.loads(row) for row in said] == [{"words": ["é", "b"], "n": 3}, {"words": [], "n": 0}]


def test_an_example_file_serves_as_well_as_an_attribute(serve: Served) -> None:
    code = "class Model:\n    def predict(self, x):\n        return x[:, 0]\n"
    opened = serve(code, input_example__json="[[1.5, 2.5], [3.5, 4.5]]")
    assert opened[0].example == [1.5, 2.5]
    assert ask(opened, [7, 8]) == {"prediction": [7.0]}


CLASS = "class Model:\n    example = [1.0]\n    def predict(self, inputs):\n        "


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("x = 1\n", NotAModel, "defines no class"),
        ("class Model:\n    pass\n", NotAModel, "Model of model.py has no method 'predict"),
        ("class A:\n    pass\nclass B:\n    pass\n", NotAModel, r"no class of model.py \(A, B\)"),
        (
            "class A:\n    def predict(self, x): pass\nclass B:\n    def predict(self, x): pass\n",
            NotAModel,
            "several classes with 'predict' .A and B.: call the one to serve 'Model'",
        ),
        ("class Model:\n    def predict(self): pass\n", NotAModel, "must take one argument"),
        ("class Model:\n    async def predict(self, x): pass\n", NotAModel, "async"),
        ("class Model:\n  def predict(self, x)\n", ModelLoadFailed, "SyntaxError.*line 2"),
        ("import nowhere_to_be_found\n", MissingLibrary, "neither in its folder nor installed.*line 1.*requirements"),
        (
            "class Model:\n    def predict(self, x): pass\n    def load(self):\n        open('weights.bin')\n",
            ModelLoadFailed,
            r"load\(\) of Model raised FileNotFoundError.*weights.bin.*\(model.py, line 4\)",
        ),
        ("class Model:\n    def predict(self, x): pass\n", ModelLoadFailed, "give it one as 'example'"),
        (
            "class Model:\n    example = ['a']\n    def predict(self, x): pass\n",
            NotAModel,
            "a list may hold numbers only",
        ),
        (CLASS + "return None\n", ModelLoadFailed, "'predict' returned None: return a list"),
        (CLASS + "return 1.5\n", ModelLoadFailed, "'predict' returned a float"),
        (CLASS + "return [1, 2]\n", ModelLoadFailed, "2 items for 1 rows"),
        (CLASS + "return [object()]\n", ModelLoadFailed, "row 0 that 'predict' returned is no JSON.*object"),
        (CLASS + "return [inputs.nothing]\n", ModelLoadFailed, "AttributeError"),
    ],
)
def test_what_is_no_model_is_refused_and_says_why(serve: Served, code: str, error: type, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        serve(code)
    assert type(caught.value) is error
    assert "Traceback" not in str(caught.value)


def test_answers_keep_their_kind(serve: Served) -> None:
    code = CLASS + "return [1.5 if v > 0 else {'no': 1} for v in inputs[:, 0]]\n"
    opened = serve(code)
    assert ask(opened, [1.0]) == {"prediction": [1.5]}
    with pytest.raises(Exception, match="other rows than at registration, which were FP64"):
        ask(opened, [0.0])


def test_a_missing_number_in_an_answer_is_nan(serve: Served) -> None:
    opened = serve(CLASS + "return [float(v) if v > 0 else None for v in inputs[:, 0]]\n")
    assert np.isnan(ask(opened, [-1.0], [2.0])["prediction"]).tolist() == [True, False]


def test_a_folder_needs_a_grant(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(PickleNotGranted, match=r"runs the code of its model.py.*--allow-pickle"):
        open_model(tmp_path, "m", into=tmp_path / "package")
