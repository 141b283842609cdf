"""How many files and connections this process may have open, and how many of them the API's clients may take."""

from __future__ import annotations

import logging
import resource

WANTED = 4096
RESERVED = 128
"""Kept for this process's own work: database, pipes and logs of processes that are started, health checks, imports."""
CONNECTIONS_MAX, CONNECTIONS_MIN = 512, 16
FEW = 256

log = logging.getLogger(__name__)


def raise_limit() -> int:
    """Take as many descriptors as the hard limit allows, up to `WANTED`; how many there may be now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    limit = wanted if soft == resource.RLIM_INFINITY else soft
    if limit < FEW:
        log.warning("this process may open %d files only: 'ulimit -n 1024' before 'tidegate up' gives it more", limit)
    return limit


def connections_max(limit: int) -> int:
    """How many connections the API may hold, of this process's limit of descriptors."""
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(CONNECTIONS_MIN, min(CONNECTIONS_MAX, limit - RESERVED))
