"""`/alerts`: what alerts, silences, notifiers and deliveries; `/endpoints/{name}/alert-rules`: from when on, what
is done about it, and what these rules would have sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.watching import alerts
from tidegate.console.watching.spans import span_s
from tidegate.errors import TidegateError, UnknownDelivery
from tidegate.wire.monitoring.alerts import NotifierView

ROWS, DELIVERIES, ENDPOINTS = 50, 20, 100
SINCES = ("1d", "7d", "30d")
TEST_TIMEOUT_S = 3.0
"""A page waits no longer for the first attempt: what became of it shows among the deliveries."""


def _alerts(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None, **more: Any) -> Shown:
    state, endpoint = ask.query.get("state", "open"), ask.query.get("endpoint") or None
    state = state if state in (*alerts.STATES, "all") else "open"
    rows, following = _open(ask, endpoint) if state == "open" else _listed(ask, endpoint, state)
    context: dict[str, Any] = {"alerts": rows, "state": state, "spans": alerts.SPANS}
    if not ask.live:
        context |= _others(ask) | {
            "endpoint": endpoint,
            "open_href": _of(endpoint, None),
            "all_href": _of(endpoint, "all"),
            "state_links": [(one, _of(endpoint, one)) for one in alerts.STATES],
            "first": ask.with_query(after=None) if ask.query.get("after") else None,
            "next": None if following is None else ask.with_query(after=following),
            "example_id": next((one.view.id for one in rows if one.can_acknowledge), None),
            "problem": problem,
            "done": ask.query.get("done"),
            "secret": None,
            "form": alerts.notifier_filled(ask.form),
            "live_of": replace(ask, path="/alerts").with_query(done=None),
        }
    return Shown("alerts.html", context | more, problem.http_status if problem else 200)


def _open(ask: Ask, endpoint: str | None) -> tuple[list[alerts.AlertListRow], str | None]:
    """What is not over, by state: what fires comes first. Of each state the newest."""
    pages = [ask.client.alerts.page(endpoint, state, ROWS) for state in alerts.OPEN_STATES]
    return [alerts.row(one) for page in pages for one in page.rows], None


def _listed(ask: Ask, endpoint: str | None, state: str) -> tuple[list[alerts.AlertListRow], str | None]:
    page = ask.client.alerts.page(endpoint, None if state == "all" else state, ROWS, ask.query.get("after"))
    return [alerts.row(one) for one in page.rows], page.next


def _others(ask: Ask) -> dict[str, Any]:
    return {
        "silences": [(one, alerts.matched(one)) for one in ask.client.alerts.silences() if one.active],
        "notifiers": ask.client.alerts.notifiers(),
        "deliveries": ask.client.alerts.deliveries(limit=DELIVERIES),
        "endpoints": [one.name for one in ask.client.endpoints.page(ENDPOINTS).rows],
        "kinds": alerts.KINDS,
        "severities": alerts.SEVERITIES,
        "problem_form": ask.path.strip("/").partition("/")[0].removesuffix("s"),
    }


def _of(endpoint: str | None, state: str | None) -> str:
    given = [f"{name}={value}" for name, value in (("endpoint", endpoint), ("state", state)) if value]
    return "/alerts" + (f"?{'&'.join(given)}" if given else "")


def _done(ask: Ask, what: str, change: Callable[[], object]) -> Shown | Moved:
    return changed(change, f"/alerts?done={what}", lambda error: _page(ask, error))


def _acknowledge(ask: Ask) -> Shown | Moved:
    return _done(ask, "ack", lambda: ask.client.alerts.acknowledge(ask.of["id"]))


def _silence(ask: Ask) -> Shown | Moved:
    def change() -> object:
        one = ask.client.alerts.get(ask.of["id"])
        duration_s = span_s(ask.form.get("duration", ""), "duration")
        return ask.client.alerts.silence(alerts.matchers_of(one), duration_s, ask.form.get("comment", "").strip())

    return _done(ask, "silence", change)


def _end_silence(ask: Ask) -> Shown | Moved:
    return _done(ask, "expire", lambda: ask.client.alerts.end_silence(ask.of["id"]))


def _add_notifier(ask: Ask) -> Shown | Moved:
    """The secret of a webhook is shown on the page that answers, and nowhere else ever."""

    def add() -> NotifierView:
        name, kind, url, options = alerts.notifier_of(ask.form)
        return ask.client.alerts.put_notifier(name, kind, url, **options)

    def added(made: NotifierView) -> Shown | Moved:
        if made.secret:
            return _page(ask, secret=(made.name, made.secret), form=alerts.notifier_filled({}))
        return Moved("/alerts?done=notifier")

    return changed(add, added, lambda error: _page(ask, error))


def _test_notifier(ask: Ask) -> Shown | Moved:
    return _done(ask, "test", lambda: ask.client.alerts.test_notifier(ask.of["name"], TEST_TIMEOUT_S))


def _delete_notifier(ask: Ask) -> Shown | Moved:
    return _done(ask, "delete", lambda: ask.client.alerts.delete_notifier(ask.of["name"]))


def _resend(ask: Ask) -> Shown | Moved:
    number = ask.of["id"]
    if not number.isdecimal() or len(number) > 9:
        raise UnknownDelivery(f"no delivery has the number {number[:40]!r}")
    return _done(ask, "resend", lambda: ask.client.alerts.resend(int(number)))


# -- rules ------------------------------------------------------------------------------------------------------------


def _rules(ask: Ask) -> Shown | Moved:
    return _rules_page(ask)


def _rules_page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    name, since = ask.of["name"], ask.query.get("since")
    found = ask.client.alerts.rules(name)
    since = since if since in SINCES else None
    replay = ask.client.alerts.test_rules(name, span_s(since, "since"), source="results") if since else None
    context = {
        "endpoint": name,
        "rules": alerts.rule_forms(name, found.rules, found.changed, ask.form),
        "replay": replay,
        "since": since,
        "sinces": SINCES,
        "problem": problem,
        "done": ask.query.get("done"),
    }
    return Shown("alert_rules.html", context, problem.http_status if problem else 200)


def _set_rule(ask: Ask) -> Shown | Moved:
    name = ask.of["name"]

    def change() -> object:
        return ask.client.alerts.set_rules(name, [alerts.rule_of(ask.form)])

    return changed(change, f"/endpoints/{name}/alert-rules?done=rule", lambda error: _rules_page(ask, error))


ROUTES = (
    PageRoute("GET", "/alerts", _alerts, live=True),
    PageRoute("POST", "/alerts/{id}/ack", _acknowledge),
    PageRoute("POST", "/alerts/{id}/silence", _silence),
    PageRoute("POST", "/silences/{id}/end", _end_silence),
    PageRoute("POST", "/notifiers", _add_notifier),
    PageRoute("POST", "/notifiers/{name}/test", _test_notifier),
    PageRoute("POST", "/notifiers/{name}/delete", _delete_notifier),
    PageRoute("POST", "/deliveries/{id}/resend", _resend),
    PageRoute("GET", "/endpoints/{name}/alert-rules", _rules),
    PageRoute("POST", "/endpoints/{name}/alert-rules", _set_rule),
)
