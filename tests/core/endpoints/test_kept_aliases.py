import pytest

from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.core.endpoints.kept_aliases import challenger_of, champion_after, keeps_aliases, may_write


@pytest.mark.parametrize(
    ("traffic", "action", "is_kept", "named"),
    [
        ({"2": 100.0}, "promote", False, "2"),
        ({"2": 100.0}, "deploy", False, None),
        ({"2": 100.0}, "deploy", True, "2"),
        ({"1": 100.0}, "rollback", True, "1"),
        ({"1": 50.0, "2": 50.0}, "traffic", True, None),
        ({"1": 50.0, "2": 50.0}, "promote", True, None),
    ],
)
def test_champion_is_the_one_version_since_a_promotion(
    traffic: dict[str, float], action: str, is_kept: bool, named: str | None
) -> None:
    assert champion_after(traffic, action, is_kept=is_kept) == named


def test_the_challenger_is_what_is_not_stable() -> None:
    shares = (Share("baseline", "1", 50.0), Share("canary", "3", 50.0), Share("stable", "1", 0.0))
    assert challenger_of(AutomatedWeights("canary", "c", 1, Split("s", shares), {"1": 100.0})) == "3"
    assert challenger_of(AutomatedWeights("bandit", "b", 1, Split("s", shares[:1]), {"1": 100.0})) == ""


def test_only_the_endpoint_of_the_models_name_moves_aliases() -> None:
    assert keeps_aliases("churn", "churn")
    assert not keeps_aliases("churn-eu", "churn")


def test_an_alias_that_somebody_else_moved_is_left_alone() -> None:
    assert may_write("2", "2", insists=False)
    assert may_write("5", "2", insists=True)
    assert not may_write("5", "2", insists=False)
