"""Which aliases of the registry follow promotions, and whether one that names another version may be moved. Pure.

MLflow's words: `champion` is the version that has the traffic, `challenger` the one that is tried beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.core.endpoints.effective import AutomatedWeights

CHAMPION, CHALLENGER = "champion", "challenger"


def keeps_aliases(endpoint: str, model: str) -> bool:
    """Whether this endpoint's promotions move the model's aliases: its main one alone, the one of the model's name.

    Two endpoints of a model would else move one alias to and fro.
    """
    return endpoint == model


def champion_after(traffic: Mapping[str, float], action: str, *, is_kept: bool) -> str | None:
    """The version that `champion` is to name after a change of people's traffic; None: as it is.

    | the change | champion |
    | --- | --- |
    | a promotion to one version | names it |
    | any other that gives one version all of the traffic, since a promotion moved it | names it |
    | traffic over several versions | stays: nobody has won yet |
    | any, before the first promotion | stays: it is whoever's it was |
    """
    one = next(iter(traffic)) if len(traffic) == 1 else None
    return one if action == "promote" or is_kept else None


def challenger_of(weights: AutomatedWeights) -> str:
    """The version that an automation tries: the first that is not stable; "" where it tries none."""
    return next((one.version for one in weights.split.shares if one.version not in weights.stable), "")


def may_write(now: str, written: str, *, insists: bool) -> bool:
    """Whether an alias that names `now` ("": nothing) may be moved: it is ours, or the promotion insists."""
    return insists or now == written
