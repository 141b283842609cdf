"""The demo's second half: rows that moved, labels that come late, what monitors find, the alert and the report."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from tidegate.cli.app import App
from tidegate.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.cli.demo.models import DemoFiles
    from tidegate.cli.demo.stage import Stage

ANSWERS, LABELS, REPORT = "later.json", "labels.csv", "report.html"
FOUND_LINES = 14


def watch(stage: Stage, files: DemoFiles, endpoint: str) -> None:
    """Predict rows that moved, tell what they turned out to be, and have it found. Raises where nothing was."""
    stage.say_title(f"Weeks later: {len(files.later_truth)} tumours through a microscope whose scale is wrong by 30 %")
    stage.keep(ANSWERS, "predict", endpoint, "--file", files.later, "--rows-per-request", "1", "--json")
    _write_labels(stage, files)
    stage.show("What they were in truth comes later, by the ids that the answers had", "feedback", endpoint, "--file",
               LABELS)  # fmt: skip
    stage.show("Is everything as it was? (It looks by itself every 5 minutes; now for once at once)", "monitor",
               endpoint, "--now", "--report", REPORT, lines_max=FOUND_LINES)  # fmt: skip
    stage.show("Who was told", "alerts", "--endpoint", endpoint, "--state", "firing", lines_max=FOUND_LINES)
    _check(stage, endpoint)
    stage.facts["report"] = str(stage.folder / REPORT)
    stage.say(f"  the report, to open in a browser: {stage.folder / REPORT}")


def _write_labels(stage: Stage, files: DemoFiles) -> None:
    """As an application would that keeps the id of each answer beside its own records."""
    ids = json.loads((stage.folder / ANSWERS).read_bytes())["ids"]
    with (stage.folder / LABELS).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "label"))
        writer.writerows(zip(ids, files.later_truth, strict=True))


def _check(stage: Stage, endpoint: str) -> None:
    with App(data_dir=stage.data_dir).client() as client:
        firing = {one.type for one in client.alerts.list(endpoint=endpoint, state="firing")}
    stage.facts["alerts"] = sorted(firing)
    if "data_drift" not in firing:
        raise TidegateError(f"an alert of data drift should be firing: {sorted(firing) or 'none is'}")
