"""Servers that tests use for real, one module each: found, started on a private port, stopped by their own pid.

`scripts/services.sh` installs them. A fixture in `tests/conftest.py` starts each once a session, where it is asked for.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, and say so; where the services are required this is a failure."""
    why = f"{what} is not installed: scripts/services.sh installs it"
    if os.environ.get("TIDEGATE_REQUIRE_SERVICES"):
        pytest.fail(why)
    pytest.skip(why)
