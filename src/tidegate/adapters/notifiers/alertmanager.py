"""An Alertmanager, by its API version 2: it groups, repeats and routes by its own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tidegate.adapters.notifiers.post import post
from tidegate.adapters.notifiers.reach import Reach
from tidegate.clock import Clock, rfc3339

FIRES_FOR_S = 2 * 86_400.0
"""An alert that fires ends there by itself after so long, unless it is sent again: rules repeat daily by default."""


class Alertmanager:
    """Posts alerts to `URL/api/v2/alerts`."""

    def __init__(self, reach: Reach, clock: Clock) -> None:
        self._reach, self._clock = reach, clock

    def send(self, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> None:
        """Sent again, the same alerts change nothing there."""
        until = rfc3339(self._clock() + FIRES_FOR_S)
        alerts = [
            {
                "labels": one["labels"],
                "annotations": one["annotations"],
                "startsAt": one["startsAt"],
                "endsAt": one["endsAt"] if one["status"] == "resolved" else until,
                **({"generatorURL": one["generatorURL"]} if one["generatorURL"] else {}),
            }
            for one in payload["alerts"]
        ]
        url = config["url"].rstrip("/") + "/api/v2/alerts"
        post(self._reach, url, orjson.dumps(alerts), {"webhook-id": delivery})
