"""The endpoint's page and its forms, over HTTP and without a script: what they change, and what they say."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from support.console import route_all_to
from support.control import ME, SIGNATURE, add_version
from tidegate.services.canaries.guarding import GUARD
from tidegate.store.tables import FailedReplicaRow, VariantRow
from tidegate.wire import rest
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container

MARKUP = "<script>alert(1)</script>\"&' "
OTHER = Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), SIGNATURE.outputs)

Deployed = Callable[[str], str]


@pytest.fixture
def deployed(container: Container) -> Deployed:
    """Makes an endpoint of this name with two versions, of which the first has the traffic; its page's path."""

    def make(name: str) -> str:
        add_version(container, name, "1")
        add_version(container, name, "2", label="v2.0")
        container.endpoints.deploy(name, rest.DeployRequest(name, "1"), ME)
        return f"/endpoints/{name}"

    return make


def form(page: httpx.Response, action: str) -> dict[str, str]:
    """The fields of a form as the page has them filled in."""
    found = re.search(rf'<form[^>]* action="{re.escape(action)}(?:#\w+)?".*?</form>', page.text, re.DOTALL)
    assert found, page.text
    fields = [
        one for one in re.findall(r"<input\b[^>]*>", found[0]) if 'type="checkbox"' not in one or " checked" in one
    ]
    named = [(re.search(r' name="([^"]*)"', one), re.search(r' value="([^"]*)"', one)) for one in fields]
    return {html.unescape(name[1]): html.unescape(value[1]) for name, value in named if name and value}


def sent(browser: httpx.Client, path: str, verb: str, **values: str) -> httpx.Response:
    """The form as the page has it, with these values, sent."""
    page = browser.get(path)
    return browser.post(f"{path}/{verb}", data=form(page, f"{path}/{verb}") | values)


def buttons_of(page: httpx.Response, form_id: str) -> list[str]:
    """The buttons of a form, in the order of the page: Enter in one of its fields presses the first."""
    own = re.search(rf'<form[^>]* id="{form_id}".*?</form>', page.text, re.DOTALL)
    assert own
    buttons = re.finditer(r"<button\b[^>]*>", page.text)
    return [one[0] for one in buttons if f'form="{form_id}"' in one[0] or own.start() < one.start() < own.end()]


def test_enter_in_a_field_about_the_load_fixes_no_number(browser: httpx.Client, deployed: Deployed) -> None:
    page = browser.get(deployed("entered")).text
    forms = re.findall(r'<form[^>]* action="/endpoints/entered/scale".*?</form>', page, re.DOTALL)
    assert [re.findall(r'<button[^>]* value="(\w+)"', one) for one in forms] == [["number"], ["load"]]
    assert all('name="etag"' in one for one in forms)


