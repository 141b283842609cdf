from __future__ import annotations

import fcntl
import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import (
    BatchRecord,
    CapturedRequest,
    Damage,
    FailureRecord,
    JournalEntry,
    Sealed,
    Segment,
    list_segments,
    read_entries,
    read_records,
    seal_abandoned,
)
from tidegate.wire.journal.cursors import read_cursor, read_offsets, write_cursor
from tidegate.wire.journal.frames import HEAD_BYTES, file_head, frame_head
from tidegate.wire.journal.records import UNIT_CHARS_MAX, Tensor, recorded_unit
from tidegate.wire.journal.segments import count_records, opened_at_us, read_footer, seal, segment_name, segment_of

MARKER = bytes(range(240, 248))
DATA = Path(__file__).parent / "data"


def record(name: str, size: int = 10) -> BatchRecord:
    request = CapturedRequest(name, "user-1", 0, 100.0, 0.5, 1, 200)
    inputs: dict[str, Tensor] = {"input": ("FP64", (1, 3), b"x" * size)}
    return BatchRecord("shop", "7", [Decision("b", "b", "7", revision=3)], [request], inputs, {})


def framed(*payloads: bytes, marker: bytes = MARKER) -> bytes:
    return b"".join(frame_head(marker, payload) + payload for payload in payloads)


def encoded(*records: object) -> list[bytes]:
    return [msgspec.msgpack.encode(one) for one in records]


def written(folder: Path, data: bytes, *, is_open: bool = False, at_us: int = 1_000_000) -> Segment:
    path = folder / (segment_name(at_us, "gateway-0", MARKER) + (".tgj.open" if is_open else ".tgj"))
    path.write_bytes(file_head(MARKER) + data)
    found = segment_of(path)
    assert found is not None
    return found


def ids(segment: Segment, offset: int = 0) -> list[str]:
    entries = [one.record for one in read_entries(segment, offset) if isinstance(one, JournalEntry)]
    return [request.id for one in entries if isinstance(one, BatchRecord) for request in one.requests]


def damage(segment: Segment) -> list[Damage]:
    return [one for one in read_entries(segment) if isinstance(one, Damage)]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_record_that_damage_did_not_touch_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(0, 300), min_size=1, max_size=12))
    payloads = encoded(*(record(f"r{number}", size) for number, size in enumerate(sizes)))
    whole = bytearray(file_head(MARKER) + framed(*payloads))
    ends = [HEAD_BYTES]
    for payload in payloads:
        ends.append(ends[-1] + 16 + len(payload))
    hit: list[tuple[int, int]] = []
    for _ in range(data.draw(st.integers(0, 4))):
        first = data.draw(st.integers(0, len(whole) - 1))
        length = data.draw(st.integers(1, 200))
        noise = data.draw(st.binary(min_size=length, max_size=length))
        end = min(first + length, len(whole))
        whole[first:end] = noise[: end - first]
        hit.append((first, end))
    cut = data.draw(st.integers(0, 60))
    whole = whole[: len(whole) - cut] if cut else whole
    hit.append((len(whole), ends[-1]))
    folder = tmp_path_factory.mktemp("journal")
    path = folder / (segment_name(1, "gateway-0", MARKER) + ".tgj")
    path.write_bytes(whole)
    segment = segment_of(path)
    assert segment is not None
    found = list(read_entries(segment))
    read = {one.offset for one in found if isinstance(one, JournalEntry)}
    sound = {
        begin for begin, end in itertools.pairwise(ends) if not any(first < end and begin < last for first, last in hit)
    }
    assert sound <= read
    # What was read and what was lost add up to the file: nothing is passed over in silence.
    places = sorted((one.offset, one.end) for one in found)
    assert [begin for begin, _ in places[1:]] == [end for _, end in places[:-1]]
    if len(whole) > HEAD_BYTES:
        assert (places[0][0], places[-1][1]) == (HEAD_BYTES, len(whole))


def test_a_segment_that_was_shifted_is_read_again_from_the_next_record_on(tmp_path: Path) -> None:
    data = bytearray(framed(*encoded(*(record(f"r{number}") for number in range(5)))))
    del data[20:23]
    data[150:150] = b"inserted"
    segment = written(tmp_path, bytes(data))
    assert ids(segment) == ["r2", "r3", "r4"]


def test_a_record_that_a_client_sends_inside_its_request_is_never_read(tmp_path: Path) -> None:
    forged = framed(*encoded(record("forged")), marker=b"8 guesse")
    data = framed(*encoded(BatchRecord("shop", "7", [], [], {"text": ("BYTES", (1,), [forged])}, {}), record("own")))
    segment = written(tmp_path, data[:20] + b"damage" + data[26:])
    assert ids(segment) == ["own"]
    assert [one.size_bytes for one in damage(segment)] == [len(data) - len(framed(*encoded(record("own"))))]


