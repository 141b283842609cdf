"""`client.imports`: rows that were predicted elsewhere, as captured rows of an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TypedDict, Unpack

import orjson

from tidegate.client.registration.files import OnProgress, payload_of
from tidegate.client.resources.models import ModelsClient
from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paths import API, part
from tidegate.core.names import check_name, parse_ref
from tidegate.errors import InvalidArgument
from tidegate.wire.capture.importing import ImportFormat, ImportRequest, ImportResult

FORMATS: tuple[ImportFormat, ...] = ("parquet", "csv")
IMPORT_TIMEOUT_S = 3_600.0
"""Longest wait for one file."""


class ImportOptions(TypedDict, total=False):
    """Which column is what, beside times and ids; see `ImportRequest`. `model`: `NAME:VERSION` or `NAME@ALIAS`.

    `format`: where the file's name does not say it.
    """

    format: ImportFormat | None
    model: str | None
    label_column: str | None
    label_time_column: str | None
    key_column: str | None
    output_columns: Sequence[str]
    timezone: str


@dataclass(frozen=True)
class ImportsClient:
    """Imports of files."""

    api: Api
    models: ModelsClient

    def run(
        self,
        endpoint: str,
        path: str | PathLike[str],
        *,
        time_column: str,
        id_column: str,
        on_progress: OnProgress | None = None,
        **options: Unpack[ImportOptions],
    ) -> ImportResult:
        """Make captured rows of a Parquet or CSV file: each once, however often it is imported.

            client.imports.run("flights", "july.parquet", time_column="departs_at", id_column="flight",
                               model="flights:3", label_column="was_late", label_time_column="landed_at")

        Raises `InvalidArgument` for a file that cannot be read, `UnknownVersion`, `Conflict` while another is imported.
        """
        check_name(endpoint, "endpoint")
        file = Path(path)
        given = dict(options)
        form = given.pop("format", None) or format_of(file)
        model, version = self._version(given.pop("model", None))
        uploaded = self.models.upload_payload(payload_of(file), on_progress)
        request = ImportRequest(
            upload=uploaded.id,
            filename=file.name,
            format=form,  # type: ignore[arg-type]  # one of the two
            time_column=time_column,
            id_column=id_column,
            model=model,
            version=version,
            **given,  # type: ignore[arg-type]  # the options of ImportOptions are its fields
        )
        return self._send(endpoint, request)

    def _version(self, model: object) -> tuple[str | None, str | None]:
        if model is None:
            return None, None
        named = parse_ref(str(model))
        return named.name, self.models.version(named.name, f"@{named.alias}").version if named.alias else named.version

    def _send(self, endpoint: str, request: ImportRequest) -> ImportResult:
        body = orjson.dumps(asdict(request))
        answer = self.api.raw(
            "POST", f"{API}/endpoints/{part(endpoint)}/capture/import", body, timeout_s=IMPORT_TIMEOUT_S
        )
        return decode(answer.data, ImportResult, self.api.transport.who)


def format_of(path: Path) -> ImportFormat:
    """By the file's name. Raises `InvalidArgument`."""
    for form in FORMATS:
        if path.suffix.lower() == f".{form}":
            return form
    raise InvalidArgument(f"{path.name} is neither .parquet nor .csv: say which it is with --format", field="format")


def files_of(path: Path, form: ImportFormat | None) -> list[Path]:
    """The file, or those of a folder in the order of their names. Raises `InvalidArgument`."""
    if not path.is_dir():
        return [path]
    wanted = FORMATS if form is None else (form,)
    found = sorted(each for each in path.iterdir() if each.suffix.lower().removeprefix(".") in wanted)
    if not found:
        raise InvalidArgument(f"{path} has no {' or '.join(f'.{each}' for each in wanted)} file", field="path")
    return found
