"""Parts that pages of reports are made of: the page around them, sections, tables, tags. What comes in is escaped here.

Cells and contents are markup already; names, words and numbers are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.draw import STYLE as PLOTS
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.scales import MISSING, written
from tidegate.report.figures import NAME_CHARS_MAX
from tidegate.report.style import STYLE


def page(title: str, sections: Iterable[str], how: str) -> str:
    """The whole page; it loads nothing and runs nothing. `how` stands at its foot."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"{element('title', text(title))}<style>{STYLE}{PLOTS}</style>"
    )
    body = element("main", "".join(sections)) + element("footer", element("p", text(how), class_="sub"))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def section(title: str, id_: str, content: str, class_: str | None = None) -> str:
    """A part of the page under a heading."""
    head = element("h2", text(title), id=f"{id_}-h")
    return element("section", head + content, class_=class_, aria_labelledby=f"{id_}-h")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> str:
    """The first cell of each row is its heading. Of the class `lines`: no cell breaks."""
    head = "".join(element("th", text(header), scope="col") for header in headers)
    body = "".join(
        element("tr", element("th", row[0], scope="row") + "".join(element("td", cell) for cell in row[1:]))
        for row in rows
    )
    made = element("table", element("thead", element("tr", head)) + element("tbody", body), class_=class_)
    about = f"Table by {headers[0].lower()}"
    return element("div", made, class_="scroll", tabindex="0", role="group", aria_label=about)


def bulleted(items: Sequence[str]) -> str:
    """Items of a list, or nothing."""
    return element("ul", "".join(items)) if items else ""


def tag(word: str, tone: str) -> str:
    """A state in a word."""
    return element("span", text(word), class_=f"tag {tone}")


def name(of: str) -> str:
    """A name that somebody else has given."""
    return element("bdi", text(shortened(of, NAME_CHARS_MAX)))


def aside(told: str) -> str:
    """A sentence in a soft colour."""
    return element("p", text(told), class_="sub")


def more(count: int, shown: int, where: str) -> str:
    """How many are not shown, and where they are; nothing where all are shown."""
    return aside(f"{count - shown:,} more are {where}.") if count > shown else ""


def percent(share: float | None) -> str:
    """A share, with one decimal."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def value(of: float | None) -> str:
    """A number with three digits."""
    return MISSING if of is None else text(written(of))


def small(of: float | None) -> str:
    """A number that may be very small, such as a p-value."""
    return MISSING if of is None else text(written(of)) if of >= 1e-4 or of == 0 else f"{of:.0e}"
