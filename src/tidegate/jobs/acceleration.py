"""The last step of the register job: tries faster forms of a version that can be deployed already.

Whatever goes wrong here is a reason to serve the original, and never the registration's failure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.adapters.sandbox.inspection import AccelerationRequest, ValidationRequest, Watched, run_acceleration
from tidegate.core.access import Principal, part_of_platform
from tidegate.errors import TidegateError, UnknownVersion
from tidegate.services.models.catalog import Models
from tidegate.services.models.intake import Intake
from tidegate.wire import rest

_log = logging.getLogger(__name__)

ACCELERATION_S_MAX = 180.0
"""How long trying faster forms may take before the original is kept."""
SWITCHED_OFF: dict[str, Any] = {
    "kept": None,
    "state": "skipped",
    "reason": "switched off (--no-accelerate)",
}
OWN_ENVIRONMENT: dict[str, Any] = {
    "kept": None,
    "state": "done",
    "asked": True,  # asking again would find no converters there either
    "reason": "it runs in an environment of its own, which has no converters",
}


@dataclass(frozen=True)
class Work:
    """What to accelerate, for which job that `who` asked for, and where it may write."""

    name: str
    digest: str
    job_id: str
    scratch: Path
    asked: bool
    validation: ValidationRequest | None
    device: str | None
    who: Principal


@dataclass(frozen=True)
class Acceleration:
    """Writes `acceleration` of versions: {"kept", "state": pending | done | failed | skipped, "reason", "tried"}."""

    models: Models
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def pending(self, job_id: str) -> dict[str, Any]:
        """The record of a version whose job has yet to try; `job` finds it again after a crash."""
        return {"kept": None, "state": "pending", "job": job_id, "reason": f"job {job_id} tries faster forms"}

    def run(self, work: Work, watched: Watched) -> None:
        """Try, and serve the form that is kept. One job at a time for a version; what another did is not done again."""
        with self._alone(work):
            known = self.models.known(work.name, work.digest)
            if known is None or not wanted(known, asked=work.asked):
                return
            try:
                self._try(work, known, watched)
            except UnknownVersion:
                _log.info("a version of %s was deleted while faster forms of it were tried", work.name)

    def switch_off(self, name: str, digest: str, who: Principal) -> None:
        """Serve the original from now on."""
        Intake(self.models).set_acceleration(name, digest, SWITCHED_OFF, who)

    def abandon(self, name: str, digest: str, job_id: str) -> None:
        """The job will not run again: its version stays as it is, and is no longer waited for."""
        known = self.models.known(name, digest)
        if known is not None and made_by(known, job_id):
            reason = "the job that tried faster forms was given up: register the same file again to try once more"
            record = {"kept": None, "state": "failed", "reason": reason}
            Intake(self.models).set_acceleration(name, digest, record, part_of_platform("jobs"))

    def _try(self, work: Work, known: rest.Version, watched: Watched) -> None:
        into = work.scratch / "form"
        record = run_acceleration(
            AccelerationRequest(
                self.models.artifacts.path(work.digest),
                into,
                known.signature,
                work.asked,
                known.pickle_granted,
                work.validation,
                work.device,
            ),
            timeout_s=ACCELERATION_S_MAX,
            scratch_dir=work.scratch,
            watched=watched,
        )
        record["asked"] = work.asked
        try:
            # A folder of its own for each try: replicas may still read an earlier one.
            form = (f"{record['kept']}.{work.job_id}", into) if record["kept"] else None
            Intake(self.models).set_acceleration(work.name, work.digest, record, work.who, form)
        except UnknownVersion:
            raise
        except (TidegateError, OSError) as error:
            failed = {**record, "kept": None, "state": "failed", "reason": f"the form could not be kept: {error}"}
            Intake(self.models).set_acceleration(work.name, work.digest, failed, work.who)

    @contextmanager
    def _alone(self, work: Work) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault((work.name, work.digest), threading.Lock())
        with lock:
            yield


def wanted(known: rest.Version, *, asked: bool) -> bool:
    """Whether faster forms are to be tried: never yet, skipped or failed before, or asked for now and not then."""
    record = known.acceleration
    if record.get("kept"):
        return False
    return record.get("state") != "done" or (asked and not record.get("asked"))


def made_by(known: rest.Version, job_id: str) -> bool:
    """Whether this job took the version in and was cut off while it tried faster forms."""
    return known.acceleration.get("state") == "pending" and known.acceleration.get("job") == job_id
