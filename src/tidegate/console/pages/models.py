"""`/models`, a model and a version: what is registered, how it did at the gate, where it runs; aliases, deploying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.deploying import COUNTED_BY, ENGINES, METRICS, DeployForm, differences, filled, request_lines
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.wire.rest import Endpoint, Model, Version

ROWS, VERSIONS, ENDPOINTS = 50, 50, 100


def _models(ask: Ask) -> Shown | Moved:
    page = ask.client.models.page(ROWS, ask.query.get("after"), in_short=True)
    return Shown(
        "models.html",
        {
            "models": [_model_row(one) for one in page.rows],
            "first": ask.with_query(after=None) if ask.query.get("after") else None,
            "next": None if page.next is None else ask.with_query(after=page.next),
        },
    )


def _model_row(model: Model) -> dict[str, Any]:
    newest = model.versions[0] if model.versions else None
    aliases = [(alias, one.version) for one in model.versions for alias in one.aliases]
    return {"name": model.name, "count": model.version_count, "newest": newest, "aliases": aliases}


def _model(ask: Ask) -> Shown | Moved:
    model = ask.client.models.get(ask.of["model"], in_short=True)
    served, skipped = serving(ask, model.name), ask.number("skip", 0, 10**9, 0)
    shown = model.versions[skipped : skipped + VERSIONS]
    more = skipped + VERSIONS < len(model.versions)
    return Shown(
        "model.html",
        {
            "model": model,
            "versions": shown,
            "runs": {one.version: names_of(one.version, served) for one in shown},
            "first": ask.with_query(skip=None) if skipped else None,
            "next": ask.with_query(skip=skipped + VERSIONS) if more else None,
        },
    )


def serving(ask: Ask, model: str) -> list[Endpoint]:
    """The endpoints of a model, the first `ENDPOINTS` by name."""
    return ask.client.endpoints.page(ENDPOINTS, model=model).rows


def names_of(version: str, served: Sequence[Endpoint]) -> list[str]:
    """The endpoints that have a replica of this version."""
    return [one.name for one in served if any(variant.version == version for variant in one.variants)]


def _version(ask: Ask) -> Shown | Moved:
    return version_page(ask)


def version_page(ask: Ask, problem: TidegateError | None = None, form: DeployForm | None = None) -> Shown:
    """The page of a version, with the form that deploys it; as it was filled in where that was not done."""
    model, version = ask.of["model"], ask.client.models.version(ask.of["model"], ask.of["version"])
    served = serving(ask, model)
    names = [one.name for one in served]
    form = form or filled({"endpoint": ask.query.get("endpoint") or (names[0] if names else model)})
    there = next((one for one in served if one.name == form.endpoint), None)
    live = _live(ask, there)
    context = {
        "model": model,
        "version": version,
        "facts": facts(version),
        "runs": names_of(version.version, served),
        "names": names,
        "form": form,
        "there": there,
        "changes": differences(version, live, there, form),
        "engines": ENGINES,
        "metrics": METRICS,
        "counted_by": COUNTED_BY,
        "lines": request_lines(model, version.version, form),
        "problem": problem,
        "done": ask.query.get("done"),
    }
    return Shown("version.html", context, problem.http_status if problem else 200)


def _live(ask: Ask, there: Endpoint | None) -> Version | None:
    """The version that most of the endpoint's traffic goes to."""
    split = {} if there is None else there.traffic or there.target
    if there is None or not split:
        return None
    try:
        return ask.client.models.version(there.model, max(split, key=lambda one: split[one]))
    except TidegateError:  # removed since, while what runs serves on
        return None


def facts(version: Version) -> list[tuple[str, str]]:
    """What is known of a version, as words."""
    gate = version.validation
    score = "not scored: it was registered without validation data"
    if version.score is not None:
        least = gate.get("min_score")
        bound = (
            f", at {'least' if gate.get('higher_is_better', True) else 'most'} {least:.4g} needed"
            if least is not None
            else ""
        )
        of = f" of {gate['filename']}" if gate.get("filename") else ""
        column = f", column {gate['target']}" if gate.get("target") else ""
        score = f"{version.metric} {version.score:.4g} on {gate.get('rows', '?')} rows{of}{column}{bound}"
    return [
        ("Gate", score),
        ("Acceleration", acceleration(version)),
        ("Framework", version.framework or words.UNKNOWN),
        ("Size", words.size(version.size_bytes)),
        ("Runs code on loading", "yes, and that was granted" if version.pickle_granted else "no"),
        ("Label", version.label or words.UNKNOWN),
        ("Aliases", ", ".join(f"@{alias}" for alias in version.aliases) or words.UNKNOWN),
        ("Tags", ", ".join(f"{key}: {value}" for key, value in sorted(version.tags.items())) or words.UNKNOWN),
        ("MLflow run", version.run_id or words.UNKNOWN),
        ("Digest", version.digest),
    ]


def acceleration(version: Version) -> str:
    """Which form is served, or why it is the original."""
    if version.accelerated:
        return f"served as {version.accelerated}"
    return f"the original is served: {version.acceleration.get('reason') or 'no faster form was tried'}"


def _alias(ask: Ask) -> Shown | Moved:
    alias = ask.form.get("alias", "").strip().removeprefix("@")

    def change() -> object:
        if not alias:
            raise InvalidArgument("the alias has no name: give it one, such as champion", field="alias")
        return ask.client.models.set_alias(ask.of["model"], alias, ask.of["version"])

    to = f"/models/{ask.of['model']}/versions/{ask.of['version']}?done=alias"
    return changed(change, to, lambda error: version_page(ask, error))


ROUTES = (
    PageRoute("GET", "/models", _models),
    PageRoute("GET", "/models/{model}", _model),
    PageRoute("GET", "/models/{model}/versions/{version}", _version),
    PageRoute("POST", "/models/{model}/versions/{version}/alias", _alias),
)
