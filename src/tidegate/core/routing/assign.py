"""Which variant a request gets: a hash of salt and unit against cumulative weights. Pure; called by the gateways.

The vectors in `docs/assignment-vectors.json` let any other program, in any language, give the same answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from struct import Struct

from tidegate.wire.decision import AssignmentContext, Decision

_FIRST_64_BITS = Struct(">Q24x").unpack
_STEP = 2.0**-53
FALL_OVER_SALT = "\x1ffall-over"
_STAND_INS_MAX = 64


def unit_interval(salt: str, unit: str) -> float:
    """A number in [0, 1) that depends on salt and unit only: 53 bits, so exact in every language with doubles."""
    first_64_bits: int = _FIRST_64_BITS(sha256(f"{salt}\x1f{unit}".encode("utf-8", "surrogatepass")).digest())[0]
    return (first_64_bits >> 11) * _STEP


def variant_order(names: Iterable[str]) -> list[str]:
    """The order in which variants share out [0, 1): numbers by value, then names by code point.

    It depends on the names alone, never on weights or on the order of arrival. So each variant's interval keeps its
    neighbours, and when one weight is raised while no other is, that variant's interval only grows: nobody leaves it.
    """
    return sorted(names, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))


class Assignment:
    """Variants with weights, ready to be asked. Weights may add up to any positive number."""

    __slots__ = ("_bounds", "names")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.names = variant_order(name for name, weight in weights.items() if weight > 0)
        cumulative = list(accumulate(weights[name] for name in self.names))
        # The last variant's end is left out: whatever lies past the others is its own, so rounding loses nobody.
        self._bounds = [end / cumulative[-1] for end in cumulative[:-1]]

    def index(self, salt: str, unit: str) -> int:
        """The place in `names` of the unit's variant. Needs at least one variant with weight."""
        return bisect_right(self._bounds, unit_interval(salt, unit))

    def variant(self, salt: str, unit: str) -> str:
        """The name of the unit's variant; `LookupError` where no variant has weight."""
        if not self.names:
            raise LookupError("no variant has weight")
        return self.names[self.index(salt, unit)]


@dataclass(frozen=True)
class Arm:
    """A variant of an endpoint: its name there, the version (and its label) behind it, its share of the traffic."""

    variant: str
    version: str
    weight: float
    label: str | None = None


@dataclass(frozen=True)
class Allocation:
    """How an endpoint's traffic is divided, as one routing snapshot has it. `experiment` is None while none runs."""

    salt: str
    arms: tuple[Arm, ...]
    revision: int
    experiment: str | None = None
    phase: int | None = None


class Decider:
    """Decides for one endpoint as one snapshot has it. Equal decisions are one object: made once, then looked up."""

    __slots__ = (
        "_allocation",
        "_arms",
        "_assignment",
        "_made",
        "_salt",
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
        self._assignment = Assignment(self._weights)
        self.names = self._assignment.names
        self._total = sum(self._weights[name] for name in self.names)
        self._made: dict[tuple[str, str | None, bool], Decision] = {}
        self._stand_ins: dict[frozenset[str], Assignment] = {}
        self._salt = allocation.salt
        self._usual = [self._decision(name, name) for name in self.names]

    def decide(self, context: AssignmentContext, available: frozenset[str]) -> Decision | None:
        """The decision for a request, with the variants that have a replica now.

        None where the caller pinned a version that is not here, or where no variant has weight.
        """
        if context.pinned is not None:
            arm = self.pinned(context.pinned)
            return None if arm is None else self._decision(arm.variant, arm.variant, pinned=True)
        usual = self._usual
        if not usual:
            return None
        unit = context.unit or context.request_id
        decision = usual[self._assignment.index(self._salt, unit)] if len(usual) > 1 else usual[0]
        if decision.assigned in available:
            return decision
        return self._decision(decision.assigned, self._stand_in(unit, available))

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
            others = self._stand_ins[available] = Assignment(up)
        return others.variant(self._salt + FALL_OVER_SALT, unit) if others.names else None

    def _decision(self, assigned: str, variant: str | None, *, pinned: bool = False) -> Decision:
        key = (assigned, variant, pinned)
        made = self._made.get(key)
        if made is None:
            allocation = self._allocation
            made = self._made[key] = Decision(
                assigned=assigned,
                variant=variant,
                version=None if variant is None else self._arms[variant].version,
                experiment=None if pinned else allocation.experiment,
                phase=None if pinned else allocation.phase,
                propensity=None if pinned else self._weights[assigned] / self._total,
                pinned=pinned,
                revision=allocation.revision,
            )
        return made


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
