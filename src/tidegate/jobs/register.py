"""The register job: bytes → package → gate → registry → row, then faster forms. Leaves everything or nothing.

Models are loaded only by the inspection's subprocess, never here.
"""

from __future__ import annotations

import logging
import shutil
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.adapters.sandbox import confinement
from tidegate.adapters.sandbox.inspection import InspectionRequest, ValidationRequest, Watched, run_inspection
from tidegate.core.access import Principal
from tidegate.core.ports import NewRegistryVersion, Registry, RegistryVersion
from tidegate.environments import Environment, environment, requirements_of
from tidegate.errors import RegistryUnavailable, TidegateError
from tidegate.jobs import baseline, repair
from tidegate.jobs.acceleration import OWN_ENVIRONMENT, SWITCHED_OFF, Acceleration, Work, made_by, wanted
from tidegate.jobs.report import JobLost, JobReport
from tidegate.jobs.scratch import fresh_scratch, remove_scratch
from tidegate.packaging import (
    ModelSource,
    Package,
    digest_of,
    digest_with_name,
    extract_tar,
    read_source,
    wrap,
)
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.models.catalog import Models
from tidegate.services.models.intake import Intake, NewVersion
from tidegate.wire import rest
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.monitoring import BaselineSource
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature

_log = logging.getLogger(__name__)

JOB_TAG = "tidegate.job"
_MANIFEST_PACKAGE = "../../artifacts/{digest}"


@dataclass(frozen=True)
class _Input:
    """What came in, on disk. `adopted` is the version the registry already has of it under this very name."""

    source: ModelSource
    code_dir: Path | None
    digest: str
    adopted: RegistryVersion | None


