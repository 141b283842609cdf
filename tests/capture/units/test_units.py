"""Units of an experiment from captured rows: what enters, when, with which value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.capture_bed import Gateway
from support.experiment_calls import NAME, START_S, Recorded, call, failure, feedback
from tidegate.capture.compact import compact
from tidegate.capture.rows import FEEDBACK, PREDICTIONS
from tidegate.capture.store import CaptureStore
from tidegate.capture.units.compared import losses
from tidegate.capture.units.gather import units
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import UnitQuery, UnitRows
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, FailureRecord, Omitted

HOUR_S = 3600.0
BOUGHT = Metric("bought", "increase", "proportion", window_s=HOUR_S)


def query(*metrics: Metric, now_s: float = START_S + 40 * HOUR_S, **more: Any) -> UnitQuery:
    named = {one.name: one for one in metrics}
    return UnitQuery("churn", ("control", "treatment"), named, START_S, now_s, more.pop("experiment", NAME), **more)


def of(records: list[Any], *metrics: Metric, **more: Any) -> UnitRows:
    return units(Recorded(records), query(*metrics, **more))


def values(found: UnitRows, name: str) -> dict[tuple[int, int, float], float]:
    """By arm, phase and time of exposure."""
    rows = found.metrics[name]
    return {
        (int(found.arm[unit]), int(found.phase[unit]), float(found.exposed_at[unit]) - START_S): float(value)
        for unit, value in zip(rows.unit, rows.value, strict=True)
    }


def test_a_unit_has_arm_and_phase_of_its_first_call_and_enters_once_its_window_has_passed() -> None:
    records = [
        call("anna", START_S + 20, "control", 2),
        call("anna", START_S + 10, "control", 1),
        call("ben", START_S + 30, "treatment", 2),
        feedback(START_S + 40, key="ben", metrics={"bought": 1.0}),
    ]
    found = of(records, BOUGHT)
    assert values(found, "bought") == {(0, 1, 10.0): 0.0, (1, 2, 30.0): 1.0}
    assert found.metrics["bought"].entered_at.tolist() == [START_S + HOUR_S + 10, START_S + HOUR_S + 30]
    early = of(records, BOUGHT, now_s=START_S + HOUR_S + 15)
    assert values(early, "bought") == {(0, 1, 10.0): 0.0}
    assert early.metrics["bought"].immature == (0, 1)


def test_without_a_window_a_unit_enters_with_its_first_value_and_later_ones_change_nothing() -> None:
    rating = Metric("rating", "increase")
    records = [call("anna", START_S), call("ben", START_S + 1, "treatment")]
    records += [feedback(START_S + 9, key="anna", metrics={"rating": 4.0})]
    records += [feedback(START_S + 12, key="anna", metrics={"rating": 1.0})]
    found = of(records, rating)
    assert values(found, "rating") == {(0, 1, 0.0): 4.0}
    assert found.metrics["rating"].immature == (0, 1)
    assert found.metrics["rating"].entered_at.tolist() == [START_S + 9]


def test_what_was_received_after_its_unit_had_entered_is_late_and_counted() -> None:
    records = [call("anna", START_S), call("ben", START_S)]
    records += [feedback(START_S + 5, START_S + HOUR_S + 400, key="anna", metrics={"bought": 1.0})]
    assert values(of(records, BOUGHT), "bought") == {(0, 1, 0.0): 0.0}
    assert of(records, BOUGHT).ignored.late == 1
    slow = Metric("bought", "increase", "proportion", window_s=HOUR_S, delay_s=600)
    found = of(records, slow)
    assert sorted(found.metrics["bought"].value.tolist()) == [0.0, 1.0]
    assert found.ignored.late == 0


def test_units_of_several_arms_are_counted_and_left_out() -> None:
    records = [call("anna", START_S), call("anna", START_S + 5, "treatment"), call("ben", START_S)]
    found = of(records, BOUGHT)
    assert found.several == 1
    assert len(found.arm) == 1


def test_calls_that_were_pinned_or_have_no_key_or_other_experiments_are_no_exposures() -> None:
    records = [
        call("anna", START_S, pinned=True),
        call(None, START_S),
        call("ben", START_S, experiment="other"),
        call("cara", START_S, experiment=None),
        call("dora", START_S - 1),
    ]
    found = of(records, BOUGHT)
    assert len(found.arm) == 0
    assert found.ignored.without_key == 1


def test_a_call_that_failed_is_an_exposure_too() -> None:
    found = of([failure("anna", START_S, "treatment"), call("anna", START_S + 1, "treatment")], BOUGHT)
    assert found.exposed_at.tolist() == [START_S]


def test_feedback_by_id_is_of_the_unit_of_its_call_and_that_of_another_arm_is_ignored() -> None:
    records = [call("anna", START_S, id="a1"), call("ben", START_S, "treatment", id="b1")]
    records += [call("cara", START_S, id="c1"), call("cara", START_S + 1, "treatment", id="c2")]
    records += [feedback(START_S + 9, id=name, metrics={"bought": 1.0}) for name in ("b1", "c2", "nobody")]
    found = of(records, BOUGHT)
    assert values(found, "bought") == {(0, 1, 0.0): 0.0, (1, 1, 0.0): 1.0}
    assert (found.ignored.other_arm, found.ignored.not_exposed) == (1, 1)


def test_feedback_for_another_experiment_or_sent_twice_counts_once_or_not() -> None:
    spent = Metric("spent", "increase", window_s=HOUR_S, agg="sum")
    records = [call("anna", START_S)]
    records += [feedback(START_S + 9, key="anna", metrics={"spent": 5.0}, experiment="other")]
    records += [feedback(START_S + n, key="anna", metrics={"spent": 2.0}, event="order-1") for n in (10, 11)]
    records += [feedback(START_S + 12, key="anna", metrics={"spent": 3.0}, experiment=NAME)]
    found = of(records, spent)
    assert values(found, "spent") == {(0, 1, 0.0): 5.0}
    assert found.ignored.other_experiment == 1


@pytest.mark.parametrize(("agg", "expected"), [("last", 3.0), ("sum", 10.0), ("mean", 5.0)])
def test_values_in_the_window_are_put_together_and_cut_at_the_cap(agg: Any, expected: float) -> None:
    spent = Metric("spent", "increase", window_s=HOUR_S, agg=agg)
    records: list[Any] = [call("anna", START_S)]
    records += [feedback(START_S + 9, key="anna", metrics={"spent": 7.0, "else": 1.0})]
    records += [feedback(START_S + 19, key="anna", metrics={"spent": 3.0})]
    records += [feedback(START_S + 2 * HOUR_S, key="anna", metrics={"spent": 100.0})]
    assert of(records, spent).metrics["spent"].value.tolist() == [expected]
    capped = Metric("spent", "increase", window_s=HOUR_S, agg=agg, cap=4.0)
    assert of(records, capped).metrics["spent"].value.tolist() == [min(4.0, expected)]


def test_a_proportion_is_from_0_to_1_whatever_was_reported() -> None:
    records = [call("anna", START_S), call("ben", START_S), call("cara", START_S, "treatment")]
    for key, reported in (("anna", [1.0, 1.0]), ("ben", [-3.0]), ("cara", [7.0])):
        records += [feedback(START_S + 5 + n, key=key, metrics={"bought": one}) for n, one in enumerate(reported)]
    found = of(records, Metric("bought", "increase", "proportion", window_s=HOUR_S, agg="sum"))
    assert sorted(found.metrics["bought"].value.tolist()) == [0.0, 1.0, 1.0]


def test_labels_are_values_where_they_are_numbers() -> None:
    churned = Metric("churned", "decrease", "proportion", source="label")
    records: list[Any] = [call(name, START_S, id=name) for name in ("a", "b", "c", "d")]
    texts = {"a": "true", "b": "[0]", "c": "0.25", "d": '"gone"'}
    records += [feedback(START_S + 1, id=name, label=text) for name, text in texts.items()]
    found = of(records, churned)
    assert sorted(found.metrics["churned"].value.tolist()) == [0.0, 0.25, 1.0]
    assert found.ignored.no_number == 1


def test_errors_are_the_share_of_a_units_calls_and_latency_is_of_those_that_were_answered() -> None:
    errors = Metric("errors", "decrease", window_s=HOUR_S, source="errors")
    latency = Metric("latency", "decrease", window_s=HOUR_S, source="latency", agg="mean")
    first = Metric("first", "decrease", source="latency")
    records = [failure("anna", START_S), call("anna", START_S + 1, ms=20.0), call("anna", START_S + 2, ms=40.0)]
    records += [failure("anna", START_S + 3, code=429), failure("anna", START_S + 2 * HOUR_S)]
    found = of(records, errors, latency, first)
    assert found.metrics["errors"].value.tolist() == [0.25]
    assert found.metrics["latency"].value.tolist() == [pytest.approx(30.0)]
    assert found.metrics["first"].value.tolist() == [pytest.approx(20.0)]


def test_a_request_of_many_rows_is_one_call() -> None:
    errors = Metric("errors", "decrease", "ratio", window_s=HOUR_S, source="errors")
    found = of([call("anna", START_S, rows=5), failure("anna", START_S + 1)], errors).metrics["errors"]
    assert (found.value.tolist(), found.denominator.tolist()) == ([1.0], [2.0])  # type: ignore[union-attr]


def test_failures_that_were_only_counted_are_told_of() -> None:
    decision = Decision("treatment", "treatment", "7", NAME, 1, 0.5)
    record = FailureRecord("churn", [decision], [], [Omitted(0, 500, "model_error", 70)], START_S, START_S + 1)
    found = of([record, failure("anna", START_S)], BOUGHT)
    assert (found.ignored.omitted, found.ignored.without_key, len(found.arm)) == (70, 0, 1)


def test_labels_beside_predictions_are_accuracy_and_errors() -> None:
    accuracy = Metric("accuracy", "increase", window_s=HOUR_S, agg="mean", source="label")
    error = Metric("squared_error", "decrease", window_s=HOUR_S, agg="mean", source="label")
    records: list[Any] = [call("anna", START_S, id="a", rows=2, output=[1.0, 3.0])]
    records += [call("ben", START_S + 1, "treatment", id="b", output=[5.0]), call("cara", START_S + 2, output=[1.0])]
    records += [feedback(START_S + 9, id="a", label="[1, 1]"), feedback(START_S + 9, key="ben", label="5")]
    found = of(records, accuracy, error)
    assert values(found, "accuracy") == {(0, 1, 0.0): 0.5, (1, 1, 1.0): 1.0}
    assert values(found, "squared_error") == {(0, 1, 0.0): 2.0, (1, 1, 1.0): 0.0}


@pytest.mark.parametrize(
    ("answers", "labels", "values"),
    [
        (["1", "0", "gold"], ["1", "true", '"gold"'], [1.0, 0.0, 1.0]),  # texts beside labels of each kind
        (["1.0", "1.0"], ["1", '"1"'], [1.0, 0.0]),  # whichever others come
        ([1, 0, 2], ['"1"', '"zero"', "2.0"], [1.0, 0.0, 1.0]),
        ([1.0, None, 3.0], ["true", "1", "[3]"], [1.0, math.nan, math.nan]),
        ([True, False], ["1", '"false"'], [1.0, 1.0]),
    ],
)
def test_an_answer_is_its_label_however_the_two_are_written(
    answers: list[Any], labels: list[str], values: list[float]
) -> None:
    outputs, texts = pa.chunked_array([answers[:1], answers[1:]]), pa.chunked_array([labels[:2], labels[2:]])
    assert losses("accuracy", outputs, texts).tolist() == pytest.approx(values, nan_ok=True)


def test_texts_that_say_numbers_have_errors() -> None:
    found = losses("squared_error", pa.chunked_array([["1.5", "x", "2"]]), pa.chunked_array([['"3"', "1", "4"]]))
    assert found.tolist() == pytest.approx([2.25, math.nan, 4.0], nan_ok=True)


def test_a_ratio_has_its_denominator_by_unit() -> None:
    clicks = Metric("clicks", "increase", "ratio", window_s=HOUR_S, agg="sum", per="views")
    records: list[Any] = [call("anna", START_S), call("ben", START_S + 1)]
    records += [feedback(START_S + n, key="anna", metrics={"clicks": 1.0, "views": 4.0}) for n in (2, 3)]
    found = of(records, clicks).metrics["clicks"]
    assert (found.value.tolist(), found.denominator.tolist()) == ([2.0, 0.0], [8.0, 0.0])  # type: ignore[union-attr]


def test_values_from_before_are_the_covariate() -> None:
    spent = Metric("spent", "increase", window_s=HOUR_S, agg="mean")
    records: list[Any] = [call(name, START_S + n) for n, name in enumerate(("a", "b", "c"))]
    records += [feedback(START_S + 5, key=name, metrics={"spent": 1.0}) for name in ("a", "b", "c")]
    assert of(records, spent).metrics["spent"].covariate is None
    records += [feedback(START_S - 900, key="a", metrics={"spent": 4.0})]
    records += [feedback(START_S - 800, key="b", metrics={"spent": n}) for n in (1.0, 3.0)]
    covariate = of(records, spent).metrics["spent"].covariate
    assert covariate is not None
    assert covariate.tolist() == [4.0, 2.0, 3.0]


def test_where_a_sample_is_captured_failures_make_no_unit_and_answers_weigh_more() -> None:
    errors = Metric("errors", "decrease", window_s=HOUR_S, source="errors")
    records = [call("anna", START_S, sample_rate=0.25), failure("anna", START_S + 1), failure("ben", START_S)]
    found = of(records, errors)
    assert found.sampled
    assert found.metrics["errors"].value.tolist() == [0.2]


def test_without_an_experiment_all_calls_with_a_key_are_of_one_arm() -> None:
    records = [
        call("anna", START_S, experiment=None),
        call("ben", START_S, "treatment"),
        call("c", START_S, pinned=True),
    ]
    found = of(records, BOUGHT, experiment=None)
    assert found.arm.tolist() == [0, 0]


def test_a_call_that_names_no_phase_is_of_the_phase_of_its_time() -> None:
    records = [call("anna", START_S + 5, phase=None), call("ben", START_S + 50, phase=None)]
    found = of(records, BOUGHT, phases=((1, START_S), (2, START_S + 10)))
    assert sorted(found.phase.tolist()) == [1, 2]


def test_nothing_that_was_captured_is_no_units() -> None:
    found = of([], BOUGHT, Metric("latency", "decrease", source="latency"))
    assert found.metrics["bought"].value.tolist() == []
    assert found.metrics["latency"].immature == (0, 0)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_found_is_the_same_before_and_after_compaction(tmp_path: Path, seed: int) -> None:
    journal, rng = tmp_path / "journal", np.random.default_rng(seed)
    gateway = Gateway(journal)
    store = CaptureStore(tmp_path / "capture", journal, lambda: START_S + 50 * HOUR_S)
    metrics = (BOUGHT, Metric("latency", "decrease", window_s=HOUR_S, source="latency", agg="mean"))
    for step in range(300):
        at_s, key = START_S + float(rng.integers(0, 3 * 3600)), f"u{rng.integers(0, 150)}"
        arm = "treatment" if hash(len(key) + int(key[1:])) % 2 else "control"
        gateway.write(call(key, at_s, arm, ms=float(rng.random() * 100)), at_s)
        if step % 3 == 0:
            gateway.write(feedback(at_s + 60, key=key, metrics={"bought": float(rng.random() < 0.5)}), at_s)
        if step % 150 == 0:
            gateway.seal()
    seen = []
    for _ in range(2):
        found = units(store, query(*metrics))
        seen.append({name: (rows.value.tolist(), rows.entered_at.tolist()) for name, rows in found.metrics.items()})
        gateway.seal()
        compact(journal, tmp_path / "capture", lambda: START_S + 50 * HOUR_S)
    assert len(seen[0]["bought"][0]) > 100
    assert seen[0] == seen[1]


KEYS = st.sampled_from(["a", "b", "c"])
TIMES = st.integers(0, 30).map(lambda n: START_S + n * 600.0)
ARMS = st.sampled_from(["control", "control", "treatment"])
CALLED = st.builds(call, KEYS, TIMES, ARMS, st.sampled_from([1, 2]))
FAILED = st.builds(failure, KEYS, TIMES, ARMS, st.sampled_from([1, 2]))
VALUED = st.builds(
    lambda at_s, wait, key, value: feedback(at_s, at_s + wait, key=key, metrics={"m": value}),
    TIMES,
    st.sampled_from([0.0, 700.0, 5000.0]),
    KEYS,
    st.sampled_from([0.0, 1.0, 3.0]),
)
METRICS = st.builds(
    Metric,
    st.just("m"),
    st.just("increase"),
    st.sampled_from(["mean", "proportion"]),
    st.sampled_from([0.0, 1800.0, 7200.0]),
    st.sampled_from([0.0, 1000.0]),
    st.none(),
    st.sampled_from(["last", "sum", "mean"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(CALLED, FAILED), max_size=10),
    st.lists(VALUED, max_size=8),
    METRICS,
    st.sampled_from([3000.0, 10_000.0, 60_000.0]),
)
def test_as_one_would_do_it_by_hand(calls: list[Any], events: list[Any], metric: Metric, after_s: float) -> None:
    now_s = START_S + after_s
    found = of([*calls, *events], metric, now_s=now_s)
    rows = found.metrics["m"]
    made = sorted(
        (int(found.arm[unit]), int(found.phase[unit]), float(found.exposed_at[unit]), float(value), float(entered))
        for unit, value, entered in zip(rows.unit, rows.value, rows.entered_at, strict=True)
    )
    expected, several, immature = by_hand(calls, events, metric, now_s)
    assert made == sorted(expected)
    assert (found.several, rows.immature) == (several, immature)


def by_hand(
    calls: list[Any], events: list[Any], metric: Metric, now_s: float
) -> tuple[list[Any], int, tuple[int, ...]]:
    """The slow and obvious way: unit by unit."""
    by_key: dict[str, list[tuple[float, int, int]]] = {}
    for one in calls:
        assert isinstance(one, BatchRecord | FailureRecord)
        made = one.requests[0] if isinstance(one, BatchRecord) else one.calls[0]
        if made.at_s < now_s and made.unit is not None:
            arm = ("control", "treatment").index(one.decisions[0].assigned)
            by_key.setdefault(made.unit, []).append((made.at_s, arm, one.decisions[0].phase or 0))
    expected, several, immature = [], 0, [0, 0]
    for key, own in by_key.items():
        at_s, arm, phase = min(own)
        if len({one[1] for one in own}) > 1:
            several += 1
            continue
        told = [
            (one.events[0].at_us / 1e6, one.received_at_us / 1e6, one.events[0].metrics["m"])
            for one in events
            if one.events[0].key == key and one.received_at_us / 1e6 <= now_s
        ]
        told = [one for one in told if one[0] >= at_s]
        if metric.window_s:
            entry = at_s + metric.window_s + metric.delay_s
            ripe = entry + 2.0 <= now_s
            told = [one for one in told if one[0] <= at_s + metric.window_s and one[1] <= entry]
        else:
            entry = min((one[1] for one in told), default=math.inf) + metric.delay_s
            ripe = entry <= now_s
            told = [one for one in told if one[1] <= entry]
        if not ripe:
            immature[arm] += 1
            continue
        in_order = [value for _, value in sorted((one[0], one[2]) for one in told)]
        if (not in_order and not metric.window_s) or (not in_order and metric.type == "mean" and metric.agg != "sum"):
            continue
        if not metric.window_s:
            value = in_order[0]
        elif not in_order:
            value = 0.0
        else:
            value = {"last": in_order[-1], "sum": sum(in_order), "mean": sum(in_order) / len(in_order)}[metric.agg]
        value = min(value, 1.0) if metric.type == "proportion" else value
        expected.append((arm, phase, at_s, value, entry))
    return expected, several, tuple(immature)


def test_of_much_traffic_only_the_newest_part_is_read() -> None:
    records = [call(f"u{n}", START_S + n * 600, experiment=None) for n in range(200)]
    whole = of(records, BOUGHT, experiment=None)
    part = of(records, BOUGHT, experiment=None, calls_max=30)
    assert (len(whole.arm), whole.since_s) == (200, START_S)
    assert 30 <= len(part.arm) < 200
    assert part.exposed_at.tolist() == whole.exposed_at.tolist()[-len(part.arm) :]
    assert START_S < part.since_s <= part.exposed_at.min()


def test_many_exposures_come_to_what_plain_sums_say() -> None:
    """200,000 calls of 60,000 units over 12 days, with a value for each call; units by plain numpy beside."""
    size, rng = 200_000, np.random.default_rng(5)
    unit = rng.integers(0, 60_000, size)
    at_us = np.sort(rng.integers(0, 12 * 86_400, size)) * 1_000_000 + round(START_S * 1e6)
    paid = rng.random(size).round(3)
    records = table_of_calls(unit, at_us), table_of_values(unit, at_us, paid)
    store = Recorded([], tables={"predictions/churn": records[0], "feedback/churn": records[1]})
    spent = Metric("spent", "increase", window_s=86_400.0, agg="sum")
    found = units(store, query(spent, now_s=START_S + 20 * 86_400))

    first = np.full(60_000, np.iinfo(np.int64).max)
    np.minimum.at(first, unit, at_us)
    inside = at_us <= first[unit] + 86_400_000_000
    total = np.bincount(unit[inside], weights=paid[inside], minlength=60_000)
    seen = np.flatnonzero(np.bincount(unit, minlength=60_000))
    rows = found.metrics["spent"]
    assert len(rows.value) == len(seen)
    assert np.bincount(found.arm, minlength=2).tolist() == np.bincount(seen % 2, minlength=2).tolist()
    assert np.allclose(np.sort(rows.value), np.sort(total[seen]))
    assert np.array_equal(rows.entered_at, np.sort(first[seen]) / 1e6 + 86_400)


def table_of_calls(unit: Any, at_us: Any) -> pa.Table:
    size = len(unit)
    texts = {"id": [f"call-{n}" for n in range(size)], "key": [f"u{n}" for n in unit], "experiment": [NAME] * size}
    arms = pa.array(np.where(unit % 2, "treatment", "control"))
    made = {"at": pa.array(at_us).cast(PREDICTIONS.field("at").type), "assigned": arms, "variant": arms} | texts
    made |= {"row": np.zeros(size, np.int64), "phase": np.ones(size, np.int32), "pinned": np.zeros(size, np.bool_)}
    made |= {"sample_rate": np.ones(size)}
    nothing = PREDICTIONS.empty_table()
    columns = [made.get(name, pa.nulls(size, nothing.schema.field(name).type)) for name in nothing.column_names]
    return pa.table(columns, names=nothing.column_names).cast(PREDICTIONS)


def table_of_values(unit: Any, at_us: Any, value: Any) -> pa.Table:
    size = len(unit)
    at = pa.array(at_us).cast(FEEDBACK.field("at").type)
    metrics = pa.MapArray.from_arrays(np.arange(size + 1, dtype=np.int32), pa.array(["spent"] * size), pa.array(value))
    made = {"key": pa.array([f"u{n}" for n in unit]), "at": at, "received_at": at, "metrics": metrics}
    columns = [made.get(field.name, pa.nulls(size, field.type)) for field in FEEDBACK]
    return pa.table(columns, schema=FEEDBACK)
