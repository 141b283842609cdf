"""Whole canaries on made-up traffic, by the code that judges real ones: all default guardrails at all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tidegate.core.canary.grammar import DEFAULTS
from tidegate.core.canary.split import BASELINE, CANARY, STABLE
from tidegate.core.captured import CapturedTable, Columns
from tidegate.sequential.guard import Alphas
from tidegate.services.canaries.by_key import BEFORE_S, before
from tidegate.services.canaries.evidence import REFUSED, StepWindow, gather
from tidegate.services.canaries.judging import ALPHA, alphas_of, breached
from tidegate.services.canaries.tallies import CanaryTally
from tidegate.wire.signature import Signature, TensorSpec

STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)
STEP_S = 600.0
SHARES = ("first", "equal", "undivided")
_SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 4)),), (TensorSpec("prediction", "FP64", (-1,)),))


@dataclass(frozen=True)
class Traffic:
    """What the canary is sent, and how it differs from stable.

    `requests` of the canary at each step; stable's slice has as many, and stable up to `stable` in all. `keys`: of so
    many clients, 0: each request is a client's of its own; `bad_keys`: the share of clients of which every request
    fails, whatever version answers. `fails`: how often others do, of stable and of the canary. `fails_from`: the step
    from which the canary's rate holds.
    """

    requests: Sequence[int] = (150, 250, 400, 600)
    stable: int = 1200
    looks: int = 6
    keys: int = 0
    bad_keys: float = 0.0
    fails: tuple[float, float] = (0.01, 0.01)
    fails_from: int = 0
    slower: float = 1.0
    moved: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a canary ended: by which guardrail (None: by none), at which step, after how many requests of it."""

    guardrail: str | None
    step: int
    requests: int


@dataclass
class _Recorded:
    calls: Columns = field(default_factory=dict)
    failed: Columns = field(default_factory=dict)

    def rows(
        self,
        table: CapturedTable,
        endpoint: str,  # noqa: ARG002 - there is one
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,  # noqa: ARG002 - all of them
    ) -> Columns:
        found = self.calls if table == "predictions" else self.failed
        kept = (found["at"] >= since_s) & (found["at"] < until_s)
        return {name: found[name][kept] for name in columns or found}

    def labelled(self, *_asked: Any) -> Columns:
        raise NotImplementedError


def canary(traffic: Traffic, seed: int, *, shares: str = "first") -> Ended:
    """One canary from its first step to its last look. `shares`: how alpha is shared, as `alphas` has it."""
    rng = np.random.default_rng(seed)
    bad = rng.random(max(traffic.keys, 1)) < traffic.bad_keys
    place = rng.random(max(traffic.keys, 1))
    given = 0
    had: Mapping[str, CanaryTally] | None = None
    for step, requests in enumerate(traffic.requests):
        recorded = _step(traffic, rng, step, bad, place)
        for look in range(1, traffic.looks + 1):
            now = STEP_S * look / traffic.looks
            found = gather(recorded, StepWindow("e", 0.0, now - 5.0, 0.0), _SIGNATURE)
            if found.keys.several_fail:
                had = had if had is not None else _had_before(traffic, seed, bad)
                found = replace(found, before=had)
            by = breached(DEFAULTS, found, (0, 0), alphas(step, len(traffic.requests) + 1, shares))
            if by is not None:
                return Ended(by, step, given + found.canary.errors.requests)
        given += requests
    return Ended(None, len(traffic.requests), given)


def many(traffic: Traffic, count: int, jobs: int, *, shares: str = "first") -> list[Ended]:
    """So many canaries, of seeds from 0, in `jobs` processes."""
    one = partial(canary, traffic, shares=shares)
    if jobs == 1:
        return [one(seed) for seed in range(count)]
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(one, range(count), chunksize=8))


def alphas(step: int, steps: int, shares: str) -> dict[str, Alphas]:
    """`first`: as it is. `equal`: guardrails and steps alike. `undivided`: among guardrails, and not among steps."""
    if shares == "first":
        return alphas_of(DEFAULTS, step, steps)
    each = ALPHA / len(DEFAULTS) / (1 if shares == "undivided" else steps - 1)
    return {one.name: Alphas(each) for one in DEFAULTS}


def _had_before(traffic: Traffic, seed: int, bad: Any) -> Mapping[str, CanaryTally]:
    """How the keys' requests went in the hour before, when stable answered all of them."""
    rng = np.random.default_rng((seed, 1))
    size = round(traffic.stable * BEFORE_S / STEP_S)
    key = rng.integers(0, max(traffic.keys, 1), size)
    failing = bad[key] | (rng.random(size) < traffic.fails[0])
    columns: Columns = {
        "at": np.sort(rng.random(size)) * BEFORE_S - BEFORE_S,
        "key": np.array([f"k{number}" for number in range(max(traffic.keys, 1))], dtype=object)[key],
        "pinned": np.zeros(size, dtype=bool),
        "cached": np.zeros(size, dtype=bool),
        "row": np.zeros(size, dtype=np.int64),
        "code": np.full(size, 500),
    }
    recorded = _Recorded(*({name: each[kept] for name, each in columns.items()} for kept in (~failing, failing)))
    return before(recorded, "e", -BEFORE_S, 0.0, frozenset({REFUSED}))


def _step(traffic: Traffic, rng: np.random.Generator, step: int, bad: Any, place: Any) -> _Recorded:
    """Requests of one step, in order of time. A key has one variant, by its place; of those without, each its own."""
    requests = traffic.requests[step]
    rest = max(0, traffic.stable - requests)
    size = 2 * requests + rest
    share = requests / size
    if traffic.keys:
        key = rng.integers(0, traffic.keys, size)
        at_place = place[key]
        names: Any = np.array([f"k{number}" for number in range(traffic.keys)], dtype=object)[key]
        always = bad[key]
    else:
        at_place, names, always = rng.random(size), np.full(size, None, dtype=object), np.zeros(size, dtype=bool)
    variant = np.where(at_place < share, CANARY, np.where(at_place < 2 * share, BASELINE, STABLE)).astype(object)
    is_canary = variant == CANARY
    worse = traffic.fails[1] if step >= traffic.fails_from else traffic.fails[0]
    failing = always | (rng.random(size) < np.where(is_canary, worse, traffic.fails[0]))
    columns: Columns = {
        "at": np.sort(rng.random(size)) * STEP_S,
        "variant": variant,
        "key": names,
        "pinned": np.zeros(size, dtype=bool),
        "cached": np.zeros(size, dtype=bool),
        "row": np.zeros(size, dtype=np.int64),
        "sample_rate": np.ones(size),
        "code": np.full(size, 500),
        "calls": np.ones(size),
        "duration_ms": rng.lognormal(2.5, 0.6, size) * np.where(is_canary, traffic.slower, 1.0),
        "output_prediction": rng.normal(size=size) + np.where(is_canary, traffic.moved, 0.0),
    }
    return _Recorded(
        {name: each[~failing] for name, each in columns.items()},
        {name: each[failing] for name, each in columns.items()},
    )