@dataclass(frozen=True)
class RegisterJob:
    """`JobFunction` for kind "register". `intake` lets one job at a time number its version in the registry.

    A version can be deployed from the moment its row is there; `acceleration` then follows as the job's last step.
    """

    models: Models
    registry: Registry
    uploads: Uploads
    scratch_root: Path
    unpacked_bytes_max: int
    acceleration: Acceleration
    intake: AbstractContextManager[object] = field(default_factory=threading.Lock)
    baselines: baseline.BaselineMaker | None = None

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        """`{"model", "version", "created"}`. Raises what the steps raise."""
        name = str(payload["model"])
        request = convert(payload["request"], rest.RegisterRequest)
        scratch = fresh_scratch(self.scratch_root, report)
        try:
            given = self._bring_in(name, request, scratch, report)
            known = self.models.known(name, given.digest)
            if known is None:
                done = self._take_in(name, request, given, scratch, report)
            elif made_by(known, report.job_id):  # and was cut off when all but the last step was done
                done = {"model": name, "version": known.version, "created": True}
            else:
                done = self._register_again(name, request, (given, known), scratch, report)
            rows = self._rows_of(request)
            if self.baselines is not None and rows is not None:
                source: BaselineSource = "file" if request.baseline_upload else "validation"
                report.progress(0.78, "counting what production is compared with")
                self.baselines.after_registration(name, done["version"], rows, source, scratch, report)
            self._accelerate(name, request, given.digest, scratch, report)
            return done
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        """Remove the registry version this job made, unless its row exists, and files nobody's row speaks of."""
        name = str(payload["model"])
        remove_scratch(self.scratch_root, job_id)
        with self.intake:
            self.models.store.check()  # of a job that was taken over, nothing is ours to undo
            for version in self._made_by(name, job_id):
                digest = version.tags["tidegate.digest"]
                if self.models.known(name, digest) is None:
                    Intake(self.models).discard(name, version.version, digest)
                    self.registry.delete_version(name, version.version)
                else:
                    self.acceleration.abandon(name, digest, job_id)

    def _made_by(self, name: str, job_id: str) -> list[RegistryVersion]:
        try:
            versions = self.registry.versions(name)
        except RegistryUnavailable:
            return []  # nothing was made if it never answered; else the same bytes find this version again
        made = [version for version in versions if version.tags.get(JOB_TAG) == job_id]
        return [version for version in made if "tidegate.digest" in version.tags]

    def _bring_in(self, name: str, request: rest.RegisterRequest, scratch: Path, report: JobReport) -> _Input:
        report.progress(0.05, "reading what came in")
        path, filename, adopted = self._open(name, request, scratch)
        code_dir = self._unpack(request.code_upload, scratch / "code") if request.code_upload else None
        source = read_source(path, filename)
        digest = self._digest(name, source, code_dir, request.requirements)
        Intake(self.models).check_label_free(name, request.label, digest)
        return _Input(source, code_dir, digest, adopted)

    def _digest(self, name: str, source: ModelSource, code_dir: Path | None, requirements: str | None) -> str:
        """Of these bytes; the one an earlier release gave them, where the model has a version under that."""
        digest = digest_of(source, code_dir, requirements)
        earlier = digest_with_name(source, code_dir, requirements)
        if earlier != digest and self.models.known(name, digest) is None and self.models.known(name, earlier):
            return earlier
        return digest

    def _open(
        self, name: str, request: rest.RegisterRequest, scratch: Path
    ) -> tuple[Path, str | None, RegistryVersion | None]:
        """Where the model lies, what its user calls it, and the registry's version of it if it came from there."""
        if request.uri is not None:
            fetched = scratch / "fetched"
            fetched.mkdir()
            version = self.registry.fetch(request.uri, fetched)
            return fetched, request.uri, version if version is not None and version.name == name else None
        if request.archive:
            return self._unpack(str(request.upload), scratch / "unpacked"), request.filename, None
        return self.uploads.path(str(request.upload)), request.filename, None

    def _unpack(self, upload: str, into: Path) -> Path:
        into.mkdir()
        return extract_tar(self.uploads.path(upload), into, bytes_max=self.unpacked_bytes_max)

    def _take_in(
        self, name: str, request: rest.RegisterRequest, given: _Input, scratch: Path, report: JobReport
    ) -> dict[str, Any]:
        granted = request.allow_pickle or self.models.pickle_trusted(name)
        needed = requirements_of(given.source, request.requirements, granted)
        package = wrap(
            given.source,
            scratch / "package",
            code_dir=given.code_dir,
            requirements=request.requirements,
            allow_pickle=granted,
            elsewhere=needed is not None,
        )
        with environment(
            self.models.environments, needed, given.source, lambda step: _tell(report, 0.1, step)
        ) as own:  # held until the manifest names it, so that nobody removes it meanwhile
            return self._examine(name, request, given, (package, own), scratch, report)

    def _examine(
        self,
        name: str,
        request: rest.RegisterRequest,
        given: _Input,
        made: tuple[Package, Environment | None],
        scratch: Path,
        report: JobReport,
    ) -> dict[str, Any]:
        package, own = made
        if package.needs_pickle_grant and confinement.way() is None:
            report.progress(0.2, f"note: {confinement.UNCONFINED}")
        report.progress(0.2, f"loading the model ({package.framework}) in a process of its own")
        python = own.python if own else None
        found = self._inspect(request, package.dir, package.needs_pickle_grant, scratch, report, python)
        found["environment"] = own.key if own else None
        if request.baseline_upload and (rows := self._rows_of(request)) is not None:
            report.progress(0.6, f"answering the rows of {rows.filename!r}")
            asked = InspectionRequest(package.dir, package.needs_pickle_grant, None, python, request.device)
            baseline.answer(asked, rows, scratch, report)
        with self.intake:
            known = self.models.known(name, given.digest)
            if known is not None:  # another job was first with the same bytes
                repair.check_device(self.models, name, known.version, request.device)
                return self._amended(name, known.version, request, found, report.who)
            report.progress(0.7, "adding the version to the registry")
            entry = self._number(name, request, given, package, report.job_id)
            report.progress(0.75, "keeping the version")
            record = OWN_ENVIRONMENT if own else self.acceleration.pending(report.job_id)
            if request.accelerate is False:
                record = SWITCHED_OFF
            new = _new_version(name, request, entry, package, {**found, "acceleration": record})
            Intake(self.models).take_in(new, package.dir, report.who)
        return {"model": name, "version": entry.version, "created": True}

    def _inspect(
        self,
        request: rest.RegisterRequest,
        package_dir: Path,
        allow_pickle: bool,
        scratch: Path,
        report: JobReport,
        python: Path | None,
    ) -> dict[str, Any]:
        """Load, infer the signature, score: in a subprocess, within the gate's deadline."""
        rows_file = None if request.baseline_upload else scratch / baseline.ROWS_FILE
        return run_inspection(
            InspectionRequest(
                package_dir, allow_pickle, self._validation(request.gate), python, request.device, rows_file
            ),
            timeout_s=request.gate.timeout_s,
            scratch_dir=scratch,
            watched=Watched(lambda done, message: _tell(report, 0.2 + 0.5 * done, message), report.look),
        )

    def _accelerate(
        self, name: str, request: rest.RegisterRequest, digest: str, scratch: Path, report: JobReport
    ) -> None:
        """Try faster forms of a version that is registered, or serve the original again where that is asked for."""
        known = self.models.known(name, digest)
        if known is None:
            return
        if request.accelerate is False:
            if known.acceleration.get("kept"):
                self.acceleration.switch_off(name, digest, report.who)
            return
        asked = bool(request.accelerate)
        if not wanted(known, asked=asked):
            return
        report.progress(0.8, f"version {known.version} is registered and can be deployed; trying faster forms")
        validation = self._validation(request.gate)
        work = Work(name, digest, report.job_id, scratch, asked, validation, request.device, report.who)
        watched = Watched(lambda done, message: _tell(report, 0.8 + 0.19 * done, message), report.look)
        self.acceleration.run(work, watched)

    def _validation(self, gate: rest.Gate) -> ValidationRequest | None:
        if gate.validation_upload is None:
            return None
        path = self.uploads.path(gate.validation_upload)
        return ValidationRequest(
            path, gate.validation_filename or "validation.csv", str(gate.target), gate.metric, gate.min_score
        )

    def _rows_of(self, request: rest.RegisterRequest) -> baseline.RowsToAnswer | None:
        """The rows that production will be compared with: those given for it, else those of the validation."""
        gate, upload = request.gate, request.baseline_upload
        filename, target = request.baseline_filename, request.baseline_target
        if upload is None:
            upload, filename, target = gate.validation_upload, gate.validation_filename, gate.target
        if upload is None:
            return None
        path = self.uploads.path(upload)
        return baseline.RowsToAnswer(path, filename or "baseline.csv", target or "", gate.timeout_s)

    def _number(
        self, name: str, request: rest.RegisterRequest, given: _Input, package: Package, job_id: str
    ) -> RegistryVersion:
        """The registry's version: the one these bytes came from, or a new one tagged with this job."""
        tags = request.tags | {JOB_TAG: job_id}
        if given.adopted is not None:
            self.registry.set_tags(name, given.adopted.version, request.tags | {"tidegate.digest": given.digest})
            return given.adopted
        return self.registry.create_version(
            NewRegistryVersion(
                name=name,
                digest=given.digest,
                package_dir=package.dir,
                run_id=request.run_id,
                label=request.label,
                tags=tags,
                description=request.description,
            )
        )

    def _register_again(
        self,
        name: str,
        request: rest.RegisterRequest,
        what: tuple[_Input, rest.Version],
        scratch: Path,
        report: JobReport,
    ) -> dict[str, Any]:
        """These bytes are registered: repair what is broken, check a gate that is given, apply label and tags."""
        given, known = what
        repair.check_device(self.models, name, known.version, request.device)
        job = repair.Repair(
            name, known, given.source, given.code_dir, request.requirements, scratch / "package", report.who
        )
        found = None
        with repair.repaired(self.models, job, lambda step: _tell(report, 0.1, step)) as python:
            if request.gate.validation_upload is not None:
                report.progress(0.2, f"version {known.version} has these bytes: scoring it")
                package_dir = self.models.artifacts.path(known.digest)
                found = self._inspect(request, package_dir, known.pickle_granted, scratch, report, python)
        return self._amended(name, known.version, request, found, report.who)

    def _amended(
        self, name: str, version: str, request: rest.RegisterRequest, found: dict[str, Any] | None, who: Principal
    ) -> dict[str, Any]:
        # The registry first: if it does not answer, nothing is changed here, and the same request does it all again.
        tags = request.tags | ({"tidegate.label": request.label} if request.label else {})
        if request.run_id is not None:
            self.registry.check_run(request.run_id)
            tags["tidegate.run_id"] = request.run_id
        if tags:
            self.registry.set_tags(name, version, tags)
        Intake(self.models).amend(
            name, version, request, None if found is None else _validation_of(found, request.gate), who
        )
        return {"model": name, "version": version, "created": False}


