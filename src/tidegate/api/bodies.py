"""Checks a JSON body before a route sees it: UTF-8, and no text in it that could not be stored or shown again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tidegate.core.texts import storable
from tidegate.errors import InvalidArgument, MalformedRequest

FIELD_CHARS_MAX = 100
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""An escape of NUL or of either half of a surrogate pair; whole pairs are good."""


def check_texts(body: bytes) -> None:
    """Raise `MalformedRequest` for bytes that are no UTF-8, `InvalidArgument` for a text with NUL or a lone surrogate.

    What is no JSON at all passes: the framework says where it breaks.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the body is no JSON: byte {error.start} is not UTF-8") from error
    if "\0" in text:  # also UTF-16 and UTF-32 without a mark, which the framework would guess
        raise MalformedRequest("the body is no JSON in UTF-8: it has a NUL byte")
    if not _SUSPECT.search(text):  # only an escape can still stand for such a character
        return
    for path, found in _texts(_parsed(body)):
        if not storable(found):
            field = ascii(path)[1:-1][:FIELD_CHARS_MAX]
            raise InvalidArgument(f"{field or 'the body'}: a text has a NUL or a lone surrogate", field=field)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError as error:
        raise MalformedRequest("the body is nested too deep") from error
    except ValueError:
        return None


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in it, names of fields too, with the path to it. A loop, for a body may be nested deep."""
    waiting = [("", value)]
    while waiting:
        path, found = waiting.pop()
        match found:
            case str():
                yield path, found
            case dict():
                inside = [(_below(path, name), name, one) for name, one in found.items()]
                yield from ((here, name) for here, name, _one in inside)
                waiting += [(here, one) for here, _name, one in inside]
            case list():
                waiting += [(_below(path, str(place)), one) for place, one in enumerate(found)]


def _below(path: str, name: str) -> str:
    """Cut at each step: a long name with much below it would be copied for all of that."""
    return (f"{path}.{name}" if path else name)[:FIELD_CHARS_MAX]