def test_an_identity_is_the_same_open_and_sealed_and_reading_goes_on_behind_it(tmp_path: Path) -> None:
    data = framed(*encoded(*(record(f"r{number}") for number in range(3))))
    before = written(tmp_path, data, is_open=True)
    entries = [one for one in read_entries(before) if isinstance(one, JournalEntry)]
    assert seal_abandoned(before) == Sealed(3, 100.5, 100.5)
    (after,) = list_segments(tmp_path)
    assert (after.is_open, after.name) == (False, before.name)
    again = [one for one in read_entries(after) if isinstance(one, JournalEntry)]
    assert [(one.segment, one.offset) for one in again[:3]] == [(one.segment, one.offset) for one in entries]
    assert isinstance(again[3].record, Sealed)
    assert ids(after, entries[1].end) == ["r2"]
    assert ids(before) == ["r0", "r1", "r2"], "one that was listed before it was renamed is found all the same"


def hold(segment: Segment) -> int:
    fd = os.open(segment.path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def test_a_name_says_when_its_segment_was_begun(tmp_path: Path) -> None:
    for at_us in (1, 1_764_379_815_000_000, 1_764_379_815_123_456):
        named = segment_of(tmp_path / f"{segment_name(at_us, 'gateway-0', MARKER)}.tgj")
        assert named is not None
        assert opened_at_us(named) == at_us
    for name in (f"20261350T250000.000000Z-gateway-0-{MARKER.hex()}.tgj", "gateway-0-0000000001.tgj"):
        named = segment_of(tmp_path / name)
        assert named is not None
        assert opened_at_us(named) == 0, "it says no time"


def test_half_a_record_at_the_end_of_what_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    data = framed(*encoded(record("a"), record("b")))
    for left in (len(data) - 1, len(data) - 30, len(data) // 2 + 5):
        segment = written(tmp_path, data[:left], is_open=True)
        fd = hold(segment)
        try:
            assert ids(segment) == ["a"]
            assert damage(segment) == []
            assert seal_abandoned(segment) is None
        finally:
            os.close(fd)
        assert [one.end for one in damage(segment)] == [HEAD_BYTES + left], "its writer has died: it never comes"


def test_damage_within_what_is_being_written_is_damage(tmp_path: Path) -> None:
    data = framed(*encoded(record("a"), record("b")))
    segment = written(tmp_path, data[:3] + b"!" + data[4:], is_open=True)
    fd = hold(segment)
    try:
        assert ids(segment) == ["b"]
        assert len(damage(segment)) == 1
    finally:
        os.close(fd)


HOLDER = """
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


def test_what_a_killed_writer_left_open_is_sealed_by_whoever_comes_first(tmp_path: Path) -> None:
    data = framed(*encoded(record("a"), record("b")))
    segment = written(tmp_path, data + b"torn", is_open=True)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(segment.path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"held\n"
        assert seal_abandoned(segment) is None
        writer.kill()
    assert seal_abandoned(segment) == Sealed(2, 100.5, 100.5, torn_bytes=4)
    assert seal_abandoned(segment) is None
    (sealed,) = list_segments(tmp_path)
    assert (ids(sealed), damage(sealed)) == (["a", "b"], [])
    assert read_footer(sealed) == Sealed(2, 100.5, 100.5, torn_bytes=4)


def test_one_whose_writer_died_between_footer_and_name_gets_no_second_footer(tmp_path: Path) -> None:
    footer = Sealed(1, 100.5, 100.5)
    segment = written(tmp_path, framed(*encoded(record("a"), footer)), is_open=True)
    assert seal_abandoned(segment) == footer
    (sealed,) = list_segments(tmp_path)
    assert [type(one.record) for one in read_entries(sealed) if isinstance(one, JournalEntry)] == [BatchRecord, Sealed]


def test_records_are_counted_with_and_without_a_footer(tmp_path: Path) -> None:
    payloads = encoded(record("a"), record("b"))
    bare = written(tmp_path, framed(*payloads))
    assert (count_records(bare), count_records(bare, HEAD_BYTES + 16 + len(payloads[0]))) == (2, 1)
    held = written(tmp_path, framed(*payloads), is_open=True, at_us=2_000_000)
    fd = os.open(held.path, os.O_RDWR)
    seal(fd, MARKER, Sealed(2, 1.0, 2.0), held.path)
    os.close(fd)
    sealed = list_segments(tmp_path)[1]
    assert (count_records(sealed), count_records(sealed, HEAD_BYTES + 16 + len(payloads[0]))) == (2, 1)


def test_names_sort_by_time_and_tell_writer_and_marker(tmp_path: Path) -> None:
    (tmp_path / "gateway-0-0000000007.tgj").write_bytes(b"TGJ1")
    for at_us in (1_764_380_000_999_999, 1_764_380_000_000_007, 1_764_379_999_000_000):
        written(tmp_path, b"", at_us=at_us)
    (tmp_path / "compactor.cursor").write_text("{}")
    (tmp_path / ".hidden").write_text("")
    found = list_segments(tmp_path)
    assert [one.name[:23] for one in found] == [
        "gateway-0-0000000007",
        "20251129T013319.000000Z",
        "20251129T013320.000007Z",
        "20251129T013320.999999Z",
    ]
    assert {(one.writer, one.marker) for one in found[1:]} == {("gateway-0", MARKER)}
    assert list_segments(tmp_path / "nowhere") == []


def test_a_kind_of_record_that_a_later_release_adds_is_counted_and_passed_over(tmp_path: Path) -> None:
    later = msgspec.msgpack.encode(["feedback", "x", 1])
    segment = written(tmp_path, framed(*encoded(record("a")), later, *encoded(record("b"))))
    assert ids(segment) == ["a", "b"]
    assert [one.kind for one in damage(segment)] == ["unreadable"]


def test_fields_that_a_later_release_adds_are_passed_over() -> None:
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(record("a")))
    raw[4][0].append("more")
    data = io.BytesIO(file_head(MARKER) + framed(msgspec.msgpack.encode([*raw, "more"])))
    assert [one.requests[0].id for one in read_records(data)] == ["a"]


def test_a_stream_that_is_no_journal_is_refused() -> None:
    with pytest.raises(ValueError, match="not a capture journal"):
        list(read_records(io.BytesIO(b"nonsense" * 10)))


def test_a_journal_of_version_1_is_read_as_one_of_version_2() -> None:
    """The file was written by the release before version 2, and stays as it is."""
    (segment,) = list_segments(DATA)
    assert segment.name == "gateway-0-0000000001"
    records = [one.record for one in read_entries(segment) if isinstance(one, JournalEntry)]
    assert damage(segment) == []
    first, second = records
    assert isinstance(first, BatchRecord)
    assert isinstance(second, BatchRecord)
    assert (first.endpoint, first.version, first.params, first.cached) == ("sums", "7", '{"factor":2}', False)
    assert [(one.id, one.unit, one.rows, one.code, one.part) for one in first.requests] == [
        ("a", "user-1", 1, 200, None),
        ("b", None, 2, 504, (2, 5)),
    ]
    assert first.decision_of(first.requests[0]) == Decision("treatment", "treatment", "7")
    assert first.decision_of(first.requests[1]) == Decision("treatment", "treatment", "7", pinned=True)
    assert first.inputs["input"][:2] == ("FP64", (3, 3))
    assert second.outputs == {"prediction": ("BYTES", (1,), ["high"])}
    assert count_records(segment) == 2
    with segment.path.open("rb") as stream:
        assert [len(one.requests) for one in read_records(stream)] == [2, 1]


@pytest.mark.parametrize("lost_bytes", [1, 20])
def test_what_follows_damage_in_version_1_is_counted_as_lost(tmp_path: Path, lost_bytes: int) -> None:
    (segment,) = list_segments(DATA)
    data = segment.path.read_bytes()
    path = tmp_path / segment.path.name
    path.write_bytes(data[:-lost_bytes])
    (torn,) = list_segments(tmp_path)
    assert len([one for one in read_entries(torn) if isinstance(one, JournalEntry)]) == 1
    assert [one.end for one in damage(torn)] == [len(data) - lost_bytes]
    told: list[str] = []
    with path.open("rb") as stream:
        assert len(list(read_records(stream, told.append))) == 1
    assert len(told) == 1
    assert path.name in told[0]


def test_long_units_are_kept_as_their_hash() -> None:
    assert recorded_unit(None) is None
    assert recorded_unit("u" * UNIT_CHARS_MAX) == "u" * UNIT_CHARS_MAX
    long = recorded_unit("u" * (1 << 20))
    assert long is not None
    assert (len(long), long) == (71, recorded_unit("u" * (1 << 20)))
    assert long != recorded_unit("v" * (1 << 20))


def test_a_segment_is_read_when_every_reader_has_read_it(tmp_path: Path) -> None:
    assert read_offsets(tmp_path) == {}
    write_cursor(tmp_path, "compactor", {"one": 100, "two": 50})
    assert read_offsets(tmp_path) == {"one": 100, "two": 50}
    write_cursor(tmp_path, "other", {"one": 70})
    assert read_offsets(tmp_path) == {"one": 70, "two": 0}
    assert read_cursor(tmp_path, "compactor") == {"one": 100, "two": 50}


def test_a_cursor_that_cannot_be_read_counts_as_nothing_read(tmp_path: Path) -> None:
    write_cursor(tmp_path, "compactor", {"one": 100})
    (tmp_path / "damaged.cursor").write_bytes(b'{"offsets": {"one": ')
    assert read_offsets(tmp_path) == {"one": 0}


def test_a_record_of_failures_says_nothing_of_what_was_asked() -> None:
    assert {"inputs", "outputs", "params"}.isdisjoint(FailureRecord.__struct_fields__)
