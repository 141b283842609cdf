from typing import Any

import pytest

from tidegate.cli.endpoints.load import load_table, p95, rate, series_table
from tidegate.wire.gateways.load import LoadSeries, LoadView, VersionSeries
from tidegate.wire.rest import Endpoint, ReplicaCount, VariantView

BUSY = LoadView(60.0, 2.5, 41.23, 0.5, 0.0312, 1.25)
QUIET = LoadView(60.0, 0.0, 0.0, 0.0, None, None)
PART = LoadView(60.0, 2.5, 41.23, 0.0, 0.0312, 1.25, gateways_silent=1)


def _endpoint(whole: LoadView | None, *loads: LoadView | None) -> Endpoint:
    variants: list[Any] = [
        VariantView(str(number), 50.0, "ready", "", ReplicaCount(1, 1), load=one)
        for number, one in enumerate(loads, start=1)
    ]
    return Endpoint("churn", "http://x", "ready", "", {}, variants, load=whole)


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (None, ("no data yet", "no data yet")),
        (QUIET, ("0", "-")),
        (BUSY, ("41.2", "1.25 s")),
        (PART, ("41.2 or more", "1.25 s")),
    ],
)
def test_what_is_not_known_is_never_0(load: LoadView | None, told: tuple[str, str]) -> None:
    assert (rate(load), p95(load)) == told


def test_each_version_has_its_figures_and_all_have_theirs() -> None:
    head, shown = load_table(_endpoint(BUSY, BUSY, QUIET))
    assert head == "load of the last 60 s"
    rows = [line.split() for line in shown.splitlines()]
    assert ["1", "2.5", "41.2", "0.5", "31.2", "ms", "1.25", "s"] in rows
    assert ["2", "0", "0", "0", "-", "-"] in rows
    assert ["all", "2.5", "41.2", "0.5", "31.2", "ms", "1.25", "s"] in rows


def test_a_single_version_is_told_once_unless_more_was_refused() -> None:
    assert "all" not in load_table(_endpoint(BUSY, BUSY))[1]
    refused = LoadView(60.0, 0.0, 3.0, 3.0, None, None)
    assert "all" in load_table(_endpoint(refused, QUIET))[1]


def test_without_samples_there_is_a_sentence_and_without_versions_nothing() -> None:
    assert load_table(_endpoint(None, None)) == ["load: no data yet (gateways tell it each second)"]
    assert load_table(_endpoint(None)) == []


def test_a_silent_gateway_is_told() -> None:
    assert "there may be more" in load_table(_endpoint(PART, PART))[0]


def test_the_last_minutes_are_told_newest_first() -> None:
    one = VersionSeries([1.0, None], [0.0, None], [0.5, None], [0.02, None])
    series = LoadSeries(5.0, [1_795_000_000.0, 1_795_000_005.0], {"1": one}, 1)
    lines = series_table(series).splitlines()
    assert lines[1] == "1 of the gateways silent: nothing is known of the newest seconds"
    newest, before = (line.split() for line in lines[-2:])
    assert newest[2:] == ["1", *["no", "data", "yet"] * 3, "-"]
    assert before[2:] == ["1", "0.5", "1", "0", "20", "ms"]
