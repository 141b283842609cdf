"""What differs between an endpoint as it was and as it is to be, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.core.declared.endpoint import ENDPOINT
from tidegate.wire.declared import DocumentChange

_NAMES = ("endpoint", "model")


def changes_of(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[DocumentChange]:
    """Each field that differs, in the order of the declaration. `before` None: the endpoint is new."""
    old = {} if before is None else dict(ENDPOINT.flat(before, ""))
    new = dict(ENDPOINT.flat(after, ""))
    blank = dict(ENDPOINT.flat(_defaults(after), "")) if before is None else {}
    found = []
    for path in [*new, *(path for path in old if path not in new)]:
        was, is_ = old.get(path, blank.get(path)), new.get(path)
        if was != is_ and path not in _NAMES:
            found.append(DocumentChange(path, was, is_))
    return found


def _defaults(after: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a new endpoint before anybody set one."""
    sections = {one.known_as: one.kind for one in ENDPOINT.fields if hasattr(one.kind, "flat")}
    return {name: kind.read({}, name) for name, kind in sections.items() if name in after and name != "scaling"}
