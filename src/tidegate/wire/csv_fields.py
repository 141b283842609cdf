"""How a field of a CSV file is read, in a request to the gateway and by `predict --file` alike. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

MISSING_TEXTS = frozenset({"", "NA", "N/A", "null", "NULL", "None"})
"""What a CSV file says for a missing number or boolean; a missing text is an empty field."""
_NOT_A_NUMBER = frozenset({"nan", "NaN", "NAN"})
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|Inf|Infinity|infinity)", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def field_value(text: str, datatype: str, *, nullable: bool) -> Any:
    """A field's value as its column's type; text that is none of that type stays text, which the gateway refuses.

    >>> [field_value(text, "FP64", nullable=False) for text in ("1", " 1.5", "None", "1_000")]
    [1, 1.5, None, '1_000']
    """
    if datatype == "BYTES":
        return None if text == "" and nullable else text
    bare = text.strip()
    if bare in MISSING_TEXTS:
        return None
    if datatype == "BOOL":
        return _BOOLEANS.get(bare, text)
    return math.nan if bare in _NOT_A_NUMBER else _number(bare, text)


def is_number(text: str) -> bool:
    """Whether a field is written as a number."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _number(bare: str, text: str) -> Any:
    if _WHOLE.fullmatch(bare):
        return int(bare)
    value = float(bare) if _NUMBER.fullmatch(bare) else text
    # What is written out has to fit: 1e400 is no way to say infinity.
    return text if value in (math.inf, -math.inf) and bare[-1].isdigit() else value
