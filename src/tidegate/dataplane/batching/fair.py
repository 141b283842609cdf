"""The queue of a batcher, shared out fairly among clients. Used by `batcher.py` only; knows no targets and no time.

While everything that waits fits into the next batch there is no order to decide, and calls lie in a plain queue. Only
when some must be left waiting are they sorted by client, and rows handed out by start-time fair queueing (Goyal et al.,
1996): each client's virtual time advances by the rows it got, and the least advanced one is next. A client is who sent
the key (`X-Tidegate-Key`, `user_id`), else the connection.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.batching.adaptive_batch_size import SMALL_ROWS
from tidegate.dataplane.batching.parts import Assembly, CallPart

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Call

FINISHED_MAX = 4096
SLICES_A_CHUNK = 4


class Room(msgspec.Struct, frozen=True, gc=False):
    """What the next batch may hold: rows in all, and rows that large calls may fill (`chunk_rows` is no more)."""

    limit_rows: int
    chunk_rows: int


class _Flow:
    """One client's waiting calls. `cut` is its first call once some of that call's rows are on their way."""

    __slots__ = ("calls", "client", "cut", "rows", "tag")

    def __init__(self, client: object, tag: float) -> None:
        self.client = client
        self.tag = tag
        self.calls: deque[Call] = deque()
        self.rows = 0
        self.cut: Assembly | None = None

    def head_rows(self) -> int:
        """Rows of the first call that are still to be computed."""
        return self.calls[0].rows - (self.cut.taken_rows if self.cut is not None else 0)


class FairQueue:
    """`mergeable` False hands out every call alone, `splits` False every call whole. `rows` is what waits."""

    def __init__(self, *, mergeable: bool, splits: bool) -> None:
        self._mergeable = mergeable
        self._splits = splits and mergeable
        self._arrivals: deque[Call] = deque()
        self._flows: dict[object, _Flow] = {}
        self._heap: list[tuple[float, int, _Flow]] = []
        self._order = itertools.count()
        self._now_tag = 0.0
        self._finished: dict[object, float] = {}
        self._heaviest_rows: float = math.inf
        self.rows = 0

    def __len__(self) -> int:
        return len(self._arrivals) + sum(len(flow.calls) for flow in self._flows.values())

    def __iter__(self) -> Iterator[Call]:
        yield from self._arrivals
        for flow in self._flows.values():
            yield from flow.calls

    @property
    def wanted_rows(self) -> int:
        """Rows that wait and that somebody waits for: without those of calls that are done and not yet purged."""
        done = sum(call.rows for call in self if call.done)
        cuts = [flow.cut for flow in self._flows.values() if flow.cut is not None and flow.cut.whole.done]
        return self.rows - done + sum(cut.taken_rows for cut in cuts)

    def push(self, call: Call) -> None:
        """Add a call to the queue."""
        self._arrivals.append(call)
        self.rows += call.rows

    def clear(self) -> list[Call]:
        """Let nothing wait, and return what did."""
        calls = list(self)
        self._arrivals.clear()
        self._forget()
        self.rows = 0
        return calls

    def purge(self) -> None:
        """Drop calls that are done, wherever they stand, so that they take nobody's place."""
        if any(call.done for call in self):
            left = [call for call in self._arrivals if not call.done]
            self._arrivals = deque(left)
            for flow in self._flows.values():
                if flow.calls and flow.calls[0].done:
                    flow.cut = None
                flow.calls = deque(call for call in flow.calls if not call.done)
                flow.rows = sum(call.rows for call in flow.calls) - (flow.cut.taken_rows if flow.cut else 0)
            self.rows = sum(call.rows for call in left) + sum(flow.rows for flow in self._flows.values())

    def evict_for(self, call: Call, rows_max: int) -> list[Call] | None:
        """Make room in a full queue: take back the newest calls of the client that holds most of it.

        None: there is no room, because the caller itself holds as much. A call that is partly computed stays.
        """
        if call.rows >= self._heaviest_rows:  # so it was a moment ago: under overload nobody looks for it again
            return None
        self._sort()
        own = self._flows.get(call.client)
        held = (own.rows if own is not None else 0) + call.rows
        heaviest = max(self._flows.values(), key=lambda flow: flow.rows, default=None)
        self._heaviest_rows = heaviest.rows if heaviest is not None else 0
        if heaviest is None or heaviest.rows <= held:
            return [] if self.rows + call.rows <= rows_max or not self.rows else None
        evicted: list[Call] = []
        keep = 1 if heaviest.cut is not None else 0
        while self.rows + call.rows > rows_max and len(heaviest.calls) > keep:
            one = heaviest.calls.pop()
            heaviest.rows -= one.rows
            self.rows -= one.rows
            evicted.append(one)
        # What is left of a call that is under way has its place already; it is not held against others.
        begun = heaviest.rows if keep else 0
        return evicted if evicted or self.rows - begun + call.rows <= rows_max else None

    # -- the next batch --------------------------------------------------------------------------------------------

    def take(self, room: Room) -> tuple[list[Call], str]:
        """Calls for one batch, none of them done, and why it has no more; no calls where none waits.

        The reasons: `idle` (nothing else waits), `rows` (the limit), `share` (large calls leave room for small ones),
        `shape` (what is next has other tensors), `alone` (the model takes one request at a time).
        """
        self._heaviest_rows = math.inf
        if not self._mergeable:
            return self._take_one()
        rows = self.rows
        if not self._flows and (
            rows <= room.chunk_rows or (rows <= room.limit_rows and rows == len(self._arrivals)) or not self._splits
        ):
            return self._take_first(room.limit_rows)
        self._sort()
        return self._take_fairly(room)

    def _take_first(self, limit: int) -> tuple[list[Call], str]:
        """In order of arrival: nobody is left waiting by it, or nobody can be cut short."""
        arrivals = self._arrivals
        if self.rows <= limit:
            # Nearly all calls share a batch without a closer look at them.
            every = [call for call in arrivals if call.packed is not None and call.params is None and not call.done]
            if len(every) == len(arrivals):
                arrivals.clear()
                self.rows = 0
                return every, "idle"
        calls: list[Call] = []
        rows = 0
        while arrivals:
            call = arrivals[0]
            if not call.done and calls:
                if rows + call.rows > limit:
                    return calls, "rows"
                if not _compatible(calls[0], call):
                    return calls, "shape"
            arrivals.popleft()
            self.rows -= call.rows
            if not call.done:
                calls.append(call)
                rows += call.rows
        return calls, "idle"

    def _take_one(self) -> tuple[list[Call], str]:
        self._sort()
        flow = self._next_flow()
        if flow is None:
            return [], "idle"
        call = self._advance(flow, flow.head_rows())
        return [call], "alone" if self.rows else "idle"

    def _take_fairly(self, room: Room) -> tuple[list[Call], str]:
        """By turns. Small calls go whole as long as there is room, large ones in slices up to the chunk."""
        picked = _Picked(room, splits=self._splits)
        aside: list[_Flow] = []
        while picked.rows < room.limit_rows and (flow := self._next_flow()) is not None:
            rows = picked.rows_of(flow, alone=not (self._heap or aside))
            if rows > 0:
                picked.add(self._advance(flow, rows), rows)
                continue
            aside.append(flow)
            if picked.reason == "rows":
                break
        for flow in aside:
            self._wait(flow)
        return picked.calls, picked.why(self.rows)

    # -- flows -----------------------------------------------------------------------------------------------------

    def _sort(self) -> None:
        """Move what has arrived to its client's flow."""
        while self._arrivals:
            call = self._arrivals.popleft()
            if call.done:
                self.rows -= call.rows
                continue
            client = call.client
            flow = self._flows.get(client)
            if flow is None:
                flow = self._flows[client] = _Flow(client, max(self._now_tag, self._finished.pop(client, 0.0)))
                self._wait(flow)
            flow.calls.append(call)
            flow.rows += call.rows

    def _wait(self, flow: _Flow) -> None:
        heapq.heappush(self._heap, (flow.tag, next(self._order), flow))

    def _next_flow(self) -> _Flow | None:
        """The least advanced flow, taken out of the heap, with a first call that is not done."""
        while self._heap:
            flow = heapq.heappop(self._heap)[2]
            while flow.calls and flow.calls[0].done:
                self._drop_head(flow, flow.head_rows())
            if flow.calls:
                self._now_tag = max(self._now_tag, flow.tag)
                return flow
            self._end(flow)
        return None

    def _advance(self, flow: _Flow, rows: int) -> Call:
        """Hand out `rows` rows of the flow's first call, and let the flow wait for its next turn."""
        call = flow.calls[0]
        flow.tag += rows
        if flow.cut is None and rows < call.rows:
            flow.cut = Assembly(call)
        given = call if flow.cut is None else flow.cut.take(rows)
        if flow.cut is None or flow.cut.taken_rows == call.rows:
            self._drop_head(flow, rows)
        else:
            flow.rows -= rows
            self.rows -= rows
        if flow.calls:
            self._wait(flow)
        else:
            self._end(flow)
        return given

    def _drop_head(self, flow: _Flow, rows: int) -> None:
        flow.calls.popleft()
        flow.cut = None
        flow.rows -= rows
        self.rows -= rows

    def _end(self, flow: _Flow) -> None:
        """A client has nothing more waiting. What it has had is remembered while others wait."""
        del self._flows[flow.client]
        self._finished[flow.client] = flow.tag
        if not self._flows:
            self._forget()
        elif len(self._finished) > FINISHED_MAX:
            self._finished = {client: tag for client, tag in self._finished.items() if tag > self._now_tag}
            if len(self._finished) > FINISHED_MAX:
                self._finished.clear()

    def _forget(self) -> None:
        self._flows.clear()
        self._heap.clear()
        self._finished.clear()
        self._now_tag = 0.0


