"""Templates into HTML: escaped always, strict about what is not there. The macros of `ui.html` are `ui` everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tidegate.client.transport.in_process import Caller
from tidegate.console import words
from tidegate.console.asking import Shown
from tidegate.console.assets import static
from tidegate.console.nav import NAV, TABS
from tidegate.version import __version__
from tidegate.wire.endpoints.tags import tag_of

LIVE = "live_"
"""Blocks of this name are kept fresh while a page is open; each stands alone in an element with its name as id."""


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update(
        tone=words.tone,
        moment=words.moment,
        ago=words.ago,
        percent=words.percent,
        rate=words.rate,
        duration=words.duration,
        size=words.size,
        split=words.split,
        arms=words.arms,
        shell=words.shell_word,
        etag=tag_of,
        sentence=words.sentence,
        engine=words.engine,
        placed=words.placed,
        predicted=words.predicted,
    )
    env.globals.update(static=static, share=words.share, unknown=words.UNKNOWN, NAV=NAV, TABS=TABS, release=__version__)
    env.globals["ui"] = env.get_template("ui.html").module
    return env


def page(shown: Shown, around: Mapping[str, Any]) -> str:
    """The whole page. `around` is what every page has."""
    return _environment().get_template(shown.template).render({**around, **shown.context})


def live_parts(shown: Shown, around: Mapping[str, Any]) -> dict[str, str]:
    """The blocks of the page that change by themselves, by name."""
    template = _environment().get_template(shown.template)
    values = {**around, **shown.context}
    return {
        name: "".join(block(template.new_context(values))) for name, block in _blocks(template) if name.startswith(LIVE)
    }


def _blocks(template: Template) -> Iterator[tuple[str, Any]]:
    """Those of the page itself: the layout's are not live."""
    yield from template.blocks.items()


def around(path: str, at_s: float, caller: Caller | None) -> dict[str, Any]:
    """What every page has: where it is, when it was made, whether somebody is logged in."""
    return {"here": path, "at_s": at_s, "has_session": caller is not None and caller.cookie is not None}
