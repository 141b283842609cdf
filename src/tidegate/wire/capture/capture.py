"""What the compactor says of itself, and the shapes of the capture API."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tidegate.system.atomic import write_whole
from tidegate.wire.decoding import json_decoder
from tidegate.wire.exact import STRICT, Flag, Number, Whole

STATE_FILE = "compactor.json"
"""In the folder of the capture store."""
STATE_BYTES_MAX = 1 << 20


class CompactorState(msgspec.Struct, frozen=True):
    """As of `at_s` (seconds since the epoch). Counts go on over restarts.

    `backlog_segments` and `backlog_bytes` wait to be compacted, the oldest for `lag_s`. `open_bytes` are of segments
    that gateways still write. `trouble` is why nothing can be
    written just now, empty where all is well. `lost_bytes`, `unfit_records`, `ahead_rows`, `quarantined_segments`: what
    could not be made into rows, by why.
    """

    pid: int
    at_s: float
    segments: int = 0
    rows: int = 0
    lost_bytes: int = 0
    unfit_records: int = 0
    ahead_rows: int = 0
    quarantined_segments: int = 0
    expired_files: int = 0
    stored_bytes: int = 0
    backlog_segments: int = 0
    backlog_bytes: int = 0
    lag_s: float = 0.0
    trouble: str = ""
    open_bytes: int = 0


SILENT_S = 60.0
"""A compactor says something every ten seconds, also when it rests."""


@dataclass(frozen=True)
class CaptureView:
    """What becomes of captured predictions: how many rows became Parquet, and what waits (the oldest for `lag_s`).

    `open_bytes`: of segments that gateways still write; their rows are in no count, and queries have them.

    `trouble`: the compactor cannot write, and why is in `reason`; `silent`: it has said nothing for a minute. What it
    could not make into rows is in the four counts after that. `dropped_records`: gateways could not record them at all.
    """

    status: Literal["ready", "trouble", "silent"]
    rows: int
    segments: int
    backlog_segments: int
    backlog_bytes: int
    lag_s: float
    lost_bytes: int
    unfit_records: int
    ahead_rows: int
    quarantined_segments: int
    expired_files: int
    stored_bytes: int
    reason: str = ""
    dropped_records: int = 0
    open_bytes: int = 0


def capture_view(state: CompactorState | None, now_s: float, dropped_records: int = 0) -> CaptureView | None:
    """What status shows; None where no compactor ever ran."""
    if state is None:
        return None
    silent = now_s - state.at_s > SILENT_S
    reason = f"the compactor has said nothing for {now_s - state.at_s:.0f} s" if silent else state.trouble
    return CaptureView(
        status="silent" if silent else "trouble" if state.trouble else "ready",
        rows=state.rows,
        segments=state.segments,
        backlog_segments=state.backlog_segments,
        backlog_bytes=state.backlog_bytes,
        lag_s=state.lag_s,
        lost_bytes=state.lost_bytes,
        unfit_records=state.unfit_records,
        ahead_rows=state.ahead_rows,
        quarantined_segments=state.quarantined_segments,
        expired_files=state.expired_files,
        stored_bytes=state.stored_bytes,
        reason=reason,
        dropped_records=dropped_records,
        open_bytes=state.open_bytes,
    )


_states = json_decoder(CompactorState)


def write_state(store: Path, state: CompactorState) -> None:
    """Raises `OSError`."""
    write_whole(store / STATE_FILE, msgspec.json.encode(state), mode=0o600, durable=False)


def read_state(store: Path) -> CompactorState | None:
    """What the compactor of this store said last; None where it never did, or where that cannot be read."""
    path = store / STATE_FILE
    try:
        if path.stat().st_size > STATE_BYTES_MAX:
            return None
        return _states.decode(path.read_bytes())
    except (OSError, ValueError):  # msgspec's own are ValueErrors
        return None


# -- queries ----------------------------------------------------------------------------------------------------------

CaptureForm = Literal["json", "arrow"]
ROWS_DEFAULT, ROWS_MAX = 10_000, 1_000_000
ARROW_TYPE = "application/vnd.apache.arrow.stream"
TRUNCATED = b"truncated"
"""In the metadata of an Arrow answer's schema: whether there were more rows."""


@dataclass(frozen=True)
class CaptureQueryRequest:
    """A SELECT over what was captured of an endpoint from `since` until `until` (seconds since the epoch; the last hour
    where they are not given), of one version where one is named. Without `sql`, every column of `predictions`.
    """

    __pydantic_config__ = STRICT

    sql: str | None = None
    since: Number | None = None
    until: Number | None = None
    version: str | None = None
    rows_max: int = ROWS_DEFAULT


@dataclass(frozen=True)
class CaptureAnswer:
    """Rows as objects. `truncated`: there were more than `rows_max`."""

    columns: list[str]
    rows: list[dict[str, Any]]
    truncated: bool


class CaptureSelection(msgspec.Struct, frozen=True):
    """A SELECT over the rows of one endpoint with `since_s` <= at < `until_s` (seconds since the epoch).

    `names` has by version the columns of a matrix, where they have names.
    """

    endpoint: str
    sql: str
    since_s: float
    until_s: float
    version: str | None = None
    rows_max: int = ROWS_DEFAULT
    form: CaptureForm = "json"
    names: dict[str, list[str]] = {}


# -- settings ---------------------------------------------------------------------------------------------------------

COLUMNS_MAX = 1000


@dataclass(frozen=True)
class CaptureSettings:
    """What is recorded of an endpoint's predictions: of this share of its requests, without the columns in `drop`, with
    a keyed hash of those in `hash` (and of units' keys); for how long and how much, 0 as the platform's settings say.
    """

    sample: float
    drop: list[str]
    hash: list[str]
    hash_keys: bool
    retain_s: float
    retain_bytes: int


@dataclass(frozen=True)
class CaptureSettingsRequest:
    """What is to change; null, or nothing, leaves a setting as it is."""

    __pydantic_config__ = STRICT

    sample: Number | None = None
    drop: list[str] | None = None
    hash: list[str] | None = None
    hash_keys: Flag | None = None
    retain_s: Number | None = None
    retain_bytes: Whole | None = None


# -- forgetting -------------------------------------------------------------------------------------------------------

FORGET_FOLDER = "forget"
"""In the folder of the capture store."""


class ForgetRequest(msgspec.Struct, frozen=True):
    """Whom to forget: `keys` are the unit's key in each form in which it was recorded. `at_s`: when it was asked.

    `ids` are those of its requests that the compactor has found.
    """

    endpoint: str
    keys: list[str]
    at_s: float
    ids: list[str] = []


def ask_to_forget(store: Path, request: ForgetRequest) -> None:
    """Leave a request for the compactor. Raises `OSError`."""
    folder = store / FORGET_FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(folder / f"{secrets.token_hex(8)}.json", msgspec.json.encode(request), mode=0o600)


@dataclass(frozen=True)
class CaptureForgetRequest:
    """The key of the unit whose rows are to go."""

    __pydantic_config__ = STRICT

    key: str


@dataclass(frozen=True)
class CaptureForgetAnswer:
    """It was asked for; the compactor does it, of rows that a gateway still writes within the hour."""

    endpoint: str
    status: Literal["asked"] = "asked"
