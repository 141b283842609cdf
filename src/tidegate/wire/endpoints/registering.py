"""The REST shapes of registering versions and of following the registry's aliases; `wire.rest` has their names too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.exact import STRICT, Flag, Number

FollowState = Literal["current", "held", "taking_in", "waiting", "refused"]


@dataclass(frozen=True)
class Gate:
    """What a version must pass. `validation_upload` is a CSV or Parquet file (`validation_filename` tells which)."""

    __pydantic_config__ = STRICT

    validation_upload: str | None = None
    validation_filename: str | None = None
    target: str | None = None
    metric: str | None = None
    min_score: Number | None = None
    timeout_s: Number = 120.0


@dataclass(frozen=True)
class RegisterRequest:
    """Register a version from an upload (file, or tar archive of a directory) or from an MLflow URI of this registry.

    Exactly one of `upload` and `uri`. `filename` is the model file's (or directory's) own name; `archive` says that the
    upload is an uncompressed tar of a directory. `accelerate` None tries
    faster forms for the kinds of models that the documentation lists, True for every kind, False for none.
    `code_upload` is a tar of the folder whose modules the model needs. `device` is where its replicas run it: `cpu`
    (when not given), `auto`, `cuda` or `cuda:N`; a version of the same bytes with another device is a conflict.
    `description` has at most 10,000 characters. `baseline_upload` is a CSV or Parquet file of rows that production is
    compared with (`baseline_target` is the column with their truth); without it those of the validation are taken.
    """

    __pydantic_config__ = STRICT

    upload: str | None = None
    filename: str | None = None
    archive: Flag = False
    uri: str | None = None
    gate: Gate = field(default_factory=Gate)
    label: str | None = None
    run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    allow_pickle: Flag = False
    code_upload: str | None = None
    requirements: str | None = None
    accelerate: Flag | None = None
    device: str | None = None
    baseline_upload: str | None = None
    baseline_filename: str | None = None
    baseline_target: str | None = None


@dataclass(frozen=True)
class Follow:
    """What each version must pass that a followed alias is moved to; `gate.validation_upload` is kept as long."""

    __pydantic_config__ = STRICT

    gate: Gate = field(default_factory=Gate)
    accelerate: Flag | None = None
    device: str | None = None


@dataclass(frozen=True)
class FollowView:
    """The alias that an endpoint follows, and what came of the version it named last.

    `current`: the endpoint was given it; `held`: it was rolled back since, and waits for the alias to be moved;
    `taking_in`: `job` registers it; `waiting`: that failed for a passing `reason`, and is tried again; `refused`: it
    lacks the grant or failed the gate, and what was there before stays. `trouble`: why the alias cannot be read now.
    """

    alias: str
    version: str | None
    state: FollowState
    reason: str = ""
    job: str | None = None
    changed_at: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class RegistryView:
    """The registry of models (never its password), and whether it and its artifact store answered when asked last."""

    where: str
    status: Literal["ready", "unavailable", "unknown"]
    reason: str = ""
