"""`shadow`: a version that gets a copy of an endpoint's traffic, and what it came to beside the live one."""

from __future__ import annotations

import click

from tidegate.cli.app import App, command
from tidegate.cli.output import moment
from tidegate.errors import InvalidArgument
from tidegate.wire.counts import counted
from tidegate.wire.experiments.shadows import PairedView, ShadowView
from tidegate.wire.rest import Endpoint

UNKNOWN = "not known yet"


@command(
    "shadow",
    "tidegate shadow churn 3 --share 20",
    "tidegate shadow churn",
    "tidegate shadow churn --json",
    "tidegate shadow churn --off",
)
@click.argument("endpoint")
@click.argument("version", required=False)
@click.option("--share", type=float, metavar="PERCENT", help="How much of the traffic is copied.  [default: 100]")
@click.option("--off", is_flag=True, help="Copy nothing more, and show what it came to.")
def shadow(app: App, endpoint: str, version: str | None, share: float | None, off: bool) -> None:
    """Have a version answer a copy of the traffic; its answers are recorded, compared and never sent.

    Without a version, show the one that shadows the endpoint: how far it agrees with what was answered, its latency
    beside the live one, and, where labels have come ('tidegate feedback'), which of the two is right more often: that
    test is valid at every look, unless predictions change what comes true. Which requests are copied goes by a hash of
    their key, or id. Copies are made after the answer, and left out first where there is no room. A version that gets
    traffic ends its shadow.
    """
    client = app.client()
    if off and (version is not None or share is not None):
        raise InvalidArgument("--off goes alone: tidegate shadow ENDPOINT --off", field="off")
    if share is not None and version is None:
        raise InvalidArgument("--share goes with a version: tidegate shadow ENDPOINT VERSION --share 20", field="share")
    if off:
        found = client.shadows.end(endpoint)
    elif version is not None:
        found = client.shadows.set(endpoint, version, 100.0 if share is None else share)
    else:
        found = client.shadows.get(endpoint)
    app.emit(found, lambda: told(found))


def shadowed(found: Endpoint) -> list[str]:
    """The shadow in an endpoint's own status, where it has one."""
    one = found.shadow
    if one is None:
        return []
    how = f"{one.status}: {one.reason}" if one.reason else one.status
    return [f"version {one.version} shadows {one.share:g} % of it ({how}): 'tidegate shadow {found.name}'"]


def told(found: ShadowView) -> str:
    """The shadow in a few lines."""
    copies = "1 copy" if found.failures == 1 else f"{found.failures} copies"
    lines = {
        "shadow": f"version {found.version} of {found.endpoint}, {found.share:g} % of the traffic",
        "status": f"{found.status}: {found.reason}" if found.reason else found.status,
        "since": _since(found),
        "pairs": f"{counted(found.pairs, 'row')} that both answered",
        "same answer": UNKNOWN if found.agreement is None else f"{found.agreement:.2%} of them",
        "difference": UNKNOWN if found.difference is None else f"{found.difference:.6g} on average, of numbers",
        "latency": _latencies(found.latency_p50_ms, found.latency_p95_ms),
        "live latency": _latencies(found.live_p50_ms, found.live_p95_ms),
        "not answered": f"{copies} failed, {counted(found.shed, 'request')} not copied",
    }
    wrapped = (click.wrap_text(value, 80, f"{name:<14}", " " * 14) for name, value in lines.items())
    return "\n".join([*wrapped, *_paired(found.paired)])


def _since(found: ShadowView) -> str:
    compared = []
    if found.compared_since > found.since:
        compared.append(f"from {moment(found.compared_since)}")
    if found.compared_until:
        compared.append(f"up to {moment(found.compared_until)}")
    return ", ".join([moment(found.since), *([f"compared {' '.join(compared)}"] if compared else [])])


def _latencies(p50_ms: float | None, p95_ms: float | None) -> str:
    if p50_ms is None or p95_ms is None:
        return UNKNOWN
    return f"p50 {p50_ms:.3g} ms, p95 {p95_ms:.3g} ms"


def _paired(found: PairedView | None) -> list[str]:
    """What labels say, one pair a unit."""
    if found is None:
        return [f"{'labels':<14}none of these rows has a label yet"]
    counts = f"{counted(found.units, 'unit')}: both right {found.both_right}, both wrong {found.both_wrong},"
    lines = [f"{'labels':<14}{counts}", f"{'':<14}live alone {found.only_live}, shadow alone {found.only_shadow}"]
    if found.difference is not None and found.lower is not None and found.upper is not None:
        lines.append(f"{'':<14}accuracy {found.difference:+.2%}, between {found.lower:+.2%} and {found.upper:+.2%}")
    return [*lines, *click.wrap_text(found.verdict, 80, " " * 14, " " * 14).splitlines()]
