"""How busy endpoints and versions are, as the verbs that look print it."""

from __future__ import annotations

from tidegate.cli.output import moment, table
from tidegate.wire.gateways.load import LoadSeries, LoadView
from tidegate.wire.rest import Endpoint

NO_DATA = "no data yet"


def rate(load: LoadView | None) -> str:
    """Requests a second, over all versions."""
    return NO_DATA if load is None else _at_least(load, f"{load.requests_per_s:.3g}")


def p95(load: LoadView | None) -> str:
    """The time that 95 % of the requests stayed within."""
    return NO_DATA if load is None else _seconds(load.p95_s)


def load_table(endpoint: Endpoint) -> list[str]:
    """A row for each version, and one for all where there are several or some were refused before one was chosen."""
    rows = [[one.version, *_figures(one.load)] for one in endpoint.variants]
    if not rows:
        return []
    whole = endpoint.load
    if whole is None:
        return ["load: no data yet (gateways tell it each second)"]
    if len(rows) > 1 or _figures(whole) != rows[0][1:]:
        rows.append(["all", *_figures(whole)])
    silent = whole.gateways_silent
    more = f" ({silent} of the gateways silent: there may be more)" if silent else ""
    headers = ("version", "in progress", "req/s", "errors/s", "p50", "p95")
    return [f"load of the last {whole.window_s:.0f} s{more}", table(headers, rows, "")]


def series_table(found: LoadSeries) -> str:
    """The last minutes by version, newest first."""
    rows = [
        [
            moment(at),
            version or "refused",
            *(_known(values[index]) for values in (series.concurrency, series.requests_per_s, series.errors_per_s)),
            _seconds(series.p95_s[index]),
        ]
        for index, at in reversed(list(enumerate(found.times)))
        for version, series in found.versions.items()
    ]
    silent = found.gateways_silent
    more = f"\n{silent} of the gateways silent: nothing is known of the newest seconds" if silent else ""
    headers = ("until", "version", "in progress", "req/s", "errors/s", "p95")
    return f"load, means of {found.step_s:g} s{more}\n" + table(headers, rows, "no version runs")


def _known(value: float | None) -> str:
    return NO_DATA if value is None else f"{value:.3g}"


def _figures(load: LoadView | None) -> list[str]:
    if load is None:
        return [NO_DATA] * 5
    amounts = (load.concurrency, load.requests_per_s, load.errors_per_s)
    return [*(_at_least(load, f"{amount:.3g}") for amount in amounts), _seconds(load.p50_s), _seconds(load.p95_s)]


def _at_least(load: LoadView, text: str) -> str:
    return f"{text} or more" if load.gateways_silent else text


def _seconds(value: float | None) -> str:
    """A dash where no request ended."""
    if value is None:
        return "-"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
