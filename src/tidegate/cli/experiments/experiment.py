"""`experiment` and its verbs: create, run, decide, and show what is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from tidegate.cli.app import CONTEXT, App, Body, LazyGroup, command, common_options, remember
from tidegate.cli.endpoints.performance import seconds
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.client.resources.experiments import NamedOptions
    from tidegate.wire.experiments.experiments import ExperimentView

METRIC = "NAME:increase|decrease[:TYPE][,OPTION=…]"
GUARDRAIL = "NAME:max=X|min=X|margin=X[,dry_run]"


@click.group("experiment", cls=LazyGroup, context_settings=CONTEXT, params=common_options())
@click.pass_context
def experiment(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> None:
    """Compare versions of an endpoint on its units, and promote the better one.

    A unit is what stays in one arm: the key of its requests (X-Tidegate-Key, or user_id). Each enters the analysis
    once, when its window has passed, and the analysis is valid however often it is looked at.
    """
    remember(ctx, json_, data_dir, url)


experiment.examples = (
    "tidegate experiment create churn --control 1 --treatment 2 --metric converted:increase:proportion --auto --start",
    "tidegate experiment status churn",
    "tidegate experiment approve churn",
)


def name_option(body: Body) -> Body:
    """Give a verb of one experiment --name."""
    help_text = "Which one [default: the one that is active, else the newest]."
    return click.option("--name", metavar="N", help=help_text)(click.argument("endpoint")(body))


@command(
    "create",
    "tidegate experiment create churn --control 1 --treatment 2 --metric spent:increase",
    "tidegate experiment create churn --control 1 --treatment 2 --auto --start "
    "--metric converted:increase:proportion,window=7d --guardrail errors:margin=abs:0.01",
    "tidegate experiment create churn --control 1 --treatment 2 --treatment 3 "
    "--split 80/10/10 --metric rating:increase --ramp 10,50,100 --ramp-every 1d",
)
@click.argument("endpoint")
@click.option("--name", metavar="N", help="Its name on this endpoint [default: one that is free].")
@click.option("--control", required=True, metavar="V", help="The version that is compared with.")
@click.option("--treatment", "treatments", multiple=True, required=True, metavar="V", help="A version to compare.")
@click.option("--split", metavar="A/B", help="Percent of units for each arm, control's first [default: even].")
@click.option("--metric", "metrics", multiple=True, required=True, metavar=METRIC, help="What success is.")
@click.option("--guardrail", "guardrails", multiple=True, metavar=GUARDRAIL, help="What a treatment must keep.")
@click.option("--mde", metavar="X", help="The smallest effect worth finding: 5%, or abs:0.01 [default: 5%].")
@click.option("--alpha", type=float, help="How often it may find what is not there [default: 0.05].")
@click.option(
    "--max-days", type=float, metavar="N", help="End as inconclusive after so long [default: 30, or as rows are kept]."
)
@click.option("--auto", is_flag=True, help="Promote without approval. A breach is rolled back anyhow.")
@click.option("--on-breach", type=click.Choice(["rollback", "hold", "alert"]), help="[default: rollback]")
@click.option("--on-no-traffic", type=click.Choice(["hold", "abort"]), help="[default: hold]")
@click.option("--ramp", metavar="P,P,…", help="Percent of units that take part, step by step [default: 100].")
@click.option("--ramp-every", metavar="SPAN", help="How long each step is [default: 1d].")
@click.option("--start", is_flag=True, help="Start it at once.")
@click.option("--accept-signature-change", is_flag=True, help="Also where the versions' inputs or outputs differ.")
def create(app: App, endpoint: str, **given: Any) -> None:
    """Create an experiment on an endpoint: a draft, which changes nothing before 'experiment start'.

    A metric's TYPE is proportion, mean (default), count, ratio or quantile. OPTIONs: window, how long after a unit's
    first prediction its values count (7d; 0s: its first value alone); delay, how much later they may come; cap; agg,
    last, sum or mean of a unit's values; source, feedback (default), label, latency or errors; per, a ratio's
    denominator; q, a quantile's level.

    A margin is how much worse than control a treatment may be: a share, or an amount with abs:. A treatment that is
    control's own version makes it an A/A test: what it finds is an error of the measurement, or chance.
    """
    options = cast("NamedOptions", {key: value for key, value in _options(given).items() if value not in (None, ())})
    control, treatments, metrics = given["control"], given["treatments"], given["metrics"]
    view = app.client().experiments.create(endpoint, control=control, treatments=treatments, metrics=metrics, **options)
    app.emit(view, lambda: _text(view))


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of `create` as the client takes them."""
    options = {
        name: given[name] for name in ("name", "guardrails", "mde", "alpha", "max_days", "on_breach", "on_no_traffic")
    }
    options |= {name: given[name] or None for name in ("auto", "start", "accept_signature_change")}
    options["split"] = None if given["split"] is None else _numbers(given["split"], "/", "split", "50/50")
    options["ramp"] = None if given["ramp"] is None else _numbers(given["ramp"], ",", "ramp", "10,50,100")
    options["ramp_every_s"] = None if given["ramp_every"] is None else seconds(given["ramp_every"], "--ramp-every")
    return options


def _numbers(text: str, between: str, option: str, example: str) -> list[float]:
    try:
        return [float(part.strip().removesuffix("%")) for part in text.split(between)]
    except ValueError:
        message = f"--{option} {text!r} cannot be read: give percent, as in {example}"
        raise InvalidArgument(message, field=option) from None


