"""What every plot is: a picture, the legend beside it, and the same data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw.markup import element, shortened, text

TABLE_ROWS_MAX = 100
COLOURS, DASHES = 6, (None, "7 3", "2 3", "9 3 2 3")


def stroke(index: int) -> dict[str, str | None]:
    """Class and dashes of the line with this number: told apart without colours too."""
    return {"class_": f"s{index % COLOURS + 1}", "stroke_dasharray": DASHES[index % len(DASHES)]}


class Markup(str):
    """Markup that templates which escape take as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


@dataclass(frozen=True)
class PlotTable:
    """The data of a plot; of more than `TABLE_ROWS_MAX` rows evenly chosen ones, and `total` says of how many."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int

    def __html__(self) -> str:
        """The table as HTML; templates that escape take it as it is."""
        caption = self.caption
        if self.total > len(self.rows):
            caption += f" ({len(self.rows)} of {self.total:,} rows)"
        head = "".join(element("th", text(header), scope="col") for header in self.headers)
        body = "".join(element("tr", _row(row)) for row in self.rows)
        return element(
            "table",
            element("caption", text(caption)) + element("thead", element("tr", head)) + element("tbody", body),
            class_="tight",
        )


@dataclass(frozen=True)
class Key:
    """One entry of a legend: `swatch` is markup, `note` what is said beside the name."""

    name: str
    swatch: str
    note: str = ""

    def __html__(self) -> str:
        name = element("bdi", text(shortened(self.name)))
        note = f" {element('span', text(self.note), class_='sub')}" if self.note else ""
        return element("li", f"{self.swatch} {name}{note}")


@dataclass(frozen=True)
class Plot:
    """`svg` is the picture alone. In a template the plot itself is a figure with its legend and table."""

    svg: Markup
    table: PlotTable
    legend: tuple[Key, ...] = ()

    def __html__(self) -> str:
        keys = "".join(key.__html__() for key in self.legend)
        legend = element("ul", keys, class_="legend") if keys else ""
        summary = element("summary", "As a table")
        details = element(
            "details",
            summary
            + element(
                "div",
                self.table.__html__(),
                class_="scroll",
                tabindex="0",
                role="group",
                aria_label=f"{shortened(self.table.caption)}, as a table",
            ),
        )
        return element("figure", self.svg + element("figcaption", legend + details), class_="figure")


def line_key(name: str, index: int, note: str = "") -> Key:
    """The legend's entry for a line."""
    stroked = element("path", d="M1 5H21", **stroke(index))
    return Key(name, element("svg", stroked, class_="key", width=22, height=10, aria_hidden="true"), note)


def level_key(name: str, note: str) -> Key:
    """The legend's entry for a horizontal level."""
    dashed = element("path", d="M1 5H21", class_="level")
    return Key(name, element("svg", dashed, class_="key", width=22, height=10, aria_hidden="true"), note)


def event_key(name: str, note: str, look: str = "event") -> Key:
    """The entry of moments that are marked."""
    upright = element("path", d="M11 1V9", class_=look)
    return Key(name, element("svg", upright, class_="key", width=22, height=10, aria_hidden="true"), note)


def limit_key(name: str) -> Key:
    """The entry of where something was meant to end, or must."""
    upright = element("path", d="M11 0V10", class_="limit")
    return Key(name, element("svg", upright, class_="key", width=22, height=10, aria_hidden="true"))


def outline_key(name: str, note: str = "") -> Key:
    """The entry of a distribution that is drawn as an outline."""
    steps = element("path", d="M1 9V3H11V6H21V9", class_="outline")
    return Key(name, element("svg", steps, class_="key", width=22, height=10, aria_hidden="true"), note)


def area_key(name: str, class_: str, note: str = "") -> Key:
    """The entry of bars or of a part of a bar."""
    filled = element("rect", width=10, height=10, rx=2, class_=class_)
    return Key(name, element("svg", filled, class_="key", width=10, height=10, aria_hidden="true"), note)


def picture(title: str, description: str, size: tuple[float, float], content: str, class_: str = "plot") -> Markup:
    """An SVG image that says what it shows."""
    width, height = size
    said = element("title", text(title)) + (element("desc", text(description)) if description else "")
    box = f"0 0 {width:g} {height:g}"
    return Markup(element("svg", said + content, class_=class_, viewBox=box, width=width, height=height, role="img"))


def chosen(count: int) -> list[int]:
    """Which rows of so many a table shows: all, or evenly spread ones with the first and the last."""
    if count <= TABLE_ROWS_MAX:
        return list(range(count))
    return [round(index * (count - 1) / (TABLE_ROWS_MAX - 1)) for index in range(TABLE_ROWS_MAX)]


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    numbers = "".join(element("td", text(cell), class_="num") for cell in others)
    return element("th", text(first), scope="row") + numbers