def _tell(report: JobReport, done: float, message: str) -> None:
    """Progress out of the inspection, on a thread that must go on reading: a message that fails is only a log line."""
    try:
        report.progress(done, message)
    except (JobLost, TidegateError) as error:
        _log.warning("progress of job %s could not be told: %s", report.job_id, error)


def _new_version(
    name: str, request: rest.RegisterRequest, entry: RegistryVersion, package: Package, found: dict[str, Any]
) -> NewVersion:
    manifest = Manifest(
        name=name,
        version=entry.version,
        digest=package.digest,
        package_dir=_MANIFEST_PACKAGE.format(digest=package.digest),
        framework=found["framework"],
        signature=convert(found["signature"], Signature),
        example=found["example"],
        label=request.label,
        batchable=found["batchable"],
        pickle_granted=package.needs_pickle_grant,
        python=found["python"],
        library_versions=found["library_versions"],
        environment=found["environment"],
        device=request.device,
    )
    return NewVersion(
        manifest=manifest,
        signature=found["signature"],
        validation=_validation_of(found, request.gate),
        size_bytes=package.size_bytes,
        tags=request.tags,
        acceleration=found["acceleration"],
        description=request.description,
        run_id=request.run_id or entry.run_id,
    )


def _validation_of(found: dict[str, Any], gate: rest.Gate) -> dict[str, Any]:
    """What is kept of it: the score, and what it was scored with."""
    kept = ("metric", "score", "min_score", "higher_is_better", "rows", "notes", "load_s", "predict_s")
    with_what = {"filename": gate.validation_filename, "target": gate.target} if gate.validation_upload else {}
    return {
        key: value for key, value in ({key: found.get(key) for key in kept} | with_what).items() if value is not None
    }
