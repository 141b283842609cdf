"""Rows of any kind on their way to the gateway."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tidegate.client.resources.predictions import encode_request, key_header
from tidegate.errors import InvalidArgument

FRAME = pd.DataFrame({"age": [41, 7], "plan": ["gold", None], "since": [1.5, float("nan")]})
RECORDS = [{"age": 41, "plan": "gold", "since": 1.5}, {"age": 7, "plan": None, "since": None}]


@pytest.mark.parametrize(
    ("features", "sent"),
    [
        ([1.5, 2], [1.5, 2]),
        ({"age": 3}, {"age": 3}),
        (np.array([[1.0, np.nan]], dtype=np.float32), [[1.0, None]]),
        (FRAME, RECORDS),
        (FRAME.iloc[0], RECORDS[0]),
        (pd.DataFrame([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (pd.Series([1, 2]), [1, 2]),
        (
            [{"age": np.int64(3), "on": date(2026, 1, 31), "gone": pd.NA}],
            [{"age": 3, "on": "2026-01-31", "gone": None}],
        ),
    ],
)
def test_features_as_plain_json(features: Any, sent: Any) -> None:
    assert json.loads(encode_request(features, None)) == {"features": sent}


def test_a_version_pins() -> None:
    assert json.loads(encode_request([1], "v1.0.0")) == {"features": [1], "model_version": "v1.0.0"}


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(InvalidArgument, match="complex"):
        encode_request([1j], None)


def test_a_key_travels_as_utf8() -> None:
    assert key_header(None) == {}
    assert key_header("jürgen")["X-Tidegate-Key"].encode("latin-1").decode() == "jürgen"
    for bad in ("", "a\r\nX-Evil: 1"):
        with pytest.raises(InvalidArgument, match="key"):
            key_header(bad)
