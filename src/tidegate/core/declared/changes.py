"""What differs between an endpoint as it was and as it is to be, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.core.declared.endpoint import ENDPOINT
from tidegate.core.declared.fields import Entries, Section
from tidegate.wire.endpoints.declared import DocumentChange

_NAMES = ("endpoint", "model")


def changes_of(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[DocumentChange]:
    """Each field that differs, in the order of the declaration. `before` None: the endpoint is new."""
    old = {} if before is None else dict(ENDPOINT.flat(before, ""))
    new = dict(ENDPOINT.flat(after, ""))
    blank = {path: text for path, text in ENDPOINT.flat(_defaults(before or {}, after), "") if text != "unset"}
    found = []
    for path in [*new, *(path for path in old if path not in new)]:
        was, is_ = old.get(path, blank.get(path)), new.get(path)
        if was != is_ and (was, is_) != (None, "unset") and path not in _NAMES:
            found.append(DocumentChange(path, was, is_))
    return found


def _defaults(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are new, as if nobody had set anything in them."""
    return {
        one.name: {inner.known_as: inner.default for inner in one.kind.fields} if isinstance(one.kind, Section) else {}
        for one in ENDPOINT.fields
        if isinstance(one.kind, Section | Entries) and one.name in after and one.name not in before
    }
