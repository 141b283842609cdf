"""Alerts, silences, rules, notifiers, and what was delivered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from starlette.responses import Response

from tidegate.api.failures import answers, json_answers
from tidegate.api.paging import ROWS, Cursor, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.api.routes.audit import ID_MAX
from tidegate.core.access import Permission
from tidegate.wire.monitoring import alerts as wire

router = APIRouter(prefix="/api/v1", tags=["alerts"])
_READ, _DEPLOY, _ADMINISTER = (
    [needs(permission)] for permission in (Permission.READ, Permission.DEPLOY, Permission.ADMINISTER)
)
_CHANGE = answers(400, 404, 409, 413, 415, 422)
_SILENCE = {
    "an endpoint, for two hours": {
        "value": {"matchers": {"endpoint": "churn"}, "duration_s": 7200, "comment": "migration"}
    }
}
_RULES = {
    "roll back": {"value": {"rules": [{"type": "performance", "actions": ["rollback"]}]}},
    "for a quarter of an hour": {"value": {"rules": [{"type": "errors", "for_s": 900}]}},
    "as by default": {"value": {"reset": True}},
}
_REPLAY = {
    "a week": {"value": {"endpoint": "churn", "since_s": 604800}},
    "a higher bar": {"value": {"endpoint": "churn", "rules": [{"type": "drift", "threshold": 0.1}]}},
}
_NOTIFIER = {
    "webhook": {"value": {"kind": "webhook", "url": "https://hooks.example/tidegate"}},
    "mail": {
        "value": {
            "kind": "smtp",
            "url": "smtps://user:password@mail.example:465",
            "sender": "tidegate@example.com",
            "recipients": "ada@example.com",
        }
    },
}
Number = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.get("/alerts", responses=answers(422), dependencies=_READ)
def list_alerts(
    platform: PlatformOf,
    limit: Limit = ROWS,
    cursor: Cursor = None,
    endpoint: Annotated[str | None, Query(max_length=63, description="Of this endpoint")] = None,
    state: Annotated[str | None, Query(max_length=32, description="In this state, such as firing")] = None,
) -> wire.AlertPage:
    """Alerts, newest first, those that ended too."""
    return wire.AlertPage(*platform.alerts.state.page(limit, cursor, endpoint, state))


@router.post("/alert-replays", responses=answers(400, 404, 409, 413, 415, 422), dependencies=_READ)
def test_rules(
    platform: PlatformOf, request: Annotated[wire.ReplayRequest, Body(openapi_examples=_REPLAY)]
) -> wire.Replay:
    """What an endpoint's rules would have sent, of captured or imported rows, or of what monitors found."""
    return platform.replays.run(request)


@router.get("/alert-replays", responses=answers(), dependencies=_READ)
def get_replay_under_way(platform: PlatformOf) -> wire.ReplayUnderWay:
    """How far the replay of captured rows is that this control plane works on, if there is one."""
    return wire.ReplayUnderWay(platform.replays.under_way())


@router.get("/alerts/{alert_id}", responses=answers(404), dependencies=_READ)
def get_alert(platform: PlatformOf, alert_id: str) -> wire.AlertView:
    """One alert, with what was done because of it."""
    return platform.alerts.state.get(alert_id)


@router.post("/alerts/{alert_id}/ack", responses=_CHANGE, dependencies=_DEPLOY)
def acknowledge(
    platform: PlatformOf, who: Who, alert_id: str, request: wire.AcknowledgeRequest | None = None
) -> wire.AlertView:
    """Say that it was seen: it is not repeated, and no action is taken because of it."""
    return platform.alerts.state.acknowledge(alert_id, request or wire.AcknowledgeRequest(), who)


@router.get("/silences", responses=answers(), dependencies=_READ)
def list_silences(platform: PlatformOf) -> wire.SilenceList:
    """Silences, those that were over within the last week too."""
    return wire.SilenceList(platform.alerts.silences.all())


@router.post("/silences", status_code=201, responses=_CHANGE, dependencies=_DEPLOY)
def add_silence(
    platform: PlatformOf, who: Who, request: Annotated[wire.SilenceRequest, Body(openapi_examples=_SILENCE)]
) -> wire.SilenceView:
    """Tell nobody of some alerts for a while. That one ended is told all the same."""
    return platform.alerts.silences.add(request, who)


