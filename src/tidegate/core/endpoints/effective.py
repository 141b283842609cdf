"""What is in effect of an endpoint: what people asked for, or what an automation has put in its place. Pure.

Called wherever a spec is read: by the reconcile loop, for the routing snapshot, and for what people are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Literal

from tidegate.core.endpoints.weights import check_weights
from tidegate.core.names import check_name
from tidegate.core.scaling.policy import REPLICAS_MAX
from tidegate.errors import InvalidArgument

NAME_CHARS_MAX, SALT_CHARS_MAX = 63, 64
_DECIMALS = 9
AutomationKind = Literal["experiment", "canary", "bandit"]


@dataclass(frozen=True)
class Share:
    """A variant, the version behind it and its percent of the units that take part. One version can be two variants."""

    variant: str
    version: str
    weight: float


@dataclass(frozen=True)
class Split:
    """Traffic split over named variants by a salt of its own, so that no two experiments draw the same buckets.

    Each variant owns a fixed range of units, and `coverage` is the share of each range that takes part: a ramp raises
    it, and moves no unit from one variant to another. The units that do not take part get `uncovered`, a variant of
    the split, of weight 0 where it is there for them alone. `phase` counts the splits of one automation, from 1.
    `experiment` is filled in by `effective`: what is captured of a request names the experiment that it was in.
    """

    salt: str
    shares: tuple[Share, ...]
    experiment: str = ""
    coverage: float = 1.0
    uncovered: str = ""
    phase: int | None = None

    @property
    def by_variant(self) -> tuple[Share, ...]:
        """Its variants with percent of all traffic, whether or not it takes part."""
        if self.coverage >= 1:
            return self.shares
        return tuple(replace(share, weight=self._percent(share)) for share in self.shares)

    @property
    def by_version(self) -> dict[str, float]:
        """Percent of all traffic by version, those without any left out."""
        versions = dict.fromkeys(share.version for share in self.shares)
        shares = self.by_variant
        sums = {name: fsum(one.weight for one in shares if one.version == name) for name in versions}
        return {name: percent for name, percent in sums.items() if percent > 0}

    def _percent(self, share: Share) -> float:
        others = 100.0 * (1 - self.coverage) if share.variant == self.uncovered else 0.0
        return round(share.weight * self.coverage + others, _DECIMALS)


@dataclass(frozen=True)
class Spec:
    """What people asked for, with their words (`store.endpoints.automation.word_of`) that set the traffic and fixed the
    number of replicas last.
    """

    traffic: Mapping[str, float]
    replicas: int
    traffic_revision: int = 0
    replicas_revision: int = 0


@dataclass(frozen=True)
class AutomatedWeights:
    """Weights that an automation sets. `stable` is the traffic that a rollback returns to while it runs.

    `revision` is the one that people's spec had when the automation began.
    """

    kind: AutomationKind
    name: str
    revision: int
    split: Split
    stable: Mapping[str, float]


@dataclass(frozen=True)
class AutomatedReplicas:
    """The number of replicas of one version that the autoscaler decided on, when people's spec had this revision.

    It is enough for `share` percent of the endpoint's traffic: before a version gets more, it is decided anew. `enough`
    of them take that share of the load there is: a switch waits for those alone; None: for all of them.
    """

    replicas: int
    revision: int
    reason: str = ""
    share: float = 0.0
    enough: int | None = None


@dataclass(frozen=True)
class Automated:
    """All that automations have written for an endpoint; replicas by version."""

    weights: AutomatedWeights | None = None
    replicas: Mapping[str, AutomatedReplicas] = field(default_factory=dict)


@dataclass(frozen=True)
class Effective:
    """What is in effect. `split` and `weights` are None where each version is one variant, by people's own weights.

    `counts` are replicas by version where the autoscaler decided; any other version has `replicas`. `shares` are the
    percent of the traffic that these are enough for, `enough` how many of them a switch waits for, where not for all.
    """

    traffic: dict[str, float]
    replicas: int
    split: Split | None = None
    weights: AutomatedWeights | None = None
    counts: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    enough: dict[str, int] = field(default_factory=dict)

    def wanted(self, version: str) -> int:
        """Replicas of a version that has traffic."""
        return self.counts.get(version, self.replicas)


def effective(spec: Spec, automated: Automated) -> Effective:
    """What people asked for since an automation began takes precedence over it, each for what it is about.

    | an automation of | is in effect unless, since it began, |
    | --- | --- |
    | weights | people have set the traffic (deploy, traffic, promote, rollback) |
    | replicas | people have fixed their number (scale or deploy with a number) |

    So an automation's rows never need to be taken back by whoever ends it, and what a loop writes too late is ignored.
    """
    decided = {name: one for name, one in automated.replicas.items() if one.revision >= spec.replicas_revision}
    weights = automated.weights
    weights = weights if weights is not None and weights.revision >= spec.traffic_revision else None
    return Effective(
        traffic=dict(spec.traffic) if weights is None else weights.split.by_version,
        replicas=spec.replicas,
        split=None if weights is None else _named(weights),
        weights=weights,
        counts={version: one.replicas for version, one in decided.items()},
        shares={version: one.share for version, one in decided.items()},
        enough={version: one.enough for version, one in decided.items() if one.enough is not None},
    )


def _named(weights: AutomatedWeights) -> Split:
    return replace(weights.split, experiment=weights.name) if weights.kind == "experiment" else weights.split


def shares_of(traffic: Mapping[str, float], split: Split | None) -> tuple[Share, ...]:
    """The variants with traffic, by percent of it: those of the split, else each version under its own number."""
    plain = (Share(version, version, weight) for version, weight in traffic.items())
    return tuple(share for share in (plain if split is None else split.by_variant) if share.weight > 0)


def check_automated(weights: AutomatedWeights) -> None:
    """Raises `InvalidArgument` for a split that makes no sense, no way back, or a name or salt that is too long."""
    check_split(weights.split)
    check_weights(dict(weights.stable))
    if len(weights.name) > NAME_CHARS_MAX or len(weights.split.salt) > SALT_CHARS_MAX:
        raise InvalidArgument(
            f"an automation's name has up to {NAME_CHARS_MAX} characters and its salt {SALT_CHARS_MAX}", field="name"
        )


def check_split(split: Split) -> None:
    """Raises `InvalidArgument` unless names differ, weights add up to 100 and no variant has another version's number.

    A number is what pins a request to a version. Units that do not take part need a variant of the split.
    """
    if not split.salt:
        raise InvalidArgument("a split needs a salt of its own", field="salt")
    names = [share.variant for share in split.shares]
    for share in split.shares:
        check_name(share.variant, "variant")
        if share.variant.isdigit() and share.variant != share.version:
            raise InvalidArgument(f"variant {share.variant} has version {share.version}: give it another name")
    if twice := _twice(names):
        raise InvalidArgument(f"variant {twice} is named twice", field="variants")
    check_weights({share.variant: share.weight for share in split.shares})
    if not 0 <= split.coverage <= 1:  # also catches NaN
        raise InvalidArgument(f"a coverage of {split.coverage:g} makes no sense: give 0 to 1", field="coverage")
    if (split.uncovered or split.coverage < 1) and split.uncovered not in names:
        raise InvalidArgument(
            f"the units that do not take part get variant {split.uncovered!r}, which is none of the split: "
            f"name one of {', '.join(names)}",
            field="uncovered",
        )
    if split.phase is not None and split.phase < 1:
        raise InvalidArgument(f"phases are counted from 1, this one is {split.phase}", field="phase")


def check_counts(counts: Mapping[str, AutomatedReplicas]) -> None:
    """Raises `InvalidArgument` for a version with too many replicas, or fewer than none."""
    for version, one in counts.items():
        if one.replicas < 0:
            raise InvalidArgument(f"version {version} cannot have {one.replicas} replicas", field="replicas")
        if one.replicas > REPLICAS_MAX:
            raise InvalidArgument(
                f"version {version} may have up to {REPLICAS_MAX} replicas, not {one.replicas}", field="replicas"
            )


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
