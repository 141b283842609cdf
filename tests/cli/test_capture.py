"""What `tidegate capture` and `capture-settings` print."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.cli.capture.query import _fitting, _moment, _shown
from tidegate.cli.capture.settings import _bytes, _columns, _said
from tidegate.errors import InvalidArgument
from tidegate.wire.capture.capture import CaptureAnswer, CaptureSettings

ROW = {
    "id": "115a7903cbbd00000003",
    "row": 0,
    "at": "2026-11-29T05:54:36.123456Z",
    "version": "1",
    "input_age": 0.25,
    "input_text": "x" * 60,
    "input_b": 1,
    "output_prediction": 1,
}


def test_by_default_it_shows_what_fits_a_terminal_the_answer_first() -> None:
    found = CaptureAnswer(list(ROW), [ROW], truncated=False)
    columns = _fitting(found)
    assert columns == ["at", "id", "row", "version", "output_prediction"]
    shown = _shown(found, columns)
    assert max(map(len, shown.splitlines())) <= 80
    assert "2026-11-29T05:54:36Z" in shown
    narrow = CaptureAnswer(list(ROW), [{**ROW, "id": "a"}], truncated=False)
    assert _fitting(narrow)[-1] == "input_b", "a column that is too wide keeps none behind it away"


def test_times_and_sizes_are_read_as_people_write_them() -> None:
    assert _moment("2026-11-29T01:00:00Z") == _moment("2026-11-29T02:00:00+01:00") == _moment("2026-11-29T01:00:00")
    assert [_bytes(one) for one in ("0", "500m", "10g", "1GiB")] == [0, 500 << 20, 10 << 30, 1 << 30]
    assert (_columns(()), _columns(("",)), _columns(("a", "b"))) == (None, [], ["a", "b"])
    for wrong in ("yesterday", ""):
        with pytest.raises(InvalidArgument):
            _moment(wrong)
    with pytest.raises(InvalidArgument):
        _bytes("ten")


def test_how_long_rows_are_kept_is_said_as_it_was_given() -> None:
    found = CaptureSettings(1.0, [], [], hash_keys=False, retain_s=3600.0, retain_bytes=0)
    assert "kept              1h\n" in _said(found, selective=False)
    assert "kept              30d\n" in _said(replace(found, retain_s=30 * 86_400.0), selective=False)
