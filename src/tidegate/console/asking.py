"""What a page's handler is given, and what it gives back. Handlers are plain functions: they run in threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tidegate.client import Client
from tidegate.client.transport.in_process import Caller, InProcess
from tidegate.errors import InvalidArgument

FIELDS_MAX = 1000
CALL_TIMEOUT_S = 10.0
"""For each call of the API, and for a prediction: a page that takes longer says so."""


@dataclass(frozen=True)
class ConsolePlatform:
    """What the console knows of the platform it is part of. Predictions of the pages go to the gateway.

    `upload_bytes_max`: larger files are not sent at all.
    """

    api: InProcess
    gateway_url: str
    api_key: str | None = field(default=None, repr=False)
    upload_bytes_max: int | None = None

    def client(self, caller: Caller) -> Client:
        """A client that may do what the caller may."""
        return Client.in_process(
            self.api, caller, gateway_url=self.gateway_url, api_key=self.api_key, timeout_s=CALL_TIMEOUT_S
        )


@dataclass(frozen=True)
class Ask:
    """One request for a page. `of` are the parts of its path, `form` what was filled in, each field's last value.

    `live` asks for what changes by itself alone: the page is open already, and is asked for again each second.
    """

    platform: ConsolePlatform
    caller: Caller
    client: Client
    path: str = "/"
    of: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    live: bool = False
    https: bool = False

    @property
    def here(self) -> str:
        """Path and query: where to come back to."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    def with_query(self, **values: str | int | None) -> str:
        """This page with some of its state changed; None takes a value out."""
        kept = {name: value for name, value in self.query.items() if name not in values}
        query = kept | {name: str(value) for name, value in values.items() if value is not None}
        return self.path + (f"?{urlencode(query)}" if query else "")

    def number(self, name: str, least: int, most: int, default: int) -> int:
        """A whole number out of the URL, within bounds; the default where it is none."""
        text = self.query.get(name, "")
        return min(max(int(text), least), most) if text.isdecimal() and len(text) < 10 else default


@dataclass(frozen=True)
class Shown:
    """A page: a template and what it says. `context` is the template's; blocks named `live_…` are kept fresh."""

    template: str
    context: dict[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def also(self, status: int | None = None, **context: Any) -> Shown:
        """The same with more to say."""
        return replace(self, context=self.context | context, status=self.status if status is None else status)


@dataclass(frozen=True)
class Moved:
    """Go on to another page: the answer to a form that was done (303). `headers` go along."""

    to: str
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Ask], Shown | Moved]


@dataclass(frozen=True)
class PageRoute:
    """A page, or a form's target. A page that is `live` has blocks that change by themselves."""

    method: str
    path: str
    handler: Handler
    live: bool = False


def fields_of(text: str) -> dict[str, str]:
    """Of a query or of a form's body. Raises `InvalidArgument` for what is no such thing."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"))
    except ValueError:
        raise InvalidArgument(f"this form cannot be read: it has more than {FIELDS_MAX} fields, or no text") from None