def test_traffic_is_shifted_by_a_form(browser: httpx.Client, container: Container, deployed: Deployed) -> None:
    path = deployed("shifted")
    answer = sent(browser, path, "traffic", **{"w.1": "72.5", "w.2": "27.5"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=traffic")
    assert container.endpoints.get("shifted").target == {"1": 72.5, "2": 27.5}
    page = browser.get(f"{path}?done=traffic").text
    assert "The traffic is asked for" in page
    assert "tidegate traffic shifted 1=72.5 2=27.5" in page
    assert "Roll back to v1 100 %" in page


def test_promote_gives_one_version_everything(browser: httpx.Client, container: Container, deployed: Deployed) -> None:
    answer = sent(browser, deployed("promoted"), "traffic", promote="2")
    assert answer.headers["location"].endswith("?done=promote")
    assert container.endpoints.get("promoted").target == {"2": 100.0}
    assert container.endpoints.history("promoted")[0].action == "promote"


def test_a_rollback_is_one_form(browser: httpx.Client, container: Container, deployed: Deployed) -> None:
    path = deployed("restored")
    assert "Roll back" not in browser.get(path).text, "there is nothing to go back to"
    sent(browser, path, "traffic", promote="2")
    assert sent(browser, path, "rollback").status_code == 303
    assert container.endpoints.get("restored").target == {"1": 100.0}
    assert sent(browser, path, "scale", replicas="3").status_code == 303
    assert container.endpoints.history("restored")[0].replicas == 3
    told = container.endpoints.history("restored")[0].actor
    assert re.fullmatch("browser-[0-9a-f]{8}", told)
    assert told in browser.get(path).text


def test_no_click_returns_to_a_version_that_the_guard_took_back(
    browser: httpx.Client, container: Container, deployed: Deployed
) -> None:
    path = deployed("guarded")
    sent(browser, path, "traffic", promote="2")
    assert "Roll back to v1 100 %" in browser.get(path).text
    container.endpoints.rollback("guarded", rest.RollbackRequest(), GUARD)
    assert "Roll back" not in browser.get(path).text


@pytest.mark.parametrize(
    ("verb", "values", "says"),
    [
        ("traffic", {"w.1": "60", "w.2": "60"}, "100"),
        ("traffic", {"w.1": "lots"}, "is no percentage for version 1"),
        ("traffic", {"w.1": "0", "w.2": "0"}, "no version is named"),
        ("traffic", {"w.1": "50", "w.9": "50"}, "9"),
        ("traffic", {"w.1": "nan"}, "1"),
        ("scale", {"replicas": "-1"}, "is no number of replicas"),
        ("scale", {"replicas": "0"}, "replicas"),
        ("scale", {"replicas": "999999999"}, "replicas"),
        ("scale", {"by": "load", "min": "5", "max": "2", "metric": "rps", "target": "4"}, "min"),
        ("scale", {"by": "load", "min": "1", "max": "2", "metric": "rps", "target": "0"}, "target"),
        ("scale", {"by": "load", "min": "1", "max": "2", "metric": "rps", "target": "nan"}, "target"),
        ("scale", {"by": "load", "min": "", "max": "", "target": ""}, "nothing is filled in"),
        ("scale", {"by": "load", "min": "1", "max": "2", "metric": "mood", "target": "4"}, "mood"),
    ],
)
def test_what_cannot_be_done_is_said_and_keeps_what_was_filled_in(
    browser: httpx.Client, container: Container, deployed: Deployed, verb: str, values: dict[str, str], says: str
) -> None:
    name = f"wrong-{verb}-{abs(hash(says + str(values))) % 10**9}"
    path = deployed(name)
    before = container.endpoints.get(name).revision
    answer = sent(browser, path, verb, **values)
    assert 400 <= answer.status_code < 500
    note = re.search(r'<div class="note bad" role="alert">(.*?)</div>', answer.text, re.DOTALL)
    assert note
    assert says in note[1]
    assert all(value in answer.text for value in values.values())
    assert container.endpoints.get(name).revision == before


def test_replicas_follow_the_load_where_bounds_are_given(
    browser: httpx.Client, container: Container, deployed: Deployed
) -> None:
    path = deployed("followed")
    answer = sent(browser, path, "scale", by="load", min="1", max="3", metric="rps", target="12.5")
    assert (answer.status_code, answer.headers.get("location")) == (303, f"{path}?done=scale"), answer.text
    view = container.endpoints.get("followed").scaling
    assert view is not None
    assert (view.min, view.max, view.metric, view.target) == (1, 3, "rps", 12.5)
    page = browser.get(path).text
    assert "tidegate scale followed --min 1 --max 3 --target rps=12.5" in page
    assert "From <b>1</b> to <b>3</b>" in page
    assert sent(browser, path, "scale", by="number", replicas="2").status_code == 303
    assert container.endpoints.get("followed").scaling is None


def test_an_endpoint_that_sleeps_has_a_form_that_can_be_sent_as_it_is(
    browser: httpx.Client, container: Container, deployed: Deployed
) -> None:
    path = deployed("sleeper")
    container.endpoints.scale("sleeper", rest.ScaleRequest(min=0, max=3, target="rps=5", idle_s=300), ME)
    page = browser.get(path).text
    assert "tidegate scale sleeper --min 0 --max 3 --target rps=5 --idle 5m</code>" in page
    assert "none after <b>300 s</b> without a request" in page
    field = re.search(r'<input[^>]* name="min"[^>]*>', page)
    assert field
    assert 'min="0"' in field[0], "else no browser sends the form, whichever of its buttons is used"
    assert 'value="0"' in field[0]
    assert sent(browser, path, "scale", by="load", min="0", max="4", metric="rps").status_code == 303
    view = container.endpoints.get("sleeper").scaling
    assert view is not None
    assert (view.min, view.max, view.idle_s) == (0, 4, 300)
    assert sent(browser, path, "scale", by="load", idle="10m").status_code == 303
    view = container.endpoints.get("sleeper").scaling
    assert view is not None
    assert (view.min, view.idle_s) == (0, 600)
    assert sent(browser, path, "scale", by="load", min="1").status_code == 303, "it sleeps no more"


def test_whoever_comes_second_is_told(browser: httpx.Client, container: Container, deployed: Deployed) -> None:
    path = deployed("contested")
    page = browser.get(path)
    container.endpoints.set_traffic("contested", rest.TrafficRequest({"1": 80, "2": 20}), ME)
    mine = form(page, f"{path}/traffic") | {"w.1": "30", "w.2": "70"}
    answer = browser.post(f"{path}/traffic", data=mine)
    assert answer.status_code == 412
    assert "Somebody else changed this endpoint" in answer.text
    assert "v1 80 %" in answer.text
    assert container.endpoints.get("contested").target == {"1": 80, "2": 20}
    again = form(answer, f"{path}/traffic")
    assert (again["w.1"], again["w.2"]) == ("30", "70"), "what was filled in is there still"
    assert browser.post(f"{path}/traffic", data=again).status_code == 303
    assert container.endpoints.get("contested").target == {"1": 30, "2": 70}


def test_a_changed_signature_is_accepted_in_so_many_words(browser: httpx.Client, container: Container) -> None:
    for number, signature in (("1", SIGNATURE), ("2", OTHER)):
        add_version(container, "reshaped", number, signature=signature)
    container.endpoints.deploy("reshaped", rest.DeployRequest("reshaped", "1"), ME)
    route_all_to(container, "reshaped", "1")
    path = "/endpoints/reshaped"
    answer = sent(browser, path, "traffic", **{"w.1": "50", "w.2": "50"})
    assert answer.status_code == 409
    assert "Clients of this endpoint would notice" in answer.text
    assert "accept the changed signature" in answer.text
    assert " name=" not in buttons_of(answer, "traffic")[0], "Enter in a field of the form accepts nothing"
    again = form(answer, f"{path}/traffic")
    assert browser.post(f"{path}/traffic", data=again | {"accept": "yes"}).status_code == 303
    assert container.endpoints.get("reshaped").target == {"1": 50, "2": 50}


def test_names_with_markup_in_them_are_words(browser: httpx.Client, deployed: Deployed) -> None:
    path = deployed("named")
    for asked in (
        f"/endpoints/{quote(MARKUP)}",
        f"/{quote(MARKUP)}",
        f"{path}?done={quote(MARKUP)}",
        f"{path}?before={quote(MARKUP)}&x={quote(MARKUP)}",
        f"/?after={quote(MARKUP)}",
    ):
        assert "<script>alert" not in browser.get(asked).text, asked
    answer = sent(browser, path, "traffic", **{f"w.{MARKUP}": "50", "w.1": MARKUP})
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert html.escape(MARKUP.strip()).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in answer.text
    long = sent(browser, path, "traffic", **{"w." + "x" * 10_000: "100"})
    assert long.status_code in (404, 422)


def test_an_endpoint_that_there_is_not(browser: httpx.Client) -> None:
    answer = browser.get("/endpoints/nowhere")
    assert (answer.status_code, "<h1>Not Found</h1>" in answer.text) == (404, True)
    assert browser.post("/endpoints/nowhere/rollback").status_code == 404


def test_a_prediction_that_nothing_answers_is_said(browser: httpx.Client, deployed: Deployed) -> None:
    """No gateway runs here; the browser's tests predict for real."""
    path = deployed("tried")
    answer = sent(browser, path, "predict", f0="1.25")
    assert answer.status_code == 503
    assert "gateway" in answer.text
    assert 'name="f0" value="1.25"' in answer.text
    wrong = sent(browser, path, "predict", f0="much")
    assert (wrong.status_code, "x0: &#39;much&#39; is no number" in wrong.text) == (422, True)


def test_why_a_replica_was_started_anew_is_one_click_away(
    browser: httpx.Client, container: Container, deployed: Deployed
) -> None:
    path = deployed("restarted")
    why = "the replica was ended by SIGKILL (out of memory?)"
    with container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="restarted", version="1", status="ready", restarts=2, crashes=[]))
        failed = FailedReplicaRow(replica="r-gone", endpoint="restarted", version="1", at=1000.0, kind="crash")
        failed.cause, failed.exit_code, failed.backend, failed.handle, failed.log = why, -9, "local", {}, []
        tx.add(failed)
    page = browser.get(path)
    link = re.search(r'<a href="([^"]+)" title="Why[^>]*>2</a>', page.text)
    assert link
    assert why not in page.text
    logs = browser.get(html.unescape(link[1])).text
    section = logs[logs.index('id="live_logs"') :].partition("</section>")[0]
    assert "crashed" in section
    assert why in section
    assert "it wrote nothing" in section


def test_history_says_what_a_browser_s_name_means(browser: httpx.Client, deployed: Deployed) -> None:
    page = browser.get(deployed("by-whom")).text
    assert "“browser-…” is one login of this console" in page
