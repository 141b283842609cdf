"""Elements of SVG and HTML as text, with everything that is not ours escaped. Used by all of `draw`."""

from __future__ import annotations

import html
import re

NAME_CHARS_MAX = 60
"""What is shown of a name beside a plot."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def text(value: str) -> str:
    """Safe within an element and within a quoted attribute; what XML and UTF-8 cannot hold becomes U+FFFD."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", value))


def shortened(value: str, chars_max: int = NAME_CHARS_MAX) -> str:
    """The beginning of a long name."""
    return value if len(value) <= chars_max else f"{value[: chars_max - 1]}…"


def element(tag: str, content: str | None = None, /, **attributes: str | float | None) -> str:
    """`tag` around `content`, which is markup already. Attributes that are None are left out.

    `class_` is `class`, and `stroke_width` is `stroke-width`.
    """
    inside = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value) if isinstance(value, str) else place(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{inside}/>" if content is None else f"<{tag}{inside}>{content}</{tag}>"


def place(value: float) -> str:
    """A coordinate to a tenth of a unit, without a needless point or the sign of a zero."""
    written = f"{value:.1f}".removesuffix(".0")
    return "0" if written == "-0" else written
