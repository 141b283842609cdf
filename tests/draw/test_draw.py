"""Plots: their markup is safe and well formed, what is missing is a gap, and nothing that can be drawn breaks them."""

from __future__ import annotations

import ast
import math
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import tidegate.draw
from tidegate.draw import (
    STYLE,
    Axis,
    Band,
    Bins,
    Limit,
    Line,
    Parts,
    Plot,
    PlotRow,
    PlotSize,
    Stair,
    TimelineSpan,
    bar_share,
    bin_names,
    blocks,
    histogram_pair,
    interval_series,
    limits,
    rows,
    series,
    sparkline,
    stairs,
    timeline,
)
from tidegate.draw.scales import domain, known, rounded_out, ticks, written
from tidegate.draw.times import moment, time_ticks

NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC
EVIL = "</title><script>alert(1)</script>\"'&\x00\ud800"


def tree(markup: str) -> ET.Element:
    return ET.fromstring(markup)  # noqa: S314 - our own


def every_plot(name: str, values: list[float | None]) -> list[Plot]:
    times = [NOON + second for second in range(len(values))]
    bins = [f"{name} {number}" for number in range(len(values))]
    return [
        series(name, times, [Line(name, values), Line(name, values)], Axis(name, level=(name, 1.0)), description=name),
        interval_series(name, times, [Band(name, values, values, values)], Axis(name, from_zero=False)),
        sparkline(name, values, unit=name),
        histogram_pair(name, bins, Bins(name, values), Bins(name, values), description=name),
        bar_share(name, [(name, value) for value in values]),
        timeline(
            name, [TimelineSpan(name, NOON, value, "high", name) for value in values if known(value)], (NOON, NOON + 9)
        ),
        rows(name, Parts([name, name], name, name), [PlotRow(name, [value, value], value) for value in values], name),
        limits(name, [Limit(name, value, value, 1.0, unit=name) for value in values], name),
        limits(name, [Limit(name, 1.0, 1.0, math.nan if value is None else value, is_least=True) for value in values]),
        stairs(
            name, [Stair(math.nan if v is None else v, at, at + 1, name) for at, v in zip(times, values, strict=True)]
        ),
    ]


def parsed(plot: Plot) -> ET.Element:
    """The whole figure, which is well formed and holds nothing that a strict policy refuses."""
    html = plot.__html__()
    html.encode()
    root = tree(html)
    for item in root.iter():
        assert item.tag in {
            *("figure", "figcaption", "ul", "li", "bdi", "span", "details", "summary", "div", "table", "caption"),
            *("thead", "tbody", "tr", "th", "td", "svg", "title", "desc", "g", "path", "rect", "circle", "text"),
        }
        assert not [name for name in item.attrib if name == "style" or name.startswith("on")]
    return root


def numbers_of(plot: Plot) -> list[float]:
    """Every coordinate in the picture."""
    found = []
    for item in tree(plot.svg).iter():
        for name in ("d", "x", "y", "cx", "cy", "width", "height"):
            found += [
                float(number)
                for number in re.findall(r"[-+.\w]*\d[-+.\w]*", re.sub("[MLHVZ]", " ", item.get(name, "")))
            ]
    return found


def path_of(plot: Plot, class_: str = "s1") -> str:
    paths = [item.get("d", "") for item in tree(plot.svg).iter("path") if item.get("class") == class_]
    return "".join(paths)


VALUES: dict[str, list[float | None]] = {
    "empty": [],
    "one point": [5.0],
    "one missing": [None],
    "constant": [3.0] * 20,
    "zero": [0.0] * 20,
    "not numbers": [math.nan, math.inf, -math.inf, 1.0],
    "huge": [1e308, -1e308, 1e308],
    "tiny": [5e-324, 0.0, 1e-310],
    "close": [1e16, 1e16 + 2, 1e16],
    "negative": [-3.0, -1.0, -2.0],
    "gaps": [1.0, None, 2.0, 3.0, None],
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_whatever_comes_is_drawn_within_the_picture(values: list[float | None]) -> None:
    for plot in every_plot("churn", values):
        root = parsed(plot)
        svg = root.find("svg")
        assert svg is not None
        title = svg.find("title")
        assert svg.get("role") == "img"
        assert title is not None
        assert title.text == "churn"
        side = max(float(svg.get("width", "")), float(svg.get("height", "")))
        assert all(-1 <= number <= side + 1 for number in numbers_of(plot))


def test_names_are_only_text() -> None:
    for plot in every_plot(EVIL, [1.0, 2.0]):
        root = parsed(plot)
        assert "<script" not in plot.__html__()
        title = root.find("svg/title")
        assert title is not None
        assert title.text == "</title><script>alert(1)</script>\"'&\ufffd\ufffd"


def test_a_long_name_is_shortened_beside_the_plot() -> None:
    plot = series("t", [NOON], [Line("x" * 10_000, [1.0])])
    names = [item.text or "" for item in parsed(plot).iter("bdi")]
    assert [len(name) for name in names] == [60]


def test_the_same_input_makes_the_same_bytes() -> None:
    first = [plot.__html__() for plot in every_plot("churn", [1.0, None, 3.5])]
    assert first == [plot.__html__() for plot in every_plot("churn", [1.0, None, 3.5])]


def test_missing_values_are_gaps_and_never_zero() -> None:
    times = [NOON + second for second in range(7)]
    plot = series("t", times, [Line("a", [10.0, 10.0, None, 20.0, 20.0, math.nan, 20.0])])
    path = path_of(plot)
    assert path.count("M") == 2
    bottom = max(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path))
    assert bottom < 158 / 2 + 20  # ten of twenty is in the middle, and nothing is below
    (dot,) = tree(plot.svg).iter("circle")  # a value between two gaps
    assert dot.get("class") == "s1 dot"
    cells = [item.text for item in parsed(plot).iter("td")]
    assert cells == ["10", "10", "–", "20", "20", "–", "20"]  # noqa: RUF001


