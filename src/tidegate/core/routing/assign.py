"""Which variant a request gets: a hash of salt and unit against cumulative weights. Pure; called by the gateways.

The vectors in `docs/assignment-vectors.json` let any other program, in any language, give the same answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from math import ceil
from struct import Struct

from msgspec.structs import replace

from tidegate.wire.gateways.decision import AssignmentContext, Decision

_FIRST_64_BITS = Struct(">Q24x").unpack
_STEP = 2.0**-53
FALL_OVER_SALT = "\x1ffall-over"
_STAND_INS_MAX = 64
_UNITS_KEPT_MAX = 8192
_UNIT_KEPT_CHARS_MAX = 64
"""Longer ones are hashed anew each time, so that what is kept for an endpoint stays below three megabytes."""


def unit_interval(salt: str, unit: str) -> float:
    """A number in [0, 1) that depends on salt and unit only: 53 bits, so exact in every language with doubles."""
    first_64_bits: int = _FIRST_64_BITS(sha256(f"{salt}\x1f{unit}".encode("utf-8", "surrogatepass")).digest())[0]
    return (first_64_bits >> 11) * _STEP


def _first_digest(bound: float) -> bytes:
    """The least of the digests whose number in [0, 1) is not below `bound`; past all of them where none is."""
    least = ceil(bound * 2.0**53)
    return (least << 11).to_bytes(8, "big") if least < 2**53 else b"\xff" * 33


def variant_order(names: Iterable[str]) -> list[str]:
    """The order in which variants share out [0, 1): numbers by value, then names by code point.

    It depends on the names alone, never on weights or on the order of arrival. So each variant's interval keeps its
    neighbours, and when one weight is raised while no other is, that variant's interval only grows: nobody leaves it.
    """
    return sorted(names, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))


@dataclass(frozen=True)
class RangeOutcome:
    """What a range of [0, 1) gets: a variant, and whether its units take part in what runs."""

    variant: str
    takes_part: bool = True


class WeightedVariants:
    """Variants with weights, ready to be asked. Weights may add up to any positive number.

    Of each variant's range the first `coverage` takes part, and the rest gets the variant `uncovered`. So while the
    weights stay as they are, raising the coverage only turns units of the rest into units of their own range's variant.
    """

    __slots__ = ("_bounds", "names", "places")

    def __init__(self, weights: Mapping[str, float], coverage: float = 1.0, uncovered: str = "") -> None:
        self.names = variant_order(name for name, weight in weights.items() if weight > 0)
        cumulative = list(accumulate(weights[name] for name in self.names))
        ends = [end / cumulative[-1] for end in cumulative]
        rest = RangeOutcome(uncovered, takes_part=False)
        if coverage <= 0:
            bounds, self.places = [1.0], [rest]
        elif coverage < 1:
            starts = [0.0, *ends][: len(ends)]
            covered = [min(start + coverage * (end - start), end) for start, end in zip(starts, ends, strict=True)]
            bounds = [bound for pair in zip(covered, ends, strict=True) for bound in pair]
            self.places = [place for name in self.names for place in (RangeOutcome(name), rest)]
        else:
            bounds, self.places = ends, [RangeOutcome(name) for name in self.names]
        # The last end is left out: whatever lies past the others belongs to the last, so rounding loses nobody.
        self._bounds = bounds[:-1]

    def index(self, salt: str, unit: str) -> int:
        """Where in `places` the unit is. Needs at least one variant with weight."""
        return bisect_right(self._bounds, unit_interval(salt, unit))

    def finder(self, salt: str) -> Callable[[str], int]:
        """`index` for one salt, in two thirds of the time: it is hashed once, and bounds are compared as bytes."""
        begun = sha256(f"{salt}\x1f".encode("utf-8", "surrogatepass"))
        bounds = [_first_digest(bound) for bound in self._bounds]

        def find(unit: str) -> int:
            hashed = begun.copy()
            try:
                hashed.update(unit.encode())
            except UnicodeEncodeError:
                hashed.update(unit.encode("utf-8", "surrogatepass"))
            return bisect_right(bounds, hashed.digest())

        return find

    def variant(self, salt: str, unit: str) -> str:
        """The name of the unit's variant; `LookupError` where no variant has weight."""
        if not self.places:
            raise LookupError("no variant has weight")
        return self.places[self.index(salt, unit)].variant


@dataclass(frozen=True)
class Arm:
    """A variant of an endpoint: its name there, the version (and its label) behind it, its share of the traffic.

    `share` is that of the units that take part, where it is another one.
    """

    variant: str
    version: str
    weight: float
    label: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Allocation:
    """How an endpoint's traffic is divided, as one routing snapshot has it. `experiment` is None while none runs.

    Of each arm's range `coverage` takes part; the other units get the variant `uncovered`, in no experiment and phase.
    """

    salt: str
    arms: tuple[Arm, ...]
    revision: int
    experiment: str | None = None
    phase: int | None = None
    coverage: float = 1.0
    uncovered: str = ""


