"""Whether units came in the planned ratio: a Bayes factor that may be looked at always. Called by analysis.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (arXiv 2011.03567): a Dirichlet around the
planned shares against the shares themselves. Past `ENOUGH` with probability 1 % at most, if the plan was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ENOUGH = 100.0
_CONCENTRATION = 100.0
_LARGEST_LOG = 700.0


def log_bayes_factor(counts: Mapping[int, Sequence[int]], shares: Sequence[float]) -> float:
    """The logarithm of the factor over all phases: those of phases multiply. `counts`: units by arm, of each phase."""
    from scipy.special import gammaln

    share = np.asarray(shares, dtype=np.float64)
    share = share / share.sum()
    prior = _CONCENTRATION * share
    total = 0.0
    for row in counts.values():
        seen = np.asarray(row, dtype=np.float64)
        n = float(seen.sum())
        total += float(gammaln(_CONCENTRATION) - gammaln(_CONCENTRATION + n))
        total += float((gammaln(prior + seen) - gammaln(prior) - seen * np.log(share)).sum())
    return total


def bayes_factor(counts: Mapping[int, Sequence[int]], shares: Sequence[float]) -> float:
    """The factor itself, as large as a number gets."""
    return float(np.exp(min(_LARGEST_LOG, log_bayes_factor(counts, shares))))