def test_an_interval_without_an_end_has_no_area_and_an_infinite_one_reaches_the_edge() -> None:
    times = [NOON + second for second in range(5)]
    band = Band("a", [1.0] * 5, [-math.inf, 0.5, None, 0.5, 0.5], [math.inf, 1.5, 1.5, 1.5, math.nan])
    area = path_of(interval_series("t", times, [band]), "band s1")
    assert area.count("Z") == 2
    assert "M52.0 20.0L" in area


def test_a_few_very_wide_intervals_do_not_make_the_others_flat() -> None:
    count = 100
    widths = [1e6, *[1.0] * (count - 1)]
    times = [NOON + second for second in range(count)]
    ends = [-width for width in widths], widths
    plot = interval_series("t", times, [Band("a", [0.0] * count, *ends)])
    heights = sorted({float(y) for y in re.findall(r" ([\d.]+)", path_of(plot, "band s1"))})
    assert heights[-1] - heights[0] > 60
    assert "1e+06" in plot.table.__html__()  # the table has the interval as it is


def test_a_million_points_are_thinned_and_keep_their_peaks() -> None:
    count = 1_000_000
    values: list[float | None] = [50.0 + index % 7 for index in range(count)]
    values[123_456], values[777_777] = 1000.0, 0.0
    values[400_000:450_000] = [None] * 50_000
    times = [NOON + index / 10 for index in range(count)]
    plot = series("t", times, [Line("a", values)])
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path_of(plot))
    assert len(points) <= 4 * 480
    heights = [float(y) for _x, y in points]
    assert min(heights) == 20.0
    assert max(heights) == 158.0
    assert path_of(plot).count("M") == 2
    assert len(plot.svg) < 60_000
    assert len(plot.table.rows) == 100
    assert "(100 of 1,000,000 rows)" in plot.table.__html__()


def test_samples_that_lie_far_apart_are_joined_in_a_long_series() -> None:
    times = [NOON + index for index in range(3000)] + [NOON + 3000 + 100 * index for index in range(100)]
    plot = series("t", times, [Line("a", [1.0] * len(times))])
    assert path_of(plot).count("M") == 1


@pytest.mark.parametrize("times", [[2.0, 1.0], [math.nan], [1.0, math.inf], [1e300], [1.0]])
def test_times_that_are_no_axis_are_refused(times: list[float]) -> None:
    values = [1.0] * len(times) if times != [1.0] else []
    with pytest.raises(ValueError, match="times"):
        series("t", times, [Line("a", values)])
    with pytest.raises(ValueError, match="times"):
        interval_series("t", times, [Band("a", values, values, values)])


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 97), (-3.3, 4.1), (0.93, 0.9301), (1e-9, 3e-9), (0, 1e300), (-1e300, 1e300), (7, 1e6)]
)
def test_ticks_are_few_round_and_within(low: float, high: float) -> None:
    low, high = rounded_out(low, high)
    found = ticks(low, high, 6)
    assert 2 <= len(found) <= 6
    assert found[0] >= low - abs(low) * 1e-9
    assert found[-1] <= high + abs(high) * 1e-9
    steps = {f"{after - before:.0e}"[0] for before, after in pairwise(found)}
    assert steps <= {"1", "2", "5"}
    step = found[1] - found[0]
    labels = [written(tick, step) for tick in found]
    assert len(set(labels)) == len(labels)


