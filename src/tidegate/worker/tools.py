"""The Celery application as Celery's own tools see it. They may look and ping; workers are started by `tidegate`."""

from __future__ import annotations

from typing import Any

from tidegate.adapters.celery_queue import make_app
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings


def tools_app() -> Any:
    """Of CELERY_BROKER_URL. Raises `InvalidArgument` where it is not set."""
    settings = Settings.from_env()
    if not settings.celery_broker_url:
        raise InvalidArgument("CELERY_BROKER_URL is not set: jobs run in the control plane", field="CELERY_BROKER_URL")
    app = make_app(settings.celery_broker_url, settings.job_queue)
    app.steps["worker"].add(_refusal())
    return app


def _refusal() -> Any:
    """A worker that Celery itself starts would know no jobs, and refuse their messages."""
    from celery import bootsteps

    class Refusal(bootsteps.StartStopStep):  # type: ignore[misc]
        """Ends it before it takes a message."""

        def __init__(self, *_: Any, **__: Any) -> None:
            raise SystemExit("error: 'celery worker' cannot run Tidegate's jobs: start a worker with 'tidegate worker'")

    return Refusal
