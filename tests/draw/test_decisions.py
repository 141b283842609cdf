"""Plots of decisions: a sequence with its moments, limits and what is beyond them, rows of parts, steps over time."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tidegate.draw import Axis, Band, Limit, Parts, Plot, PlotRow, Stair, interval_series, limits, rows, stairs

NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC


def tree(plot: Plot) -> ET.Element:
    return ET.fromstring(plot.svg)  # noqa: S314 - our own


def desc(plot: Plot) -> str:
    return tree(plot).findtext("desc") or ""


def of_class(plot: Plot, name: str) -> list[ET.Element]:
    return [item for item in tree(plot).iter() if name in (item.get("class") or "").split()]


def test_marks_of_a_sequence_are_told_apart_from_trouble() -> None:
    axis = Axis("%", level=("no difference", 0.0), marks=[("promoted", NOON + 3)], events=[("ratio", NOON + 2)])
    band = Band("b", [0.1] * 4, [-0.1, 0.0, 0.05, 0.05], [0.3, 0.2, 0.15, 0.15])
    plot = interval_series("t", [NOON + at for at in range(4)], [band], axis)
    (mark,), (event,) = of_class(plot, "mark"), of_class(plot, "event")
    assert (mark.findtext("title"), event.findtext("title")) == ("promoted", "ratio")
    assert [key.name for key in plot.legend] == ["b", "no difference", "promoted", "ratio"]


@pytest.mark.parametrize("is_least", [False, True])
def test_what_is_beyond_a_limit_is_on_its_far_side_and_a_breach_is_drawn_there(is_least: bool) -> None:
    value = 0.5 if is_least else 1.5
    plot = limits("t", [Limit("errors", value, value, 1.0, is_least, "breached", "%")])
    (beyond,), (dot,) = of_class(plot, "beyond"), of_class(plot, "dot")
    begin, width = float(beyond.get("x", "")), float(beyond.get("width", ""))
    assert begin < float(dot.get("cx", "")) < begin + width
    assert "trouble" in (dot.get("class") or "")
    assert f"at {'least' if is_least else 'most'} 1 %, breached" in desc(plot)


def test_a_limit_of_which_nothing_is_known_has_no_dot() -> None:
    plot = limits("t", [Limit("errors", None, None, 0.01)])
    assert of_class(plot, "dot") == []
    assert "not known, at most 0.01, unknown" in desc(plot)
    assert plot.table.rows == [["errors", "–", "–", "at most 0.01", "–", "unknown"]]  # noqa: RUF001


def test_parts_of_a_row_follow_one_another_and_its_mark_is_where_it_was_meant_to_end() -> None:
    plot = rows("t", Parts(["matured", "maturing"], "units", "planned"), [PlotRow("control", [600, 200], 800.0)])
    first, second = tree(plot).iter("rect")
    end = float(first.get("x", "")) + float(first.get("width", ""))
    assert float(second.get("x", "")) == pytest.approx(end, abs=0.2)
    (mark,) = of_class(plot, "limit")
    meant = float(re.findall(r"M([\d.]+)", mark.get("d", ""))[0])
    assert meant == pytest.approx(float(second.get("x", "")) + float(second.get("width", "")), abs=0.2)
    assert "control: 600 matured, 200 maturing, planned 800." in desc(plot)


def test_rows_want_an_amount_for_each_part() -> None:
    with pytest.raises(ValueError, match="1 amounts for 2 parts"):
        rows("t", Parts(["a", "b"]), [PlotRow("r", [1.0])])
    with pytest.raises(ValueError, match="can be told apart"):
        rows("t", Parts([]), [])


def test_steps_rise_and_what_is_ahead_is_an_outline() -> None:
    went = [Stair(1.0, NOON, NOON + 600, "1,204 requests, fine"), Stair(5.0, NOON + 600, NOON + 900)]
    plot = stairs("t", [*went, Stair(25.0, NOON + 900, NOON + 1500, is_ahead=True)])
    heights = [float(item.get("height", "")) for item in of_class(plot, "now")]
    assert heights == sorted(heights)
    (ahead,) = of_class(plot, "ahead")
    assert float(ahead.get("height", "")) > heights[-1]
    assert "1 % from 2026-11-18 12:00:00Z to 2026-11-18 12:10:00Z: 1,204 requests, fine." in desc(plot)
    assert plot.table.rows[-1][2].endswith("(planned)")


def test_steps_that_do_not_follow_one_another_are_refused() -> None:
    with pytest.raises(ValueError, match="times"):
        stairs("t", [Stair(1.0, NOON, NOON + 5), Stair(5.0, NOON + 4, NOON + 9)])


def test_a_value_has_its_unit_and_says_which_way_it_may_really_be() -> None:
    told = limits("t", [Limit("latency", 15.6, 40.0, 50.0, unit="%"), Limit("drift", 0.044, 0.0, 0.25)]).svg
    assert "15.6 % (up to 40 %), at most 50 %" in told
    assert "0.044 (down to 0), at most 0.25" in told
