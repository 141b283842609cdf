"""Rows that were predicted elsewhere become captured rows of an endpoint, which is made where there is none.

Such an endpoint has no replica: it sleeps, and a request for a prediction would wake it as it does any that sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.names import check_name
from tidegate.core.scaling.policy import Scaling
from tidegate.errors import InvalidArgument
from tidegate.services.audit import endpoint_audited
from tidegate.services.endpoints.changes import SpecChange, apply
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.reading.lookup import check_same_model, version_or_raise
from tidegate.store import audit
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.endpoints.automation import word_of
from tidegate.store.fleet.fleet import capture_rules_of
from tidegate.store.tables import AutomatedReplicasRow, EndpointRow, VersionRow
from tidegate.watch.baseline.rhythm import zone_of
from tidegate.wire.capture.importing import ImportedAs, ImportRequest, ImportResult
from tidegate.wire.decoding import convert
from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.signature import Signature

ASLEEP = Scaling(0, 1, "concurrency", 1.0, idle_s=300.0)
Mapped = tuple[Mapping[str, str], Mapping[str, str]]


class Importer(Protocol):
    """The capture store, as imports see it."""

    def columns(self, path: Path, request: ImportRequest) -> list[str]: ...

    def run(self, path: Path, request: ImportRequest, blank: ImportResult, become: ImportedAs) -> ImportResult: ...


@dataclass(frozen=True)
class Imports:
    """The use case: a file of rows predicted elsewhere becomes captured rows of an endpoint."""

    endpoints: Endpoints
    uploads: Uploads
    importer: Importer
    clock: Clock

    def run(self, name: str, request: ImportRequest, who: Principal) -> ImportResult:
        """Import one uploaded file. Importing the same file again changes nothing.

        Raises `InvalidArgument`, `UnknownUpload`, `UnknownModel`, `UnknownVersion`, `Conflict`, `DiskFull`.
        """
        check_name(name, "endpoint")
        zone_of(request.timezone)
        path = self.uploads.path(request.upload)
        with self.endpoints.store.reading() as tx:
            there = rows.get_endpoint(tx, name)
            version = _version(tx, there, name, request)
            rules, salt = (CaptureRules(), "") if there is None else (capture_rules_of(there), there.salt)
            signature = convert(version.signature, Signature)
            model, number = version.model, version.version
        (inputs, outputs), blank = _mapped(self.importer.columns(path, request), signature, request)
        become = ImportedAs(inputs, outputs, _datatypes(signature), rules, salt)
        blank = replace(blank, endpoint=name, model=model, version=number)
        done = self.importer.run(path, request, blank, become)
        if not done.rows:
            first = f": line {done.bad[0].line}, {done.bad[0].reason}" if done.bad else ""
            raise InvalidArgument(
                f"{request.filename} has no row that can be imported ({done.refused} were left out{first})",
                field="file",
            )
        is_new = False
        store = self.endpoints.store
        with store.transaction() as tx, endpoint_audited(tx, name, "import", who, self.clock):
            row = rows.get_endpoint(tx, name)
            if row is None:
                row, is_new = self._made(tx, done, who), True
            elif done.first_at is not None:
                row.created_at = min(row.created_at, done.first_at)
            values = {"file": (None, request.filename), "rows": (None, done.rows), "labels": (None, done.labels)}
            audit.record(tx, who, self.clock(), audit.AuditedChange("import", "endpoint", name, values))
        if is_new:
            self.endpoints.changed()
        return replace(done, created=is_new)

    def _made(self, tx: Session, done: ImportResult, who: Principal) -> EndpointRow:
        """An endpoint that sleeps, and is as old as its first row: evaluations look no further back than that."""
        row = self.endpoints.new_row(tx, done.endpoint, done.model)
        traffic = {done.version: 100.0}
        note = "for imported rows: it sleeps until a request comes"
        apply(tx, row, SpecChange("deploy", traffic, actor=who.name, note=note, scaling=ASLEEP), self.clock())
        row.created_at = min(self.clock(), done.first_at or self.clock())
        row.routed, row.status, row.observed_generation = dict(traffic), "asleep", row.generation
        row.automated_replicas.append(
            AutomatedReplicasRow(version=done.version, replicas=0, revision=word_of(row), reason=note, share=100.0)
        )
        return row


def _version(tx: Session, row: EndpointRow | None, name: str, request: ImportRequest) -> VersionRow:
    """Who predicted the rows."""
    if request.model is None:
        if row is None:
            raise InvalidArgument(
                f"there is no endpoint {name!r} yet: name the model whose predictions these are, as in --model churn:3",
                field="model",
            )
        reference = request.version or max(row.traffic, key=lambda number: row.traffic[number], default=None)
        return version_or_raise(tx, row.model, reference)
    if row is not None:
        check_same_model(row, request.model)
    return version_or_raise(tx, request.model, request.version)


def _mapped(there: Sequence[str], signature: Signature, request: ImportRequest) -> tuple[Mapped, ImportResult]:
    """Which columns are which inputs and outputs, and what the file has beside or is missing."""
    roles = {
        request.time_column,
        request.id_column,
        request.label_column,
        request.label_time_column,
        request.key_column,
    }
    asked, answered = {spec.name for spec in signature.inputs}, {spec.name for spec in signature.outputs}
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    ignored: list[str] = []
    for column in there:
        bare = column.removeprefix("output_").removeprefix("input_")
        if column in request.output_columns:
            outputs[column] = bare if column.startswith("output_") else column
        elif column.startswith("output_") and bare not in asked:
            outputs[column] = bare
        elif column.startswith("input_") or column in asked:
            inputs[column] = column if column in asked else bare
        elif column in answered and column not in roles:
            outputs[column] = column
        elif column not in roles:
            ignored.append(column)
    unknown = sorted(set(request.output_columns) - set(there))
    if unknown:
        raise InvalidArgument(
            f"{request.filename} has no column {unknown[0]!r} to be an output", field="output_columns"
        )
    absent = sorted((asked - set(inputs.values())) | (answered - set(outputs.values())))
    if not inputs and not outputs:
        raise InvalidArgument(
            f"no column of {request.filename} is an input or output of the model: it has {', '.join(there[:20])}, and "
            f"the model {', '.join(sorted(asked | answered)[:20])}; call them input_NAME and output_NAME, or as these",
            field="file",
        )
    return (inputs, outputs), ImportResult("", "", "", 0, 0, ignored=ignored, absent=absent)


def _datatypes(signature: Signature) -> dict[str, str]:
    """Of inputs and outputs that have one value a row: vectors keep the type that they have in the file."""
    specs = [*signature.inputs, *signature.outputs]
    return {spec.name: spec.datatype for spec in specs if len(spec.shape) == 1 and not spec.json and not spec.holds}
