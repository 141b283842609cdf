"""Numbers that are numbers: NaN and infinity are none, in texts that people write and in values that leave us."""

from __future__ import annotations

import math


def finite(value: float) -> float | None:
    """The value, or None where it is NaN or infinite: JSON has neither, and "unknown" is what they stand for.

    >>> finite(0.5), finite(float("nan")), finite(float("-inf"))
    (0.5, None, None)
    """
    return value if math.isfinite(value) else None


def finite_number(text: str) -> float | None:
    """A number as people write it, spaces around it allowed; None for what is none, such as NaN, infinity or a word.

    >>> finite_number(" 0.5 "), finite_number("nan"), finite_number("much")
    (0.5, None, None)
    """
    try:
        return finite(float(text))
    except ValueError:
        return None
