"""Models of data frames with text and numbers: their forms answer and refuse as encoders, imputers and scalers do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from threadpoolctl import threadpool_limits

from tidegate.errors import UnfitInput
from tidegate.packaging.mlmodel import PackageLayout
from tidegate.runtimes.accelerated.build import from_tables, timing
from tidegate.runtimes.accelerated.build.trying import Original, Record, accelerate
from tidegate.runtimes.accelerated.serve.serving import FastModel
from tidegate.runtimes.base.inputs import column_inputs
from tidegate.runtimes.base.runtime import Arrays, LoadedModel
from tidegate.runtimes.signatures.inference import infer_signature
from tidegate.runtimes.signatures.trial import accepted, rows_of
from tidegate.wire.signature import PREDICTION, PROBABILITIES, Signature

RNG = np.random.default_rng(0)
N = 400
FRAME = pd.DataFrame(
    {
        "city": RNG.choice(["Oslo", "Troms\u00f8", "0047", "B"], N),
        "age": RNG.integers(18, 90, N),
        "income": RNG.normal(50_000, 20_000, N),
        "job": RNG.choice(["cook", "nurse", "driver"], N),
        "rooms": RNG.integers(1, 6, N),
    }
)
LABEL = ((FRAME.income > 50_000) ^ (FRAME.city == "Oslo")).astype(int).to_numpy()
NAME, VALUE = np.where(LABEL == 1, "yes", "no"), (FRAME.income / 1000 + FRAME.age).to_numpy()
GAPPY = FRAME.copy()
GAPPY.loc[RNG.random(N) < 0.1, "income"] = np.nan
GAPPY.loc[RNG.random(N) < 0.1, "city"] = None
NUMBERS, TEXTS = ["age", "income"], ["city", "job"]


def scaled(**options: Any) -> ColumnTransformer:
    encoded = [("c", OneHotEncoder(**options), TEXTS), ("r", OrdinalEncoder(), ["rooms"])]
    return ColumnTransformer([("n", StandardScaler(), NUMBERS), *encoded])


def filled(encoder: Any, **options: Any) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    return ColumnTransformer([("n", numbers, NUMBERS), ("c", texts, TEXTS)], remainder="passthrough", **options)


def ordinal(**options: Any) -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    return ColumnTransformer([("c", encoder, TEXTS)], remainder="passthrough", **options)


IGNORE = {"handle_unknown": "ignore"}
QUIET: dict[str, Any] = {"n_estimators": 15, "n_jobs": 1, "verbose": -1}

KINDS: dict[str, tuple[Any, Any, Any]] = {
    "logistic": (make_pipeline(scaled(), LogisticRegression(max_iter=500)), FRAME, NAME),
    "logistic, rare and dropped": (
        make_pipeline(
            scaled(min_frequency=80, drop="first", handle_unknown="infrequent_if_exist"), LogisticRegression()
        ),
        FRAME,
        LABEL,
    ),
    "forest, gaps": (
        make_pipeline(filled(OneHotEncoder(**IGNORE)), RandomForestClassifier(15, random_state=0)),
        GAPPY,
        NAME,
    ),
    "forest of values": (
        make_pipeline(
            filled(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
            RandomForestRegressor(15, random_state=0),
        ),
        GAPPY,
        VALUE,
    ),
    "boosting": (
        make_pipeline(filled(OneHotEncoder(**IGNORE)), GradientBoostingClassifier(n_estimators=15)),
        GAPPY,
        LABEL,
    ),
    "histogram, frames": (
        make_pipeline(ordinal().set_output(transform="pandas"), HistGradientBoostingClassifier(max_iter=10)),
        GAPPY,
        LABEL,
    ),
    "ridge, targets": (
        make_pipeline(ColumnTransformer([("c", TargetEncoder(random_state=0), TEXTS)], remainder="drop"), Ridge()),
        FRAME,
        VALUE,
    ),
    "sparse, scaled": (
        make_pipeline(OneHotEncoder(), StandardScaler(with_mean=False), LogisticRegression()),
        FRAME[[*TEXTS, "rooms"]],
        LABEL,
    ),
    "xgboost, sparse": (
        make_pipeline(
            ColumnTransformer([("c", OneHotEncoder(), TEXTS), ("n", "passthrough", NUMBERS)], sparse_threshold=1.0),
            xgb.XGBClassifier(n_estimators=15, n_jobs=1),
        ),
        FRAME,
        LABEL,
    ),
    "lightgbm, sparse": (
        make_pipeline(filled(OneHotEncoder(**IGNORE), sparse_threshold=1.0), lgb.LGBMClassifier(**QUIET)),
        GAPPY,
        LABEL,
    ),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Timing need not be good here, and on a busy machine must not decide. One thread, as in the job's process."""
    monkeypatch.setattr(timing, "TIMING_S", 0.01)
    monkeypatch.setattr(timing, "GAIN_MIN", 0.0)
    warnings.simplefilter("ignore")  # the encoders' own; pytest puts the filters back after each test
    with threadpool_limits(1):
        yield


