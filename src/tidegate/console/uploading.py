"""The form that takes a model in, sent whole by a browser without JavaScript: its files go on to the API as they come.

Called by `app`. With JavaScript the page sends its files itself (`static/upload.js`), with progress.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from starlette.requests import ClientDisconnect

from tidegate.client import Client
from tidegate.console.multipart import BodyPart, parts
from tidegate.errors import DeadlineExceeded, MalformedRequest, TooLarge

FILES: Mapping[str, tuple[str, str]] = {
    "upload_file": ("upload", "filename"),
    "validation_file": ("validation_upload", "validation_filename"),
}
"""The form's fields with files, and the fields that they become: the upload's id, and the file's own name."""
FIELD_BYTES_MAX = 1 << 16
"""Of all fields that are no files."""
CHUNK_TIMEOUT_S = 30.0
_FOLDERS = re.compile(r"^.*[/\\]", re.DOTALL)


def received(chunks: Iterable[bytes], boundary: bytes, client: Client) -> dict[str, str]:
    """The form's fields, with the files' ids once they are uploaded. In a thread: it waits for the bytes.

    Raises what the upload raises, `MalformedRequest`, and `TooLarge` for text that is too long.
    """
    form: dict[str, str] = {}
    size_bytes = 0
    for part in parts(chunks, boundary):
        if part.name in FILES:
            form |= _uploaded(part, client)
        elif part.filename is None:
            text = b""
            for chunk in part.content:
                text, size_bytes = text + chunk, size_bytes + len(chunk)
                if size_bytes > FIELD_BYTES_MAX:
                    raise TooLarge(f"the form's fields have more than {FIELD_BYTES_MAX} bytes")
            form[part.name] = _text(text)
    return form


def _uploaded(part: BodyPart, client: Client) -> dict[str, str]:
    """Nothing where no file was chosen: browsers send an empty one without a name."""
    if not part.filename:
        return {}
    upload, filename = FILES[part.name]
    return {upload: client.models.upload_chunks(part.content).id, filename: _FOLDERS.sub("", part.filename)}


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise MalformedRequest("the form cannot be read: it is no UTF-8") from None


def blocking(stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """What comes of a stream of the loop, for a thread that waits for it; a client that stalls is not waited for."""
    while True:
        coming = asyncio.run_coroutine_threadsafe(_next(stream), loop)
        try:
            chunk = coming.result(CHUNK_TIMEOUT_S)
        except TimeoutError:
            coming.cancel()
            raise DeadlineExceeded(f"no byte came for {CHUNK_TIMEOUT_S:g} s: the upload is dropped") from None
        if chunk is None:
            return
        yield chunk


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(stream, None)
    except ClientDisconnect:
        raise MalformedRequest("the browser left before the form's end: nothing was handed in") from None
