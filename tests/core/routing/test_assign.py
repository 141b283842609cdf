from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.routing import assign
from tidegate.core.routing.assign import (
    FALL_OVER_SALT,
    Allocation,
    Arm,
    Decider,
    RangeOutcome,
    WeightedVariants,
    unit_interval,
    variant_order,
)
from tidegate.wire.gateways.decision import AssignmentContext, Decision

VECTORS = Path(__file__).parents[3] / "docs" / "assignment-vectors.json"
UNITS = [f"user-{number}" for number in range(20_000)]


def load_vectors() -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads(VECTORS.read_text())
    return vectors


def test_published_numbers_are_what_the_hash_gives() -> None:
    vectors = load_vectors()
    assert len(vectors["unit_interval"]) >= 20
    for case in vectors["unit_interval"]:
        assert unit_interval(case["salt"], case["unit"]) == case["u"], case


def test_published_assignments_are_what_the_table_gives() -> None:
    vectors = load_vectors()
    assert len(vectors["assignment"]) >= 20
    for case in vectors["assignment"]:
        assert WeightedVariants(case["weights"]).variant(case["salt"], case["unit"]) == case["variant"], case


def test_published_ramps_are_what_the_ranges_give() -> None:
    vectors = load_vectors()
    assert len(vectors["coverage"]) >= 60
    for case in vectors["coverage"]:
        table = WeightedVariants(case["weights"], case["coverage"], case["uncovered"])
        assert table.places[table.index(case["salt"], case["unit"])] == RangeOutcome(
            case["variant"], case["takes_part"]
        ), case


def test_numbers_are_below_one_and_uniform() -> None:
    bins = [0] * 100
    for unit in UNITS:
        u = unit_interval("salt", unit)
        assert 0.0 <= u < 1.0
        bins[int(u * 100)] += 1
    expected = len(UNITS) / 100
    chi_square = sum((count - expected) ** 2 / expected for count in bins)
    assert chi_square < 148.2  # the 99.9 % quantile with 99 degrees of freedom; the units are fixed, so is the outcome


def test_shares_follow_the_weights() -> None:
    assignment = WeightedVariants({"1": 90, "2": 9, "3": 1})
    counts = dict.fromkeys("123", 0)
    for unit in UNITS:
        counts[assignment.variant("salt", unit)] += 1
    chi_square = sum((counts[name] - n) ** 2 / n for name, n in (("1", 18_000), ("2", 1_800), ("3", 200)))
    assert chi_square < 13.8  # 99.9 %, 2 degrees of freedom


def test_salts_are_independent() -> None:
    halves = WeightedVariants({"a": 50, "b": 50})
    both = sum(halves.variant("one", unit) == halves.variant("two", unit) for unit in UNITS)
    assert abs(both / len(UNITS) - 0.5) < 0.012  # 3.3 standard deviations


@given(
    weights=st.lists(st.integers(0, 100), min_size=2, max_size=5).filter(any),
    raised=st.integers(0, 4),
    by=st.integers(1, 50),
    lowered=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
)
def test_raising_one_weight_moves_nobody_out(weights: list[int], raised: int, by: int, lowered: list[float]) -> None:
    raised %= len(weights)
    before = {str(number): float(weight) for number, weight in enumerate(weights)}
    room = 100.0 / sum(weights)
    before = {name: weight * room for name, weight in before.items()}
    target = min(100.0, before[str(raised)] + by)
    others = {name: weight * keep for (name, weight), keep in zip(before.items(), lowered, strict=False)}
    others.pop(str(raised))
    left = 100.0 - target
    scale = left / sum(others.values()) if sum(others.values()) else 0.0
    after = {name: weight * scale for name, weight in others.items()}
    if any(after[name] > before[name] for name in after) or abs(sum(after.values()) - left) > 1e-9:
        return  # not a ramp of one weight alone
    after[str(raised)] = target
    old, new = WeightedVariants(before), WeightedVariants(after)
    for unit in UNITS[:500]:
        if old.variant("salt", unit) == str(raised):
            assert new.variant("salt", unit) == str(raised)


