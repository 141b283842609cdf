"""Heads that are known by their bytes: what they must be equal in, and what they never stand for."""

from tidegate.dataplane.http.known_heads import GENERATION_MAX, KnownHeads
from tidegate.dataplane.http.routes import RouteTable


def _request(body: bytes, extra: bytes = b"") -> bytes:
    return b"POST /predict HTTP/1.1\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), extra, body)


ROUTE = RouteTable().find(b"/predict")


def _learn(heads: KnownHeads, request: bytes, length: int) -> None:
    assert ROUTE is not None
    heads.learn(request, ROUTE, {b"content-length": b"%d" % length})


def test_a_head_is_known_with_any_body_of_its_length() -> None:
    heads = KnownHeads()
    assert heads.find(_request(b"12345")) is None
    _learn(heads, _request(b"12345"), 5)
    other = _request(b"abcde")
    known = heads.find(other)
    assert known is not None
    assert other[known.body_at :] == b"abcde"
    assert known.route is ROUTE


def test_what_is_less_or_more_than_one_request_is_left_to_the_parser() -> None:
    heads = KnownHeads()
    whole = _request(b"12345")
    _learn(heads, whole, 5)
    assert heads.find(whole[:-1]) is None
    assert heads.find(whole + whole) is None
    assert heads.find(whole[:20]) is None
    assert heads.find(b"") is None
    assert heads.find(_request(b"12345", b"x-request-id: 1\r\n")) is None


def test_nothing_is_learned_of_a_request_that_was_not_whole_or_had_no_length() -> None:
    heads = KnownHeads()
    whole = _request(b"12345")
    _learn(heads, whole[:-1], 5)
    _learn(heads, whole + b"P", 5)
    heads.learn(whole, ROUTE, {})  # type: ignore[arg-type]
    long = _request(b"12345", b"x: " + b"y" * 4096 + b"\r\n")
    _learn(heads, long, 5)
    assert heads.find(whole) is None
    assert heads.find(long) is None


def test_heads_that_never_come_again_do_not_push_out_one_that_does() -> None:
    heads = KnownHeads()
    kept, lost = _request(b"12345"), _request(b"123456")
    _learn(heads, kept, 5)
    _learn(heads, lost, 6)
    for number in range(4 * GENERATION_MAX):
        _learn(heads, _request(b"1", b"x-request-id: %d\r\n" % number), 1)
        assert heads.find(kept) is not None
    assert heads.find(lost) is None
