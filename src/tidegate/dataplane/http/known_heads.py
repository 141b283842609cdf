"""Heads of requests that were parsed before, known again by their very bytes: most clients send the same few for ever.

Used by `HotProtocol` alone, for heads it has parsed itself: a request whose head is known is not parsed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.pipeline.buffered import FREE_BYTES_MAX

if TYPE_CHECKING:
    from tidegate.dataplane.pipeline.infer import PredictionRoute

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 2048
GENERATION_MAX = 512


class KnownHead(msgspec.Struct, frozen=True):
    """What a head says: the path's route, the headers that matter (not to be changed), where the body is."""

    route: PredictionRoute
    headers: dict[bytes, bytes]
    body_at: int
    size: int


class KnownHeads:
    """The heads seen lately, in two generations: those of the older one that are not seen again are forgotten.

    So clients whose every head is another (they send a request id) cannot make it forget the heads of the others.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, KnownHead] = {}
        self._old: dict[bytes, KnownHead] = {}
        self._likely_end = 0

    def find(self, data: bytes) -> KnownHead | None:
        """The head of a request, if it is known and `data` is that request, whole and nothing more."""
        known = self._young.get(data[: self._likely_end])  # most heads are as long as the one before
        if known is None:
            end = self._likely_end = data.find(HEAD_END, 0, HEAD_BYTES_MAX) + len(HEAD_END)
            head = data[:end]
            known = self._young.get(head)
            if known is None:
                known = self._old.get(head)
                if known is None:
                    return None
                self._keep(head, known)
        return known if known.size == len(data) else None

    def learn(self, data: bytes, route: PredictionRoute, headers: dict[bytes, bytes]) -> None:
        """Remember the head of a request that was parsed, if `data` is that request, whole and nothing more.

        Not before a body so large that it is counted while it is held: that is the parser's way.
        """
        end = data.find(HEAD_END, 0, HEAD_BYTES_MAX) + len(HEAD_END)
        length = headers.get(b"content-length", b"")
        if end <= len(HEAD_END) or not length.isdigit() or int(length) > FREE_BYTES_MAX:
            return
        if end + int(length) == len(data):
            self._keep(data[:end], KnownHead(route, headers, end, len(data)))

    def _keep(self, head: bytes, known: KnownHead) -> None:
        if len(self._young) >= GENERATION_MAX:
            self._old, self._young = self._young, {}
        self._young[head] = known