def test_axes_of_amounts_begin_at_zero_and_those_of_scores_do_not() -> None:
    assert domain([40.0, 50.0], from_zero=True) == (0.0, 50.0)
    assert domain([40.0, 50.0], from_zero=False) == (40.0, 50.0)
    assert domain([5.0], from_zero=False) == (4.5, 5.5)
    assert domain([], from_zero=True) == (0.0, 1.0)


def test_numbers_are_written_for_people() -> None:
    assert [written(value) for value in (0, 0.5, 1234, 12_345, 3.2e6, 1e30, -2)] == [
        *("0", "0.5", "1,234", "12.3 k", "3.2 M", "1e+30", "−2")  # noqa: RUF001
    ]


@pytest.mark.parametrize(
    ("span_s", "labels"),
    [
        (10, ["12:00:00", "12:00:02", "12:00:04", "12:00:06", "12:00:08", "12:00:10"]),
        (300, ["12:00", "12:01", "12:02", "12:03", "12:04", "12:05"]),
        (3600, ["12:00", "12:15", "12:30", "12:45", "13:00"]),
        (86_400, ["12:00", "18:00", "19 Nov", "06:00", "12:00"]),
        (7 * 86_400, ["19 Nov", "21 Nov", "23 Nov", "25 Nov"]),
        (365 * 86_400, ["Jan 2027", "Apr 2027", "Jul 2027", "Oct 2027"]),
        (3650 * 86_400, ["2028", "2030", "2032", "2034", "2036"]),
    ],
)
def test_ticks_of_time_are_round_moments_of_utc(span_s: float, labels: list[str]) -> None:
    assert [label for _at, label in time_ticks(NOON, NOON + span_s, 6)] == labels


def test_times_before_and_after_all_calendars_are_numbers() -> None:
    assert time_ticks(0.0, 1e15, 4)[-1][1] == "1e+15"
    assert moment(1e14) == "100 T"
    assert moment(NOON + 0.9) == "2026-11-18 12:00:00Z"


def test_distributions_are_compared_by_their_shares() -> None:
    plot = histogram_pair("t", ["a", "b"], Bins("reference", [10, 30]), Bins("now", [5000, 15_000]))
    tops = [rect.get("y") for rect in tree(plot.svg).iter("rect") if rect.get("class") == "now"]
    outline = re.findall(r"[ML][\d.]+ ([\d.]+)H", path_of(plot, "outline"))
    assert [float(top or "") for top in tops] == [float(step) for step in outline]
    assert plot.table.rows[0] == ["a", "10", "25.0", "5,000", "25.0"]


def test_an_outline_is_broken_where_the_reference_is_missing() -> None:
    plot = histogram_pair("t", ["a", "b", "c", "d"], Bins("r", [10, 30, None, 5]), Bins("now", [1, 1, 1, 1]))
    assert path_of(plot, "outline").count("M") == 2


def test_a_small_picture_names_its_first_and_its_last_bin() -> None:
    names = [f"({number}.25, {number + 1}.25]" for number in range(20)]
    plot = histogram_pair("t", names, Bins("r", [1.0] * 20), Bins("now", [2.0] * 20), PlotSize(300, 120))
    groups = [group for group in tree(plot.svg).iter("g") if group.get("class") == "x"]
    labels = [(item.text, item.get("text-anchor")) for group in groups for item in group]
    assert labels == [("(0.25, 1.25]", "start"), ("(19.25, 20.25]", "end")]


def test_events_are_marked_within_the_axis_alone() -> None:
    axis = Axis(events=[("drift of age", NOON + 5), ("before", NOON - 5)])
    plot = series("t", [NOON, NOON + 10], [Line("a", [1.0, 2.0])], axis)
    (event,) = [item for item in tree(plot.svg).iter("path") if item.get("class") == "event"]
    assert event.find("title") is not None
    assert "drift of age" in plot.__html__()


def test_a_timeline_has_a_row_for_each_span_and_an_end_for_what_goes_on() -> None:
    spans = [TimelineSpan("drift", NOON, None, "high", "moved"), TimelineSpan("errors", NOON - 60, NOON, "low")]
    plot = timeline("t", spans, (NOON - 100, NOON + 100))
    parsed(plot)
    bars = [rect for rect in tree(plot.svg).iter("rect") if rect.get("class") != "none"]
    assert [rect.get("class") for rect in bars] == ["high ongoing", "low over"]
    assert float(bars[0].get("x", "")) + float(bars[0].get("width", "")) == 630.0
    assert plot.table.rows[0] == ["drift", "high", "2026-11-18 12:00:00Z", "goes on", "moved"]
    with pytest.raises(ValueError, match="has no length"):
        timeline("t", spans, (NOON, NOON))


