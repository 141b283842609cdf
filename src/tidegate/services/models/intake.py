"""How versions come in and change afterwards: taken in, accelerated, repaired, registered again. Called by jobs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.names import check_device, check_label, check_name
from tidegate.errors import Conflict, UnknownVersion
from tidegate.services.audit import version_audited, version_change, version_facts
from tidegate.services.models.catalog import Models, found_or_new
from tidegate.services.reading.lookup import version_or_raise
from tidegate.store import audit
from tidegate.store.endpoints.automation import versions_used
from tidegate.store.endpoints.endpoints import add_repair
from tidegate.store.endpoints.history import Entry
from tidegate.store.models import models as rows
from tidegate.store.tables import VersionRow
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import Accelerated, Manifest


@dataclass(frozen=True)
class NewVersion:
    """A version that passed the gate and has its number: all that is kept of it but the files."""

    manifest: Manifest
    signature: dict[str, Any]
    validation: dict[str, Any]
    size_bytes: int
    tags: dict[str, str]
    acceleration: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    run_id: str | None = None


@dataclass(frozen=True)
class Intake:
    """The use cases of jobs, on the rows and files of `models`."""

    models: Models

    def check_label_free(self, name: str, label: str | None, digest: str) -> None:
        """Raises `Conflict` when another version of the model has the label."""
        with self.models.store.reading() as tx:
            _check_label_free(tx, name, label, digest)

    def take_in(self, new: NewVersion, package_dir: Path, who: Principal) -> None:
        """Keep a version's package, manifest and row; the folder is moved. Then it can be deployed.

        Files come first: a row never speaks of a file that is not there. Raises `Conflict`, `DiskFull`, and leaves
        nothing behind then.
        """
        manifest = new.manifest
        with self.models.files:
            self.models.store.check()
            try:
                self.models.artifacts.put(manifest.digest, package_dir)
                self.models.manifests.write(manifest)
                self._add_row(new, who)
            except BaseException:
                self._discard(manifest.name, manifest.version, manifest.digest)
                raise

    def set_acceleration(
        self, name: str, digest: str, record: dict[str, Any], who: Principal, form: tuple[str, Path] | None = None
    ) -> None:
        """What came of trying faster forms. `form`, its unique name and its folder (moved), is served from now on.

        Without one the original is. Files come first: the loop replaces replicas by what the row says, and a replica
        reads the manifest. Raises `UnknownVersion` when the version was deleted meanwhile, `Conflict`, `DiskFull`.
        """
        with self.models.files:
            self.models.store.check()
            with self.models.store.reading() as tx:
                number = _by_digest(tx, name, digest).version
            served = None
            if form is not None:
                served = Accelerated(str(record["kept"]), self.models.artifacts.put_form(digest, *form))
            self.models.manifests.set_accelerated(name, number, served)
            with self.models.store.transaction() as tx:
                row = _by_digest(tx, name, digest)
                with version_audited(tx, row, "accelerate", who, self.models.clock):
                    row.acceleration = record

    def put_back(self, digest: str, package_dir: Path) -> None:
        """Keep a package again whose stored copy is damaged or gone; the folder is moved. Raises `DiskFull`."""
        with self.models.files:
            self.models.store.check()
            self.models.artifacts.put(digest, package_dir)

    def try_again(self, digest: str, why: str, who: Principal) -> None:
        """Have the endpoints of versions of these bytes take them out of quarantine: their files are whole again."""
        with self.models.store.transaction() as tx:
            for version in rows.versions_by_digest(tx, digest):
                for endpoint in rows.endpoints_of_model(tx, version.model):
                    if version.version in versions_used(endpoint):
                        add_repair(tx, endpoint, Entry("repair", self.models.clock(), why, retries=(version.version,)))
                        done = audit.AuditedChange(
                            "repair", "endpoint", endpoint.name, note=f"{version.version}: {why}"
                        )
                        audit.record(tx, who, self.models.clock(), done)

    def discard(self, name: str, number: str, digest: str) -> None:
        """Remove files of a version that a crash kept from being taken in; what a row speaks of stays."""
        with self.models.files:
            self._discard(name, number, digest)

    def amend(
        self,
        name: str,
        number: str,
        request: rest.RegisterRequest,
        validation: dict[str, Any] | None,
        who: Principal,
    ) -> None:
        """Label, tags, description, source run and validation of a version that was registered again.

        Raises `Conflict` and `DiskFull`, and changes no row then.
        """
        with self.models.store.transaction() as tx:
            row = version_or_raise(tx, name, number)
            _check_label_free(tx, name, request.label, row.digest)
            with version_audited(tx, row, "amend", who, self.models.clock):
                row.label = request.label or row.label
                row.tags = row.tags | request.tags
                row.description = request.description or row.description
                row.run_id = request.run_id or row.run_id
                row.validation = row.validation if validation is None else validation
            tx.flush()
            self.models.manifests.set_label(name, number, row.label)

    def _add_row(self, new: NewVersion, who: Principal) -> None:
        manifest = new.manifest
        with self.models.store.transaction() as tx:
            _check_label_free(tx, manifest.name, manifest.label, manifest.digest)
            model = found_or_new(tx, manifest.name, self.models.clock())
            model.description = model.description or new.description
            tx.flush()
            row = _version_row(new, self.models.clock())
            tx.add(row)
            audit.record(tx, who, self.models.clock(), version_change("take_in", row, after=version_facts(row)))

    def _discard(self, name: str, number: str, digest: str) -> None:
        with self.models.store.reading() as tx:
            known, shared = rows.get_version(tx, name, number), rows.digest_in_use(tx, digest)
        if known is None:
            self.models.manifests.delete(name, number)
        if not shared:
            self.models.artifacts.delete(digest)


def checked_request(name: str, request: rest.RegisterRequest) -> rest.RegisterRequest:
    """The request with names checked, before anything is queued. Raises `InvalidArgument`."""
    check_name(name, "model")
    if request.device is not None:
        check_device(request.device)
    return replace(request, label=check_label(request.label) if request.label else None)


def _check_label_free(tx: Session, name: str, label: str | None, digest: str) -> None:
    other = rows.version_by_label(tx, name, label) if label else None
    if other is not None and other.digest != digest:
        raise Conflict(
            f"label {label!r} already names version {other.version} of model {name!r}: choose another label",
            label=label,
            version=other.version,
        )


def _by_digest(tx: Session, name: str, digest: str) -> VersionRow:
    row = rows.version_by_digest(tx, name, digest)
    if row is None:
        raise UnknownVersion(f"the version of model {name!r} with digest {digest[:12]}… was deleted meanwhile")
    return row


def _version_row(new: NewVersion, now: float) -> VersionRow:
    manifest = new.manifest
    return VersionRow(
        model=manifest.name,
        version=manifest.version,
        label=manifest.label,
        digest=manifest.digest,
        framework=manifest.framework,
        signature=new.signature,
        example=manifest.example,
        batchable=manifest.batchable,
        pickle_granted=manifest.pickle_granted,
        validation=new.validation,
        acceleration=new.acceleration,
        tags=new.tags,
        run_id=new.run_id,
        description=new.description,
        size_bytes=new.size_bytes,
        created_at=now,
    )
