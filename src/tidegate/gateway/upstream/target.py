"""A replica as a batcher's target: one keep-alive connection, one batch at a time. Made and retired by `routing`.

It is offered to the batcher only while it is connected and the replica says that it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.dataplane.base.cooperative_scheduler import CooperativeScheduler
from tidegate.dataplane.base.incidents import as_error
from tidegate.dataplane.base.stepwise import in_steps
from tidegate.dataplane.calls.outputs import Outputs, TargetHung, TargetLost, TargetUnreached, TargetUnread
from tidegate.errors import DeadlineExceeded, Overloaded, TidegateError
from tidegate.gateway.upstream.connection import HopAnswer, HopConnection
from tidegate.gateway.upstream.dial import REFUSALS, Dialer, Secrets, Unavailable, UpstreamAddress
from tidegate.gateway.upstream.front import ABORTED_MAX, ABORTED_STATUS, FrontSays, said_by_front, wait_s
from tidegate.gateway.upstream.hop import HopRequest, is_long, is_long_answer, read_answer
from tidegate.gateway.upstream.place import shown

if TYPE_CHECKING:
    from tidegate.clock import Clock
    from tidegate.dataplane.calls.batch import Batch, Done

CONNECT_TIMEOUT_S = 5.0
STARTING_TIMEOUT_S = 60.0
"""A front that starts instances as they are wanted keeps the first question waiting for so long."""
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.02, 1.0
SHORT_LIVED_S = 1.0
WATCH_TICK_S = 0.1
LIFE_SIGN_TIMEOUT_S = 2.0
REACH_TIMEOUT_S = 0.5
"""How long a batch may wait for a connection that was closed while idle to be opened again."""
ONE_WRITE_BYTES = 64 << 10
"""A request up to this size is written at once or not at all: a broken pipe then says that none of it was."""
IDLE_S_MIN = 1.0
"""A connection that closes without an answer was closed for having been idle only if it was idle at least this long."""

NOTHING = HopRequest([])

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpstreamHooks:
    """Who is told that a target may be used, and that it may not; and who knows their keys and tokens."""

    on_up: Callable[[UpstreamTarget], None]
    on_down: Callable[[UpstreamTarget], None]
    secrets: Secrets = Secrets()


class UpstreamTarget:
    """A `BatchTarget` that sends each batch as one V2 request with binary tensors.

    A batch that gets no answer within `answer_timeout_s`, or until the last of its calls' deadlines where that is
    later, fails with `DeadlineExceeded` and the connection is cut, so that a hung replica takes no second batch.
    Long before that, after `batch.hang_s`, the replica is asked on another connection whether it is ready: one that
    computes says so, one that hangs does not, and then the batch fails with `TargetHung`.
    A batch whose connection had been idle and closes before any of its answer came is sent once more on a new one:
    servers close idle connections, and that must not cost a request. If that fails too it is `TargetLost`.
    Behind a front that starts instances (`where.audience`) nothing is taken for hung, and a batch for which there is no
    instance yet is sent again, with back-off, until the last of its calls' deadlines: then it fails with `Overloaded`.
    """

    def __init__(
        self,
        where: UpstreamAddress,
        hooks: UpstreamHooks,
        loop: asyncio.AbstractEventLoop,
        answer_timeout_s: float,
        clock: Clock,
    ) -> None:
        self.id = where.id
        self.where = where
        self.up = False
        self.tried = asyncio.Event()
        self._loop = loop
        self._hooks = hooks
        self._clock = clock
        self._answer_timeout_s = answer_timeout_s
        self._dialer = Dialer(where, hooks.secrets, loop)
        self._connection: HopConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._retired = self._refused = False
        self._watching = False
        self._batch: Batch | None = None
        self._done: Done | None = None
        self._request = NOTHING
        self._written = self._in_part = False
        self._sent_again = False
        self._turned_away = self._aborted = 0
        self._resend: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0
        self._ask_life_s = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._scheduler = CooperativeScheduler()

    # -- for the batcher -------------------------------------------------------------------------------------------

    def send(self, batch: Batch, done: Done) -> None:
        """Send a batch; `done` is called once, later, with outputs or an error (see `BatchTarget`)."""
        self._batch, self._done = batch, done
        self._written = self._in_part = False
        self._turned_away = self._aborted = 0
        self._sent_again = batch.sent_s - self._idle_since_s < IDLE_S_MIN
        self._ask_life_s = batch.sent_s + batch.hang_s
        if is_long(batch):
            self._scheduler.take(self._loop, self._write_in_steps(batch))
        else:
            try:
                self._request = self._dialer.writer.request(batch)
            except Exception as error:
                self._loop.call_soon(self._finish, as_error(error))
                return
        if not self._watching:
            self._watching = True
            self._loop.call_later(WATCH_TICK_S, self._watch)
        self._write_if_open()

    # -- for routing -----------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer of it is waited for."""
        return self._batch is not None

    def start(self) -> None:
        """Begin to connect, and stay connected until retired. `tried` is set after the first attempt."""
        self._task = self._loop.create_task(self._keep_connected(), name=f"upstream {self.id}")

    def retire(self) -> None:
        """Take no further batch, answer the one in flight, and close."""
        self._retired = True
        self.up = False
        if self._batch is None:
            self._stop()

    # -- the connection --------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures, said = 0, ""
        while not self._retired or self._batch is not None:
            connection = await self._open()
            self.tried.set()
            if isinstance(connection, Unavailable):
                failures += 1
                self._went_down(connection.why)
                if connection.why != said:
                    said = connection.why
                    level = logging.WARNING if connection.lasting else logging.INFO
                    log.log(level, "replica %s at %s: %s; trying again", self.id, shown(self.where.address), said)
                await asyncio.sleep(_backoff_s(failures))
                continue
            since_s, said = self._clock(), ""
            self._came_up(connection)
            await self._dialer.hold(connection)
            self._connection = None
            useless = self._refused or (connection.answers == 1 and self._clock() - since_s < SHORT_LIVED_S)
            failures = failures + 1 if useless else 0
            if failures > 1:
                self._went_down("it closes its connections")
                await asyncio.sleep(_backoff_s(failures))

    async def _open(self) -> HopConnection | Unavailable:
        """A connection to a replica that says it is ready, or why there is none."""
        timeout_s = STARTING_TIMEOUT_S if self.where.audience else CONNECT_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dialer.connect_ready()
        except TimeoutError:
            return Unavailable(f"it did not answer within {timeout_s:g} s")

    def _came_up(self, connection: HopConnection) -> None:
        self._connection, self._refused = connection, False
        if self._batch is not None and self._resend is None:
            self._write_if_open()
        if not self.up and not self._retired:
            self.up = True
            log.info("replica %s is connected", self.id)
            self._hooks.on_up(self)

    def _write_in_steps(self, batch: Batch) -> Iterator[bool]:
        try:
            request = yield from in_steps(lambda: self._dialer.writer.request(batch))
        except Exception as error:
            if self._batch is batch:
                self._finish(as_error(error))
        else:
            if self._batch is batch:  # else it timed out meanwhile
                self._request = request
                self._write_if_open()
        yield False

    def _write_if_open(self) -> None:
        """Write the request, if it is put together. Where the connection was closed while idle it is written later:
        `_keep_connected` is opening another.
        """
        connection = self._connection
        if connection is not None and connection.open and self._request is not NOTHING:
            self._written = True
            connection.send(self._request.parts, self._answered, self._request.expected)

    def _went_down(self, why: str) -> None:
        if self.up:
            self.up = False
            log.warning("replica %s is not used: %s", self.id, why)
            self._hooks.on_down(self)
        if self._batch is not None and self._written:
            self._finish(TargetLost(f"replica {self.id} went away before it answered"))
        elif self._batch is not None:
            kind = TargetUnread if self._in_part else TargetUnreached
            self._finish(kind(f"replica {self.id} went away before it had read the request"))

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._asking is not None:
            self._asking.cancel()
        if self._connection is not None:
            self._connection.close()

    # -- the answer ------------------------------------------------------------------------------------------------

    def _answered(self, answer: HopAnswer | None) -> None:
        batch = self._batch
        if batch is None:  # it timed out a moment before
            return
        if answer is not None and answer.status != 200 and self._was_turned_away(answer, batch):
            return
        if answer is not None:
            template, self._request = self._request.template, NOTHING
            if template is None and is_long_answer(answer):
                self._scheduler.take(self._loop, self._read_in_steps(answer, batch))
            else:
                self._finish(read_answer(answer, batch, template))
            return
        connection = self._connection
        self._written = connection is None or not connection.unread
        if connection is not None and connection.unread:
            self._in_part |= connection.reset or sum(map(len, self._request.parts)) > ONE_WRITE_BYTES
        if connection is not None and connection.answering:
            self._went_down("it died while it answered")
        elif self._sent_again:
            self._went_down("it closed the connection without an answer")
        else:
            self._sent_again = True

    def _was_turned_away(self, answer: HopAnswer, batch: Batch) -> bool:
        """Whether it was no replica that answered, or none that takes this gateway's batches; sees to the batch."""
        if answer.status in REFUSALS:
            self._was_refused(self._dialer.refused(answer.status).why)
            return True
        said = said_by_front(answer) if self.where.audience else None
        if said is FrontSays.NO_INSTANCE and answer.status == ABORTED_STATUS:
            self._aborted += 1
            said = said if self._aborted <= ABORTED_MAX else FrontSays.LOST
        if said is FrontSays.NO_INSTANCE:
            self._wait_for_instance(batch)
        elif said is FrontSays.LOST:
            self._finish(TargetLost(f"an instance of {self.id} went away before it answered ({answer.status})"))
        elif said is FrontSays.NOWHERE:
            self._was_refused(f"the front knows no tag or service of this name ({answer.status})")
        return said is not None

    def _wait_for_instance(self, batch: Batch) -> None:
        self._turned_away += 1
        again_s = wait_s(self._turned_away)
        left_s = max((call.deadline_s for call in batch.calls if not call.done), default=0.0) - self._clock()
        if again_s < left_s:
            self._resend = self._loop.call_later(again_s, self._send_again, batch)
        else:
            self._finish(Overloaded("no instance was to be had within the deadline: try again", retry_after_s=1.0))

    def _send_again(self, batch: Batch) -> None:
        self._resend = None
        if self._batch is batch:
            self._write_if_open()

    def _was_refused(self, why: str) -> None:
        """It takes no batch of this gateway, which says nothing of the model: others may answer this one."""
        self._refused, self._written, self._in_part = True, False, False
        if self._connection is not None:
            self._connection.close()
        self._went_down(why)

    def _read_in_steps(self, answer: HopAnswer, batch: Batch) -> Iterator[bool]:
        result = yield from in_steps(lambda: read_answer(answer, batch, None))
        if self._batch is batch:
            self._finish(result)
        yield False

    def _finish(self, result: Outputs | TidegateError) -> None:
        batch, done = self._batch, self._done
        self._batch = self._done = None
        self._request = NOTHING
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None
        self._idle_since_s = self._clock()
        if batch is not None and done is not None:
            done(self, batch, result)
        if self._retired and self._batch is None:
            self._stop()

    def _watch(self) -> None:
        """Time out an answer that takes too long. One timer for each busy target, not one for each batch."""
        batch = self._batch
        self._watching = batch is not None
        if batch is None:
            return
        self._loop.call_later(WATCH_TICK_S, self._watch)
        now_s = self._clock()
        if not self._written and self._request is not NOTHING and now_s - batch.sent_s >= REACH_TIMEOUT_S:
            self._went_down(f"it was not to be reached within {REACH_TIMEOUT_S:g} s")
        elif now_s - batch.sent_s >= self._answer_timeout_s and now_s >= max(call.deadline_s for call in batch.calls):
            late = f"no answer within {now_s - batch.sent_s:.1f} s"
            self._time_out(late, DeadlineExceeded(f"replica {self.id} gave {late}"))
        elif now_s >= self._ask_life_s and self._asking is None and not self.where.audience:
            self._asking = self._loop.create_task(self._ask_life(batch), name=f"life sign {self.id}")

    async def _ask_life(self, batch: Batch) -> None:
        """Eject a replica that is late and does not even say that it is ready; `_open` lets it in once it does."""
        alive = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIFE_SIGN_TIMEOUT_S):
                connection = await self._dialer.connect_ready()
                if alive := isinstance(connection, HopConnection):
                    connection.close()
        self._asking = None
        if self._batch is not batch:  # it was answered meanwhile
            return
        if alive:
            self._ask_life_s = self._clock() + batch.hang_s
        else:
            late = f"no answer within {self._clock() - batch.sent_s:.1f} s, nor any sign of life"
            self._time_out(late, TargetHung(f"replica {self.id} gave {late}"))

    def _time_out(self, why: str, error: TidegateError) -> None:
        if self._connection is not None:
            self._connection.close()
        if self.up:
            self.up = False
            log.warning("replica %s is not used: %s", self.id, why)
            self._hooks.on_down(self)
        self._finish(error)


def _backoff_s(failures: int) -> float:
    """Doubles from 20 ms to 1 s; half of it is chance, so that gateways do not knock in step."""
    full = min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16), BACKOFF_MAX_S)
    return full * random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret


async def wait_until_tried(targets: list[UpstreamTarget], timeout_s: float) -> None:
    """Wait until each target connected or failed to once, at most `timeout_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            for target in targets:
                await target.tried.wait()
