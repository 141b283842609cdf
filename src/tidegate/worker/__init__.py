"""The worker's process: `python -m tidegate.worker`, a Celery worker that runs jobs.

`tidegate.worker.app` is the Celery application for Celery's own tools (`celery -A tidegate.worker inspect active`,
Flower). It is made when it is asked for: importing this does nothing.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from tidegate.worker.tools import tools_app

    return tools_app()
