"""`logs`: the last lines of an endpoint's replicas, and those that come."""

from __future__ import annotations

import click

from tidegate.cli.app import App, command
from tidegate.cli.output import moment
from tidegate.errors import TidegateError, UnknownEndpoint, UnknownVersion
from tidegate.wire.rest import LogLines


@command("logs", "tidegate logs churn", "tidegate logs churn --follow", "tidegate logs churn --version 2 --lines 20")
@click.argument("endpoint")
@click.option("--lines", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Lines of each replica.")
@click.option("--version", "version_", help="Only this version's replicas.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what they write, until Ctrl-C. --json: an object a line."
)
def logs(app: App, endpoint: str, lines: int, version_: str | None, follow: bool) -> None:
    """Show the last lines of the logs of an endpoint's replicas.

    Those of replicas that crashed or did not start come first, with when and how they ended. With --follow, replicas
    that start meanwhile are followed too; one that writes more than --lines in a second is said to have lines missing.
    """
    if follow:
        _follow(app, endpoint, lines, version_)
        return
    found = app.client().endpoints.logs(endpoint, lines)
    if version_ is not None:
        known = sorted({log.version for log in found})
        found = [log for log in found if log.version == version_]
        if not found:
            raise UnknownVersion(
                f"endpoint {endpoint!r} has no replica of version {version_}; there are: {', '.join(known) or 'none'}"
            )
    app.emit({"logs": found}, lambda: "\n".join(_log(log) for log in found) or f"no replica of {endpoint} has a log")


def _follow(app: App, endpoint: str, lines: int, version: str | None) -> None:
    import orjson

    def silent(error: TidegateError) -> None:
        app.note(f"waiting: {error.message}")

    followed, shown = False, ("", "")
    try:
        for found in app.client().endpoints.follow_logs(endpoint, lines, on_silence=silent):
            followed = True
            for new in (one for one in found if version in (None, one.version)):
                if app.json:
                    click.echo(orjson.dumps(new))
                    continue
                if shown != (shown := (new.replica, new.version)):
                    click.echo(f"==> {new.replica}, version {new.version} <==")
                if new.missed:
                    click.echo("... (lines are missing here: it writes more than a look shows)")
                click.echo("\n".join(new.lines))
    except UnknownEndpoint:
        if not followed:
            raise
        app.note(f"endpoint {endpoint} is gone")


def _log(log: LogLines) -> str:
    return "\n".join([f"==> {log.replica}, version {log.version}{_how(log)} <==", *log.lines])


def _how(log: LogLines) -> str:
    """How a replica that failed did so; nothing for one that runs."""
    failed = log.failed
    if failed is None:
        return ""
    what = "crashed" if failed.kind == "crash" else "did not start"
    how = failed.reason.partition("; last log lines: ")[0]
    if failed.exit_code is not None:
        how = f"exit code {failed.exit_code}"
    if failed.signal is not None:
        how = failed.signal + (" (out of memory?)" if failed.signal == "SIGKILL" else "")
    return f", {what} at {moment(failed.at)}: {how}"
