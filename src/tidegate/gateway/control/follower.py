"""Keeps routing up to date: long-polls the control plane in a thread of its own, and keeps the last good snapshot.

Without a control plane the gateway routes on by what it has. Nothing here runs on the way of a request.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from tidegate.system.atomic import write_whole
from tidegate.wire.decoding import json_decoder
from tidegate.wire.gateways import snapshot as wire
from tidegate.wire.gateways.identity import IdToken
from tidegate.wire.gateways.snapshot import Snapshot, decode_snapshot
from tidegate.wire.replicas.replica_key import replica_key

SNAPSHOT_SUFFIX = ".snapshot.json"
WAIT_S = 20.0
CONNECT_TIMEOUT_S, TOKEN_TIMEOUT_S = 2.0, 5.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 1.5
BODY_BYTES_MAX = 64 << 20
LOAD_VERSIONS_MAX = 2000
"""In one report of load, which the API takes up to a megabyte."""
IN_USE_WAIT_S = 0.2
"""While replicas that are left out are in use the control plane, which waits for that to end, is told this often."""
IN_USE_MAX = 1000

log = logging.getLogger(__name__)


class SnapshotRefused(Exception):
    """This is no snapshot that this release understands, or can route by."""


class _Envelope(msgspec.Struct):
    schema: int = wire.SCHEMA


_envelopes = json_decoder(_Envelope)
_tokens = json_decoder(IdToken)


def read_snapshot(data: bytes) -> Snapshot:
    """Decode a snapshot; raises `SnapshotRefused` that says why."""
    try:
        schema = _envelopes.decode(data).schema
        if schema != wire.SCHEMA:
            raise SnapshotRefused(f"its schema is {schema}, and this gateway reads {wire.SCHEMA}")
        return decode_snapshot(data)
    except msgspec.DecodeError as error:
        raise SnapshotRefused(f"it cannot be read: {error}") from None


class SnapshotFile:
    """The last good snapshot on disk: what a gateway starts from when the control plane is down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load_newest(self) -> Snapshot | None:
        """The snapshot that a gateway of this platform kept last; None where none can be read (logged).

        A gateway that takes another one's place has kept none yet, or one from long ago.
        """
        kept = self._path.parent.glob(f"*{SNAPSHOT_SUFFIX}")
        for path in sorted(kept, key=_written_at, reverse=True):
            try:
                return read_snapshot(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, SnapshotRefused) as error:
                log.warning("the kept snapshot %s is not used: %s", path, error)
        return None

    def save(self, data: bytes) -> None:
        """Replace the file as a whole; a failure is logged, for routing does not depend on it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._path, data)
        except OSError as error:
            log.warning("the snapshot could not be kept in %s: %s", self._path, error)


@dataclass(frozen=True)
class ControlPlane:
    """Where snapshots come from, and the key that is shown there: the one given, else the data directory's node key.

    The file is read at each attempt: it may be made anew. Beside a control plane of a release without node keys, the
    token's file opens the door.
    """

    url: str
    data_dir: Path
    gateway_id: str
    node_key: str | None = None

    def fetch(
        self, pool: urllib3.PoolManager, after: int, wait_s: float = WAIT_S, in_use: Collection[str] = ()
    ) -> bytes | None:
        """The snapshot's bytes, None when there is nothing newer. Raises `OSError` or urllib3's errors.

        Tells, beside the revision in force, which replicas are in use though it does not list them.
        """
        asked = {"after": str(after), "wait_s": f"{wait_s:g}", "gateway": self.gateway_id}
        response = pool.request(
            "GET",
            f"{self.url}/internal/v1/snapshot",
            fields=asked | ({"in_use": ",".join(sorted(in_use)[:IN_USE_MAX])} if in_use else {}),
            headers={"Authorization": f"Bearer {self._key()}"},
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=wait_s + 10.0),
            retries=False,
            preload_content=False,
        )
        try:
            if response.status == 204:
                return None
            body = response.read(BODY_BYTES_MAX)
            if response.status != 200:
                raise OSError(f"it answered {response.status}: {body[:200].decode(errors='replace')}")
            return body
        finally:
            response.drain_conn()
            response.release_conn()

    def report_loss(self) -> None:
        """A replica stopped answering. Raises as `fetch` does."""
        self._post("losses", {"gateway": self.gateway_id})

    def report_wanted(self, endpoint: str) -> None:
        """Requests wait for an endpoint that sleeps. Raises as `fetch` does."""
        self._post("wanted", {"gateway": self.gateway_id, "endpoint": endpoint})

    def report_answered(self, versions: list[dict[str, Any]]) -> None:
        """How requests ended, by version. Raises as `fetch` does."""
        self._post("answered", {"gateway": self.gateway_id, "versions": versions})

    def report_load(self, span_s: float, versions: list[dict[str, Any]]) -> None:
        """What there was to do, by version; nothing is known of those past `LOAD_VERSIONS_MAX`. Raises as `fetch`."""
        body = {"gateway": self.gateway_id, "span_s": span_s, "versions": versions[:LOAD_VERSIONS_MAX]}
        self._post("load", body | ({"truncated": True} if len(versions) > LOAD_VERSIONS_MAX else {}))

    def replica_key(self, credential: str) -> str:
        """The key of this name, which a replica asks for. Raises `OSError`."""
        return replica_key(self._key(), credential)

    def id_token(self, audience: str) -> IdToken:
        """A token for this audience of the routing snapshot, as the control plane makes it. Raises as `fetch` does."""
        answer = urllib3.request(
            "GET",
            f"{self.url}/internal/v1/id-token",
            fields={"audience": audience},
            headers={"Authorization": f"Bearer {self._key()}"},
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=TOKEN_TIMEOUT_S),
            retries=False,
        )
        if answer.status != 200:
            raise OSError(f"the control plane answered {answer.status}: {answer.data[:300].decode(errors='replace')}")
        return _tokens.decode(answer.data)

    def _post(self, what: str, body: dict[str, Any]) -> None:
        answer = urllib3.request(
            "POST",
            f"{self.url}/internal/v1/{what}",
            json=body,
            headers={"Authorization": f"Bearer {self._key()}"},
            timeout=CONNECT_TIMEOUT_S,
            retries=False,
        )
        if answer.status != 204:
            raise OSError(f"it answered {answer.status}")

    def _key(self) -> str:
        if self.node_key is not None:
            return self.node_key
        try:
            return (self.data_dir / "node.key").read_text().strip()
        except FileNotFoundError:
            return (self.data_dir / "token").read_text().strip()


class SnapshotFollower:
    """`apply` is called in the follower's thread with each new snapshot, and returns when it is in force.

    It raises `SnapshotRefused` for one that it cannot take, and then changes nothing. `in_use`, called there too, tells
    which replicas are in use though the snapshot does not list them any more; each poll says so, until there are none.
    """

    def __init__(
        self,
        source: ControlPlane,
        file: SnapshotFile,
        apply: Callable[[Snapshot], None],
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._source = source
        self._file = file
        self._apply = apply
        self._in_use = in_use
        self._stop = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="snapshot follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; a poll under way is left to itself (the thread is a daemon)."""
        self._stop.set()

    def _run(self) -> None:
        # After 0 asks for the snapshot in force whatever this gateway has: the control plane may have been restored
        # from a backup, or started anew, and then an older revision is the truth.
        after, failures = 0, 0
        with urllib3.PoolManager(maxsize=1) as pool:
            while not self._stop.is_set():
                try:
                    after = self._follow_once(pool, after)
                    failures = 0
                except (OSError, urllib3.exceptions.HTTPError, SnapshotRefused) as error:
                    after = 0
                    failures += 1
                    self._report(error)
                    self._stop.wait(_backoff_s(failures))
                except Exception:
                    # Whatever it is, the next snapshot must still be heard of: this thread may not end.
                    after = 0
                    failures += 1
                    log.exception("a snapshot could not be applied: it is fetched again")
                    self._stop.wait(BACKOFF_MAX_S)

    def _follow_once(self, pool: urllib3.PoolManager, after: int) -> int:
        """Ask, and take what there is; the revision to ask after next."""
        in_use = self._in_use()
        data = self._source.fetch(pool, after, IN_USE_WAIT_S if in_use else WAIT_S, in_use)
        if data is None:
            self._recovered()
            return after
        snapshot = read_snapshot(data)
        if self._stop.is_set():
            return after
        self._apply(snapshot)
        self._recovered()
        self._file.save(data)
        return snapshot.revision

    def _report(self, error: Exception) -> None:
        """One line when the state changes, not one for each attempt."""
        refused = isinstance(error, SnapshotRefused)
        trouble = "refused" if refused else "unreachable"
        if trouble == self._trouble:
            return
        self._trouble = trouble
        what = "the control plane's snapshot is refused" if refused else "the control plane gives no snapshot"
        log.warning("%s (%s): routing stays as it is", what, error)

    def _recovered(self) -> None:
        if self._trouble is not None:
            log.info("the control plane answers again")
        self._trouble = None


def _written_at(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _backoff_s(failures: int) -> float:
    with contextlib.suppress(OverflowError):
        full = min(BACKOFF_FIRST_S * 2.0 ** (failures - 1), BACKOFF_MAX_S)
        return full * random.uniform(0.7, 1.0)  # noqa: S311  # jitter is no secret
    return BACKOFF_MAX_S
