"""The pages of experiments, over HTTP: create, start, look at the evidence, pause, resume, approve and stop."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import httpx
import msgspec
import pytest

from support.console import deploy_of_two
from support.control import ME
from support.decisions import look
from tidegate.clock import now
from tidegate.sequential.analysis import Analysis
from tidegate.services.experiments.evidence import ExperimentEvidence
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import VariantRow
from tidegate.wire import rest
from tidegate.wire.experiments.experiments import ExperimentRequest
from tidegate.wiring import Container

EVIL = "<script>alert(1)</script>\"'&"
FORM = {
    "name": "prices", "control": "1", "t.2": "yes", "metric": "conversion", "direction": "increase",
    "type": "proportion", "max_days": "7", "guardrails": "errors:margin=abs:0.01",
}  # fmt: skip

Served = Callable[[str], str]


@pytest.fixture
def served(container: Container) -> Served:
    """Makes an endpoint of two versions, of which the first has the traffic; the path of its experiments."""

    def make(name: str) -> str:
        return f"{deploy_of_two(container, name)}/experiments"

    return make


@pytest.fixture
def running(browser: httpx.Client, served: Served) -> Served:
    """Creates one named `prices` at such an endpoint, and starts it; its path."""

    def make(name: str) -> str:
        path = served(name)
        assert browser.post(path, data=FORM).status_code == 303
        assert act(browser, f"{path}/prices", "start").status_code == 303
        return f"{path}/prices"

    return make


def act(browser: httpx.Client, path: str, verb: str) -> httpx.Response:
    """Press the button of this verb, as the page has it."""
    page = browser.get(path).text
    found = re.search(rf'<form[^>]* action="{path}/{verb}".*?</form>', page, re.DOTALL)
    assert found, page
    return browser.post(f"{path}/{verb}", data=hidden(found[0]))


def hidden(markup: str) -> dict[str, str]:
    """What a form has beside what people fill in."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', markup)
    assert [name for name, _ in fields[:2]] == ["etag", "was"]
    return {name: html.unescape(value) for name, value in fields}


def found(container: Container, endpoint: str, looks: int, decision: str = "continue") -> None:
    """As the loop does after so many looks, of which the last decided this."""
    with container.store.transaction() as tx:
        place = get_endpoint(tx, endpoint)
        assert place is not None
        row = rows.get(tx, place.uid, "prices")
        assert row is not None
        for number in range(looks):
            one = look(number)
            body = msgspec.to_builtins(one)
            rows.add_look(tx, row, body, one.at)
            analysis = Analysis(one.metrics, one.guardrails, one.ratio)
            row.evidence = msgspec.to_builtins(ExperimentEvidence(analysis, one.arms))
        row.decision, row.reason, row.looked_at, row.winner = decision, "for a reason", now(), "treatment"


def state(container: Container, endpoint: str) -> str:
    return container.experiments.get(endpoint, "prices").state


