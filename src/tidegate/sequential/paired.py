"""Two versions that answered the same requests, one in the shadow: which is right more often. Called by shadows.

Where both are right, or both wrong, nothing is learnt; of the others, each version is right in half if both are equally
accurate (McNemar). A bet on these pairs is valid at every look. Pairs must be independent: one for each unit. It is not
valid where the prediction changes the outcome, for only the live version's did.
"""

from __future__ import annotations

import math

import numpy as np

from tidegate.sequential.exact import crossing, log_mixture
from tidegate.sequential.means import p_value
from tidegate.sequential.units import Floats
from tidegate.sequential.words import percent
from tidegate.wire.counts import counted
from tidegate.wire.experiments.shadows import PairedView

_WEIGHT = 20.0
"""Tuned for some 160 discordant pairs."""
_ASYMPTOTIC_FROM = 30
"""Discordant pairs from which the interval is the asymptotic one."""
_NO_WEIGHT = 1e-300
_HALVINGS = 40


def paired(both_right: int, only_live: int, only_shadow: int, both_wrong: int, alpha: float = 0.05) -> PairedView:
    """The test and the difference of accuracies (shadow less live) with its interval, from one pair for each unit.

    Handed the same data at each look; "p" is of this look, and holds at all of them.
    """
    units = both_right + only_live + only_shadow + both_wrong
    discordant = only_live + only_shadow
    if not units:
        return PairedView(0, 0, 0, 0, 0, None, None, None, None, False, None, "no labelled answers of both yet")
    difference = (only_shadow - only_live) / units
    evidence = float(log_mixture(only_shadow, discordant, 0.5, _WEIGHT)) if discordant else 0.0
    lower, upper = difference_interval(only_live, only_shadow, units, alpha)
    significant = evidence >= math.log(1 / alpha)
    lower, upper = _agreeing((lower, upper), significant, difference)
    winner = None if not significant else "b" if only_shadow > only_live else "a"
    verdict = _verdict(winner, (lower, upper), discordant)
    return PairedView(
        units,
        both_right,
        only_live,
        only_shadow,
        both_wrong,
        difference,
        lower,
        upper,
        p_value(evidence),
        significant,
        winner,
        verdict,
    )


def difference_interval(only_live: int, only_shadow: int, units: int, alpha: float) -> tuple[float, float]:
    """Between what the difference of accuracies is, at all looks.

    The discordant pairs are steps of +1 and -1, whose mean has the asymptotic sequence that is the limit of the bet's
    mixture. With few of them it is exact: a difference is refuted when a Dirichlet mixture over the three kinds of
    pairs outweighs the best likelihood with that difference.
    """
    discordant = only_live + only_shadow
    found = (only_shadow - only_live) / units
    if discordant >= _ASYMPTOTIC_FROM:
        scaled = discordant / (_WEIGHT + 1)
        wide = math.sqrt(2 * (scaled + 1) / (scaled * discordant) * math.log(math.sqrt(scaled + 1) / alpha))
        half = wide * discordant / units
        return max(-1.0, found - half), min(1.0, found + half)
    kinds = np.array([only_shadow, only_live, units - discordant], dtype=np.float64)
    enough, seen = math.log(1 / alpha), _log_dirichlet(kinds)

    def refuted(at: float) -> bool:
        return seen - _best(kinds, at) >= enough

    return crossing(refuted, found, -1.0), crossing(refuted, found, 1.0)


def _agreeing(ends: tuple[float, float], significant: bool, found: float) -> tuple[float, float]:
    """The interval with 0 in it exactly when the test, which is the exact one, does not reject."""
    low, high = ends
    if not significant:
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if found > 0 else (low, min(high, 0.0))


def _log_dirichlet(kinds: Floats) -> float:
    from scipy.special import gammaln

    prior = np.array([0.5, 0.5, 1.0])
    return float(
        gammaln(prior.sum()) - gammaln((prior + kinds).sum()) + (gammaln(prior + kinds) - gammaln(prior)).sum()
    )


def _best(kinds: Floats, difference: float) -> float:
    """The largest log-likelihood with x - y = difference; along y it is concave."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(_HALVINGS):
        y = (low + high) / 2
        x, rest = y + difference, 1 - difference - 2 * y
        slope = kinds[0] / max(x, _NO_WEIGHT) + kinds[1] / max(y, _NO_WEIGHT) - 2 * kinds[2] / max(rest, _NO_WEIGHT)
        low, high = (y, high) if slope > 0 else (low, y)
    y = (low + high) / 2
    rates = np.maximum(np.array([y + difference, y, 1 - difference - 2 * y]), _NO_WEIGHT)
    return float((kinds[kinds > 0] * np.log(rates[kinds > 0])).sum())


def _verdict(winner: str | None, interval: tuple[float, float], discordant: int) -> str:
    low, high = interval
    if winner is None:
        between = f"between {percent(max(0.0, -low))} less and {percent(max(0.0, high))} more accurate"
        alone = f"{counted(discordant, 'answer')} in which one alone was right"
        return f"not known to differ: the shadow is {between} ({alone})"
    if winner == "b":
        return f"the shadow is right more often, by {percent(max(0.0, low))} to {percent(high)} of all answers"
    return f"the shadow is right less often, by {percent(max(0.0, -high))} to {percent(-low)} of all answers"
