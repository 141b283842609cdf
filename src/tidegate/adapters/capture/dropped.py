"""How many records gateways dropped before they were captured: from the counts that each keeps in the data directory.

Of the gateways that share it. They write their counts every second, and the counts go on over restarts.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from tidegate.wire.decoding import msgpack_decoder

COUNTS_SUFFIX = ".counts"
DROPPED = "tidegate_journal_dropped_records"
"""As gateways write them (`gateway.telemetry.counts`, `gateway.capture.observer`)."""
COUNTS_BYTES_MAX = 64 << 20

log = logging.getLogger(__name__)


class _Counts(msgspec.Struct):
    """What of a gateway's counts is looked at."""

    reasons: dict[str, dict[str, float]] = {}


_counts = msgpack_decoder(_Counts)


def dropped_records(folder: Path) -> int:
    """All that was ever dropped, for whatever reason. A file that cannot be read counts for nothing, and is logged."""
    total = 0.0
    for path in sorted(folder.glob(f"*{COUNTS_SUFFIX}")):
        try:
            if path.stat().st_size <= COUNTS_BYTES_MAX:
                total += sum(_counts.decode(path.read_bytes()).reasons.get(DROPPED, {}).values())
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the counts %s are not used: %s", path, error)
    return int(total)
