"""`/api/v1/endpoints/{name}/experiments`: create, start, pause, resume, stop and approve experiments, and read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header
from fastapi.responses import HTMLResponse

from tidegate.api.failures import answers, json_answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.api.routes.reports import POLICY
from tidegate.core.access import Permission
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.wire.experiments.experiments import (
    AaRequest,
    AaView,
    ExperimentList,
    ExperimentRequest,
    ExperimentView,
    LookView,
    SplitRequest,
)

router = APIRouter(prefix="/api/v1/endpoints/{name}/experiments", tags=["experiments"])
_CHANGE = answers(400, 404, 409, 412, 413, 415, 422)
_ACTION = answers(404, 409, 412)
_START = answers(404, 409, 412, 422)
_CREATE = {
    "conversion": {
        "value": {
            "control": "1",
            "treatments": ["2"],
            "metrics": ["converted:increase:proportion,window=7d"],
            "guardrails": ["errors:margin=abs:0.01", "latency_p95:margin=0.1"],
            "auto": True,
        }
    }
}


def _changing(
    platform: PlatformOf,
    name: str,
    if_match: Annotated[str | None, Header(description="An ETag: only while the endpoint has it")] = None,
) -> Experiments:
    return platform.experiments.only_if(name, if_match)


Changing = Annotated[Experiments, Depends(_changing)]


@dataclass(frozen=True)
class Looks:
    """What the looks at an experiment found, in order of time."""

    looks: list[LookView]


@router.get("", responses=answers(404), dependencies=[needs(Permission.READ)])
def list_experiments(platform: PlatformOf, name: str) -> ExperimentList:
    """The experiments of an endpoint, newest first."""
    return platform.experiments.all(name)


@router.post("", status_code=201, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def create_experiment(
    experiments: Changing, who: Who, name: str, request: Annotated[ExperimentRequest, Body(openapi_examples=_CREATE)]
) -> ExperimentView:
    """Create an experiment, a draft unless it is to start at once."""
    return experiments.create(name, request, who)


@router.get("/{experiment}", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_experiment(platform: PlatformOf, name: str, experiment: str) -> ExperimentView:
    """What is known of an experiment, what it would take to know more, and what happens next."""
    return platform.experiments.get(name, experiment)


@router.get("/{experiment}/looks", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_looks(platform: PlatformOf, name: str, experiment: str) -> Looks:
    """What each look found, in order of time: the sequence. Of many, the older ones are thinned out."""
    return Looks(platform.experiments.looks(name, experiment))


@router.post("/{experiment}/split", responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def split_experiment(
    experiments: Changing, who: Who, name: str, experiment: str, request: SplitRequest
) -> ExperimentView:
    """Give the arms of an experiment that was not started other parts of the units."""
    return experiments.set_split(name, experiment, request.split, who)


@router.post("/{experiment}/start", responses=_START, dependencies=[needs(Permission.DEPLOY)])
def start_experiment(experiments: Changing, who: Who, name: str, experiment: str) -> ExperimentView:
    """Begin: units take part once replicas of all arms are ready."""
    return experiments.start(name, experiment, who)


@router.post("/{experiment}/pause", responses=_ACTION, dependencies=[needs(Permission.DEPLOY)])
def pause_experiment(experiments: Changing, who: Who, name: str, experiment: str) -> ExperimentView:
    """Give everybody control until it is resumed. Units keep their arms."""
    return experiments.pause(name, experiment, who)


@router.post("/{experiment}/resume", responses=_ACTION, dependencies=[needs(Permission.DEPLOY)])
def resume_experiment(experiments: Changing, who: Who, name: str, experiment: str) -> ExperimentView:
    """Go on after a pause, in a new phase, or lift a hold."""
    return experiments.resume(name, experiment, who)


@router.post("/{experiment}/stop", responses=_ACTION, dependencies=[needs(Permission.DEPLOY)])
def stop_experiment(experiments: Changing, who: Who, name: str, experiment: str) -> ExperimentView:
    """End it without a result: all traffic goes back to control."""
    return experiments.stop(name, experiment, who)


@router.post("/{experiment}/approve", responses=_ACTION, dependencies=[needs(Permission.APPROVE)])
def approve_experiment(experiments: Changing, who: Who, name: str, experiment: str) -> ExperimentView:
    """Carry out the promotion that waits for approval."""
    return experiments.approve(name, experiment, who)


@router.get(
    "/{experiment}/report",
    responses=json_answers(404),
    response_class=HTMLResponse,
    dependencies=[needs(Permission.READ)],
)
def get_experiment_report(platform: PlatformOf, name: str, experiment: str) -> HTMLResponse:
    """All that is known of an experiment: one file, which opens without a network."""
    headers = {
        "content-security-policy": POLICY,
        "content-disposition": f'attachment; filename="{name}-{experiment}.html"',
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(platform.experiments.report(name, experiment), headers=headers)


@router.post("/{experiment}/aa", responses=answers(400, 404, 413, 415, 422, 503), dependencies=[needs(Permission.READ)])
def check_by_aa(platform: PlatformOf, name: str, experiment: str, request: AaRequest) -> AaView:
    """Split captured units at random, again and again, and count how often the metrics' tests find a difference."""
    return platform.experiments.aa(name, experiment, request)
