"""`/deploy`: hand a model in or pick a version, deploy it with one button, and see it answer for real."""

from __future__ import annotations

import json
from typing import Any

from tidegate.client.resources.options import ScaleOptions
from tidegate.client.waiting import describe, failure, reached
from tidegate.clock import monotonic
from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.deciding.rolling import CanaryForm
from tidegate.console.deploying import DeployForm, filled
from tidegate.console.pages.models import version_page
from tidegate.console.snippets import snippets
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.wire.experiments.canary import CanaryView
from tidegate.wire.numbers import finite_number
from tidegate.wire.rest import Endpoint, Gate, RegisterRequest

MODELS, VERSIONS = 50, 5
ACCELERATE = {"": None, "yes": True, "no": False}
FIELDS = ("name", "label", "target", "metric", "min_score", "description", "accelerate", "allow_pickle")


def _deploy(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    page = ask.client.models.page(MODELS, ask.query.get("after"), versions=VERSIONS, in_short=True)
    form = {name: ask.form.get(name, ask.query.get(name, "")) for name in FIELDS}
    if "allow_pickle" not in ask.form and form["allow_pickle"]:
        form["allow_pickle"] = "ask"  # a link can point at the grant, and not give it
    context = {
        "form": form,
        "models": [one for one in page.rows if one.versions],
        "first": ask.with_query(after=None) if ask.query.get("after") else None,
        "next": None if page.next is None else ask.with_query(after=page.next),
        "bytes_max": ask.platform.upload_bytes_max,
        "problem": problem,
    }
    return Shown("deploy.html", context, problem.http_status if problem else 200)


def _register(ask: Ask) -> Shown | Moved:
    """The files came before, by `/api/v1/uploads`; the form names them."""
    name = ask.form.get("name", "").strip()
    return changed(
        lambda: ask.client.models.queue(name, _request(ask)),
        lambda job: Moved(f"/jobs/{job.id}"),
        lambda error: _page(ask, error),
    )


def _request(ask: Ask) -> RegisterRequest:
    """Raises `InvalidArgument` for what cannot be meant."""
    given = {name: ask.form.get(name, "").strip() for name in (*FIELDS, "upload", "filename")}
    table = ask.form.get("validation_upload") or None
    if not given["upload"]:
        raise InvalidArgument("no file came along: choose the model's file", field="upload")
    if not given["name"]:
        raise InvalidArgument("the model has no name: give it one", field="name")
    gate = Gate(
        validation_upload=table,
        validation_filename=ask.form.get("validation_filename") or None if table else None,
        target=given["target"] or None,
        metric=given["metric"] or None,
        min_score=_score(given["min_score"]),
    )
    return RegisterRequest(
        upload=given["upload"],
        filename=given["filename"] or None,
        gate=gate,
        label=given["label"] or None,
        description=given["description"],
        allow_pickle=given["allow_pickle"] == "yes",
        accelerate=ACCELERATE.get(given["accelerate"]),
    )


def _score(text: str) -> float | None:
    if not text:
        return None
    value = finite_number(text)
    if value is None:
        raise InvalidArgument(f"the least score {text[:40]!r} is no number", field="min_score")
    return value


def _deploy_version(ask: Ask) -> Shown | Moved:
    """The one button."""
    form, model, version = filled(ask.form), ask.of["model"], ask.of["version"]
    if form.canary == "yes":
        return _begin_canary(ask, form)
    compared = ask.form.get("etag_of") == form.endpoint.strip()  # else another endpoint's name was filled in

    def deploy() -> tuple[Endpoint, ScaleOptions | None]:
        bounds = form.bounds()
        asked = ask.client.endpoints.deploy(
            f"{model}:{version}",
            **form.asked(),
            accept_signature_change="accept" in ask.form,
            end_automation="end" in ask.form,
            only_if=(ask.form.get("etag") or None) if compared else None,
            wait=False,
        )
        return asked, bounds

    def deployed(made: tuple[Endpoint, ScaleOptions | None]) -> Shown | Moved:
        asked, bounds = made
        try:
            if bounds is not None:
                ask.client.endpoints.scale(asked.name, **bounds)
        except TidegateError as error:
            message = f"version {version} is being deployed, but its replicas do not follow the load: {error.message}"
            return version_page(ask, InvalidArgument(message), form)
        return Moved(f"/deployments/{asked.name}/{version}")

    return changed(deploy, deployed, lambda error: version_page(ask, error, form))


def _begin_canary(ask: Ask, form: DeployForm) -> Shown | Moved:
    """Step by step, at an endpoint that serves already."""
    model, version = ask.of["model"], ask.of["version"]
    endpoint = form.endpoint.strip() or model

    def begin() -> CanaryView:
        asked = form.as_canary() or CanaryForm()
        options = asked.options()
        options["accept_signature_change"] = "accept" in ask.form
        options["end_automation"] = "end" in ask.form
        return ask.client.canary.begin(endpoint, version, asked.shares(), **options)

    to = f"/endpoints/{endpoint}/canary?done=begin"
    return changed(begin, to, lambda error: version_page(ask, error, form))


# -- what comes of it -------------------------------------------------------------------------------------------------


def _deployment(ask: Ask) -> Shown | Moved:
    return _progress(ask)


def _progress(ask: Ask) -> Shown:
    found = ask.client.endpoints.get(ask.of["name"])
    version = ask.of["version"]
    doing, share = describe(found)
    ours = found.target.get(version, 0) > 0
    context: dict[str, Any] = {
        "endpoint": found,
        "version": version,
        "ours": ours,
        "done": ours and reached(found),
        "failure": failure(found) if ours else None,
        "doing": doing,
        "share": share,
        "serving": words.split(found.traffic) if any(found.traffic.values()) else None,
        "curl": _curl(ask, found),
        "row": json.dumps(found.example, ensure_ascii=False),
        "answer": None,
        "problem": None,
    }
    return Shown("deployment.html", context)


def _curl(ask: Ask, found: Endpoint) -> str:
    return dict(snippets(found.url, found.example, with_key=ask.platform.api_key is not None))["curl"]


def _predict(ask: Ask) -> Shown | Moved:
    """The example row that the model came with, through the gateway."""
    page = _progress(ask)
    began = monotonic()
    return changed(
        lambda: ask.client.predict(ask.of["name"], page.context["endpoint"].example, version=ask.of["version"]),
        lambda answer: page.also(answer=answer, took_s=monotonic() - began),
        lambda error: page.also(error.http_status, problem=error),
    )


ROUTES = (
    PageRoute("GET", "/deploy", _deploy),
    PageRoute("POST", "/deploy", _register),
    PageRoute("POST", "/models/{model}/versions/{version}/deploy", _deploy_version),
    PageRoute("GET", "/deployments/{name}/{version}", _deployment, live=True),
    PageRoute("POST", "/deployments/{name}/{version}", _predict),
)
