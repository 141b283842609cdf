"""One question to a server under test, answered or refused: what the benchmarks check answers with."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any


def post(url: str, body: bytes, timeout_s: float = 30.0) -> tuple[int, Any]:
    """Status and decoded JSON (None where there is none); raises `OSError` when nothing answers."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 — loopback addresses of our own
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            return response.status, _decoded(response.read())
    except urllib.error.HTTPError as refused:
        return refused.code, _decoded(refused.read())


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def post_binary(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, list[float]]:
    """Status and the float64 values behind the JSON of a V2 answer with one binary tensor."""
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            raw = response.read()[int(response.headers["Inference-Header-Content-Length"]) :]
            return response.status, list(struct.unpack(f"<{len(raw) // 8}d", raw))
    except urllib.error.HTTPError as refused:
        return refused.code, []
