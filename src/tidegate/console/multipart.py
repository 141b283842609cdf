"""A form with files, as browsers send it (multipart/form-data, RFC 7578), read part by part as its bytes come.

Called by `uploading`. Nothing of a file is kept here; what is no such form is refused with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidegate.errors import MalformedRequest, WrongContentType

MEDIA_TYPE = "multipart/form-data"
BOUNDARY_CHARS_MAX = 70
"""By RFC 2046."""
HEAD_BYTES_MAX = 8192
PARTS_MAX = 100
_END_OF_HEAD = b"\r\n\r\n"
_PARAMETER = re.compile(r';\s*(name|filename)="([^"]*)"')
_BOUNDARY = re.compile(r';\s*boundary="?([^";,\s]+)"?', re.IGNORECASE)
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}


@dataclass(frozen=True)
class BodyPart:
    """A field, or a file where there is a `filename`. `content` is to be read before the next part is asked for."""

    name: str
    filename: str | None
    content: Iterator[bytes]


def boundary_of(content_type: str) -> bytes:
    """What parts are told apart by. Raises `WrongContentType` for what is no form with files."""
    found = _BOUNDARY.search(content_type)
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE or found is None:
        raise WrongContentType(f"content type {content_type[:100]!r} is not taken here: send the form as {MEDIA_TYPE}")
    boundary = found[1]
    if len(boundary) > BOUNDARY_CHARS_MAX or not boundary.isascii():
        raise MalformedRequest(f"the form cannot be read: its boundary has more than {BOUNDARY_CHARS_MAX} characters")
    return boundary.encode()


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[BodyPart]:
    """Each part in turn; what is left of one's content is skipped. Raises `MalformedRequest`."""
    body = _Body(chunks)
    delimiter = b"\r\n--" + boundary
    _skip(body.until(delimiter))  # what comes before the first is nothing
    for _ in range(PARTS_MAX):
        if body.ends():
            return
        name, filename = _named(body.head())
        content = body.until(delimiter)
        yield BodyPart(name, filename, content)
        _skip(content)
    raise MalformedRequest(f"the form cannot be read: it has more than {PARTS_MAX} parts")


class _Body:
    """Bytes as they come, with those that are still to be looked at."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = bytearray(b"\r\n")  # so that the first delimiter looks like the others

    def _more(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._left += chunk
                return
        raise MalformedRequest("the form cannot be read: it ends in the middle")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._left[:count])
        del self._left[:count]
        return taken

    def until(self, delimiter: bytes) -> Iterator[bytes]:
        """All before the delimiter, which is taken too."""
        while (place := self._left.find(delimiter)) < 0:
            sure = len(self._left) - len(delimiter) + 1
            if sure > 0:
                yield self._take(sure)
            self._more()
        if place:
            yield self._take(place)
        self._take(len(delimiter))

    def ends(self) -> bool:
        """Whether the delimiter that was just taken is the last."""
        while len(self._left) < 2:
            self._more()
        return self._left.startswith(b"--")

    def head(self) -> str:
        """The lines before a part's content."""
        while (end := self._left.find(_END_OF_HEAD)) < 0:
            if len(self._left) > HEAD_BYTES_MAX:
                break
            self._more()
        if not 0 <= end <= HEAD_BYTES_MAX:
            raise MalformedRequest(f"the form cannot be read: a part has a head of more than {HEAD_BYTES_MAX} bytes")
        head = self._take(end + len(_END_OF_HEAD))
        try:
            return head.decode()
        except UnicodeDecodeError:
            raise MalformedRequest("the form cannot be read: it is no UTF-8") from None


def _named(head: str) -> tuple[str, str | None]:
    for line in head.split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            given = {name: _unescaped(text) for name, text in _PARAMETER.findall(value)}
            if "name" in given:
                return given["name"], given.get("filename")
    raise MalformedRequest("the form cannot be read: a part has no name")


def _unescaped(text: str) -> str:
    for written, meant in _ESCAPED.items():
        text = text.replace(written, meant)
    return text


def _skip(content: Iterator[bytes]) -> None:
    for _ in content:
        pass
