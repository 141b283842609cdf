"""Forms with files, as they come over the wire: in chunks of any size, whole or broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.console.multipart import HEAD_BYTES_MAX, PARTS_MAX, boundary_of, parts
from tidegate.errors import MalformedRequest, WrongContentType

BOUNDARY = b"----X"
HEAD = 'content-disposition: form-data; name="{}"'
Sent = list[tuple[str, str | None, bytes]]


def body_of(sent: Sent, boundary: bytes = BOUNDARY) -> bytes:
    body = b""
    for name, filename, content in sent:
        head = HEAD.format(name) + ("" if filename is None else f'; filename="{filename}"\r\ncontent-type: x/y')
        body += b"--" + boundary + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def chunked(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))


def read(body: bytes, size: int = 7) -> Sent:
    return [(one.name, one.filename, b"".join(one.content)) for one in parts(chunked(body, size), BOUNDARY)]


CONTENT = st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY, b"----", b"\r", b"a", b"\n\r\n--"])).map(b"".join)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.just("f.csv"), CONTENT), max_size=4), st.integers(1, 40)
)
def test_whatever_is_in_the_files_comes_out_whole(sent: Sent, size: int) -> None:
    boundary = b"\r\n--" + BOUNDARY
    sent = [(name, filename, content.replace(boundary, b"")) for name, filename, content in sent]
    sent = [one for one in sent if boundary not in b"\r\n" + one[2] + b"\r\n"]
    assert read(body_of(sent), size) == sent


def test_a_part_that_nobody_reads_is_skipped() -> None:
    body = body_of([("a", "big", b"x" * 1000), ("b", None, b"after")])
    assert [one.name for one in parts(chunked(body, 11), BOUNDARY)] == ["a", "b"]


def test_names_are_as_browsers_escape_them() -> None:
    ((name, filename, _),) = read(body_of([("a%22b", "grün%0D%0A.csv", b"")]))
    assert (name, filename) == ('a"b', "grün\r\n.csv")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends in the middle"),
        (body_of([("a", None, b"1")])[:-8], "ends in the middle"),
        (b"--" + BOUNDARY + b"\r\nx: y\r\n\r\n1\r\n--" + BOUNDARY + b"--", "has no name"),
        (b"--" + BOUNDARY + b"\r\n" + b"x" * (HEAD_BYTES_MAX + 10), "head of more than"),
        (b"--" + BOUNDARY + b"\r\n" + HEAD.encode() + b"\xff\r\n\r\n1\r\n--" + BOUNDARY + b"--", "no UTF-8"),
        (body_of([("a", None, b"")] * (PARTS_MAX + 1)), f"more than {PARTS_MAX} parts"),
    ],
)
def test_what_is_no_form_is_refused_with_a_sentence(body: bytes, why: str) -> None:
    with pytest.raises(MalformedRequest, match=why):
        read(body)


def test_the_boundary_is_that_of_the_header() -> None:
    assert boundary_of('multipart/form-data; boundary="a-b"') == b"a-b"
    assert boundary_of("Multipart/Form-Data; charset=utf-8; Boundary=a-b") == b"a-b"
    for wrong in ("multipart/form-data", "text/plain; boundary=x", ""):
        with pytest.raises(WrongContentType):
            boundary_of(wrong)
    with pytest.raises(MalformedRequest, match="boundary"):
        boundary_of(f"multipart/form-data; boundary={'x' * 71}")
