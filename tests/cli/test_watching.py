"""What `tidegate alerts`, `alert-rules` and `monitor` print, and what they refuse before they ask anybody."""

from __future__ import annotations

import pytest

from tidegate.cli.watching.alert_rules import _text, rule_changes
from tidegate.cli.watching.alerts import _described
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.alerts import AlertRule, AlertRulesView, AlertView


@pytest.mark.parametrize("given", ["drift=nan", "drift=inf", "drift=", "drift=much"])
def test_a_threshold_that_is_no_number_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match="is no number"):
        rule_changes({"threshold": (given,)})


def test_rules_fit_a_terminal() -> None:
    types = ["data_drift", "prediction_drift", "performance_drift", "estimated_performance", "data_quality", "errors"]
    told = _text(AlertRulesView("churn", [AlertRule(one, actions=[]) for one in types], types))
    assert max(map(len, told.splitlines())) <= 80


def test_the_names_of_evidence_stand_apart_from_its_numbers() -> None:
    one = AlertView(
        id="a", type="performance_drift", endpoint="churn", monitor="performance", severity="high", state="firing",
        message="worse", since=1.0, fingerprint="f", evidence={"performance_drop": 0.5, "significant_drop": 1.0},
    )  # fmt: skip
    assert "performance_drop  0.5" in _described(one)