def test_what_comes_and_goes_is_one_row_of_a_timeline_unless_it_overlaps() -> None:
    times = [(0, 1), (2, 3), (2.5, 4), (5, None)]
    spans = [TimelineSpan("drift", NOON + begin, end and NOON + end, "high") for begin, end in times]
    plot = timeline("t", [*spans, TimelineSpan("errors", NOON, NOON + 1, "low")], (NOON, NOON + 9))
    parsed(plot)
    bars = [rect for rect in tree(plot.svg).iter("rect") if rect.get("class") != "none"]
    tops = [float(rect.get("y", "")) for rect in bars]
    assert len(set(tops)) == 3, "drift twice, as it overlaps itself once, and errors"
    assert [tops.count(top) for top in sorted(set(tops))] == [3, 1, 1]
    assert len(plot.table.rows) == 5


def test_a_timeline_draws_no_more_rows_than_can_be_read() -> None:
    plot = timeline("t", [TimelineSpan("drift", NOON, NOON + 1, "high")] * 1000, (NOON, NOON + 100))
    assert plot.svg.count("<rect") == 30
    assert "970 more are in the table" in plot.svg
    parsed(timeline("t", [], (NOON, NOON + 100)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0, 1, 2, 4, 8], "▁▂▃▅█"),
        ([5.0] * 4, "████"),
        ([0, 0], "▁▁"),
        ([1, None, math.nan, 8], "▂  █"),
        ([-1, 0, 1], "▁▅█"),
        ([], ""),
        ([None], " "),
        ([1e308, -1e308], "█▁"),
    ],
)
def test_a_series_in_characters(values: list[float | None], told: str) -> None:
    assert blocks(values) == told


def test_characters_show_the_highest_of_their_values_and_never_more_than_the_width() -> None:
    assert blocks([0, 9, 0, 0, 0, 0, 0, 0], 4) == "█▁▁▁"
    assert len(blocks([1.0] * 1000, 16)) == 16
    assert blocks([0, 4, 8], is_ascii=True) == "_+@"
    with pytest.raises(ValueError, match="no room"):
        blocks([1.0], 0)


def test_characters_are_drawn_to_a_scale_that_is_given() -> None:
    assert blocks([0.9, 0.8], low=0.8) == "█▁"
    assert blocks([1.0, 2.0], high=4.0) == "▃▅"


def test_bins_and_counts_belong_together() -> None:
    with pytest.raises(ValueError, match="1 counts for 2 bins"):
        histogram_pair("t", ["a", "b"], Bins("reference", [1]), Bins("now", [1, 2]))


def test_bins_are_named_by_their_edges() -> None:
    assert bin_names([-math.inf, 0.0, 2.5, math.inf]) == ["< 0", "0 to 2.5", "≥ 2.5"]


def test_many_bins_are_drawn_together_with_their_neighbours() -> None:
    counts = [1.0] * 1000
    plot = histogram_pair("t", bin_names([float(edge) for edge in range(1001)]), Bins("a", counts), Bins("b", counts))
    assert plot.svg.count("<rect") == 60
    assert plot.table.total == 1000


def test_parts_fill_the_bar() -> None:
    plot = bar_share("t", [("7", 90.0), ("8", 10.0), ("9", 0.0)], PlotSize(100.0, 8.0))
    widths = [float(rect.get("width", "")) for rect in tree(plot.svg).iter("rect")]
    assert widths == [100.0, 89.1, 9.9]
    assert [row[1] for row in plot.table.rows] == ["90 %", "10 %", "0 %"]


def test_every_class_has_its_look() -> None:
    lines = [Line(str(number), [1.0, None, 2.0, 2.0]) for number in range(12)]
    times = [NOON + second for second in range(4)]
    plots = [
        series("t", times, lines, Axis("ms", level=("limit", 1.0), events=[("deploy", NOON)])),
        timeline(
            "t",
            [TimelineSpan("a", NOON, None, look) for look in ("low", "medium", "high", "critical")],
            (NOON, NOON + 9),
        ),
        series("t", [], []),
        bar_share("t", [(str(number), 1.0) for number in range(12)]),
        *every_plot("t", [1.0, 2.0]),
    ]
    used = {name for plot in plots for name in re.findall(r'class="([^"]*)"', plot.svg)}
    of_pages = {"x", "unit"}  # which need no look of their own
    assert {one for name in used for one in name.split() if f".{one}" not in STYLE} <= of_pages
    assert STYLE.count("{") == STYLE.count("}")


def test_nothing_but_the_standard_library_and_numpy_is_imported() -> None:
    allowed = {*sys.stdlib_module_names, "numpy"}
    for path in Path(tidegate.draw.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert [n for n in names if n.partition(".")[0] not in allowed and not n.startswith("tidegate.draw")] == []
