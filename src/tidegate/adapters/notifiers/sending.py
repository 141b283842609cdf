"""Finds the adapter of a notifier's kind, and says which configurations can be sent with."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import getaddresses
from typing import Any, Protocol
from urllib.parse import urlsplit

from tidegate.adapters.notifiers.alertmanager import Alertmanager
from tidegate.adapters.notifiers.apprise import Apprise, check_apprise_url
from tidegate.adapters.notifiers.reach import Reach
from tidegate.adapters.notifiers.slack import Slack
from tidegate.adapters.notifiers.smtp import Smtp
from tidegate.adapters.notifiers.webhook import Webhook
from tidegate.clock import Clock
from tidegate.core.alerting.rules import URL_CHARS_MAX, check_url
from tidegate.errors import InvalidArgument

RECIPIENTS_MAX = 50


class Notifier(Protocol):
    """One way of telling somebody. `tests/conformance/test_notifiers.py` runs on every one."""

    def send(self, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> str | None:
        """Send Alertmanager's payload within the deadline; `delivery` is the message's id, the same when sent again.

        Returns what is to be said of it though it was delivered: that some of its recipients were not taken.

        Raises `DeliveryFailed` where a later attempt may do better, `DeliveryRefused` where none will.
        """


class Notifying:
    """Every kind of notifier, found by its name."""

    def __init__(self, reach: Reach, clock: Clock) -> None:
        self.by_kind: dict[str, Notifier] = {
            "webhook": Webhook(reach, clock),
            "alertmanager": Alertmanager(reach, clock),
            "slack": Slack(reach),
            "smtp": Smtp(reach, clock),
            "apprise": Apprise(reach),
        }

    def send(self, kind: str, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> str:
        """By the notifier of this kind; what is to be said of it though it was delivered, mostly nothing ("")."""
        return self.by_kind[kind].send(config, delivery, payload) or ""


def check_config(kind: str, config: Mapping[str, str]) -> None:
    """Raises `InvalidArgument` for what nothing could be sent with. Nothing is sent. Apprise's URLs take a second."""
    if kind != "smtp":
        if "sender" in config or "recipients" in config:
            raise InvalidArgument("sender and recipients are for smtp", field="sender")
        if kind == "apprise":
            check_apprise_url(config["url"])
        else:
            check_url(config["url"], "url")
        return
    _check_smtp_url(config["url"])
    for name in ("sender", "recipients"):
        if not config.get(name):
            raise InvalidArgument(f"smtp needs {name}", field=name)
    senders, recipients = _addresses(config["sender"]), _addresses(config["recipients"])
    if senders is None or len(senders) != 1:
        raise InvalidArgument(f"sender {config['sender']!r} is not one mail address", field="sender")
    if recipients is None or len(recipients) > RECIPIENTS_MAX:
        raise InvalidArgument(
            f"recipients must be 1 to {RECIPIENTS_MAX} mail addresses with commas between them", field="recipients"
        )


def _check_smtp_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > URL_CHARS_MAX:
        raise InvalidArgument(
            "the server must be smtp:// or smtps:// with a host, such as smtps://user:password@mail.example:465",
            field="url",
        )


def _addresses(text: str) -> list[str] | None:
    if any(ord(one) < 32 for one in text):
        return None
    found = [address for _, address in getaddresses([text])]
    good = all("@" in one.strip("@") and " " not in one for one in found)
    return found if found and good else None
