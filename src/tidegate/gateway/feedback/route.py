"""`POST /feedback`: events are answered with 202 once they are in the journal, or none of a request's events is.

A `kill -9` of the gateway takes nothing that was answered; a machine that loses its power may take the last seconds, as
of predictions. There is no database on the path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tidegate.dataplane.base.content_type import JSON, kind_of
from tidegate.dataplane.pipeline.buffered import Body
from tidegate.dataplane.pipeline.infer import InferenceEngine, that_matter
from tidegate.errors import (
    FeedbackNotKept,
    InvalidArgument,
    MalformedRequest,
    NoReadyReplica,
    TooLarge,
    UnknownEndpoint,
    WrongContentType,
)
from tidegate.gateway.shared.rate_limits import NO_ENDPOINT
from tidegate.wire.capture.feedback import event_of, read_items
from tidegate.wire.journal import FeedbackRecord

if TYPE_CHECKING:
    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.gateway.capture.journal import Journal
    from tidegate.wire.journal import FeedbackEvent

BODY_BYTES_MAX = 1 << 20
EVENTS_A_STEP = 100
"""Read without letting predictions have their turn."""
RETRY_AFTER_S = 1.0
SHOWN_MAX = 20


class FeedbackBody(Body):
    """The body of a request for feedback, which counts to the bytes of bodies that a gateway holds."""

    __slots__ = ()

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.body: bytes | bytearray = b""
        self.held_bytes = 0
        self.call = self.meta = None

    def take(self, data: bytes) -> None:
        """Keep a piece; raises `TooLarge`, `BuffersFull`."""
        self.check(len(self.body) + len(data))
        self.collect(data)

    @staticmethod
    def check(size_bytes: int) -> None:
        """Raise `TooLarge` for a body of so many bytes, or more."""
        if size_bytes > BODY_BYTES_MAX:
            raise TooLarge(
                f"the feedback is larger than {BODY_BYTES_MAX} bytes: send its events in several requests",
                expected=BODY_BYTES_MAX,
            )


class FeedbackRoute:
    """The handler. `journal` is None where it is turned off, and `wall` the time since the epoch.

    `is_ready` says whether it is known which endpoints there are.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        journal: Journal | None,
        is_ready: Callable[[], bool],
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._is_ready = is_ready
        self._wall = wall
        self._events = 0
        self._refused: dict[str, int] = {}

    async def take(self, request: Request) -> Response:
        """Answer one request; raises `TidegateError`."""
        if self._journal is None:
            raise FeedbackNotKept(
                "feedback is kept in the capture journal, which TIDEGATE_JOURNAL_BYTES_MAX=0 turns off here: "
                "set it to the bytes that a gateway may keep, and restart"
            )
        headers = that_matter(list(request.scope["headers"]))
        _check_headers(headers)
        body = FeedbackBody(self._engine)
        try:
            await _receive(body, request, headers)
            record = await self._record(bytes(body.body), headers)
        finally:
            body.let_go()
        lost = self._journal.feedback(record)
        if lost is not None:
            self._refused[lost] = self._refused.get(lost, 0) + len(record.events)
            raise _not_kept(lost)
        self._events += len(record.events)
        return Response(orjson.dumps({"accepted": len(record.events)}), 202, media_type="application/json")

    def fill_gauges(self, state: MetricState) -> None:
        """Fill in the counters of a scrape."""
        state.counters["tidegate_feedback_events"] = self._events
        state.reasons["tidegate_feedback_events_refused"] = {"disk_full": 0.0, "stalled": 0.0, **self._refused}

    async def _record(self, body: bytes, headers: Mapping[bytes, bytes]) -> FeedbackRecord:
        items, now_s = read_items(body), self._wall()
        events: list[FeedbackEvent] = []
        for number, item in enumerate(items):
            if number % EVENTS_A_STEP == EVENTS_A_STEP - 1:
                await asyncio.sleep(0)
            events.append(event_of(item, number, now_s))
        self._check_endpoints(events)
        limiter = self._engine.limiter
        if limiter is not None:
            for endpoint in dict.fromkeys(one.endpoint or NO_ENDPOINT for one in events):
                limiter.check(endpoint, headers)
        return FeedbackRecord(events, round(now_s * 1e6))

    def _check_endpoints(self, events: list[FeedbackEvent]) -> None:
        """Endpoints that are named exist, and a label by key is of one: a unit may be known to several.

        Metrics by key may be of none, unless some endpoint's keys are recorded as hashes: then it is not known whether
        this key may be written as it is.
        """
        if not self._is_ready():
            raise NoReadyReplica(
                "this gateway has not learned yet which endpoints there are: try again", retry_after_s=RETRY_AFTER_S
            )
        served = self._engine.directory.services()
        shown = ", ".join(sorted(served)[:SHOWN_MAX]) or "none yet"
        for number, one in enumerate(events):
            if one.endpoint is not None and one.endpoint not in served:
                raise UnknownEndpoint(
                    f"event {number}: there is no endpoint {one.endpoint!r}; there is: {shown}. Of a request's id the "
                    "endpoint need not be named",
                    name=one.endpoint,
                )
            if one.endpoint is None and one.key is not None and (one.label is not None or self._hashes_keys()):
                if len(served) != 1:
                    raise InvalidArgument(
                        f"event {number}: feedback by key needs 'endpoint' here, for a unit may be known to several; "
                        f"there is: {shown}",
                        field="endpoint",
                    )
                one.endpoint = next(iter(served))

    def _hashes_keys(self) -> bool:
        return self._journal is not None and self._journal.privacy.hashes_keys


def _check_headers(headers: Mapping[bytes, bytes]) -> None:
    if kind_of(headers) != JSON:
        given = headers.get(b"content-type", b"").decode("latin-1")
        raise WrongContentType(f"content type {given!r} is not taken here: send 'content-type: application/json'")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise WrongContentType("feedback is not taken compressed: send it without content-encoding")


async def _receive(body: FeedbackBody, request: Request, headers: Mapping[bytes, bytes]) -> None:
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        body.check(int(length))
        body.announce(int(length))
    try:
        async for chunk in request.stream():
            if chunk:
                body.take(chunk)
    except ClientDisconnect:
        raise MalformedRequest("the client went away before all of its request came") from None


def _not_kept(lost: str) -> FeedbackNotKept:
    why: dict[str, Any] = {
        "disk_full": "the disk does not take it (full, as a rule)",
        "stalled": "the disk stalls",
        "too_large": "TIDEGATE_JOURNAL_BYTES_MAX is too small for it",
    }
    return FeedbackNotKept(
        f"the feedback could not be written to the journal: {why.get(lost, lost)}; nothing of it was taken, try again",
        retry_after_s=RETRY_AFTER_S,
        reason=lost,
    )