def test_a_whole_ramp_keeps_every_unit_that_moved() -> None:
    moved: set[str] = set()
    for percent in (0, 1, 5, 10, 25, 50, 75, 100):
        assignment = WeightedVariants({"10": percent, "9": 100 - percent})
        now = {unit for unit in UNITS[:5000] if assignment.variant("salt", unit) == "10"}
        assert moved <= now
        moved = now
    assert len(moved) == 5000


def test_the_order_of_arrival_does_not_matter() -> None:
    one, other = WeightedVariants({"2": 30, "10": 30, "1": 40}), WeightedVariants({"10": 30, "1": 40, "2": 30})
    assert one.names == other.names == ["1", "2", "10"]
    assert all(one.variant("s", unit) == other.variant("s", unit) for unit in UNITS[:1000])


def test_numbers_come_before_names() -> None:
    assert variant_order(["treatment", "10", "control", "9"]) == ["9", "10", "control", "treatment"]


def test_weightless_variants_get_nobody() -> None:
    assignment = WeightedVariants({"1": 0, "2": 100})
    assert {assignment.variant("s", unit) for unit in UNITS[:1000]} == {"2"}
    with pytest.raises(LookupError):
        WeightedVariants({"1": 0}).variant("s", "u")


ARMS = (Arm("control", "7", 75, "v1"), Arm("treatment", "8", 25), Arm("9", "9", 0))
EVERYBODY = frozenset({"control", "treatment"})


def decider() -> Decider:
    return Decider(Allocation("salt", ARMS, 12, "checkout", 2))


def context(unit: str | None = None, pinned: str | None = None, request_id: str = "request") -> AssignmentContext:
    return AssignmentContext("shop", request_id, unit, pinned)


def test_a_decision_tells_all_that_an_analysis_needs() -> None:
    one, table = decider(), WeightedVariants({"control": 75, "treatment": 25})
    for unit in UNITS[:200]:
        variant = table.variant("salt", unit)
        share, version = {"control": (0.75, "7"), "treatment": (0.25, "8")}[variant]
        made = one.decide(context(unit), EVERYBODY)
        assert made == Decision(variant, variant, version, "checkout", 2, share, pinned=False, role="live", revision=12)
        assert made is one.decide(context(unit), EVERYBODY), "it is made once"


def test_units_get_what_their_hash_says_however_many_came_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assign, "_UNITS_KEPT_MAX", 64)
    one, table = decider(), WeightedVariants({"control": 75, "treatment": 25})
    long = [f"{unit}{'x' * 200}" for unit in UNITS[:60]]
    for unit in [*UNITS[:120], *long, *UNITS[:120]]:
        made = one.decide(context(unit), EVERYBODY)
        assert made is not None
        assert made.assigned == table.variant("salt", unit)
        assert len(one._kept) <= 64, "what is kept is bounded"
        assert not set(long) & set(one._kept), "keys of any length would be held"


def test_a_unit_that_came_before_is_not_hashed_again() -> None:
    one = decider()
    hashed: list[str] = []
    find = one._find

    def noted(unit: str) -> int:
        hashed.append(unit)
        return find(unit)

    one._find = noted
    for _ in range(3):
        one.decide(context("user-1"), EVERYBODY)
        one.decide(context(None, request_id="a"), EVERYBODY)
    assert hashed == ["user-1", "a", "a", "a"], "ids of requests do not come back: nothing is kept of them"


def test_without_a_unit_the_request_s_id_is_one() -> None:
    one = decider()
    assert one.decide(context(None, request_id="a"), EVERYBODY) is one.decide(context("a"), EVERYBODY)


@pytest.mark.parametrize(
    ("pinned", "variant"), [("7", "control"), ("v1", "control"), ("treatment", "treatment"), ("9", "9")]
)
def test_what_is_pinned_is_in_no_experiment(pinned: str, variant: str) -> None:
    made = decider().decide(context("user-1", pinned), EVERYBODY)
    assert made is not None
    assert (made.assigned, made.variant, made.pinned) == (variant, variant, True)
    assert (made.experiment, made.phase, made.propensity, made.revision) == (None, None, None, 12)


