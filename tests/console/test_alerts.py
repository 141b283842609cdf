"""The Alerts page and an endpoint's rules, over HTTP: what fires, and the forms of what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import httpx
import msgspec
import pytest

from support.control import ME, add_version
from support.monitoring import check_result
from tidegate.clock import now
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.monitoring import add_results
from tidegate.wire import rest
from tidegate.wire.monitoring.alerts import AlertView
from tidegate.wire.monitoring.monitoring import MonitorResult
from tidegate.wiring import Container

EVIL = "<script>alert(1)</script>\"'&"
Fired = Callable[..., Sequence[AlertView]]


@pytest.fixture
def fired(container: Container) -> Fired:
    """Makes an endpoint of which monitors found this just now; its alerts."""

    def make(name: str, *results: MonitorResult) -> Sequence[AlertView]:
        add_version(container, name, "3")
        container.endpoints.deploy(name, rest.DeployRequest(name, "3"), ME)
        observe(container, name, *results)
        return container.alerts.state.page(50, None, name)[0]

    return make


def observe(container: Container, name: str, *results: MonitorResult) -> None:
    """As an evaluation does."""
    own = [msgspec.structs.replace(one, endpoint=name) for one in results]
    with container.store.transaction() as tx:
        container.alerts.observing.observe(tx, name, own, now())


def drift(feature: str = "age", verdict: str = "drift: 22 % of the rows lie elsewhere") -> MonitorResult:
    return check_result(
        "feature_drift", "alert", verdict, feature=feature, severity="high", effect=0.22, effect_lower=0.2, at=now()
    )


def row_of(page: httpx.Response, alert: AlertView) -> str:
    return page.text[page.text.index(f'id="alert-{alert.id}"') :].partition("</tr>")[0]


def test_what_fires_is_listed_with_what_can_be_done(browser: httpx.Client, fired: Fired) -> None:
    (alert,) = fired("burning", drift())
    page = browser.get("/alerts?endpoint=burning")
    row = row_of(page, alert)
    assert "drift of age" in row
    assert "22 % of the rows lie elsewhere" in row
    assert ">firing<" in row
    assert 'href="/endpoints/burning/monitoring"' in row
    assert f"tidegate alerts ack {alert.id}" in page.text
    assert "burning" in browser.get("/").text.partition('id="endpoints"')[0], "it needs attention"


def test_it_is_acknowledged_by_a_form(browser: httpx.Client, fired: Fired) -> None:
    (alert,) = fired("seen", drift())
    answer = browser.post(f"/alerts/{alert.id}/ack")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?done=ack")
    row = row_of(browser.get("/alerts?endpoint=seen"), alert)
    assert ">acknowledged<" in row
    assert "Acknowledge<" not in row
    assert 'role="status"' in browser.get("/alerts?done=ack").text


def test_it_is_silenced_for_a_while_and_that_is_ended(
    browser: httpx.Client, container: Container, fired: Fired
) -> None:
    (alert,) = fired("noisy", drift())
    assert browser.post(f"/alerts/{alert.id}/silence", data={"duration": "4h"}).status_code == 303
    (silence,) = [one for one in container.alerts.silences.all() if one.matchers.get("endpoint") == "noisy"]
    assert silence.matchers["feature"] == "age"
    assert silence.ends_at - silence.starts_at == 14_400.0
    container.alerts.observing.tick()  # as the notify loop does each second
    page = browser.get("/alerts?endpoint=noisy")
    assert ">silenced<" in row_of(page, alert)
    assert f'action="/silences/{silence.id}/end"' in page.text
    assert browser.post(f"/silences/{silence.id}/end").status_code == 303
    container.alerts.observing.tick()
    assert ">firing<" in row_of(browser.get("/alerts?endpoint=noisy"), alert)


def test_a_silence_of_no_length_is_refused(browser: httpx.Client, fired: Fired) -> None:
    (alert,) = fired("forever", drift())
    answer = browser.post(f"/alerts/{alert.id}/silence", data={"duration": "always"})
    assert answer.status_code == 422
    assert "&#39;always&#39; is no span of time" in answer.text


def test_states_are_chosen_and_what_is_over_is_apart(browser: httpx.Client, fired: Fired) -> None:
    (alert,) = fired("chosen", drift())
    assert f"alert-{alert.id}" in browser.get("/alerts?endpoint=chosen&state=firing").text
    assert f"alert-{alert.id}" in browser.get("/alerts?endpoint=chosen&state=all").text
    page = browser.get("/alerts?endpoint=chosen&state=resolved").text
    assert f"alert-{alert.id}" not in page
    assert "No alert is resolved" in page
    assert "Nothing alerts" in browser.get("/alerts?endpoint=calm").text


def test_names_out_of_rows_are_only_text(browser: httpx.Client, fired: Fired) -> None:
    fired("evil-alerts", drift(EVIL, EVIL))
    page = browser.get("/alerts?endpoint=evil-alerts").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_a_webhook_is_added_its_secret_shown_once_and_removed(browser: httpx.Client, container: Container) -> None:
    given = {"name": "ops", "kind": "webhook", "url": "http://127.0.0.1:9/hook", "severity_min": "high"}
    answer = browser.post("/notifiers", data={**given, "resolved": "yes"})
    assert answer.status_code == 200, answer.text
    secret = re.search(r"shown once: <code data-copy>([^<]+)<", answer.text)
    assert secret
    page = browser.get("/alerts").text
    assert secret[1] not in page
    assert "all endpoints, high and more" in page
    (made,) = [one for one in container.alerts.notifiers.all() if one.name == "ops"]
    assert made.resolved
    assert browser.post("/notifiers/ops/delete").headers["location"] == "/alerts?done=delete"
    assert "ops" not in [one.name for one in container.alerts.notifiers.all()]


def test_a_notifier_that_cannot_be_is_said_and_stays_filled_in(browser: httpx.Client) -> None:
    answer = browser.post("/notifiers", data={"name": "ops2", "kind": "slack", "url": "no url", "severity_min": "low"})
    assert answer.status_code in (400, 422)
    assert 'value="no url"' in answer.text
    assert re.search(r"<details open><summary>Add a notifier", answer.text)
    assert browser.post("/notifiers/nobody/test").status_code == 404


def test_a_test_message_shows_among_the_deliveries(
    browser: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.console.pages.alerts.TEST_TIMEOUT_S", 0.1)  # nothing sends here
    given = {"name": "tried", "kind": "webhook", "url": "http://127.0.0.1:9/hook", "severity_min": "low"}
    browser.post("/notifiers", data=given)
    assert browser.post("/notifiers/tried/test").headers["location"] == "/alerts?done=test"
    deliveries = browser.get("/alerts").text.partition('id="deliveries-h"')[2]
    assert "tried" in deliveries
    assert ">pending<" in deliveries
    container.alerts.notifiers.delete("tried", ME)


def test_what_fired_and_is_not_known_any_more_is_not_taken_for_over(
    browser: httpx.Client, container: Container, fired: Fired
) -> None:
    fired("unsure", drift())
    unknown = check_result("feature_drift", "unknown", "unknown: no row came", feature="age", at=now())
    observe(container, "unsure", unknown)
    with container.store.transaction() as tx:
        row = get_endpoint(tx, "unsure")
        assert row is not None
        add_results(tx, row.uid, [msgspec.structs.replace(unknown, endpoint="unsure")])
    assert container.alerts.state.page(50, None, "unsure")[0][0].state == "not_enough_data"
    assert "22 % of the rows lie elsewhere; nothing newer is known" in browser.get("/").text
    page = browser.get("/endpoints/unsure/monitoring").text
    assert '<a href="/alerts?endpoint=unsure">1 alert</a> of it is open' in page


def test_a_rule_is_changed_by_a_form(browser: httpx.Client, container: Container, fired: Fired) -> None:
    fired("ruled")
    path = "/endpoints/ruled/alert-rules"
    page = browser.get(path)
    types = re.findall(r'name="type" value="([^"]+)"', page.text)
    assert "tidegate alerts test ruled --since 1d --stored" in page.text, "as the form does"
    assert len(types) == len(container.alerts.rules.get("ruled").rules)
    given = {"type": types[0], "enabled": "yes", "for": "10m", "threshold": "0.2", "repeat": "2d", "actions": ""}
    answer = browser.post(path, data=given)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=rule")
    rule = container.alerts.rules.get("ruled").rules[0]
    assert (rule.for_s, rule.repeat_interval_s, rule.threshold) == (600.0, 172_800.0, 0.2)
    assert "not as by default" in browser.get(path).text
    endless = browser.post(path, data={**given, "threshold": "nan"})
    assert (endless.status_code, "&#39;nan&#39; is no number" in endless.text) == (422, True)
    assert container.alerts.rules.get("ruled").rules[0].threshold == 0.2
    refused = browser.post(path, data={**given, "actions": "explode"})
    assert refused.status_code in (400, 422)
    assert 'value="explode"' in refused.text


def test_a_rules_page_says_what_would_have_been_sent(browser: httpx.Client, container: Container, fired: Fired) -> None:
    fired("tried-rules")
    path = "/endpoints/tried-rules/alert-rules"
    assert "these rules would have told nobody" in browser.get(f"{path}?since=7d").text
    kept = [msgspec.structs.replace(drift(), endpoint="tried-rules", since=now() - 60, until=now())]
    with container.store.transaction() as tx:
        row = get_endpoint(tx, "tried-rules")
        assert row is not None
        add_results(tx, row.uid, kept)
    section = browser.get(f"{path}?since=7d").text.partition('id="replay-h"')[2].partition("</section>")[0]
    assert "data drift of age" in section
    assert "22 % of the rows lie elsewhere" in section
    assert "replay" not in browser.get(f"{path}?since=always").text.partition("<tbody>")[2]


def test_what_is_not_there_is_404(browser: httpx.Client) -> None:
    assert browser.post("/alerts/none/ack").status_code == 404
    assert browser.post("/silences/none/end").status_code == 404
    assert browser.get("/endpoints/nowhere/alert-rules").status_code == 404
    assert browser.post("/deliveries/999999/resend").status_code == 404
    assert browser.post("/deliveries/x/resend").status_code == 404
