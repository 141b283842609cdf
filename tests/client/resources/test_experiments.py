"""Experiments of the SDK: what is sent, and the four functions of the seed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from client.conftest import Standin
from support.decisions import ended, experiment
from tidegate.client import Client
from tidegate.errors import InvalidArgument, UnknownExperiment
from tidegate.wire.experiments.experiments import ExperimentView

EXPERIMENTS = "/api/v1/endpoints/churn/experiments"


def shape(view: ExperimentView) -> Any:
    return msgspec.to_builtins(view)


@pytest.fixture
def client(standin: Standin) -> Client:
    standin.says("GET /api/v1/endpoints", {"endpoints": []})
    return Client(standin.url, "secret", gateway_url=standin.url)


def has(standin: Standin, *views: ExperimentView) -> None:
    standin.says(f"GET {EXPERIMENTS}", {"experiments": [shape(one) for one in views]})
    for one in views:
        standin.says(f"GET {EXPERIMENTS}/{one.name}", shape(one))


def test_one_that_is_active_is_meant_where_no_name_is_given(standin: Standin, client: Client) -> None:
    running = experiment(3)
    has(standin, replace(ended("promote"), name="newer"), running)
    assert client.experiments.get("churn").name == running.name
    standin.answers.clear()
    standin.says(f"GET {EXPERIMENTS}", {"experiments": []})
    with pytest.raises(UnknownExperiment):
        client.experiments.stop("churn")


def test_the_seeds_creation_starts_one_of_two_versions(standin: Standin, client: Client) -> None:
    standin.says(f"POST {EXPERIMENTS}", shape(experiment(0)))
    client.experiments.create_experiment("price-page", "churn:1", "churn:2", 0.8)
    sent = json.loads(standin.asked[-1].body)
    assert sent["name"] == "price-page"
    assert (sent["control"], sent["treatments"], sent["split"]) == ("1", ["2"], [80.0, 20.0])
    assert (sent["metrics"], sent["start"]) == (["value:increase:mean"], True)


@pytest.mark.parametrize(
    ("a", "b", "share", "told"),
    [
        ("churn:1", "other:2", 0.5, "different models"),
        ("churn", "churn:2", 0.5, "names no version"),
        ("churn:1", "churn:2", 1.0, "between 0 and 1"),
    ],
)
def test_what_the_seed_would_have_taken_silently_is_refused(
    client: Client, a: str, b: str, share: float, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        client.experiments.create_experiment("x", a, b, share)


def test_a_metric_is_of_a_unit_and_of_the_arm_that_the_unit_is_in(standin: Standin, client: Client) -> None:
    has(standin, experiment(3))
    standin.says("GET /assign/churn", {"variant": "treatment", "version": "2", "experiment": "price-page"})
    standin.says("POST /feedback", {"accepted": 1})
    for version in ("2", 2, "churn:2", "b", "treatment"):
        client.experiments.record_metric("price-page", version, 1.0, key="user-7", endpoint="churn")
        sent = json.loads(standin.asked[-1].body)
        event = sent[0] if isinstance(sent, list) else sent
        assert event == {
            "key": "user-7", "experiment": "price-page", "metrics": {"conversion": 1.0}, "endpoint": "churn",
        }  # fmt: skip
    with pytest.raises(InvalidArgument, match="is in arm 'treatment'"):
        client.experiments.record_metric("price-page", "1", 1.0, key="user-7", endpoint="churn")
    with pytest.raises(InvalidArgument, match="is no arm"):
        client.experiments.record_metric("price-page", "9", 1.0, key="user-7", endpoint="churn")


def test_arms_of_one_version_are_both_meant_by_it(standin: Standin, client: Client) -> None:
    alike = experiment(3)
    has(standin, replace(alike, arms=[replace(arm, version="1") for arm in alike.arms]))
    standin.says("GET /assign/churn", {"variant": "treatment", "version": "1", "experiment": "price-page"})
    standin.says("POST /feedback", {"accepted": 1})
    client.experiments.record_metric("price-page", "1", 1.0, key="user-7", endpoint="churn")
    with pytest.raises(InvalidArgument, match="is in arm 'treatment'"):
        client.experiments.record_metric("price-page", "control", 1.0, key="user-7", endpoint="churn")


def test_a_unit_is_routed_as_the_gateway_does(standin: Standin, client: Client) -> None:
    standin.says("GET /assign/churn", {"variant": "control", "version": "1", "experiment": "price-page"})
    assert client.experiments.route_request("price-page", 7, endpoint="churn") == "1"
    assert standin.asked[-1].path == "/assign/churn?key=7"


def test_an_analysis_has_the_seeds_fields(standin: Standin, client: Client) -> None:
    has(standin, experiment(30), replace(experiment(0), name="young"))
    found = client.experiments.analyze_experiment("price-page", endpoint="churn")
    assert found is not None
    assert {"model_a_mean", "model_b_mean", "improvement", "p_value", "significant", "winner"} <= set(found)
    assert client.experiments.analyze_experiment("young", endpoint="churn") == {"status": "insufficient_data"}
    standin.says(
        f"GET {EXPERIMENTS}/nowhere", {"error": "there is none", "code": "unknown_experiment", "details": {}}, 404
    )
    assert client.experiments.analyze_experiment("nowhere", endpoint="churn") is None
