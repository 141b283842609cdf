"""What the body of a prediction says it is, for the edges that read JSON.

A page of any site may make its visitor's browser send a body without a type, or of the types that forms have, and need
not ask first; of other types it has to ask, and no server here says yes. So those few are taken from programs (a bare
`curl -d` sends one of them), and refused where a browser says that a page sends them.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.errors import Forbidden

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"
_UNASKED = frozenset({b"", FORM, b"text/plain", b"multipart/form-data"})


def kind_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The media type; JSON where nothing is said, or what `curl -d` says unasked. Raises `Forbidden` for a page's."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind in _UNASKED:
        if b"origin" in headers:
            raise Forbidden(
                f"a page of {headers[b'origin'].decode('latin-1')!r} sent this: from a page, "
                "only 'content-type: application/json' is taken"
            )
        if kind in (b"", FORM):
            return JSON
    return kind
