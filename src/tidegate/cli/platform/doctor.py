"""`doctor`: becomes `python -m tidegate.doctor`."""

from __future__ import annotations

from tidegate.cli.app import App, command
from tidegate.cli.platform.processes import become


@command("doctor", "tidegate doctor", "tidegate doctor --json")
def doctor(app: App) -> None:
    """Look at every configured part and say, in a line each, what was found and what to do.

    Looks at settings, libraries, limits, the data directory, the database, MLflow, S3, RabbitMQ, Redis, Docker,
    Prometheus, Grafana, the control plane and its gateways, all at the same time and within ten seconds. Changes
    nothing. Ends with 1 when something that is configured does not work; what is not configured is no fault.
    """
    arguments = ["--data-dir", str(app.data_dir)] if app.data_dir else []
    arguments += ["--url", app.url] if app.url else []
    become("tidegate.doctor", [*arguments, *(["--json"] if app.json else [])])