class _Picked:
    """A batch that is being put together from many clients' calls."""

    def __init__(self, room: Room, *, splits: bool) -> None:
        self._room = room
        self._splits = splits
        self._contended = room.chunk_rows < room.limit_rows
        self._slice_rows = max(1, room.chunk_rows // SLICES_A_CHUNK) if self._contended else room.limit_rows
        self._small_rows = min(SMALL_ROWS, room.limit_rows)
        self._parts: dict[object, CallPart] = {}
        self.calls: list[Call] = []
        self.rows = 0
        self.reason = "idle"

    def rows_of(self, flow: _Flow, *, alone: bool) -> int:
        """How many rows of the flow's first call go in; for none of them `reason` says why."""
        left, room = flow.head_rows(), self._room
        if self.calls and not _compatible(self.calls[0], flow.calls[0]):
            rows, reason = 0, "shape"
        elif (left <= self._small_rows and flow.cut is None) or not self._splits:
            rows, reason = (left if self.rows + left <= room.limit_rows or not self.calls else 0), "rows"
        else:
            # Alone in the queue a large call takes all there is; among others a slice, and then it is their turn.
            rows, reason = min(left, room.chunk_rows - self.rows, left if alone else self._slice_rows), "share"
        if rows <= 0:
            self.reason = reason
        return rows

    def add(self, call: Call, rows: int) -> None:
        """Take a call in; a further slice of one that is in already joins the first."""
        self.rows += rows
        first = self._parts.setdefault(call.sink, call) if isinstance(call, CallPart) else call
        if first is call:
            self.calls.append(call)
        elif isinstance(first, CallPart):
            first.extend(rows)

    def why(self, waiting_rows: int) -> str:
        """Why there is no more in it."""
        if self.reason != "idle" or not waiting_rows:
            return self.reason
        return "rows" if self.rows >= self._room.limit_rows or not self._contended else "share"


def _compatible(first: Call, call: Call) -> bool:
    """Whether two calls' rows can stand in one batch: the same params and tensors, of the same types and row shapes."""
    if first.params != call.params:
        return False
    if first.packed is not None or call.packed is not None:
        return first.packed is not None and call.packed is not None
    ours, theirs = first.tensors or {}, call.tensors or {}
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and ours[name].shape[1:] == theirs[name].shape[1:] for name in ours
    )
