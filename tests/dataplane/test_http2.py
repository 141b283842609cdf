"""HTTP/2 under gRPC, frame by frame: flow control, limits, and clients that break the protocol."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.http2_pipe import BODY_BYTES_MAX, HEAD, Client
from tidegate.dataplane.http2 import frames as http2_frames
from tidegate.dataplane.http2 import reader as http2_reader
from tidegate.dataplane.http2 import share as http2_share
from tidegate.dataplane.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_WINDOW_BYTES,
    U32,
    WINDOW_UPDATE,
    Code,
    frame,
)
from tidegate.dataplane.http2.heads import HeadReader


def test_an_answer_is_one_write_of_three_frames() -> None:
    client = Client()
    client.request(1, b"hello")
    head, data, trailers = client.pipe.frames()
    assert head[:3] == (HEADERS, END_HEADERS, 1)
    assert data == (DATA, 0, 1, b"hello")
    assert trailers[:3] == (HEADERS, END_HEADERS | END_STREAM, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=60))
def test_requests_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    client = Client(greet=False)
    wire = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, HEAD)
    wire += (
        frame(DATA, PADDED, 1, b"\x02ab\x00\x00") + frame(DATA, END_STREAM, 1, b"cd") + frame(PING, 0, 0, b"8 bytes.")
    )
    for cut in cuts:
        client.server.data_received(wire[:cut])
        wire = wire[cut:]
    client.server.data_received(wire)
    frames = client.pipe.frames()
    assert (DATA, 0, 1, b"abcd") in frames
    assert frames[-1] == (PING, ACK, 0, b"8 bytes.")


def test_a_response_waits_for_the_clients_window() -> None:
    client = Client()
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 3)))
    client.pipe.frames()
    client.request(1, b"0123456789")
    assert [one[3] for one in client.pipe.frames()[1:]] == [b"012"]
    client.send(frame(WINDOW_UPDATE, 0, 1, U32.pack(4)))
    assert [one[3] for one in client.pipe.frames()] == [b"3456"]
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 100)))
    assert [one[3] for one in client.pipe.frames() if one[0] == DATA] == [b"789"]
    assert client.server.streams == {}


def test_a_window_that_became_negative_is_filled_before_anything_is_sent() -> None:
    client = Client()
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 8)))
    client.request(1, b"0123456789")
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 3)))  # the stream's window is -5
    client.pipe.frames()
    client.send(frame(WINDOW_UPDATE, 0, 1, U32.pack(5)))
    assert client.pipe.frames() == []
    client.send(frame(WINDOW_UPDATE, 0, 1, U32.pack(1)))
    assert [one[3] for one in client.pipe.frames()] == [b"8"]
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 4)))
    assert [one[3] for one in client.pipe.frames() if one[0] == DATA] == [b"9"]


def test_responses_share_the_connections_window_and_none_is_forgotten() -> None:
    client = Client()
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 2**20)))
    bodies = {2 * number + 1: bytes([number]) * 16000 for number in range(10)}
    for stream_id, body in bodies.items():
        client.request(stream_id, body)
    got: dict[int, bytes] = dict.fromkeys(bodies, b"")
    for step in (0, 1, 7, 50_000, 45_000):
        if step:
            client.send(frame(WINDOW_UPDATE, 0, 0, U32.pack(step)))
        for kind, _, stream_id, payload in client.pipe.frames():
            if kind == DATA:
                got[stream_id] += payload
    assert got == bodies
    assert client.server.streams == {}


def test_a_response_for_which_a_client_gives_no_leave_is_given_up() -> None:
    client = Client()
    client.send(frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 0)))
    client.request(1, b"hello")
    client.server.now_s = 70.0
    client.send(frame(WINDOW_UPDATE, 0, 1, U32.pack(1)))
    client.server.sweep(76.0, 10.0, 75.0)
    assert client.server.streams != {}  # it moved six seconds ago
    client.pipe.frames()
    client.server.sweep(146.0, 10.0, 75.0)
    assert client.pipe.frames()[0] == (RST_STREAM, 0, 1, U32.pack(Code.CANCEL))
    assert client.server.streams == {}


def test_a_draining_connection_ends_also_when_its_last_request_is_taken_back() -> None:
    client = Client()
    client.request(1, b"wait")
    client.server.drain()
    client.send(frame(RST_STREAM, 0, 1, U32.pack(8)))
    assert client.pipe.closed


def test_a_connection_whose_client_does_not_read_its_end_is_cut() -> None:
    client = Client()
    client.send(frame(PING, 0, 0, b"short"))
    assert client.pipe.closed
    assert not client.pipe.aborted
    client.server.sweep(76.0, 10.0, 75.0)
    assert client.pipe.aborted


def test_large_requests_are_given_room_as_they_come_and_have_a_bound() -> None:
    client = Client()
    client.send(frame(HEADERS, END_HEADERS, 1, HEAD))
    piece = bytes(16384)
    for _ in range(BODY_BYTES_MAX // len(piece)):
        client.send(frame(DATA, 0, 1, piece))
    granted = sum(U32.unpack(one[3])[0] for one in client.pipe.frames() if one[:3] == (WINDOW_UPDATE, 0, 1))
    assert granted >= BODY_BYTES_MAX - STREAM_WINDOW_BYTES
    client.send(frame(DATA, 0, 1, b"!"))
    assert client.server.log == ["too large"]
    assert client.pipe.kinds()[-2:] == [HEADERS, RST_STREAM]
    client.send(frame(DATA, 0, 1, piece))  # was on its way
    client.request(3, b"next")
    assert client.server.log[-1] == "complete 4"


def test_a_reset_and_a_lost_connection_abandon_what_is_under_way() -> None:
    client = Client()
    client.request(1, b"wait")
    client.request(3, b"wait")
    client.send(frame(RST_STREAM, 0, 1, U32.pack(8)))
    assert client.server.log[2:] == ["abandoned"]
    client.server.connection_lost(None)
    assert client.server.log[2:] == ["abandoned", "abandoned"]


def test_draining_refuses_what_is_new_and_answers_what_is_here() -> None:
    client = Client()
    client.request(1, b"wait")
    stream = client.server.streams[1]
    client.server.drain()
    assert client.pipe.kinds() == [GOAWAY]
    client.request(3, b"new")
    assert client.pipe.kinds() == [RST_STREAM]
    assert not client.pipe.closed
    stream.respond(b"\x88", b"late", b"\x88")
    assert client.pipe.kinds() == [HEADERS, DATA, HEADERS]
    assert client.pipe.closed


def test_the_sweeper_ends_slow_requests_and_silent_connections() -> None:
    client = Client()
    client.send(frame(HEADERS, END_HEADERS, 1, HEAD))
    client.server.sweep(5.0, 10.0, 75.0)
    assert client.server.log == []
    client.server.sweep(11.0, 10.0, 75.0)
    assert client.server.log == ["too slow"]
    client.server.sweep(76.0, 10.0, 75.0)
    assert client.pipe.closed
    silent = Client(greet=False)
    silent.server.sweep(11.0, 10.0, 75.0)
    assert silent.pipe.closed


def test_more_streams_than_allowed_are_refused() -> None:
    client = Client()
    for number in range(http2_frames.STREAMS_MAX):
        client.request(2 * number + 1, b"wait")
    client.pipe.frames()
    client.request(2 * http2_frames.STREAMS_MAX + 1, b"wait")
    assert client.pipe.frames()[-1][0] == RST_STREAM
    assert len(client.server.streams) == http2_frames.STREAMS_MAX


def test_a_head_in_pieces() -> None:
    client = Client()
    client.send(frame(HEADERS, 0, 1, HEAD[:3]), frame(CONTINUATION, END_HEADERS, 1, HEAD[3:]))
    client.send(frame(DATA, END_STREAM, 1, b"x"))
    assert client.server.log == ["complete 1"]


BROKEN: dict[str, tuple[bytes, Code]] = {
    "an even stream": (frame(HEADERS, END_HEADERS, 2, HEAD), Code.PROTOCOL_ERROR),
    "data of no stream": (frame(DATA, 0, 5, b"x"), Code.PROTOCOL_ERROR),
    "a window of nothing": (frame(WINDOW_UPDATE, 0, 0, U32.pack(0)), Code.PROTOCOL_ERROR),
    "a window past its end": (frame(WINDOW_UPDATE, 0, 0, U32.pack(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    "settings of a stream": (frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "settings that are cut off": (frame(SETTINGS, 0, 0, b"12345"), Code.FRAME_SIZE_ERROR),
    "settings in a receipt for settings": (frame(SETTINGS, ACK, 0, SETTING.pack(4, 1)), Code.FRAME_SIZE_ERROR),
    "settings without end": (frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 0) * 2730), Code.ENHANCE_YOUR_CALM),
    "a window wider than there are": (
        frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 2**31)),
        Code.FLOW_CONTROL_ERROR,
    ),
    "frames shorter than there are": (frame(SETTINGS, 0, 0, SETTING.pack(MAX_FRAME, 100)), Code.PROTOCOL_ERROR),
    "push that is neither on nor off": (frame(SETTINGS, 0, 0, SETTING.pack(ENABLE_PUSH, 2)), Code.PROTOCOL_ERROR),
    "a ping of a stream": (frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "a reset that is cut off": (
        frame(HEADERS, END_HEADERS, 1, HEAD) + frame(RST_STREAM, 0, 1, b"1"),
        Code.FRAME_SIZE_ERROR,
    ),
    "a priority that is cut off": (frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"123"), Code.FRAME_SIZE_ERROR),
    "a head of the connection": (frame(HEADERS, END_HEADERS, 0, HEAD), Code.PROTOCOL_ERROR),
    "more header fields than their few bytes tell": (
        frame(HEADERS, END_HEADERS, 1, b"\x40\x01x\x7f\x81\x1e" + b"a" * 4000 + b"\xbe" * 10),
        Code.COMPRESSION_ERROR,
    ),
    "a header table larger than ours": (
        frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03" + HEAD),
        Code.COMPRESSION_ERROR,
    ),
    "a flood of empty data": (
        frame(HEADERS, END_HEADERS, 1, HEAD) + frame(DATA, 0, 1) * (http2_share.CLIENT_UNITS_MAX + 1),
        Code.ENHANCE_YOUR_CALM,
    ),
    "a flood of unknown frames": (frame(77, 0, 0) * (http2_share.CLIENT_UNITS_MAX + 1), Code.ENHANCE_YOUR_CALM),
    "a flood of tiny windows": (
        frame(WINDOW_UPDATE, 0, 0, U32.pack(1)) * (http2_share.CLIENT_UNITS_MAX + 1),
        Code.ENHANCE_YOUR_CALM,
    ),
    "a flood of requests that are taken back": (
        b"".join(
            frame(HEADERS, END_HEADERS, stream_id, HEAD) + frame(RST_STREAM, 0, stream_id, U32.pack(8))
            for stream_id in range(1, 2 * http2_share.CLIENT_UNITS_MAX + 4, 2)
        ),
        Code.ENHANCE_YOUR_CALM,
    ),
    "a push": (frame(5, 0, 1, b""), Code.PROTOCOL_ERROR),
    "a long frame": (frame(DATA, 0, 1, bytes(16385)), Code.FRAME_SIZE_ERROR),
    "a head that is none": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    "a head that is interrupted": (frame(HEADERS, 0, 1, HEAD) + frame(PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    "a head without end": (
        frame(HEADERS, 0, 1, HEAD) + frame(CONTINUATION, 0, 1, b"") * http2_reader.CONTINUATIONS_MAX,
        Code.ENHANCE_YOUR_CALM,
    ),
    "a flood of pings": (frame(PING, 0, 0, bytes(8)) * (http2_share.CLIENT_UNITS_MAX + 1), Code.ENHANCE_YOUR_CALM),
    "padding past the frame": (
        frame(HEADERS, END_HEADERS, 1, HEAD) + frame(DATA, PADDED, 1, b"\x09abc"),
        Code.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_client_that_breaks_the_protocol_is_told_how(name: str) -> None:
    client = Client()
    wire, code = BROKEN[name]
    client.send(wire)
    assert client.ends_with(code)


def test_what_is_no_http2_is_closed() -> None:
    client = Client(greet=False)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.ends_with(Code.PROTOCOL_ERROR)


def test_a_client_that_does_not_read_is_not_read() -> None:
    client = Client()
    client.server.resume_writing()
    client.server.pause_writing()
    assert not client.pipe.reading
    client.server.sweep(76.0, 10.0, 75.0)
    assert client.pipe.closed


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 6), st.binary(max_size=40)), max_size=20)
)
def test_no_frames_break_the_server(frames: list[tuple[int, int, int, bytes]]) -> None:
    client = Client()
    for kind, flags, stream_id, payload in frames:
        client.send(frame(kind, flags, stream_id, payload))
    client.server.connection_lost(None)
    assert client.server.streams == {}


def test_remembered_heads_follow_the_clients_table() -> None:
    reader = HeadReader(list)

    def last(block: bytes) -> tuple[bytes, bytes]:
        read = reader.read(b"\x83\x86\x84" + block)  # :method POST, :scheme http, :path /
        assert read.head is not None
        return read.head[-1]

    assert last(b"\x40\x01a\x01b") == (b"a", b"b")  # adds it to the table, as entry 62
    assert last(b"\xbe") == last(b"\xbe") == (b"a", b"b")
    assert last(b"\x40\x01c\x01d") == (b"c", b"d")
    assert last(b"\xbe") == (b"c", b"d")
    assert last(b"\xbf") == (b"a", b"b")