class Decider:
    """Decides for one endpoint as one snapshot has it. Equal decisions are one object: made once, then looked up.

    What a unit got is kept while there is room: units often come back, and hashing is most of what a decision takes.
    """

    __slots__ = (
        "_allocation",
        "_arms",
        "_assignment",
        "_find",
        "_kept",
        "_made",
        "_pins",
        "_salt",
        "_shares",
        "_stand_ins",
        "_total",
        "_usual",
        "_weights",
        "names",
    )

    def __init__(self, allocation: Allocation) -> None:
        self._allocation = allocation
        self._arms = {arm.variant: arm for arm in allocation.arms}
        self._weights = {arm.variant: arm.weight for arm in allocation.arms}
        self._shares = {arm.variant: arm.weight if arm.share is None else arm.share for arm in allocation.arms}
        self._assignment = WeightedVariants(self._shares, allocation.coverage, allocation.uncovered)
        self.names = variant_order(arm.variant for arm in allocation.arms if arm.weight > 0)
        self._total = sum(self._shares.values())
        self._made: dict[tuple[Decision, str | None], Decision] = {}
        self._pins: dict[str, Decision] = {}
        self._stand_ins: dict[frozenset[str], WeightedVariants] = {}
        self._salt = allocation.salt
        self._find = self._assignment.finder(allocation.salt)
        self._usual = [self._decision(place) for place in self._assignment.places]
        self._kept: dict[str, Decision] = {}

    def decide(self, context: AssignmentContext, available: frozenset[str]) -> Decision | None:
        """The decision for a request, with the variants that have a replica now.

        None where the caller pinned a version that is not here, or where no variant has weight.
        """
        if context.pinned is not None:
            arm = self.pinned(context.pinned)
            return None if arm is None else self._pinned(arm)
        usual = self._usual
        if not usual:
            return None
        if len(usual) == 1:
            decision = usual[0]
        elif not context.unit:
            decision = usual[self._find(context.request_id)]
        else:
            decision = self._kept.get(context.unit) or self._of_unit(context.unit)
        if decision.assigned in available:
            return decision
        return self._answered_by(decision, self._stand_in(context.unit or context.request_id, available))

    def _of_unit(self, unit: str) -> Decision:
        """What its hash says, kept for the next time. Where all room is taken, all of it is made."""
        decision = self._usual[self._find(unit)]
        if len(unit) <= _UNIT_KEPT_CHARS_MAX:
            kept = self._kept
            if len(kept) >= _UNITS_KEPT_MAX:
                kept.clear()
            kept[unit] = decision
        return decision

    def pinned(self, name: str) -> Arm | None:
        """The variant whose version has this number or label, else the variant of this name."""
        for arm in self._arms.values():
            if name in (arm.version, arm.label):
                return arm
        return self._arms.get(name)

    def _stand_in(self, unit: str, available: frozenset[str]) -> str | None:
        """Another weighted variant for a unit whose own has no replica just now: an answer beats a 503.

        Those that have one share such units by their weights, under a salt of its own: the first hash has chosen these
        units already, so it would send all of them the same way. Nothing is remembered: the next request asks for the
        unit's own variant again.
        """
        others = self._stand_ins.get(available)
        if others is None:
            if len(self._stand_ins) >= _STAND_INS_MAX:
                self._stand_ins.clear()
            up = {name: self._weights[name] for name in self.names if name in available}
            others = self._stand_ins[available] = WeightedVariants(up)
        return others.variant(self._salt + FALL_OVER_SALT, unit) if others.names else None

    def _decision(self, place: RangeOutcome) -> Decision:
        allocation, arm = self._allocation, self._arms.get(place.variant)
        return Decision(
            assigned=place.variant,
            variant=place.variant,
            version=None if arm is None else arm.version,
            experiment=allocation.experiment if place.takes_part else None,
            phase=allocation.phase if place.takes_part else None,
            propensity=self._shares[place.variant] / self._total if place.takes_part else 1.0,
            revision=allocation.revision,
        )

    def _pinned(self, arm: Arm) -> Decision:
        made = self._pins.get(arm.variant)
        if made is None:
            revision = self._allocation.revision
            made = Decision(arm.variant, arm.variant, arm.version, pinned=True, revision=revision)
            self._pins[arm.variant] = made
        return made

    def _answered_by(self, decision: Decision, variant: str | None) -> Decision:
        """The same decision, answered by another variant, or by none."""
        made = self._made.get((decision, variant))
        if made is None:
            version = None if variant is None else self._arms[variant].version
            made = self._made[decision, variant] = replace(decision, variant=variant, version=version)
        return made


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