@command(
    "split",
    "tidegate experiment split churn 80/20",
    "tidegate experiment split churn 50/25/25 --name checkout",
)
@click.argument("endpoint")
@click.argument("split", metavar="A/B")
@click.option("--name", metavar="N", help="Which one [default: the one that is active, else the newest].")
def split(app: App, endpoint: str, split: str, name: str | None) -> None:
    """Give the arms of an experiment that was not started other parts of the units.

    Percent of each, control's first. Once it has been started units keep their arms, and its split stays.
    """
    view = app.client().experiments.set_split(endpoint, _numbers(split, "/", "split", "50/50"), name)
    app.emit(view, lambda: _text(view))


def _verb(name: str, help_: str, *examples: str) -> click.Command:
    """A verb that only names an experiment, and shows it as it is then."""

    def run(app: App, endpoint: str, name: str | None) -> None:
        client = app.client().experiments
        act: Callable[..., ExperimentView] = getattr(client, verb)
        view = act(endpoint, name)
        app.emit(view, lambda: _text(view))

    verb = name
    run.__doc__ = help_
    return command(name, *examples)(name_option(run))


start = _verb(
    "start",
    """Assign units from now on.

    Fails where another experiment or a canary has the endpoint's weights.
    """,
    "tidegate experiment start churn",
    "tidegate experiment start churn --name checkout --json",
)
pause = _verb(
    "pause",
    """Give everybody what is stable for now; 'experiment resume' goes on, in a new phase.""",
    "tidegate experiment pause churn",
)
resume = _verb(
    "resume",
    """Go on after a pause, or a hold: units come back to their arms, in a new phase.""",
    "tidegate experiment resume churn",
)
stop = _verb(
    "stop",
    """End an experiment without a decision: all units return to control.""",
    "tidegate experiment stop churn",
    "tidegate experiment stop churn --name checkout",
)
approve = _verb(
    "approve",
    """Promote the treatment that waits for approval.""",
    "tidegate experiment approve churn",
)


@command(
    "status",
    "tidegate experiment status churn",
    "tidegate experiment status churn --name checkout --json",
)
@name_option
def status(app: App, endpoint: str, name: str | None) -> None:
    """Show what is known, what it would take to know more, and what happens next."""
    view = app.client().experiments.get(endpoint, name)
    app.emit(view, lambda: _text(view))


@command("list", "tidegate experiment list churn", "tidegate experiment list churn --json")
@click.argument("endpoint")
def list_(app: App, endpoint: str) -> None:
    """List the experiments of an endpoint, newest first."""
    from tidegate.cli.experiments.text import listed
    from tidegate.wire.experiments.experiments import ExperimentList

    found = app.client().experiments.list(endpoint)
    app.emit(ExperimentList(found), lambda: listed(endpoint, found))


@command(
    "report",
    "tidegate experiment report churn --out churn.html",
    "tidegate experiment report churn --name checkout > checkout.html",
)
@name_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="F.html", help="Save it as this file.")
def report(app: App, endpoint: str, name: str | None, out: Path | None) -> None:
    """Write all of an experiment as one page of HTML, which opens without a network."""
    page = app.client().experiments.report(endpoint, name)
    if out is None:
        return click.echo(page)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(
            f"the report cannot be written to {out}: {error.strerror or error}", field="out"
        ) from None
    return app.emit({"saved": str(out)}, lambda: f"saved the report as {out}")


@command(
    "aa",
    "tidegate experiment aa churn",
    "tidegate experiment aa churn --days 7 --repetitions 200 --json",
)
@name_option
@click.option("--days", type=float, default=14.0, show_default=True, help="Take units of so many days until now.")
@click.option("--repetitions", type=click.IntRange(20, 5000), default=1000, show_default=True, help="Random splits.")
@click.option("--looks", type=click.IntRange(1, 100), default=20, show_default=True, help="Looks at each split.")
def aa(app: App, endpoint: str, name: str | None, days: float, repetitions: int, looks: int) -> None:
    """Check an experiment's metrics before it is trusted: how often they find a difference where none is.

    Units that were captured are split at random, again and again; no version is compared with another.
    """
    from tidegate.cli.experiments.text import checked

    found = app.client().experiments.aa(endpoint, name, days=days, repetitions=repetitions, looks=looks)
    app.emit(found, lambda: checked(found))


def _text(view: ExperimentView) -> str:
    from tidegate.cli.experiments.text import shown

    return shown(view)


experiment.lazy = {
    "create": ("experiments.experiment", "create", "Create an experiment."),
    "start": ("experiments.experiment", "start", "Assign units from now on."),
    "split": ("experiments.experiment", "split", "Other parts for the arms of a draft."),
    "pause": ("experiments.experiment", "pause", "Give everybody what is stable for now."),
    "resume": ("experiments.experiment", "resume", "Go on, in a new phase."),
    "stop": ("experiments.experiment", "stop", "End it: all return to control."),
    "approve": ("experiments.experiment", "approve", "Promote what waits for approval."),
    "status": ("experiments.experiment", "status", "Show what is known, and what happens next."),
    "report": ("experiments.experiment", "report", "Write it as one page of HTML."),
    "list": ("experiments.experiment", "list_", "List an endpoint's experiments."),
    "aa": ("experiments.experiment", "aa", "Check its metrics on captured traffic."),
}
