"""Whether units came in the planned ratio: a Bayes factor that may be looked at always. Called by analysis.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (arXiv 2011.03567): a Dirichlet around the
planned shares against the shares themselves. Past `ENOUGH` with probability 1 % at most, if the plan was kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tidegate.sequential.units import Floats

ENOUGH = 100.0
_CONCENTRATION = 100.0
_LARGEST_LOG = 700.0


def log_bayes_factor(counts: Mapping[int, Sequence[int]], shares: Sequence[float]) -> float:
    """The logarithm of the factor over all phases. `counts`: units by arm, of each phase.

    The mean of two: the factors of phases multiplied, and that of all phases together, whose shares are the same. The
    first finds what is wrong in one phase, the second what is a little wrong in each of many.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in counts.values()]
    apart = sum(log_phase_factor(row, shares) for row in rows)
    return float(np.logaddexp(apart, log_phase_factor(np.sum(rows, axis=0), shares))) - math.log(2)


def log_phase_factor(seen: Floats, shares: Sequence[float]) -> float:
    """The logarithm of the factor of units by arm."""
    from scipy.special import gammaln

    share = np.asarray(shares, dtype=np.float64)
    share = share / share.sum()
    prior, n = _CONCENTRATION * share, float(seen.sum())
    total = float(gammaln(_CONCENTRATION) - gammaln(_CONCENTRATION + n))
    return total + float((gammaln(prior + seen) - gammaln(prior) - seen * np.log(share)).sum())


def bayes_factor(counts: Mapping[int, Sequence[int]], shares: Sequence[float]) -> float:
    """The factor itself, as large as a number gets."""
    return float(np.exp(min(_LARGEST_LOG, log_bayes_factor(counts, shares))))