def subject_of(estimator: Any, frame: Any, y: Any) -> Original:
    estimator.fit(frame[::2], y[::2])
    inferred = infer_signature(estimator, PackageLayout(Path("/nowhere"), "joblib", None, None, {}), None, [])
    rows = inferred.trial_rows(40)
    signature = inferred.signature()
    return Original(estimator, inferred.model, signature, rows_of(rows, accepted(inferred.model, rows)))


def tried(subject: Original, folder: Path, asked: bool = False) -> Record:
    return accelerate(subject, folder, asked, lambda _done, _message: None)


def inputs_of(frame: Any, signature: Signature) -> Arrays:
    found: Arrays = {}
    for spec in signature.inputs:
        found |= column_inputs(frame[spec.name].tolist(), spec)
    return found


def answer(model: LoadedModel, frame: Any, signature: Signature) -> Arrays | None:
    try:
        return model.predict(inputs_of(frame, signature), None)
    except UnfitInput:
        return None


@pytest.mark.parametrize("name", KINDS)
def test_a_model_of_text_and_numbers_gets_a_form_that_answers_and_refuses_as_it_does(name: str, tmp_path: Path) -> None:
    estimator, frame, y = KINDS[name]
    subject = subject_of(estimator, frame, y)
    record = tried(subject, tmp_path / "form")
    assert record.kept, record
    assert record.kept.startswith(("trees-", "dense-", "skl2onnx-"))
    assert record.rows["rows of the table"] > 300
    fast = FastModel(tmp_path / "form", subject.signature)
    expected, got = answer(subject.model, frame, subject.signature), answer(fast, frame, subject.signature)
    assert expected is not None
    assert got is not None
    assert got[PREDICTION].dtype == expected[PREDICTION].dtype
    if subject.model.task == "classifier":
        assert got[PREDICTION].tolist() == expected[PREDICTION].tolist()
        np.testing.assert_allclose(got[PROBABILITIES], expected[PROBABILITIES], rtol=0, atol=1e-5)
    else:
        np.testing.assert_allclose(got[PREDICTION], expected[PREDICTION], rtol=1e-5)
    for column in frame.columns:
        for value in (None, "Atlantis" if column in TEXTS else 77):
            odd = frame[:3].astype(object)
            odd.loc[odd.index[1], column] = value
            both = [answer(model, odd, subject.signature) for model in (subject.model, fast)]
            assert (both[0] is None) == (both[1] is None), (column, value)
            if both[0] is not None and both[1] is not None and subject.model.task == "classifier":
                assert both[0][PREDICTION].tolist() == both[1][PREDICTION].tolist()


def test_a_category_never_seen_is_refused_by_name(tmp_path: Path) -> None:
    subject = subject_of(*KINDS["logistic"])
    tried(subject, tmp_path / "form")
    fast = FastModel(tmp_path / "form", subject.signature)
    wrong = FRAME[:3].copy()
    wrong.loc[1, "city"] = "47"  # no leading zeros lost: 0047 is another
    with pytest.raises(UnfitInput, match=r"'city' is '47' in row 1") as refused:
        fast.predict(inputs_of(wrong, subject.signature), None)
    assert refused.value.details["input"] == "city"
    text_for_number = inputs_of(FRAME[:3], subject.signature) | {"age": np.array(["a", "b", "c"], dtype=object)}
    number_for_text = inputs_of(FRAME[:3], subject.signature) | {"city": np.zeros(3)}
    for inputs in (text_for_number, number_for_text):
        with pytest.raises(UnfitInput):
            fast.predict(inputs, None)


def test_a_table_that_makes_other_numbers_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An encoder whose options were read wrongly: its last category would get another number.
    one_each = from_tables._one_each

    def wrong(table: Any, spec: Any) -> Any:
        place, value = one_each(table, spec)
        return place, np.where(np.arange(len(value)) == len(value) - 3, value + 1, value)

    monkeypatch.setattr(from_tables, "_one_each", wrong)
    record = tried(subject_of(*KINDS["ridge, targets"]), tmp_path / "form")
    assert record.kept is None
    assert "the table makes other numbers" in record.reason
    assert not (tmp_path / "form").exists()


def test_other_steps_on_text_keep_the_original_and_say_why(tmp_path: Path) -> None:
    words = ColumnTransformer([("w", CountVectorizer(), "city"), ("n", StandardScaler(), NUMBERS)])
    record = tried(subject_of(make_pipeline(words, LogisticRegression()), FRAME, LABEL), tmp_path / "form")
    assert record.kept is None
    assert "CountVectorizer" in record.reason, record
    flags = ColumnTransformer([("n", SimpleImputer(add_indicator=True), NUMBERS), ("c", OneHotEncoder(), TEXTS)])
    gappy = GAPPY.assign(city="B")
    record = tried(subject_of(make_pipeline(flags, LogisticRegression()), gappy, LABEL), tmp_path / "form")
    assert record.kept is None
    assert "SimpleImputer" in record.reason
