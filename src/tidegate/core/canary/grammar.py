"""What people may ask of a canary: its steps, and its guardrails in the grammar of experiments.

`NAME:max=X`, `NAME:margin=X` (a share of stable's value) or `NAME:margin=abs:X`, each with `,dry_run`, and `NAME:off`.
What is named takes the place of the guardrail by default of that name; the others stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from tidegate.errors import InvalidArgument
from tidegate.wire.numbers import finite_number

GuardrailName = Literal["errors", "latency", "non_finite", "drift", "crashes"]
Bound = Literal["max", "margin"]

STEPS_MAX = 20
EVERY_S_MIN, EVERY_S_MAX = 1.0, 30 * 86_400.0
REQUIRED: tuple[GuardrailName, ...] = ("errors", "latency")
"""Before the last step these must be shown to be no worse; of the others it is enough that they are not breached."""
_LARGEST: dict[GuardrailName, float] = {
    "errors": 1.0,
    "latency": 1e9,
    "non_finite": 1.0,
    "drift": 1.0,
    "crashes": 1e6,
}


@dataclass(frozen=True)
class CanaryGuardrail:
    """A bound that the canary must keep beside stable's slice of the same traffic.

    errors      share of requests that failed (5xx) or timed out
    latency     95th percentile of the duration; a `max` is in milliseconds
    non_finite  share of answers with NaN, infinity or null in them
    drift       share of the answers that lie elsewhere than stable's
    crashes     replicas of the version that ended by themselves since it began
    """

    name: GuardrailName
    kind: Bound
    value: float
    absolute: bool = False
    dry_run: bool = False

    @property
    def text(self) -> str:
        """As people write it."""
        amount = f"abs:{self.value:g}" if self.absolute else f"{self.value:g}"
        return f"{self.name}:{self.kind}={amount}" + (",dry_run" if self.dry_run else "")


DEFAULTS: tuple[CanaryGuardrail, ...] = (
    CanaryGuardrail("errors", "margin", 0.01, absolute=True),
    CanaryGuardrail("latency", "margin", 0.5),
    CanaryGuardrail("non_finite", "margin", 0.0, absolute=True),
    CanaryGuardrail("drift", "max", 0.25),
    CanaryGuardrail("crashes", "max", 1.0),
)


def check_steps(steps: Sequence[float]) -> tuple[float, ...]:
    """Percents that rise to 100. Raises `InvalidArgument`."""
    if not 2 <= len(steps) <= STEPS_MAX:
        raise InvalidArgument(
            f"a canary has from 2 to {STEPS_MAX} steps, such as 1,5,25,50,100, and {len(steps)} were given: without "
            "--canary, 'deploy' gives a version all traffic at once and watches it",
            field="steps",
        )
    for before, after in zip((0.0, *steps), steps, strict=False):
        if not (math.isfinite(after) and 0 < after <= 100):
            raise InvalidArgument(f"step {after:g} is no percent above 0 and up to 100", field="steps")
        if after <= before:
            raise InvalidArgument(f"steps must rise: {after:g} comes after {before:g}", field="steps")
    if steps[-1] != 100:
        raise InvalidArgument(f"the last step must be 100, the promotion, and is {steps[-1]:g}", field="steps")
    return tuple(float(step) for step in steps)


def parse_steps(text: str) -> list[float]:
    """`1,5,25,50,100` as people write it. Raises `InvalidArgument`."""
    try:
        return [float(part) for part in text.replace("%", "").split(",")]
    except ValueError:
        raise InvalidArgument(f"--canary {text!r} is no list of percents, such as 1,5,25,50,100", field="canary") from (
            None
        )


def check_every(every_s: float) -> float:
    """How long a step takes. Raises `InvalidArgument`."""
    if not EVERY_S_MIN <= every_s <= EVERY_S_MAX:  # NaN is in no range
        raise InvalidArgument(f"a step takes from 1 s to 30 days, not {every_s:g} s", field="every_s")
    return float(every_s)


def guardrails(given: Sequence[str]) -> tuple[CanaryGuardrail, ...]:
    """Those by default, with what is given in the place of those of its name. Raises `InvalidArgument`."""
    found: dict[GuardrailName, CanaryGuardrail | None] = {}
    for text in given:
        name, one = _parse(text)
        if name in found:
            raise InvalidArgument(f"guardrail {name} is given twice", field="guardrails")
        found[name] = one
    kept = [found.get(one.name, one) for one in DEFAULTS]
    return tuple(one for one in kept if one is not None)


def _parse(text: str) -> tuple[GuardrailName, CanaryGuardrail | None]:
    name, colon, rest = text.partition(":")
    if name not in get_args(GuardrailName):
        raise InvalidArgument(
            f"a canary has no guardrail {name!r}: there are {', '.join(get_args(GuardrailName))}. Metrics that come as "
            "feedback are compared by an experiment ('tidegate experiment create')",
            field="guardrails",
        )
    known = cast(GuardrailName, name)
    if rest == "off":
        return known, None
    bound, *options = rest.split(",")
    kind, equals, amount = bound.partition("=")
    if not colon or not equals or kind not in get_args(Bound) or options not in ([], ["dry_run"]):
        raise InvalidArgument(
            f"guardrail {text!r} is none of {name}:max=X, {name}:margin=X, {name}:margin=abs:X, with ,dry_run or "
            f"without, or {name}:off",
            field="guardrails",
        )
    if kind == "margin" and known in ("drift", "crashes"):
        raise InvalidArgument(f"{name} is compared with stable anyway: give {name}:max=X", field="guardrails")
    absolute = amount.startswith("abs:")
    value = _number(text, amount.removeprefix("abs:"), known)
    if kind == "max" and absolute:
        raise InvalidArgument(f"guardrail {text!r}: a max is an amount anyway, without abs:", field="guardrails")
    return known, CanaryGuardrail(known, cast(Bound, kind), value, absolute, bool(options))


def _number(text: str, amount: str, name: GuardrailName) -> float:
    value = finite_number(amount)
    if value is None or not 0 <= value <= _LARGEST[name]:
        raise InvalidArgument(
            f"guardrail {text!r} needs a number from 0 to {_LARGEST[name]:g}, not {amount!r}", field="guardrails"
        )
    return value
