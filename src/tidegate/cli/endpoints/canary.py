"""`canary` and its verbs (status, pause, resume, promote, abort, retry), and what `deploy --canary` begins."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidegate.cli.app import CONTEXT, App, LazyGroup, command, common_options, remember
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import WIDTH, moment, span, split, table
from tidegate.core.canary.grammar import parse_steps
from tidegate.core.names import check_name, parse_ref
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.client import Client
    from tidegate.wire.experiments.canary import CanaryView
    from tidegate.wire.experiments.experiments import GuardrailView

F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True)
class CanaryGiven:
    """What was given of a canary with `deploy`."""

    steps: str | None
    every: str | None
    guardrails: tuple[str, ...]

    @property
    def is_asked(self) -> bool:
        """Whether a canary is what is wanted. Raises `InvalidArgument` for what only a canary takes."""
        if self.steps is None and (self.every or self.guardrails):
            raise InvalidArgument("--every and --guardrail go with --canary, such as --canary 1,5,25,50,100")
        return self.steps is not None


def canary_options(body: F) -> F:
    """Give a command --canary, --every and --guardrail."""
    steps = "Take it through these percents instead, each on evidence: 1,5,25,50,100."
    every = "With --canary: how long a step takes at least [default: 10m]."
    guard = "With --canary: errors|latency|non_finite|drift|crashes:max=X|margin=X|off."
    body = click.option("--guardrail", "guardrails", multiple=True, metavar="NAME:BOUND", help=guard)(body)
    body = click.option("--every", metavar="SPAN", help=every)(body)
    asked: Callable[[F], F] = click.option("--canary", metavar="STEPS", help=steps)
    return asked(body)


def begin_canary(client: Client, model: str, endpoint: str | None, given: CanaryGiven, **accepted: Any) -> CanaryView:
    """Begin the canary of a version that is registered."""
    ref = parse_ref(model)
    version = f"@{ref.alias}" if ref.alias else ref.version or "latest"
    every_s = 600.0 if given.every is None else seconds(given.every, "--every")
    return client.canary.begin(
        check_name(endpoint or ref.name, "endpoint"),
        version,
        parse_steps(given.steps or ""),
        every_s=every_s,
        guardrails=list(given.guardrails),
        **accepted,
    )


@click.group("canary", cls=LazyGroup, context_settings=CONTEXT, params=common_options())
@click.pass_context
def canary(ctx: click.Context, /, **common: Any) -> None:
    """Look at a version that takes over in steps, and pause, resume, promote or abort it.

    'tidegate deploy NAME:VERSION --canary 1,5,25,50,100 --every 10m' begins one. Each step needs its time, at least 100
    requests of the canary and as many of an equally sized slice of stable, and no breach of a guardrail; the last one
    needs errors and latency shown to be no worse. A breach gives stable all of the traffic again at once. Without
    traffic nothing advances and nothing fails.
    """
    remember(ctx, **common)


canary.examples = (
    "tidegate canary status churn",
    "tidegate canary pause churn",
    "tidegate canary promote churn",
    "tidegate canary abort churn",
)


def _verb(name: str, text: str) -> click.Command:
    """A verb that takes an endpoint and shows what became of its canary."""

    @command(name, f"tidegate canary {name} churn")
    @click.argument("endpoint")
    def verb(app: App, endpoint: str) -> None:
        made = getattr(app.client().canary, "get" if name == "status" else name)(endpoint)
        app.emit(made, lambda: canary_text(made))

    verb.help = text
    return verb


status = _verb("status", "Show the newest canary of an endpoint, or the guard of a deployment, and why it is there.")
pause = _verb("pause", "Stay at the present step. Guardrails are watched on, and a breach still aborts.")
resume = _verb("resume", "Go on from the present step.")
promote = _verb("promote", "Give the version all of the traffic now, whatever is known of it.")
abort = _verb("abort", "Give stable all of the traffic again.")
retry = _verb("retry", "Begin the newest canary anew, from its first step.")
for _one in (status, pause, resume, promote, abort, retry):
    canary.add_command(_one)


def canary_text(found: CanaryView) -> str:
    """Where it is, guardrails and steps, within 80 characters."""
    at = f"step {found.step + 1} of {len(found.steps)}, {found.weight:g} %" if found.kind == "canary" else "watched"
    where = f", {at}" if found.ended_at is None else f" {moment(found.ended_at)}"
    lines = [f"{found.kind} of {found.endpoint}:{found.version}: {found.state}{where}"]
    lines += _field("why", found.reason or "-")
    if found.ended_at is None:
        lines += _field("next", found.next + (f", not before {moment(found.next_at)}" if found.next_at else ""))
    lines += _field("stable", split(found.stable))
    if found.kind == "canary":
        steps = ", ".join(f"{step:g}" for step in found.steps)
        lines += _field("steps", f"{steps} %, each for {span(found.every_s)} at least")
    if found.guardrails:
        lines += ["", table(("guardrail", "value", "bound", "may be", "state"), [*map(_row, found.guardrails)], "")]
    if found.history:
        rows = [
            [f"{one.weight:g} %", moment(one.since), str(one.requests), str(one.requests_stable)]
            for one in found.history
        ]
        lines += ["", table(("step", "since", "requests", "of stable"), rows, "")]
    return "\n".join(lines)


def _row(one: GuardrailView) -> list[str]:
    numbers = ["-" if value is None else f"{value:.4g}" for value in (one.value, one.bound)]
    return [one.name, *numbers, f"{one.kind} {one.margin:g}", one.state + (" (dry run)" if one.dry_run else "")]


def _field(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name:<7} {text}", WIDTH, subsequent_indent=" " * 8, break_on_hyphens=False)
