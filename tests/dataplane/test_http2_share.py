"""What HTTP/2 connections share: turns of the loop, and one budget for frames that bring nothing."""

import pytest

from support.http2_pipe import HEAD, Client, Turns
from tidegate.dataplane.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    U32,
    WINDOW_UPDATE,
    Code,
    frame,
    literal,
)
from tidegate.dataplane.http2.share import CLIENT_UNITS_MAX, CONNECTION_UNITS, PROCESS_UNITS_MAX, TURN_UNITS_MAX

PINGS = frame(PING, 0, 0, bytes(8))
CANCEL = U32.pack(8)
NAMELESS = literal(b"x", b"y")


def opened(stream_id: int, head: bytes = HEAD) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, head)


def many(of_stream: bytes) -> list[bytes]:
    """The same on one stream after the other: stream 1 is replaced in the frames that `of_stream` has."""
    return [of_stream.replace(U32.pack(1), U32.pack(number)) for number in range(1, 2 * CLIENT_UNITS_MAX, 2)]


FLOODS: dict[str, tuple[bytes, list[bytes]]] = {
    "pings": (b"", [PINGS] * CLIENT_UNITS_MAX),
    "acknowledged pings": (b"", [frame(PING, ACK, 0, bytes(8))] * CLIENT_UNITS_MAX),
    "settings": (b"", [frame(SETTINGS, 0, 0)] * CLIENT_UNITS_MAX),
    "priorities": (b"", [frame(PRIORITY, 0, 1, bytes(5))] * CLIENT_UNITS_MAX),
    "unknown frames": (b"", [frame(77, 0, 0)] * CLIENT_UNITS_MAX),
    "empty data": (opened(1), [frame(DATA, 0, 1)] * CLIENT_UNITS_MAX),
    "data, byte by byte": (opened(1), [frame(DATA, 0, 1, b"x")] * CLIENT_UNITS_MAX),
    "small windows": (opened(1), [frame(WINDOW_UPDATE, 0, 1, U32.pack(2))] * CLIENT_UNITS_MAX),
    "small windows of the connection": (b"", [frame(WINDOW_UPDATE, 0, 0, U32.pack(2))] * CLIENT_UNITS_MAX),
    "rapid reset": (b"", many(opened(1) + frame(RST_STREAM, 0, 1, CANCEL))),
    "rapid reset of whole requests": (
        b"", many(opened(1) + frame(DATA, END_STREAM, 1, b"wait") + frame(RST_STREAM, 0, 1, CANCEL))
    ),
    "requests that break a rule": (b"", many(opened(1, NAMELESS))),
    "requests past the limit of streams": (b"", many(opened(1))),
    "requests that are refused by their fields": (b"", many(opened(1, HEAD + literal(b"refuse", b"me")))),
    "resets of streams that are over": (
        opened(1) + frame(DATA, END_STREAM, 1, b"hello"), [frame(RST_STREAM, 0, 1, CANCEL)] * CLIENT_UNITS_MAX
    ),
}  # fmt: skip


def is_cut(client: Client) -> bool:
    if not client.pipe.closed:
        return False
    assert client.ends_with(Code.ENHANCE_YOUR_CALM)
    return True


@pytest.mark.parametrize("kind", list(FLOODS))
def test_a_flood_on_eight_connections_gets_one_budget(kind: str) -> None:
    turns = Turns()
    start, pieces = FLOODS[kind]
    clients = [Client(turns=turns) for _ in range(8)]
    for client in clients:
        client.send(start)
    sent = 0
    for piece in pieces:
        for client in clients:
            if not client.pipe.closed:
                client.send(piece)
                sent += 1
        if all(client.pipe.closed for client in clients):
            break
    assert all(map(is_cut, clients))
    assert sent <= CLIENT_UNITS_MAX + 8 * CONNECTION_UNITS + 8


