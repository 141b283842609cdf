"""Feedback as Python has it, on its way to a gateway."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate.client import Client
from tidegate.client.resources.feedback import EVENTS_A_REQUEST, encode_event, events_of, requests_of
from tidegate.errors import FeedbackNotKept, InvalidArgument


def test_an_event_is_what_has_a_value() -> None:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    made = encode_event(
        {"id": "a", "label": np.int64(1), "row": None, "at": at, "metrics": {"m": np.float32(0.5)}}, "e"
    )
    assert json.loads(made) == {
        "id": "a", "label": 1, "at": "2026-01-31T12:00:00+00:00", "metrics": {"m": 0.5}, "endpoint": "e",
    }  # fmt: skip
    assert json.loads(encode_event({"id": "a", "label": [True], "endpoint": "own"}, "e"))["endpoint"] == "own"


def test_a_frame_has_an_event_a_row() -> None:
    frame = pd.DataFrame({"id": ["a", None], "key": [None, "u"], "label": [1.0, 0.0], "row": [2, np.nan]})
    frame["at"] = pd.to_datetime(pd.Series(["2026-01-31T12:00:00Z", None]))
    first, second = (json.loads(encode_event(one, None)) for one in events_of(frame))
    assert first == {"id": "a", "label": 1.0, "row": 2, "at": "2026-01-31T12:00:00+00:00"}
    assert second == {"key": "u", "label": 0.0}


@pytest.mark.parametrize("bad", [{"at": datetime(2026, 1, 31)}, {"label": object()}])  # noqa: DTZ001 (what is refused)
def test_what_json_cannot_hold_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        encode_event({"id": "a"} | bad, None)


def test_many_events_go_in_requests_of_a_size_that_gateways_take() -> None:
    found = list(requests_of([{"id": str(n), "label": n} for n in range(EVENTS_A_REQUEST + 1)], None))
    assert [count for _, count in found] == [EVENTS_A_REQUEST, 1]
    assert [one["id"] for body, _ in found for one in json.loads(body)] == [str(n) for n in range(501)]
    assert [count for _, count in requests_of([{"id": "a", "label": "x" * 500_000}] * 3, None)] == [1, 1, 1]


def test_the_client_says_how_many_were_kept_before_one_was_not(standin: Any) -> None:
    standin.says("POST /feedback", {"accepted": EVENTS_A_REQUEST}, 202)
    refused = {"error": "the disk is full", "code": "feedback_not_kept"}
    standin.says("POST /feedback", refused, 503, Retry_After="1")
    with Client(url=standin.url, token="t", gateway_url=standin.url) as client:
        assert client.feedback("churn", id="a", label=1).accepted == EVENTS_A_REQUEST
        standin.says("POST /feedback", {"accepted": EVENTS_A_REQUEST}, 202)
        with pytest.raises(FeedbackNotKept) as caught:
            client.feedback("churn", [{"id": "a", "label": 1}])
        with pytest.raises(InvalidArgument, match="one event"):
            client.feedback("churn")
    assert (caught.value.details["accepted"], caught.value.retry_after_s) == (0, 1.0)
    assert json.loads(standin.asked[0].body) == [{"id": "a", "label": 1, "endpoint": "churn"}]
