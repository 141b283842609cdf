"""One bounded question to a control plane's API over TCP. Called by `up --detach`; never raises."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

PROBE_TIMEOUT_S = 3.0


def ask_json(url: str, path: str, token: str, method: str = "GET") -> Any | None:
    """The decoded answer; None when there is none, or it is no success."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return json.loads(response.read()) if response.status in (http.client.OK, http.client.CREATED) else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
