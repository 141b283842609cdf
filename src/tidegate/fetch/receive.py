"""Asks the control plane for a version until it is whole in its folder, or until there is no use in asking again."""

from __future__ import annotations

import errno
import json
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import urllib3

from tidegate.errors import (
    ArtifactDamaged,
    DiskFull,
    InvalidArgument,
    ModelLoadFailed,
    PartUnavailable,
    TidegateError,
)
from tidegate.errors.codes import by_code
from tidegate.fetch.fit import check_fits
from tidegate.fetch.unpack import Incomplete, Unpacked, unpack
from tidegate.packaging.filelist import find_fault
from tidegate.wire.replicas.manifest import Manifest, read_manifest
from tidegate.wire.replicas.package_tar import CREDENTIAL_HEADER, DIGEST_HEADER, MANIFEST, BadEntry

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 30.0
PAUSE_FIRST_S, PAUSE_LONGEST_S = 0.5, 15.0
DAMAGED_MAX = 3
"""As often something that is not the version may come, one time after another, before it is taken for the version."""
ERROR_BYTES_MAX = 64 << 10
PASSING = (408, 429, 500, 502, 503, 504)
_STAGED = ".part-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Wanted:
    """What to fetch, whose key to show for it, and how long all tries may take together."""

    url: str
    version_path: str
    digest: str
    credential: str
    key: str = field(repr=False)
    timeout_s: float = 600.0
    ca_file: Path | None = None


class _Again(Exception):
    """This time it did not go; says why."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


def fetch(wanted: Wanted, into: Path, say: Callable[[str], None]) -> Manifest:
    """Put the version's files into the folder, unless they are there; whole, or as it was. Returns the manifest.

    `say` is told why it is tried again. Raises what the control plane refuses it with, `PartUnavailable` where that did
    not answer in time, `ArtifactDamaged`, `DiskFull`, and `MissingLibrary` or `ModelLoadFailed` where it cannot be
    loaded here.
    """
    if (there := _there(wanted.digest, into)) is not None:
        return there
    deadline_at, failures, damaged = time.monotonic() + wanted.timeout_s, 0, 0
    with _pool(wanted) as pool:
        while True:
            try:
                return _once(pool, wanted, into)
            except _Again as again:
                why, after_s = str(again), again.after_s
            except BadEntry as error:
                why, after_s, damaged = f"what came is not the version: {error}", 0.0, damaged + 1
                if damaged >= DAMAGED_MAX:
                    raise ArtifactDamaged(f"{wanted.url}{wanted.version_path}: {why}") from None
            failures += 1
            pause_s = max(after_s, min(PAUSE_FIRST_S * 2.0 ** min(failures - 1, 16), PAUSE_LONGEST_S))
            pause_s *= random.uniform(0.5, 1.0) if not after_s else 1.0  # noqa: S311 - no secret
            if time.monotonic() + pause_s > deadline_at:
                raise PartUnavailable(  # no fault of the version's: core.reconcile.failures
                    f"the version did not come from {wanted.url} within {wanted.timeout_s:g} s: {why}. Is that the "
                    "control plane's address as seen from here (TIDEGATE_CONTROL_URL_INSIDE)?"
                )
            say(f"trying again in {pause_s:.1f} s: {why}")
            time.sleep(pause_s)


def _there(digest: str, into: Path) -> Manifest | None:
    """The manifest of the version that is in the folder already: its container was started again."""
    try:
        manifest = read_manifest(into / MANIFEST)
    except (OSError, ValueError):
        return None
    folder = manifest.accelerated.folder if manifest.accelerated is not None else manifest.package_dir
    return manifest if manifest.digest == digest and find_fault(into / folder) is None else None


def _pool(wanted: Wanted) -> urllib3.PoolManager:
    ca_certs = None if wanted.ca_file is None else str(wanted.ca_file)
    timeout = urllib3.Timeout(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
    return urllib3.PoolManager(retries=False, timeout=timeout, ca_certs=ca_certs)


def _once(pool: urllib3.PoolManager, wanted: Wanted, into: Path) -> Manifest:
    heads = {"authorization": f"Bearer {wanted.key}", CREDENTIAL_HEADER: wanted.credential}
    url = wanted.url.rstrip("/") + wanted.version_path
    try:
        answer = pool.request("GET", url, headers=heads, preload_content=False, redirect=False)
    except urllib3.exceptions.LocationValueError as error:
        raise InvalidArgument(f"--url {wanted.url!r} is no address of a control plane: {error}", field="url") from None
    except urllib3.exceptions.HTTPError as error:
        raise _Again(f"no answer from {wanted.url}: {error}") from None
    try:
        _check_answer(answer, wanted)
        return _unpacked(answer, wanted.digest, into)
    except Incomplete:
        raise _Again(f"the connection to {wanted.url} ended early") from None
    except urllib3.exceptions.HTTPError as error:
        raise _Again(f"the connection to {wanted.url} broke: {error}") from None
    finally:
        answer.close()


def _check_answer(answer: urllib3.BaseHTTPResponse, wanted: Wanted) -> None:
    if answer.status == 200:
        if (told := answer.headers.get(DIGEST_HEADER, "")) != wanted.digest:
            raise BadEntry(f"it is said to be of digest {told[:80]!r}")
        return
    body = _error_of(answer)
    why = str(body.get("error") or f"it answered {answer.status}")
    if answer.status in PASSING:
        after = answer.headers.get("retry-after", "")
        raise _Again(why, min(float(after), PAUSE_LONGEST_S) if after.isdecimal() else 0.0)
    raise by_code(str(body.get("code", "")))(f"{wanted.url} does not give the version: {why}")


def _error_of(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    try:
        body = json.loads(answer.read(ERROR_BYTES_MAX))
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _unpacked(answer: urllib3.BaseHTTPResponse, digest: str, into: Path) -> Manifest:
    """Beside, then moved in: first the files, last the manifest, by which a replica knows that they are there."""
    try:
        staged = into / f"{_STAGED}{token_hex(4)}"
        for left in into.glob(f"{_STAGED}*"):
            shutil.rmtree(left)
        staged.mkdir()
        try:
            came = unpack(answer, staged, digest)
            check_fits(came.manifest)
            _move_in(staged, into, came)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise _no_room(error, into) from None
    return came.manifest


def _move_in(staged: Path, into: Path, came: Unpacked) -> None:
    (into / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(into / came.folder, ignore_errors=True)
    (staged / came.folder).rename(into / came.folder)
    (staged / MANIFEST).rename(into / MANIFEST)


def _no_room(error: OSError, into: Path) -> TidegateError:
    if error.errno in _FULL:
        return DiskFull(f"the volume at {into} is full: give the replica a larger one")
    return ModelLoadFailed(f"the version cannot be written to {into}: {error.strerror or error}")
