"""Histograms: every value has its bin, and pieces add up to the whole."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.histogram import Histogram, merged, reference
from tidegate.watch.histograms.layout import BINS, Kind, layout_of

RNG = np.random.default_rng(15)

STREAMS: dict[str, Any] = {
    "numbers": np.concatenate((RNG.normal(size=2_000), [np.nan] * 30, [np.inf, -np.inf])),
    "ties": np.where(RNG.random(2_000) < 0.6, 0.0, RNG.exponential(size=2_000)),
    "small": RNG.normal(size=2_000) * 1e-6,
    "integers": RNG.integers(-3, 40, 2_000),
    "booleans": RNG.random(2_000) < 0.1,
    "categories": RNG.choice(list("abcdefgh"), 2_000).astype(object),
    "mixed": np.array([None, 1, "1", 1.0, True, "x", float("nan"), [1]] * 250, dtype=object),
    "texts": np.array(["x" * length for length in RNG.integers(0, 300, 2_000)], dtype=object),
}


def named(histogram: Histogram) -> dict[str, int]:
    return {name: count for name, count in zip(histogram.layout.names, histogram.counts, strict=True) if count}


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_stream_in_pieces_counts_as_the_whole(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    whole = reference(stream[:1_000])
    layout = whole.layout
    whole = Histogram.of(stream, layout)
    pieces = data.draw(st.integers(1, 64))
    ends = sorted(data.draw(st.lists(st.integers(0, len(stream)), min_size=pieces - 1, max_size=pieces - 1)))
    parts = [Histogram.of(part, layout) for part in np.split(stream, ends)]
    order = data.draw(st.permutations(range(pieces)))
    middle = data.draw(st.integers(0, pieces))
    shuffled = [parts[at] for at in order]
    at_once = merged(shuffled, layout)
    by_halves = merged(shuffled[:middle], layout).merge(merged(shuffled[middle:], layout))
    assert at_once == by_halves == whole
    assert whole.rows == len(stream)


@pytest.mark.parametrize("name", STREAMS)
def test_a_histogram_survives_json(name: str) -> None:
    histogram = reference(STREAMS[name])
    again = Histogram.from_dict(json.loads(json.dumps(histogram.as_dict(), allow_nan=False)))
    assert again == histogram
    assert Histogram.of(STREAMS[name], again.layout) == histogram


def test_numbers_have_bins_between_quantiles_and_beyond() -> None:
    histogram = reference(np.arange(1_000.0))
    assert len(histogram.layout.cuts) == BINS + 1
    assert histogram.ordinary.tolist() == [0, *[50] * BINS, 0]
    now = Histogram.of([-0.001, 0, 999, 999.001, math.inf, -math.inf, None, math.nan, "7", "seven"], histogram.layout)
    assert now.special == {"missing": 2, "invalid": 1}
    assert (now.ordinary[0], now.ordinary[-1]) == (2, 2)
    assert now.rows == 10


def test_a_value_that_occurs_often_has_its_own_bin() -> None:
    zeros = reference(np.concatenate((np.zeros(600), np.linspace(-1, 1, 400))))
    around = Histogram.of([-1e-9, 0.0, 1e-9], zeros.layout)
    assert max(around.counts) == 1, named(around)


def test_a_constant_is_told_from_what_lies_beside_it() -> None:
    histogram = reference([5.0] * 100)
    now = Histogram.of([5.0, np.nextafter(5, 0), np.nextafter(5, 9)], histogram.layout)
    assert now.ordinary.tolist() == [1, 1, 1]


def test_integers_are_whole() -> None:
    histogram = reference([1, 2, 3, None])
    assert histogram.layout.kind == "integer"
    assert named(Histogram.of([1, "2", 3.0, 2.5, 0, 4, None], histogram.layout)) == {
        "missing": 1,
        "invalid": 1,
        "below": 1,
        "(0, 1]": 1,
        "(1, 2]": 1,
        "(2, 3]": 1,
        "above": 1,
    }


@pytest.mark.parametrize("datatype", ["INT64", "BYTES", "FP32"])
def test_categories_are_the_same_however_they_are_written(datatype: str) -> None:
    histogram = reference(["1", "0"] * 10, "category", datatype)
    assert named(Histogram.of([1, "1", 1.0, True, 0, False, None, 2], histogram.layout)) == {
        "missing": 1,
        "unseen": 1,
        "1": 4,
        "0": 2,
    }


def test_rare_categories_are_other_and_new_ones_are_unseen() -> None:
    values = [f"v{number % 100}" for number in range(1_000)] + ["rare"]
    layout = reference(values).layout
    assert layout.singletons == 1
    assert Histogram.of(["rare", "new", "v7"], layout).special == {"missing": 0, "invalid": 0, "other": 1, "unseen": 1}


def test_with_too_many_categories_to_remember_nothing_is_called_unseen() -> None:
    layout = reference([f"v{number % 2_000}" for number in range(10_000)], "category").layout
    assert layout.is_open
    assert Histogram.of(["new"], layout).special["other"] == 1


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False], "boolean"),
        ([1, 2], "integer"),
        ([1, 2.5], "numeric"),
        (["a", "b"], "category"),
        ([f"text {number}" for number in range(500)], "text"),
        (["x" * 300, "a"], "text"),
        (pd.Series(["a", "b"], dtype="category"), "category"),
        (pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"])), "numeric"),
        ([None, None], "numeric"),
        ([], "numeric"),
    ],
)
def test_the_kind_follows_from_the_values(values: Any, kind: Kind) -> None:
    histogram = reference(values)
    assert histogram.layout.kind == kind
    assert histogram.rows == len(values)


def test_a_reference_without_values_still_counts() -> None:
    layout = reference([None, math.nan]).layout
    assert named(Histogram.of([None, 1.0, "abc"], layout)) == {"missing": 1, "invalid": 1, "above": 1}


def test_counts_have_no_largest_number() -> None:
    layout = layout_of([1, 2])
    half = Histogram(layout, (2**63 - 1,) * layout.bins)
    assert half.merge(half).counts[0] == 2**64 - 2


def test_histograms_of_different_layouts_are_not_merged() -> None:
    with pytest.raises(InvalidArgument, match="different layouts"):
        reference([1, 2, 3]).merge(reference([1, 2, 4]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"form": 2}, "form 1"),
        ({"counts": [1]}, "integers of 0 or more"),
        ({"counts": [-1] * 7}, "integers of 0 or more"),
        ({"counts": [1.5] * 7}, "integers of 0 or more"),
        ({"layout": {}}, "no layout"),
        ({"layout": {**layout_of([1, 2, 3]).as_dict(), "kind": "vector"}}, "no kind of column 'vector'"),
        ({"layout": {**layout_of([1, 2, 3]).as_dict(), "cuts": [3, 2]}}, "ascending"),
    ],
)
def test_what_is_no_histogram_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Histogram.from_dict({**reference([1, 2, 3]).as_dict(), **change})
