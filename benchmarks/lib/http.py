"""One question to a server under test, answered or refused: what the benchmarks check answers with."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
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
