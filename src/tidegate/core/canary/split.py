"""The weights of a canary's step: it, an equally sized slice of stable beside it, and what takes no part. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.errors import Conflict

CANARY, BASELINE, STABLE = "canary", "baseline", "stable"
SLICE_MAX = 50.0
"""Up to here both sides have the same share; past it the slice is what the canary leaves."""


@dataclass(frozen=True)
class CanaryParts:
    """What stays the same in all steps. `baseline` is the version that the canary is compared with."""

    name: str
    version: str
    baseline: str
    stable: Mapping[str, float]
    salt: str
    revision: int


def baseline_of(stable: Mapping[str, float]) -> str:
    """The one version that has all of stable's traffic. Raises `Conflict` where several share it: a canary would take
    the traffic of the others away, without anybody having asked for it.
    """
    versions = [version for version, weight in stable.items() if weight > 0]
    if len(versions) != 1:
        raise Conflict(
            f"versions {' and '.join(sorted(versions))} share the traffic, and a canary is compared with one: give one "
            "of them all of it first ('tidegate promote')"
        )
    return versions[0]


def step_weights(parts: CanaryParts, percent: float, step: int) -> AutomatedWeights:
    """Up to 50 % only coverage rises, so that nobody moves out of either side; above, the canary's range grows."""
    share = max(percent, SLICE_MAX)
    coverage = min(1.0, percent / SLICE_MAX)
    shares = (
        Share(BASELINE, parts.baseline, 100.0 - share),
        Share(CANARY, parts.version, share),
        Share(STABLE, parts.baseline, 0.0),
    )
    split = Split(parts.salt, shares, coverage=coverage, uncovered=STABLE, phase=step + 1)
    return AutomatedWeights("canary", parts.name, parts.revision, split, dict(parts.stable))