def test_the_budget_is_an_addresss_and_the_process_has_one_too() -> None:
    turns = Turns()
    first = Client(turns=turns, address="10.0.0.1")
    first.send(PINGS * (CLIENT_UNITS_MAX + 1))
    assert is_cut(first)
    other = Client(turns=turns, address="10.0.0.2")
    other.send(PINGS * (CONNECTION_UNITS + 100))
    assert not is_cut(other)
    for number in range(PROCESS_UNITS_MAX // CLIENT_UNITS_MAX + 1):
        Client(turns=turns, address=f"10.0.1.{number}").send(PINGS * (CLIENT_UNITS_MAX + 1))
    late = Client(turns=turns, address="10.0.0.3")
    late.send(PINGS * (CONNECTION_UNITS - 1))
    assert not is_cut(late)  # its own part it has in any case
    late.send(PINGS * 2)
    assert is_cut(late)


def test_a_budget_is_for_a_second() -> None:
    client = Client()
    for _ in range(5):
        client.send(PINGS * (CLIENT_UNITS_MAX - 10))
        client.second()
    assert not is_cut(client)


def test_calls_that_are_answered_make_good_of_what_their_connection_wasted() -> None:
    turns = Turns()
    flooding, busy = Client(turns=turns), Client(turns=turns)
    flooding.send(PINGS * (CLIENT_UNITS_MAX + 1))
    assert is_cut(flooding)
    for number in range(1, 4 * CONNECTION_UNITS, 2):
        busy.request(number, b"hello")
        busy.send(frame(WINDOW_UPDATE, 0, 0, U32.pack(5)), PINGS)
    assert not is_cut(busy)


def test_header_blocks_count_before_they_are_decoded_until_the_key_was_shown() -> None:
    client = Client()
    client.server.trusted = False
    long = HEAD + literal(b"x", b"y" * 8000)
    decoded = 0
    for stream_id in range(1, 2 * CLIENT_UNITS_MAX, 2):
        client.send(opened(stream_id, long) + frame(DATA, END_STREAM, stream_id, b"hello"))
        if client.pipe.closed:
            break
        decoded += len(long)
    assert is_cut(client)
    assert decoded <= 16 * (CLIENT_UNITS_MAX + CONNECTION_UNITS)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_much_that_came_at_once_is_worked_off_in_turns() -> None:
    turns = Turns()
    client = Client(turns=turns)
    requests = range(1, 801, 2)
    client.server.data_received(b"".join(opened(one) + frame(DATA, END_STREAM, one, b"x") for one in requests))
    answered = 0
    while turns.soon:
        assert not client.pipe.reading
        done = client.server.log.count("complete 1") - answered
        assert 0 < done <= TURN_UNITS_MAX
        answered += done
        turns.take()
    assert client.server.log.count("complete 1") == len(requests)
    assert client.pipe.reading


def test_connections_that_send_much_take_turns_and_one_that_asks_once_need_not_wait() -> None:
    turns = Turns()
    crowd = [Client(turns=turns) for _ in range(5)]
    much = b"".join(opened(one) + frame(DATA, END_STREAM, one, b"x") for one in range(1, 801, 2))
    for one in crowd:
        one.server.data_received(much)
    done = [one.server.log.count("complete 1") for one in crowd]
    assert sum(done) <= 3 * TURN_UNITS_MAX  # not five times a turn's work at once
    neighbour = Client(turns=turns)
    neighbour.server.data_received(opened(1) + frame(DATA, END_STREAM, 1, b"hello"))
    assert neighbour.server.log == ["complete 5"]
    for _ in range(2 * len(crowd)):
        turns.take()
    more = [one.server.log.count("complete 1") - before for one, before in zip(crowd, done, strict=True)]
    assert max(more) - min(more) <= TURN_UNITS_MAX


def test_a_connection_that_ends_while_it_waits_leaves_the_others_their_turns() -> None:
    turns = Turns()
    gone, other = Client(turns=turns), Client(turns=turns)
    much = b"".join(opened(one) + frame(DATA, END_STREAM, one, b"x") for one in range(1, 801, 2))
    gone.server.data_received(much)
    other.server.data_received(much)
    gone.server.connection_lost(None)
    while turns.soon:
        turns.take()
    assert other.server.log.count("complete 1") == 400


def test_a_client_that_does_not_read_waits_with_what_it_sent() -> None:
    turns = Turns()
    client = Client(turns=turns)
    client.server.data_received(b"".join(opened(one) + frame(DATA, END_STREAM, one, b"x") for one in range(1, 801, 2)))
    client.server.pause_writing()
    while turns.soon:
        turns.take()
    before = client.server.log.count("complete 1")
    assert before < 400
    assert not client.pipe.reading
    client.server.resume_writing()
    while turns.soon:
        turns.take()
    assert client.server.log.count("complete 1") == 400
    assert client.pipe.reading


def test_a_preface_in_pieces_and_much_behind_it() -> None:
    client = Client(greet=False)
    wire = PREFACE + frame(SETTINGS, 0, 0) + PINGS * 1000
    client.send(wire[:10])
    client.send(wire[10:])
    assert client.pipe.kinds().count(PING) == 1000
