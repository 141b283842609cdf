"""Looks for sealed segments and compacts them, one at a time, for as long as the process lives. Called by `__main__`.

It rests with a look at the journal's folder every `REST_S`, and imports pyarrow with the first segment that is there
for it. Whatever it cannot write (a full disk, a folder that is gone) it says in its state, and tries again.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate import clock as clocks
from tidegate.capture.files import Files
from tidegate.capture.location import Location
from tidegate.capture.retention import Keep, expire
from tidegate.clock import Clock
from tidegate.system.file_lock import open_lock, take
from tidegate.wire.capture.capture import FORGET_FOLDER, CompactorState, read_state, write_state
from tidegate.wire.gateways.snapshot import decode_snapshot
from tidegate.wire.journal import Segment, list_segments
from tidegate.wire.journal.cursors import read_cursor

if TYPE_CHECKING:
    from tidegate.capture.compact import Compacted
    from tidegate.capture.forgetting import Forgetting
    from tidegate.settings import Settings

REST_S = 1.0
OTHER_S = 5.0
"""How long to wait beside another compactor of the same data directory, which may end."""
ABANDONED_EVERY_S = 5.0
"""How often to look for segments that a dead gateway left open."""
SAY_EVERY_S = 10.0
EXPIRE_EVERY_S = 300.0
FORGET_EVERY_S = 15.0
TROUBLE_FIRST_S, TROUBLE_MAX_S = 1.0, 30.0
READER = "compactor"

log = logging.getLogger(__name__)


@dataclass
class _Due:
    """When things are to be done next, on the monotonic clock."""

    abandoned_at: float = 0.0
    expiry_at: float = 0.0
    forget_at: float = 0.0
    say_at: float = 0.0


class Compactor:
    """Of one data directory. `step` looks once."""

    def __init__(
        self, settings: Settings, stop: threading.Event, clock: Clock = clocks.now, monotonic: Clock = clocks.monotonic
    ) -> None:
        self._settings = settings
        self._journal, self._store = settings.data_dir / "journal", settings.data_dir / "capture"
        self._stop, self._clock, self._monotonic = stop, clock, monotonic
        self._due = _Due()
        self._trouble_s = 0.0
        self._state = CompactorState(os.getpid(), 0.0)
        self._forgetting: Forgetting | None = None
        self._location = Location.of(settings)
        self._opened: Files | None = None

    def run(self, *, once: bool = False) -> int:
        """Until it is told to stop; with `once`, until all that is sealed by now is compacted."""
        lock = self._alone(wait=not once)
        if lock is None:
            if once and not self._stop.is_set():
                log.error("another compactor is at work on %s", self._store)
            return int(once)
        try:
            before = read_state(self._store)
            if before is not None:
                self._state = msgspec.structs.replace(before, pid=os.getpid(), trouble="")
            if once:
                self.step()
                self._say(at_once=True)
                return int(bool(self._state.trouble))
            while not self._stop.wait(self.step()):
                pass
        finally:
            os.close(lock)
        return 0

    def step(self) -> float:
        """Compact what there is; how long to rest."""
        try:
            if self._has_work():
                self._compact()
            self._forget()
            self._expire()
            self._trouble_s = 0.0
            if self._state.trouble:
                log.info("the capture store is written again")
            self._state = msgspec.structs.replace(self._state, trouble="")
            self._say(at_once=False)
        except OSError as error:
            return self._cannot(error)
        return REST_S

    def _alone(self, *, wait: bool) -> int | None:
        """The lock of this data directory's compactor; None where another has it, or when it is to stop first."""
        told = False
        while not self._stop.is_set():
            try:
                self._store.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = open_lock(self._store / ".process.lock")
                if take(lock):
                    return lock
                os.close(lock)
                trouble = "another compactor is at work here"
            except OSError as error:
                trouble = f"{self._store} cannot be used: {error.strerror or error}"
            if not wait:
                return None
            if not told:
                log.warning("waiting: %s", trouble)
                told = True
            self._stop.wait(OTHER_S)
        return None

    def _has_work(self) -> bool:
        if any(not one.is_open for one in self._pending()):
            return True
        now = self._monotonic()
        if now < self._due.abandoned_at:
            return False
        self._due.abandoned_at = now + ABANDONED_EVERY_S
        return any(one.is_open and not _is_written(one) for one in self._pending())

    def _pending(self) -> list[Segment]:
        known = read_cursor(self._journal, READER)
        return [segment for segment in list_segments(self._journal) if segment.name not in known]

    def _compact(self) -> None:
        from tidegate.capture.compact import compact

        def on_segment(done: Compacted) -> None:
            self._count(done)
            self._say(at_once=False)

        compact(self._journal, self._store, self._clock, lambda: not self._stop.is_set(), on_segment, self._files())

    def _forget(self) -> None:
        """Do what was asked for; what waits for a segment is looked at again from time to time."""
        asked = any((self._store / FORGET_FOLDER).glob("*.json"))
        if not asked or self._monotonic() < self._due.forget_at:
            return
        from tidegate.capture.forgetting import Forgetting

        if self._forgetting is None:
            self._forgetting = Forgetting(self._store, self._journal, self._goes_on, self._files())
        done = self._forgetting.run(self._clock())
        self._due.forget_at = self._monotonic() + (FORGET_EVERY_S if done.waiting else 0.0)

    def _files(self) -> Files:
        if self._opened is None:
            self._opened = self._location.files()
        return self._opened

    def _goes_on(self) -> bool:
        """Whether it is not to stop; what takes long asks, and the state is said meanwhile."""
        self._say(at_once=False)
        return not self._stop.is_set()

    def _expire(self) -> None:
        now = self._monotonic()
        if now < self._due.expiry_at:
            return
        self._due.expiry_at = now + EXPIRE_EVERY_S
        keep = Keep(self._settings.capture_retain_s, self._settings.capture_bytes_max)
        by_endpoint = kept_by_endpoint(self._settings.data_dir / "gateways", keep)
        if by_endpoint is None:
            return
        done = expire(self._files(), self._journal, self._clock(), keep, by_endpoint)
        files = self._state.expired_files + done.files
        self._state = msgspec.structs.replace(self._state, expired_files=files, stored_bytes=done.stored_bytes)

    def _count(self, done: Compacted) -> None:
        state = self._state
        self._state = msgspec.structs.replace(
            state,
            segments=state.segments + done.segments,
            rows=state.rows + done.rows,
            lost_bytes=state.lost_bytes + done.lost_bytes,
            unfit_records=state.unfit_records + done.unfit,
            ahead_rows=state.ahead_rows + done.ahead,
            quarantined_segments=state.quarantined_segments + done.set_aside,
        )
        self._due.say_at = 0.0

    def _say(self, *, at_once: bool) -> None:
        now = self._monotonic()
        if not at_once and now < self._due.say_at:
            return
        self._due.say_at = now + SAY_EVERY_S
        pending = [(one.is_open, found) for one in self._pending() if (found := _stat(one.path)) is not None]
        present = [found for is_open, found in pending if not is_open]
        at_s = self._clock()
        self._state = msgspec.structs.replace(
            self._state,
            at_s=at_s,
            backlog_segments=len(present),
            backlog_bytes=sum(found.st_size for found in present),
            open_bytes=sum(found.st_size for is_open, found in pending if is_open),
            lag_s=max((at_s - found.st_mtime for found in present), default=0.0),
        )
        write_state(self._store, self._state)

    def _cannot(self, error: OSError) -> float:
        trouble = f"the capture store cannot be written: {error.strerror or error}"
        if self._state.trouble != trouble:
            log.error("%s; it is tried again", trouble)
        self._state = msgspec.structs.replace(self._state, trouble=trouble)
        try:
            self._say(at_once=True)
        except OSError:
            log.debug("nor can the state be written")
        self._trouble_s = min(max(TROUBLE_FIRST_S, self._trouble_s * 2), TROUBLE_MAX_S)
        return self._trouble_s


def kept_by_endpoint(folder: Path, keep: Keep) -> dict[str, Keep] | None:
    """What endpoints say for themselves, as the snapshot has it that a gateway kept last.

    None where that cannot be read: then nothing may be deleted, for an endpoint may keep its rows longer than others.
    """
    newest = folder
    try:
        newest = max(folder.glob("*.snapshot.json"), key=lambda path: path.stat().st_mtime, default=folder)
        endpoints = () if newest == folder else decode_snapshot(newest.read_bytes()).endpoints
    except (OSError, ValueError) as error:
        log.warning("no rows are deleted, for the snapshot %s, which says how long, is not read: %s", newest, error)
        return None
    return {
        one.name: Keep(one.capture.retain_s or keep.retain_s, one.capture.retain_bytes or keep.bytes_max)
        for one in endpoints
        if one.capture is not None
    }


def _is_written(segment: Segment) -> bool:
    from tidegate.wire.journal.segments import is_written

    try:
        with segment.path.open("rb") as stream:
            return is_written(stream)
    except OSError:
        return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