@router.delete("/silences/{silence_id}", responses=answers(404), dependencies=_DEPLOY)
def end_silence(platform: PlatformOf, who: Who, silence_id: str) -> wire.SilenceView:
    """End a silence: what still fires is told."""
    return platform.alerts.silences.end(silence_id, who)


@router.get("/alert-rules", responses=answers(), dependencies=_READ)
def list_alert_rules(platform: PlatformOf) -> wire.AlertRulesList:
    """The rules of endpoints where somebody changed some."""
    return wire.AlertRulesList(platform.alerts.rules.all())


@router.get("/alert-rules/{endpoint}", responses=answers(404), dependencies=_READ)
def get_alert_rules(platform: PlatformOf, endpoint: str) -> wire.AlertRulesView:
    """An endpoint's rules, one for each type of alert."""
    return platform.alerts.rules.get(endpoint)


@router.put("/alert-rules/{endpoint}", responses=_CHANGE, dependencies=_DEPLOY)
def set_alert_rules(
    platform: PlatformOf,
    who: Who,
    endpoint: str,
    request: Annotated[wire.AlertRulesRequest, Body(openapi_examples=_RULES)],
) -> wire.AlertRulesView:
    """Change an endpoint's rules; what is not given stays."""
    return platform.alerts.rules.change(endpoint, request, who)


@router.get("/notifiers", responses=answers(), dependencies=_READ)
def list_notifiers(platform: PlatformOf) -> wire.NotifierList:
    """Notifiers, without their secrets."""
    return wire.NotifierList(platform.alerts.notifiers.all())


@router.put("/notifiers/{name}", responses=_CHANGE, dependencies=_ADMINISTER)
def put_notifier(
    platform: PlatformOf,
    who: Who,
    name: str,
    request: Annotated[wire.NotifierRequest, Body(openapi_examples=_NOTIFIER)],
) -> wire.NotifierView:
    """Make a notifier, or change it whole. A webhook's secret that was made for it is shown this once."""
    return platform.alerts.notifiers.put(name, request, who)


@router.delete(
    "/notifiers/{name}",
    status_code=204,
    response_class=Response,
    responses=json_answers(404),
    dependencies=_ADMINISTER,
)
def delete_notifier(platform: PlatformOf, who: Who, name: str) -> Response:
    """Remove a notifier, and what waits for it."""
    platform.alerts.notifiers.delete(name, who)
    return Response(status_code=204)


@router.post("/notifiers/{name}/test", status_code=202, responses=answers(404), dependencies=_ADMINISTER)
def test_notifier(platform: PlatformOf, who: Who, name: str) -> wire.DeliveryView:
    """Send a message that says it is a test; `GET /api/v1/deliveries/{id}` says what became of it."""
    return platform.alerts.notifiers.test(name, who)


@router.get("/deliveries", responses=answers(422), dependencies=_READ)
def list_deliveries(
    platform: PlatformOf,
    limit: Limit = ROWS,
    before: Annotated[int | None, Query(ge=1, le=ID_MAX, description="A delivery: those older than it")] = None,
    state: Annotated[str | None, Query(max_length=16, description="In this state, such as dead")] = None,
    notifier: Annotated[str | None, Query(max_length=63, description="To this notifier")] = None,
) -> wire.DeliveryPage:
    """Messages and actions, newest first, and what became of them."""
    return platform.alerts.deliveries.page(limit, before, state, notifier)


@router.get("/deliveries/{number}", responses=answers(404), dependencies=_READ)
def get_delivery(platform: PlatformOf, number: Number) -> wire.DeliveryView:
    """One message or action."""
    return platform.alerts.deliveries.get(number)


@router.post("/deliveries/{number}/resend", status_code=202, responses=answers(404, 409), dependencies=_DEPLOY)
def resend(platform: PlatformOf, who: Who, number: Number) -> wire.DeliveryView:
    """Send a message again that was given up."""
    return platform.alerts.deliveries.resend(number, who)