def test_a_version_that_is_not_there_gets_no_decision() -> None:
    assert decider().decide(context(pinned="10"), EVERYBODY) is None


def test_a_variant_that_stands_in_is_told_apart_from_the_assigned_one() -> None:
    one = Decider(Allocation("salt", (Arm("a", "1", 50), Arm("b", "2", 30), Arm("c", "3", 20)), 1))
    others = WeightedVariants({"b": 30, "c": 20})
    answering = set()
    for unit in UNITS[:300]:
        made = one.decide(context(unit), frozenset({"b", "c"}))
        assert made is not None
        if made.assigned == "a":
            assert made.variant == others.variant("salt" + FALL_OVER_SALT, unit)
            assert made.propensity == 0.5
            answering.add(made.version)
        else:
            assert made.variant == made.assigned
    assert answering == {"2", "3"}


def test_an_assignment_is_made_even_where_nobody_can_answer() -> None:
    made = decider().decide(context("user-1"), frozenset())
    assert made is not None
    assert made.assigned == WeightedVariants({"control": 75, "treatment": 25}).variant("salt", "user-1")
    assert (made.variant, made.version) == (None, None)


def test_an_endpoint_without_weights_decides_nothing() -> None:
    assert Decider(Allocation("salt", (Arm("9", "9", 0),), 1)).decide(context("user-1"), EVERYBODY) is None


SPLITS = st.lists(st.integers(1, 100), min_size=2, max_size=4)


@given(weights=SPLITS, one=st.floats(0, 1), other=st.floats(0, 1), units=st.lists(st.text(), min_size=1, max_size=50))
def test_raising_the_coverage_moves_no_unit_that_is_covered(
    weights: list[int], one: float, other: float, units: list[str]
) -> None:
    shares = {f"arm-{number}": float(weight) for number, weight in enumerate(weights)}
    whole = WeightedVariants(shares)
    before, after = WeightedVariants(shares, min(one, other), "rest"), WeightedVariants(shares, max(one, other), "rest")
    for unit in units:
        was, now = before.variant("salt", unit), after.variant("salt", unit)
        assert was in (now, "rest")
        assert now in (whole.variant("salt", unit), "rest")


def test_another_process_gives_every_unit_the_same_variant() -> None:
    """As after a restart: neither the seed of Python's own hashes nor the order of the weights says anything."""
    code = (
        "import json, sys; from tidegate.core.routing.assign import WeightedVariants;"
        "shares, units = json.load(sys.stdin); table = WeightedVariants(shares, 0.3, 'rest');"
        "print(json.dumps([table.variant('salt', unit) for unit in units]))"
    )
    shares = {"treatment": 30.0, "control": 50.0, "other": 20.0}
    table = WeightedVariants(dict(reversed(shares.items())), 0.3, "rest")
    for seed in ("1", "77"):
        answer = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([shares, UNITS[:500]]),
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert json.loads(answer) == [table.variant("salt", unit) for unit in UNITS[:500]]


@given(
    weights=SPLITS,
    coverage=st.floats(0, 1),
    salt=st.text(),
    units=st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=50),
)
def test_what_gateways_do_is_the_rule(weights: list[int], coverage: float, salt: str, units: list[str]) -> None:
    table = WeightedVariants({str(number): float(weight) for number, weight in enumerate(weights)}, coverage, "rest")
    find = table.finder(salt)
    assert [find(unit) for unit in units] == [table.index(salt, unit) for unit in units]


