"""Numbers as people write them, so that what is read again is the same number. Pure."""

from __future__ import annotations

_WHOLE_MAX = 1e15


def plain_number(value: float) -> float:
    """`90.0` as 90."""
    return int(value) if float(value).is_integer() and abs(value) < _WHOLE_MAX else value


def number_text(value: float) -> str:
    """As short as it can be without being another number.

    >>> [number_text(one) for one in (90.0, 1234567.0, 0.1234567, 5e-07)]
    ['90', '1234567', '0.1234567', '5e-07']
    """
    return str(plain_number(value))
