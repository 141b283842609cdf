"""Documents applied to a platform, and what they came to."""

from typing import Any

from support.control import ME
from tidegate.wire.endpoints.declared import AppliedDocument, ApplyRequest
from tidegate.wiring import Container


def apply(platform: Container, *documents: dict[str, Any], **options: bool) -> list[AppliedDocument]:
    return platform.documents.apply(ApplyRequest([*documents], **options), ME).documents


def words(one: AppliedDocument) -> dict[str, tuple[str | None, str | None]]:
    return {change.path: (change.before, change.after) for change in one.changes}