def test_an_experiment_is_created_as_a_draft_that_says_how_long_it_would_take(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    path = served("drafted")
    page = browser.get(path).text
    assert "There is none" in page
    assert "tidegate experiment create drafted --control 1 --treatment 2 --metric NAME:increase:proportion" in page
    answer = browser.post(path, data=FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}/prices?done=create")
    assert state(container, "drafted") == "draft"
    page = browser.get(f"{path}/prices?done=create").text
    assert "nothing changes for anybody until it is started" in page
    assert "How long it takes is not known" in page
    assert "tidegate experiment start drafted --name prices" in page
    assert 'id="start"' in page
    assert "prices" in browser.get(path).text


def test_the_endpoints_page_names_the_arms_and_offers_each_version_once(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    served("armed")
    metrics, ramp = ["converted:increase:proportion"], [40.0, 100.0]
    asked = ExperimentRequest(control="1", treatments=["2"], metrics=metrics, ramp=ramp, name="arms", start=True)
    container.experiments.create("armed", asked, ME)
    page = browser.get("/endpoints/armed").text
    assert "40 % of units take part (control 50 % · treatment 50 %)" in page
    with container.store.transaction() as tx:
        for version in ("1", "2"):
            tx.add(VariantRow(endpoint="armed", version=version, status="ready", crashes=[]))
    page = browser.get("/endpoints/armed").text
    assert page.count('<option value="1"') == 1
    rows = re.findall(r'class="(f\d)"/></svg>v(\d) <span class="sub">(\w+)</span>', page)
    assert {(colour, version) for colour, version, _ in rows} == {("f1", "1"), ("f2", "2")}
    assert {arm for _, _, arm in rows} >= {"control", "treatment"}


def test_a_draft_says_before_its_start_that_control_needs_all_of_the_traffic(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    path = served("split")
    assert browser.post(path, data=FORM).status_code == 303
    assert "all of the traffic</a> before it is started" not in browser.get(f"{path}/prices").text
    container.endpoints.set_traffic("split", rest.TrafficRequest({"1": 90, "2": 10}), ME)
    page = browser.get(f"{path}/prices").text
    assert "split serves v1 90 % · v2 10 %" in page
    assert '<a href="/endpoints/split#traffic-h">give version 1 all of the traffic</a>' in page


def test_it_is_started_paused_resumed_and_stopped(browser: httpx.Client, container: Container, running: Served) -> None:
    path = running("moved")
    automation = container.endpoints.get("moved").automation
    assert automation is not None
    assert automation.kind == "experiment"
    assert f'<a href="{path}">prices</a> sets the traffic' in browser.get("/endpoints/moved").text
    for verb, after in (("pause", "paused"), ("resume", "waiting_for_traffic"), ("stop", "stopped")):
        answer = act(browser, path, verb)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done={verb}")
        assert state(container, "moved") in (after, "running")
    assert container.endpoints.get("moved").automation is None
    assert "<button" not in browser.get(path).text.split('<div class="act">')[1].split("</div>")[0]


def test_the_evidence_is_shown_over_time_with_the_fields_that_programs_read(
    browser: httpx.Client, container: Container, running: Served
) -> None:
    path = running("evident")
    found(container, "evident", 40)
    page = browser.get(path).text
    for heading in ("sequence-h", "metrics-h", "guardrails-h", "units-h", "why-h"):
        assert f'id="{heading}"' in page
    for name in ("model_a_mean", "model_b_mean", "improvement", "p_value", "significant", "winner"):
        assert name in page
    assert page.count('role="img"') >= 6
    assert "no difference" in page


def test_a_promotion_waits_for_approval_and_is_done_by_it(
    browser: httpx.Client, container: Container, running: Served
) -> None:
    path = running("approved")
    assert 'id="approve"' not in browser.get(path).text
    found(container, "approved", 3, "promote")
    answer = act(browser, path, "approve")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=approve")
    assert container.endpoints.get("approved").target == {"2": 100.0}
    assert "Version 2 was better, and has the traffic now" in browser.get(path).text


def test_a_page_that_is_old_changes_nothing(browser: httpx.Client, container: Container, running: Served) -> None:
    path = running("stale")
    old = hidden(browser.get(path).text)
    assert act(browser, path, "pause").status_code == 303
    answer = browser.post(f"{path}/stop", data=old)
    assert answer.status_code == 412
    assert "is &#39;paused, insufficient data&#39; now" in answer.text
    answer = browser.post(f"{path}/stop", data=hidden(browser.get(path).text) | {"etag": '"of long ago"'})
    assert answer.status_code == 412
    assert state(container, "stale") == "paused"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"metric": ""}, "the metric has no name"),
        ({"guardrails": "errors:about=1"}, "is none of max=X, min=X and margin=X"),
        ({"split": "90/90"}, "180"),
        ({"window": "soon"}, "soon"),
        ({"name": "No Name"}, "No Name"),
    ],
)
def test_what_cannot_be_compared_is_said_and_stays_filled_in(
    browser: httpx.Client, served: Served, values: dict[str, str], says: str
) -> None:
    answer = browser.post(served(f"vague-{next(iter(values))}"), data=FORM | {"mde": "abs:0.02"} | values)
    assert answer.status_code == 422
    assert says in html.unescape(answer.text[answer.text.index('role="alert"') :][:500])
    assert 'value="abs:0.02"' in answer.text


def test_a_second_one_is_refused_while_one_runs(browser: httpx.Client, running: Served) -> None:
    path = running("single").removesuffix("/prices")
    assert browser.post(path, data=FORM | {"name": "more"}).status_code == 303
    answer = act(browser, f"{path}/more", "start")
    assert answer.status_code == 409
    assert "prices" in answer.text[answer.text.index('role="alert"') :][:500]


def test_an_open_page_hears_of_newer_looks(browser: httpx.Client, container: Container, running: Served) -> None:
    path = running("fresher")
    live = re.search(r'data-live="([^"]*)"', browser.get(path).text)
    assert live

    def heard() -> str:
        with browser.stream("GET", "/live", params={"of": html.unescape(live[1])}) as stream:
            return next(part for part in stream.iter_text() if "live_status" in part)

    assert "Show the new evidence" not in heard()
    found(container, "fresher", 2)
    assert "Show the new evidence" in heard()


def test_names_and_reasons_are_only_text(browser: httpx.Client, container: Container, running: Served) -> None:
    path = running("wicked")
    found(container, "wicked", 2)
    with container.store.transaction() as tx:
        place = get_endpoint(tx, "wicked")
        assert place is not None
        row = rows.get(tx, place.uid, "prices")
        assert row is not None
        row.reason = row.next = EVIL
    for page in (browser.get(path).text, browser.get(path.removesuffix("/prices")).text):
        assert "<script>alert" not in page


def test_what_is_not_there_is_404(browser: httpx.Client, served: Served) -> None:
    path = served("empty")
    assert browser.get("/endpoints/nowhere/experiments").status_code == 404
    assert browser.get(f"{path}/none").status_code == 404
    assert browser.post(f"{path}/none/start").status_code == 404
    assert browser.post(f"{path}/none/explode").status_code == 404