@pytest.mark.parametrize("at", [0, 1, 2**52, 2**53 - 1])
def test_bounds_are_met_to_the_last_bit(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two numbers that differ in the last bit, that which is the bound belongs to the next variant."""
    digests = iter([((at << 11) | 2047).to_bytes(8, "big") + b"\xff" * 24, (at << 11).to_bytes(8, "big") + b"\0" * 24])

    class Hash:
        def copy(self) -> Hash:
            return self

        def update(self, data: bytes) -> None:
            """It has its digests already."""

        def digest(self) -> bytes:
            return next(digests)

    monkeypatch.setattr(assign, "sha256", lambda data: Hash())
    table = WeightedVariants({"a": at * 2.0**-53, "b": 1 - at * 2.0**-53})
    find = table.finder("salt")
    last = len(table.names) - 1
    assert [find("unit"), find("unit")] == [last, last]


def test_a_ramp_covers_the_same_share_of_each_arm() -> None:
    shares = {"a": 50.0, "b": 30.0, "c": 20.0}
    for coverage in (0.0, 0.02, 0.1, 0.5, 0.9, 1.0):
        assignment = WeightedVariants(shares, coverage, "rest")
        counts = dict.fromkeys([*shares, "rest"], 0)
        for unit in UNITS:
            counts[assignment.variant("ramp", unit)] += 1
        expected = {name: coverage * weight / 100 for name, weight in shares.items()} | {"rest": 1 - coverage}
        for name, share in expected.items():
            spread = (share * (1 - share) / len(UNITS)) ** 0.5
            assert abs(counts[name] / len(UNITS) - share) <= 3.9 * spread, (coverage, name)


CANARY = (Arm("baseline", "1", 5, share=50), Arm("canary", "2", 5, share=50), Arm("stable", "1", 90, share=0))
OF_CANARY = frozenset({"baseline", "canary", "stable"})


def test_units_that_do_not_take_part_get_their_variant_in_no_experiment_and_no_phase() -> None:
    one = Decider(Allocation("salt", CANARY, 1, "checkout", 3, coverage=0.1, uncovered="stable"))
    table = WeightedVariants({"baseline": 50, "canary": 50}, 0.1, "stable")
    counts = dict.fromkeys(OF_CANARY, 0)
    for unit in UNITS[:2000]:
        made = one.decide(context(unit), OF_CANARY)
        assert made is not None
        assert made.assigned == table.variant("salt", unit)
        told = (made.experiment, made.phase, made.propensity)
        assert told == ((None, None, 1.0) if made.assigned == "stable" else ("checkout", 3, 0.5))
        counts[made.assigned] += 1
    assert counts["stable"] > 1700
    assert min(counts.values()) > 60


def test_a_control_that_others_get_too_is_told_apart() -> None:
    arms = (Arm("control", "1", 75, share=50), Arm("treatment", "2", 25, share=50))
    one = Decider(Allocation("salt", arms, 1, "checkout", 1, coverage=0.5, uncovered="control"))
    made = [one.decide(context(unit), EVERYBODY) for unit in UNITS[:2000]]
    told = {(d.assigned, d.experiment, d.phase, d.propensity) for d in made if d is not None}
    assert told == {("control", "checkout", 1, 0.5), ("treatment", "checkout", 1, 0.5), ("control", None, None, 1.0)}


def test_a_stand_in_leaves_a_unit_out_of_the_experiment_that_it_is_not_in() -> None:
    one = Decider(Allocation("salt", CANARY, 1, "checkout", 3, coverage=0.1, uncovered="stable"))
    for unit in UNITS[:300]:
        usual, made = one.decide(context(unit), OF_CANARY), one.decide(context(unit), frozenset({"canary"}))
        assert usual is not None
        assert made is not None
        assert (made.assigned, made.experiment, made.phase) == (usual.assigned, usual.experiment, usual.phase)
        assert (made.variant, made.version) == ("canary", "2")


def test_without_coverage_everybody_gets_what_is_for_the_others() -> None:
    one = Decider(Allocation("salt", (Arm("stable", "1", 100, share=0),), 1, coverage=0.0, uncovered="stable"))
    made = one.decide(context("user-1"), frozenset({"stable"}))
    assert made == Decision("stable", "stable", "1", propensity=1.0, revision=1)
