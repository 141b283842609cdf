"""Canaries on pages: the form, the same as a command, the buttons of each state, and the page over HTTP."""

from __future__ import annotations

import html
from collections.abc import Callable

import httpx
import pytest

from support.console import deploy_of_two, route_all_to
from support.control import add_version
from support.decisions import canary
from tidegate.console import deploying
from tidegate.console.deciding import rolling
from tidegate.errors import InvalidArgument
from tidegate.wiring import Container


def test_a_canary_is_asked_for_in_steps_and_a_span() -> None:
    form = rolling.filled({"version": "2", "steps": "10 , 50%,100", "every": "90s", "guardrails": "latency:max=80\n"})
    assert form.shares() == [10, 50, 100]
    assert form.options() == {"every_s": 90, "guardrails": ["latency:max=80"]}
    assert form.command("churn", "site") == (
        "tidegate deploy churn:2 --endpoint site --canary 10,50%,100 --every 90s --guardrail latency:max=80"
    )
    with pytest.raises(InvalidArgument, match="'a few' is no percentage"):
        rolling.filled({"steps": "a few"}).shares()


@pytest.mark.parametrize(
    ("about", "verbs"),
    [
        ({}, ["pause", "promote", "abort"]),
        ({"state": "paused"}, ["resume", "promote", "abort"]),
        ({"state": "aborted", "ended_at": 1.0}, ["retry"]),
        ({"state": "promoted", "ended_at": 1.0}, []),
        ({"kind": "guard"}, ["abort"]),
    ],
)
def test_a_canary_has_the_buttons_of_its_state(about: dict[str, object], verbs: list[str]) -> None:
    assert [verb for verb, _, _ in rolling.verbs(canary(**about))] == verbs


def test_a_deployment_as_a_canary_leaves_the_endpoint_as_it_runs() -> None:
    form = deploying.filled({"endpoint": "churn", "canary": "yes", "steps": "5,100"})
    asked = form.as_canary()
    assert asked is not None
    assert asked.shares() == [5, 100]
    assert deploying.request_lines("churn", "2", form) == ["tidegate deploy churn:2 --canary 5,100 --every 10m"]
    with pytest.raises(InvalidArgument, match="runs as the endpoint does"):
        deploying.filled({"canary": "yes", "replicas": "3"}).as_canary()
    assert deploying.filled({"replicas": "3"}).as_canary() is None


# -- the page ---------------------------------------------------------------------------------------------------------

Served = Callable[[str], str]


@pytest.fixture
def served(container: Container) -> Served:
    """Makes an endpoint whose first version answers, with a second one; the path of its canary's page."""

    def make(name: str) -> str:
        path = deploy_of_two(container, name, guard=False)
        route_all_to(container, name, "1")
        return f"{path}/canary"

    return make


def test_a_canary_is_begun_paused_resumed_aborted_and_begun_anew(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    path = served("yellow")
    page = browser.get(path).text
    assert "goes back by itself when it does harm" in page
    assert "tidegate deploy yellow:2 --canary 1,5,25,50,100 --every 10m" in page
    answer = browser.post(path, data={"version": "2", "steps": "10,50,100", "every": "1m"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=begin"), answer.text
    view = container.canaries.get("yellow")
    assert (view.version, view.steps, view.every_s) == ("2", [10, 50, 100], 60)
    page = browser.get(f"{path}?done=begin").text
    assert "Step 1 of 3, 10 % of the traffic" in page
    assert "It has begun" in page
    assert f'<a href="{path}">canary</a>' in browser.get("/endpoints/yellow").text
    for verb, after in (("pause", "paused"), ("resume", "running"), ("abort", "aborted"), ("retry", "running")):
        assert f'action="{path}/{verb}"' in browser.get(path).text
        assert browser.post(f"{path}/{verb}").headers["location"] == f"{path}?done={verb}"
        assert container.canaries.get("yellow").state == after
    old = browser.post(f"{path}/promote", data={"was": "version 2, of 3.000"})
    assert old.status_code == 412
    assert "another one is there now" in old.text
    assert browser.post(f"{path}/promote", data={"was": rolling.mark(container.canaries.get("yellow"))}).is_redirect
    assert container.endpoints.get("yellow").target == {"2": 100.0}


@pytest.mark.parametrize(
    ("values", "status", "says"),
    [
        ({"steps": "50,10,100"}, 422, "steps must rise"),
        ({"steps": "many"}, 422, "'many' is no percentage"),
        ({"every": "soon"}, 422, "'soon' is no span of time"),
        ({"guardrails": "mood:max=1"}, 422, "mood"),
        ({"version": "9"}, 404, "9"),
    ],
)
def test_a_canary_that_there_cannot_be_is_said_and_stays_filled_in(
    browser: httpx.Client, served: Served, values: dict[str, str], status: int, says: str
) -> None:
    path = served(f"grey-{next(iter(values))}-{len(says)}")
    answer = browser.post(path, data={"version": "2", "steps": "5,100", "every": "2m"} | values)
    assert answer.status_code == status
    assert says in html.unescape(answer.text[answer.text.index('role="alert"') :][:500])
    assert f'value="{({"every": "2m"} | values)["every"]}"' in answer.text


def test_what_sets_the_traffic_already_is_ended_only_when_somebody_says_so(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    path = served("taken")
    add_version(container, "taken", "3")
    form = {"version": "2", "steps": "5,100", "every": "2m"}
    assert browser.post(path, data=form).status_code == 303
    answer = browser.post(path, data=form | {"version": "3"})
    assert answer.status_code == 409
    assert 'form="begin" name="end" value="yes"' in answer.text
    assert browser.post(path, data=form | {"version": "3", "end": "yes"}).status_code == 303
    assert container.canaries.get("taken").version == "3"


def test_a_version_is_deployed_as_a_canary_from_its_page(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    served("staged")
    page = browser.get("/models/staged/versions/2").text
    assert "Step by step, as a canary" in page
    form = {"endpoint": "staged", "canary": "yes", "steps": "5,100", "every": "2m"}
    answer = browser.post("/models/staged/versions/2/deploy", data=form)
    assert answer.headers["location"] == "/endpoints/staged/canary?done=begin"
    assert container.canaries.get("staged").steps == [5, 100]
    refused = browser.post("/models/staged/versions/2/deploy", data=form | {"replicas": "3"})
    assert refused.status_code == 422
    assert "leave replicas, engine and limits empty" in refused.text
    assert "tidegate deploy staged:2 --canary 5,100 --every 2m" in refused.text


def test_what_is_no_canary_is_404(browser: httpx.Client, served: Served) -> None:
    path = served("plain")
    assert browser.get("/endpoints/nowhere/canary").status_code == 404
    assert browser.post(f"{path}/explode").status_code == 404
    assert browser.post(f"{path}/pause").status_code == 409
