"""Characters that no text may have: NUL, which PostgreSQL does not store, and lone surrogates, which are no UTF-8."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> bool:
    """Whether a database can store the text and an answer can show it."""
    return _UNSTORABLE.search(text) is None


def made_storable(text: str) -> str:
    """The text with the replacement character for each character that could not be stored."""
    return _UNSTORABLE.sub("\ufffd", text)
