"""The REST shapes of endpoints as documents: what is to be made so, and what that changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate.wire.exact import STRICT, Flag

DocumentOutcome = Literal["created", "changed", "unchanged"]
DOCUMENTS_MAX = 100


@dataclass(frozen=True)
class ApplyRequest:
    """Make endpoints as documents say: all of them, or none where one cannot be. `dry_run` says what would change.

    A document is an object with the fields of `tidegate.schema.json`. `accept_signature_change` and `end_automation` as
    in a deployment, and so is `guard`, for a version that gets all of the traffic.
    """

    __pydantic_config__ = STRICT

    documents: list[dict[str, Any]]
    dry_run: Flag = False
    accept_signature_change: Flag = False
    end_automation: Flag = False
    guard: Flag = True


@dataclass(frozen=True)
class DocumentChange:
    """A field of a document by its path, and its values in words; None: it was, or is, not there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class AppliedDocument:
    """What became of one document, or would have."""

    endpoint: str
    outcome: DocumentOutcome
    changes: list[DocumentChange] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class ApplyAnswer:
    """What became of each document, in their order."""

    documents: list[AppliedDocument]
    dry_run: bool = False


@dataclass(frozen=True)
class ExportAnswer:
    """Endpoints as documents, by name, or as manifests; `warnings` are what whoever applies these should know."""

    documents: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
