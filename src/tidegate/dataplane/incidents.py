"""Failures of ours: the log has the traceback under an id, and the client is told that id. Called wherever one ends."""

from __future__ import annotations

import itertools
import logging
import os

from tidegate.errors import Internal

logger = logging.getLogger(__name__)

_ID_PREFIX = os.urandom(6).hex()
_ids = itertools.count(1)


def new_id() -> str:
    """An id, unique across processes: 12 random digits of this process and a counter."""
    return f"{_ID_PREFIX}{next(_ids):08x}"


def internal(error: BaseException) -> Internal:
    """What a client is told of a failure of ours; the log has the rest."""
    incident = new_id()
    logger.error("internal error %s", incident, exc_info=error)
    return Internal(f"the server failed; its log has the details under {incident}", id=incident)
