"""Rows that were predicted elsewhere, to be kept as captured rows: the request, and what became of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.gateways.snapshot import CaptureRules

ImportFormat = Literal["parquet", "csv"]


@dataclass(frozen=True)
class ImportRequest:
    """Make captured rows of an uploaded file. `filename` is what messages call it.

    `model` and `version` (number or label) are who predicted the rows; where the endpoint is there already, they may be
    left out. A column called `input_X` or `output_X`, or as an input or output of the model's signature, is that one;
    `output_columns` are outputs too. Others are not taken.
    `label_column`: what came true, known at the time in `label_time_column` (of the row itself, when not given).
    `timezone`: of times that name none.
    """

    upload: str
    filename: str
    format: ImportFormat
    time_column: str
    id_column: str
    model: str | None = None
    version: str | None = None
    label_column: str | None = None
    label_time_column: str | None = None
    key_column: str | None = None
    output_columns: list[str] = field(default_factory=list)
    timezone: str = "UTC"


@dataclass(frozen=True)
class ImportedAs:
    """What a file's columns become. `inputs`, `outputs`: names in the file → tensors' names; `datatypes`: of tensors.

    `rules` of the endpoint say what is recorded of them, `salt` keys its hashes.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    datatypes: Mapping[str, str]
    rules: CaptureRules = CaptureRules()
    salt: str = ""


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: its line in a CSV file, else its place from 1 on, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What became of a file: `refused` rows were left out, of which `bad` are the first. Times in seconds since 1970.

    `ignored` columns are no input or output of the model; of `absent` inputs and outputs the file has no column.
    """

    endpoint: str
    model: str
    version: str
    rows: int
    labels: int
    refused: int = 0
    bad: list[BadRow] = field(default_factory=list)
    first_at: float | None = None
    last_at: float | None = None
    ignored: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    created: bool = False
