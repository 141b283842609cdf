"""From what a user has in hand to a RegisterRequest: checks it, uploads its files. Called by `Models.register`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from tidegate.client.registration.files import Payload, code_payload, model_payload, payload_of
from tidegate.client.registration.saving import save_model
from tidegate.core.names import ModelRef, check_device, check_label, check_name
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import Follow, Gate, RegisterRequest, Upload

MLFLOW_SCHEMES = ("models:/", "runs:/")
TABLE_SUFFIXES = (".csv", ".parquet")

StrPath = str | PathLike[str]


class RegisterOptions(TypedDict, total=False):
    """What `Models.register` takes beside the model and its name; all of it optional.

    - `validation_data`: a CSV or Parquet file, or a data frame, scored before the version is taken in;
    - `target`: its column with the truth; `metric`: accuracy for classifiers and r2 for regressors when not given;
    - `min_score`: the version is refused below it (0.8 when data is given);
    - `baseline`: a CSV or Parquet file, or a data frame, of rows to compare production with (else `validation_data`);
    - `label`: a name for the version, like v1.0.0; `run_id`: the MLflow run it comes from; `tags`; `description`;
    - `allow_pickle`: grant this version that loading it runs code from its file;
    - `code`: the folder (or `.py` file) with modules it needs; `requirements`: a requirements file, or a list of lines;
    - `accelerate`: try faster forms: None for the kinds of models that are on the list, True for all, False for none;
    - `device`: where its replicas run it: "cpu" (when not given), "auto", "cuda" or "cuda:N";
    - `gate_timeout_s`: how long loading and scoring may take.
    """

    validation_data: Any
    baseline: Any
    target: str | None
    metric: str | None
    min_score: float | None
    label: str | None
    run_id: str | None
    tags: Mapping[str, str] | None
    description: str
    allow_pickle: bool
    code: StrPath | None
    requirements: StrPath | Sequence[str] | None
    gate_timeout_s: float | None
    accelerate: bool | None
    device: str | None


def register_request(
    model: Any, name: str, options: RegisterOptions, upload: Callable[[Payload], Upload]
) -> RegisterRequest:
    """Upload what `model` and `options` name and return the request for it.

    Everything that can be wrong on this side is looked at before the first byte is sent; raises `InvalidArgument`.
    """
    check_name(name, "model")
    if label := options.get("label"):
        check_label(label)
    if device := options.get("device"):
        check_device(device)
    with tempfile.TemporaryDirectory(prefix="tidegate-register-") as scratch:
        source = _source(model, Path(scratch), bool(options.get("allow_pickle")))
        table = _validation_table(options, Path(scratch))
        rows = _baseline_table(options, Path(scratch))
        folder = options.get("code")
        code = code_payload(Path(folder)) if folder else None
        requirements = _requirements_text(options.get("requirements"))
        uploaded = upload(source) if isinstance(source, Payload) else None
        return RegisterRequest(
            upload=uploaded.id if uploaded else None,
            filename=source.name if isinstance(source, Payload) else None,
            archive=isinstance(source, Payload) and source.archive,
            uri=source if isinstance(source, str) else None,
            gate=_gate(options, table, upload),
            label=options.get("label"),
            run_id=options.get("run_id"),
            tags=dict(options.get("tags") or {}),
            description=options.get("description") or "",
            allow_pickle=bool(options.get("allow_pickle")),
            code_upload=upload(code).id if code else None,
            requirements=requirements,
            accelerate=options.get("accelerate"),
            device=options.get("device"),
            baseline_upload=upload(rows).id if rows else None,
            baseline_filename=rows.name if rows else None,
            baseline_target=options.get("target") if rows else None,
        )


def follow_request(ref: ModelRef, options: RegisterOptions, upload: Callable[[Payload], Upload]) -> Follow:
    """What each version must pass that the alias is moved to. Raises `InvalidArgument` where no alias is named."""
    followed_uri(ref)
    with tempfile.TemporaryDirectory(prefix="tidegate-follow-") as scratch:
        table = _validation_table(options, Path(scratch))
        return Follow(_gate(options, table, upload), options.get("accelerate"), options.get("device"))


def version_of(ref: ModelRef) -> str | None:
    """As the REST API names it."""
    return f"@{ref.alias}" if ref.alias else ref.version


def followed_uri(ref: ModelRef) -> str:
    """The alias as MLflow names it. Raises `InvalidArgument` where it is none."""
    if ref.alias is None:
        raise InvalidArgument(f"only an alias can be followed: give {ref.name}@ALIAS", field="follow")
    return f"models:/{ref.name}@{ref.alias}"


def is_uri(model: Any) -> bool:
    """Whether this names something in the registry rather than a file."""
    return isinstance(model, str) and model.startswith(MLFLOW_SCHEMES)


def _source(model: Any, scratch: Path, allow_pickle: bool) -> Payload | str:
    if is_uri(model):
        return str(model)
    if isinstance(model, str | PathLike):
        return model_payload(Path(model))
    return payload_of(save_model(model, scratch, allow_pickle))


def _validation_table(options: RegisterOptions, scratch: Path) -> Payload | None:
    data = options.get("validation_data")
    if data is None:
        for name in ("target", "metric", "min_score"):
            if options.get(name) is not None and not (name == "target" and options.get("baseline") is not None):
                raise InvalidArgument(f"{name} is given without validation data to apply it to", field=name)
        return None
    if not options.get("target"):
        raise InvalidArgument("validation data is given without its target: name the column to predict", field="target")
    min_score = options.get("min_score")
    # JSON has no such number: it would arrive as "not given", and be the default.
    if min_score is not None and not math.isfinite(min_score):
        raise InvalidArgument(f"min_score must be a finite number, not {min_score}", field="min_score")
    return payload_of(_table_file(data, scratch, "validation data"))


def _baseline_table(options: RegisterOptions, scratch: Path) -> Payload | None:
    data = options.get("baseline")
    if data is None:
        return None
    own = scratch / "baseline"
    own.mkdir()
    return payload_of(_table_file(data, own, "baseline"))


def _table_file(data: Any, scratch: Path, what: str) -> Path:
    if not isinstance(data, str | PathLike):
        return saved_frame(data, scratch)
    path = Path(data)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InvalidArgument(f"{what} {path} is neither .csv nor .parquet", field=what.replace(" ", "_"))
    return path


def saved_frame(data: Any, scratch: Path) -> Path:
    """A data frame as a file in the scratch folder. Raises `InvalidArgument` for anything else."""
    if not hasattr(data, "to_csv") or not hasattr(data, "columns"):
        raise InvalidArgument(
            f"validation data is a {type(data).__name__}: give a CSV or Parquet file or a data frame",
            field="validation_data",
        )
    # Parquet keeps the column types, which CSV leaves to be guessed.
    if find_spec("pyarrow") and all(isinstance(name, str) for name in data.columns):
        data.to_parquet(scratch / "validation.parquet", index=False)
        return scratch / "validation.parquet"
    data.to_csv(scratch / "validation.csv", index=False)
    return scratch / "validation.csv"


def _gate(options: RegisterOptions, table: Payload | None, upload: Callable[[Payload], Upload]) -> Gate:
    given: dict[str, Any] = {}
    if options.get("gate_timeout_s") is not None:
        given["timeout_s"] = options["gate_timeout_s"]
    if table is None:
        return Gate(**given)
    return Gate(
        validation_upload=upload(table).id,
        validation_filename=table.name,
        target=options.get("target"),
        metric=options.get("metric"),
        min_score=options.get("min_score"),
        **given,
    )


def _requirements_text(given: StrPath | Sequence[str] | None) -> str | None:
    if given is None or given == "":
        return None
    if not isinstance(given, str | PathLike):
        return "".join(f"{line}\n" for line in given)
    try:
        return Path(given).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read requirements file {given}: {error}", field="requirements") from None
