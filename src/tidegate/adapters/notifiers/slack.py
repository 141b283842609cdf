"""Slack's incoming webhooks, and what takes the same (Mattermost, Rocket.Chat, Discord with /slack)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tidegate.adapters.notifiers.post import post
from tidegate.adapters.notifiers.reach import Reach
from tidegate.core.alerting.messages import titled

TEXT_CHARS_MAX = 3_000
_COLOURS = {"critical": "#a30200", "high": "#d63232", "medium": "#e0a030", "low": "#4a7fb5"}
_GOOD = "#2eb67d"


class Slack:
    """One message with a coloured attachment."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def send(self, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> None:
        """A message that is sent again is seen twice: Slack knows no ids."""
        post(self._reach, config["url"], orjson.dumps(chat_message(payload)), {"webhook-id": delivery})


def chat_message(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The message in Slack's form; its text is escaped as Slack wants it."""
    title, lines = titled(payload)
    firing = [one["labels"]["severity"] for one in payload["alerts"] if one["status"] == "firing"]
    worst = next((name for name in _COLOURS if name in firing), None)
    attachment = {
        "color": _GOOD if worst is None else _COLOURS[worst],
        "fallback": _escaped(title),
        "text": _escaped("\n".join(lines))[:TEXT_CHARS_MAX],
    }
    if payload["externalURL"]:
        attachment |= {"title": "Open in Tidegate", "title_link": payload["externalURL"]}
    return {"text": _escaped(title), "attachments": [attachment]}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
