"""What a shadow came to: agreement, differences, latency, and labels by pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.core.captured import ShadowPairs
from tidegate.services.shadows.comparison import compare, main_output, same
from tidegate.wire.signature import Signature, TensorSpec


def pairs(live: Any, shadow: Any, **other: Any) -> ShadowPairs:
    rows = len(live)
    return ShadowPairs(
        at=np.arange(rows, dtype=float),
        units=np.array(other.get("units", [f"u{n}" for n in range(rows)]), dtype=object),
        first=np.array(other.get("first", [True] * rows), dtype=bool),
        live_ms=np.array(other.get("live_ms", [1.0] * rows)),
        shadow_ms=np.array(other.get("shadow_ms", [2.0] * rows)),
        labels=np.array(other.get("labels", [None] * rows), dtype=object),
        live={"prediction": np.asarray(live)} | other.get("more_live", {}),
        shadow={"prediction": np.asarray(shadow)} | other.get("more_shadow", {}),
    )


def test_numbers_agree_within_one_part_in_a_million_and_nan_with_nan() -> None:
    found = same(np.array([1.0, 1.0, np.nan, np.inf, 0.0]), np.array([1.0 + 1e-7, 1.001, np.nan, np.inf, 1e-9]))
    assert found.tolist() == [True, False, True, True, False]


def test_texts_and_rows_of_several_values_agree_whole() -> None:
    assert same(np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)).tolist() == [True, False]
    assert same(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 5.0]])).tolist() == [True, False]
    assert same(np.array([[1.0, 2.0]]), np.array([1.0])).tolist() == [False]


def test_the_difference_is_over_all_numbers_and_leaves_out_what_is_none() -> None:
    more = {"more_live": {"p": np.array([[0.2, 0.8]] * 2)}, "more_shadow": {"p": np.array([[0.4, 0.6]] * 2)}}
    found = compare(pairs([1, 0], [1, 1], **more), "prediction", decides=True)
    assert found.agreement == 0.5
    assert found.difference == pytest.approx((0 + 1 + 4 * 0.2) / 6)
    assert compare(pairs([np.nan, 1.0], [2.0, 1.5]), "prediction", decides=False).difference == 0.5
    assert compare(pairs([np.nan], [np.nan]), "prediction", decides=False).difference is None


def test_of_nothing_nothing_is_known() -> None:
    found = compare(pairs([], []), "prediction", decides=True)
    assert (found.pairs, found.agreement, found.difference, found.paired) == (0, None, None, None)
    assert found.live.p50_ms is None


def test_latency_is_of_requests_and_not_of_rows() -> None:
    durations = {"shadow_ms": [10.0, 10.0, 10.0, 20.0], "first": [True, False, False, True]}
    found = compare(pairs([1, 1, 1, 1], [1, 1, 1, 1], **durations), "prediction", decides=True)
    assert found.shadow.p50_ms == 15.0


def test_one_pair_a_unit_and_the_first_that_has_a_label() -> None:
    labels = [None, "1", "1", "0", "true"]
    units = ["anna", "anna", "anna", "bert", "carl"]
    found = compare(pairs([0, 1, 0, 0, 0], [0, 0, 1, 1, 1], labels=labels, units=units), "prediction", decides=True)
    assert found.paired is not None
    assert (found.paired.units, found.paired.only_live, found.paired.only_shadow) == (3, 2, 1)
    assert not found.paired.significant


def test_a_better_shadow_is_found_by_its_pairs() -> None:
    labels = ["1"] * 400
    live, shadow = [1] * 360 + [0] * 40, [1] * 400
    found = compare(pairs(live, shadow, labels=labels), "prediction", decides=True)
    assert found.paired is not None
    assert (found.paired.only_shadow, found.paired.both_right, found.paired.winner) == (40, 360, "b")
    assert found.paired.significant


def test_of_numbers_the_one_nearer_to_the_label_is_right() -> None:
    labels = ["10", "10", "10", '"no number"', "10"]
    live, shadow = [9.0, 12.0, 11.0, 1.0, np.nan], [8.0, 11.0, 9.0, 1.0, 10.0]
    found = compare(pairs(live, shadow, labels=labels), "prediction", decides=False)
    assert found.paired is not None
    counts = (found.paired.units, found.paired.only_live, found.paired.only_shadow, found.paired.both_right)
    assert counts == (3, 1, 1, 1)


def test_labels_of_texts() -> None:
    texts = np.array(["yes", "no"], dtype=object)
    found = compare(pairs(texts, texts[::-1], labels=['"yes"', '"yes"']), "prediction", decides=True)
    assert found.paired is not None
    assert (found.paired.only_live, found.paired.only_shadow) == (1, 1)


def test_odd_labels_and_answers_are_judged_all_the_same() -> None:
    labels = ["1" + "0" * 400, "not json", "1", "1.0", "true"]
    found = compare(pairs([[1]] * 5, [[0]] * 5, labels=labels), "prediction", decides=True)
    assert found.paired is not None
    assert (found.paired.only_live, found.paired.both_right, found.paired.units) == (3, 0, 5)
    near = compare(pairs([[1.0]] * 5, [[2.0]] * 5, labels=labels), "prediction", decides=False)
    assert near.paired is not None
    assert (near.paired.only_live, near.paired.units) == (3, 3)
    wide = compare(pairs([[1.0, 2.0]], [[2.0, 1.0]], labels=["1"]), "prediction", decides=False)
    assert wide.paired is not None
    assert wide.paired.units == 0


def test_the_main_output() -> None:
    one = TensorSpec("score", "FP64", (-1,))
    signature = Signature(
        "matrix", (TensorSpec("input", "FP64", (-1, 2)),), (one, TensorSpec("prediction", "INT64", (-1,)))
    )
    assert main_output(signature) == "prediction"
    assert main_output(Signature("matrix", signature.inputs, (one,))) == "score"
