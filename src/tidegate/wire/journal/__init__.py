"""The capture journal: what is in it, how it lies on disk, and how it is read (docs/decisions/0016-capture-journal.md).

Gateways write it (`tidegate.gateway.capture`); the compactor, tests and tools read it through here.
"""

from __future__ import annotations

from tidegate.wire.journal.reading import Damage, JournalEntry, read_entries, read_records
from tidegate.wire.journal.records import (
    CACHED,
    BatchRecord,
    CapturedRequest,
    FailedCall,
    FailureRecord,
    FeedbackEvent,
    FeedbackRecord,
    Omitted,
    Record,
    Sealed,
)
from tidegate.wire.journal.segments import Segment, list_segments, seal_abandoned

__all__ = [
    "CACHED",
    "BatchRecord",
    "CapturedRequest",
    "Damage",
    "FailedCall",
    "FailureRecord",
    "FeedbackEvent",
    "FeedbackRecord",
    "JournalEntry",
    "Omitted",
    "Record",
    "Sealed",
    "Segment",
    "list_segments",
    "read_entries",
    "read_records",
    "seal_abandoned",
]
