"""`deploy`: a registered version, or a model file that is registered first; ends with a curl line that works."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import click
import orjson

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.canary import CanaryGiven, begin_canary, canary_options, canary_text
from tidegate.cli.endpoints.change import accept_option, end_option
from tidegate.cli.models.register import (
    describe_version,
    finish_register,
    register_options,
    registration_of,
    start_register,
)
from tidegate.cli.output import split
from tidegate.core.endpoints.serving import SERVING_SETTINGS, given_among
from tidegate.core.engines.capabilities import ENGINES
from tidegate.core.engines.placement import bytes_of
from tidegate.core.names import MODELS_SCHEME, parse_ref
from tidegate.errors import InvalidArgument, UnknownModel, UnknownVersion
from tidegate.listening import is_loopback
from tidegate.wire.rest import Endpoint

if TYPE_CHECKING:
    from tidegate.client import Client

FILE_SUFFIXES = frozenset(
    {".joblib", ".pkl", ".pickle", ".onnx", ".skops", ".ubj", ".json", ".txt", ".bst", ".model"}
    | {".pt2", ".pt", ".pth", ".torchscript", ".keras", ".cbm"}
)


F = TypeVar("F", bound=Callable[..., None])


def serving_options(body: F) -> F:
    """Give a command an option for each setting of how an endpoint is served."""
    for one in reversed(SERVING_SETTINGS):  # the one added last stands first in the help
        option: Callable[[F], F] = click.option(one.option, one.name, type=float, help=one.help)
        body = option(body)
    return body


@command(
    "deploy",
    "tidegate deploy churn",
    "tidegate deploy churn:2 --replicas 2",
    "tidegate deploy churn@champion --endpoint churn-eu",
    "tidegate deploy churn --cache-ttl 60 --rate-limit 100",
    "tidegate deploy churn --backend docker --cpus 2 --memory 1g",
    "tidegate deploy churn --backend kubernetes --cpus 2 --cpu-request 0.5",
    "tidegate deploy churn:2 --canary 1,5,25,50,100 --every 10m",
    "tidegate deploy churn:2 --canary 10,100 --guardrail latency:max=80",
    "tidegate deploy churn@champion --follow",
    "tidegate deploy models:/churn/3 --allow-pickle",
    "tidegate deploy model.joblib --name churn --allow-pickle",
)
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]|PATH|URI")
@click.option("--name", help="With a PATH or URI: the model that it is a version of.")
@register_options
@click.option("--endpoint", help="The endpoint [default: the model's name].")
@click.option("--follow", is_flag=True, help="With NAME@ALIAS: go on to each version that the alias is moved to.")
@click.option("--replicas", type=click.IntRange(min=1), help="Replicas of each version [default: as it is, else 1].")
@serving_options
@click.option(
    "--backend", type=click.Choice(list(ENGINES)), help="Where its replicas run [default: as it is, else as 'up']."
)
@click.option("--cpus", type=click.FloatRange(min=0), help="Processors of each container, also 0.5; 0: no limit.")
@click.option("--memory", metavar="SIZE", help="Memory of each container, as 512m or 2g; 0: no limit.")
@click.option(
    "--cpu-request", type=click.FloatRange(min=0), help="Kubernetes: processors kept free for each; 0: as it has it."
)
@click.option("--memory-request", metavar="SIZE", help="Kubernetes: memory kept free for each; 0: as it has it.")
@canary_options
@click.option("--no-guard", is_flag=True, help="Do not watch it afterwards; see below.")
@accept_option
@end_option
@click.option("--no-wait", is_flag=True, help="Return at once (after registering, with a PATH).")
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds to wait for it.")
def deploy(
    app: App,
    *,
    model: str,
    name: str | None,
    endpoint: str | None,
    follow: bool,
    replicas: int | None,
    backend: str | None,
    cpus: float | None,
    memory: str | None,
    cpu_request: float | None,
    memory_request: str | None,
    canary: str | None,
    every: str | None,
    guardrails: tuple[str, ...],
    no_guard: bool,
    accept_signature_change: bool,
    end_automation: bool,
    no_wait: bool,
    timeout_s: float,
    **options: Any,
) -> None:
    """Give a version all of an endpoint's traffic once it is ready; the endpoint is made when it is new.

    With a PATH or URI the model is registered first, through the validation gate, and so is a version that only the
    MLflow registry has yet. Until the new version is ready, what was there before serves on; if it never is, this fails
    and says why.

    With --follow the endpoint goes on to each version that the alias is moved to, through the same gate; one that lacks
    the grant ('tidegate models trust NAME --pickle') or does not pass is refused, and what was there before stays. A
    deploy without --follow, 'traffic' and 'promote' end that; after a rollback it waits for the alias to be moved.

    A version whose signature would break clients of the live one (a column is gone, new or of another type; an output
    is gone or another sort of value) is refused with what changed, unless --accept-signature-change is given. Wider
    types, new outputs and the like need no word, and 'rollback' never asks.

    The new version is watched for a while (10 minutes, TIDEGATE_GUARD_S): when it answers 500, does not answer in time,
    gives NaN or its replicas end by themselves, what was there before gets the traffic again ('tidegate canary status'
    says why). --no-guard turns that off.

    With --canary it gets a little of the traffic first, beside an equally sized slice of what is there, and more, step
    by step, while no guardrail is breached ('tidegate canary --help'); the command returns at once.

    With --backend docker each replica is a container of the version's image, which is built first where there is none
    yet; with --backend kubernetes it is a pod, whose model is fetched from the control plane or is in an image that was
    pushed ('tidegate build --push'). Another backend or other limits replace the replicas without a gap.
    """
    client = app.client()
    serving = given_among(options)
    options = {key: value for key, value in options.items() if key not in serving}
    if _to_register(model, name):
        if follow:
            raise InvalidArgument("--follow goes with an alias: NAME@ALIAS")
        model, options = _register_first(app, model, str(name), options), {}
    elif name:
        raise InvalidArgument(f"{model!r} is registered already: --name goes with a path")
    elif (given := _given(options)) and not follow and not _may_be_new(client, model):
        raise InvalidArgument(f"{model!r} is registered already: --{given[0].replace('_', '-')} goes with a path")
    asked = CanaryGiven(canary, every, guardrails)
    if asked.is_asked:
        amounts = (replicas, backend, cpus, memory, cpu_request, memory_request)
        _check_canary(follow=follow, no_guard=no_guard, others=(*amounts, *serving.values()))
        accepted = {"accept_signature_change": accept_signature_change, "end_automation": end_automation}
        begun = begin_canary(client, model, endpoint, asked, **accepted)
        return app.emit(begun, lambda: canary_text(begun))
    from tidegate.client.resources.options import DeployOptions

    where = cast(DeployOptions, {"backend": backend, "cpus": cpus, "cpu_request": cpu_request, **serving})
    where["memory_bytes"] = None if memory is None else bytes_of(memory)
    where["memory_request_bytes"] = None if memory_request is None else bytes_of(memory_request)
    where["registration"], where["accept_signature_change"] = registration_of(options), accept_signature_change
    where["end_automation"], where["guard"] = end_automation, not no_guard
    with app.progress() as report:
        where |= {"wait": not no_wait, "timeout_s": timeout_s, "on_progress": report}
        done = client.endpoints.deploy(
            model,
            endpoint=endpoint,
            replicas=replicas,
            follow=follow,
            **where,
        )
    line = curl_line(client.gateway.url, done, with_key=client.location.api_key is not None)
    if app.json:
        app.note(line)
    return app.emit(done, lambda: f"{_outcome(done, no_wait)}\n\n{line}")


def _check_canary(*, follow: bool, no_guard: bool, others: tuple[Any, ...]) -> None:
    """Raises `InvalidArgument` for options that say something of the whole endpoint, which a canary leaves as it is."""
    if follow:
        raise InvalidArgument("--follow and --canary do not go together: a followed alias is deployed at once")
    if no_guard:
        raise InvalidArgument(
            "--no-guard is of a plain deploy: a canary's guardrails are turned off by --guardrail NAME:off"
        )
    if any(value is not None for value in others):
        raise InvalidArgument(
            "a canary runs as the endpoint does: change replicas, backend, limits and settings first, by 'tidegate "
            "scale' or a deploy of the version that is live"
        )


def _to_register(model: str, name: str | None) -> bool:
    from tidegate.client.registration.request import is_uri

    if model.startswith(MODELS_SCHEME) and name is None:
        _check_ref(model)
        return False
    path = Path(model)
    if is_uri(model) or path.is_file() or "/" in model or path.suffix in FILE_SUFFIXES:
        if name is None:
            raise InvalidArgument(f"{model!r} is not registered yet: say with --name which model it is a version of")
        return True
    return name is not None and path.is_dir()


def _check_ref(uri: str) -> None:
    try:
        parse_ref(uri)
    except InvalidArgument as error:
        raise InvalidArgument(f"{error.message}; or say with --name which model it becomes a version of") from None


def _may_be_new(client: Client, model: str) -> bool:
    """Whether it names a version that the registry may have and the platform has not."""
    from tidegate.client.registration.request import version_of

    wanted = version_of(ref := parse_ref(model))
    if wanted is None:
        return False
    try:
        client.models.version(ref.name, wanted)
    except (UnknownModel, UnknownVersion):
        return True
    return False


def _given(options: dict[str, Any]) -> list[str]:
    """The options of `register` that were given, as they are called: --no-accelerate counts too."""
    given = [key for key, value in options.items() if value]
    return [*given, "no-accelerate"] if options.get("accelerate") is False else given


def _register_first(app: App, path: str, name: str, options: dict[str, Any]) -> str:
    version, created = finish_register(app, start_register(app, path, name, **options))
    text = describe_version(name, version, created)
    app.note(text) if app.json else click.echo(text)
    return f"{name}:{version.version}"


def _outcome(endpoint: Endpoint, no_wait: bool) -> str:
    if no_wait:
        return f"asked for {split(endpoint.target)}: follow it with 'tidegate status {endpoint.name}'"
    warning = f" ({endpoint.reason})" if endpoint.status != "ready" and endpoint.reason else ""
    follows = f", follows @{endpoint.follow.alias}" if endpoint.follow else ""
    return f"endpoint {endpoint.name} is {endpoint.status}, traffic {split(endpoint.traffic)}{follows}{warning}"


def curl_line(gateway_url: str, endpoint: Endpoint, with_key: bool) -> str:
    """A curl command with a real row, quoted for the shell; where a key is needed it comes from the environment."""
    url = f"{gateway_url.rstrip('/')}/predict/{endpoint.name}"
    body = orjson.dumps({"features": endpoint.example}).decode()
    with_key = with_key or not is_loopback(urlsplit(url).hostname or "")
    key = ' -H "Authorization: Bearer $TIDEGATE_API_KEY"' if with_key else ""
    return f"curl -sS {shlex.quote(url)} -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}"
