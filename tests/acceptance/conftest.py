"""Endpoints that several acceptance tests share; each is deployed once, where it is first asked for."""

from __future__ import annotations

import pytest

from support.models import Models
from support.platform import Platform


@pytest.fixture(scope="session")
def steady(platform: Platform, models: Models) -> str:
    """Logistic regression on 30 unnamed features. Must serve on, whatever is thrown at the platform."""
    platform.done("deploy", models.path("logistic.joblib"), "--name", "steady", "--allow-pickle", "--tag", "team=risk")
    return "steady"


@pytest.fixture(scope="session")
def named(platform: Platform, models: Models) -> str:
    """A model of named numeric columns."""
    platform.done("deploy", models.path("columns.joblib"), "--name", "named", "--allow-pickle")
    return "named"


@pytest.fixture(scope="session")
def mixed(platform: Platform, models: Models) -> str:
    """The curl line that deploying a model of numbers and strings ends with; the endpoint is named `mixed`."""
    gate = ("--validation-data", models.path("table.csv"), "--target", "y", "--min-score", "0.5")
    ran = platform.cli("deploy", models.path("table.joblib"), "--name", "mixed", "--allow-pickle", *gate)
    assert ran.code == 0, ran.said
    return ran.out[ran.out.index("curl ") :]
