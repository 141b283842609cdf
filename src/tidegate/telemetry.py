"""Logging for every process: one line per event on standard error, with the process's role in front."""

from __future__ import annotations

import logging
import secrets
import sys

_FORMAT = "%(asctime)s %(levelname)-7s {role} %(name)s: %(message)s"


def configure_logging(role: str, level: str = "info") -> None:
    """Set up the root logger of a process; `role` is "control", "gateway", "replica" or "job"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT.format(role=role)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("alembic", "botocore", "mlflow", "urllib3", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def new_failure_id() -> str:
    """What a caller is told instead of a failure that nobody foresaw, and what the log has beside it."""
    return secrets.token_hex(8)


def log_failure(logger: logging.Logger, what: str, error: BaseException) -> str:
    """Write the traceback to the log, under the id that is returned."""
    failure_id = new_failure_id()
    logger.error("%s failed, id %s", what, failure_id, exc_info=error)
    return failure_id
