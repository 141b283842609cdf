"""Folders that jobs work in: one for each claim, so that a worker that was replaced spoils nothing of the next one."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from tidegate.jobs.report import JobReport


def fresh_scratch(root: Path, report: JobReport) -> Path:
    """An empty folder for this claim. What earlier ones left is removed."""
    remove_scratch(root, report.job_id)
    scratch = root / report.scratch
    scratch.mkdir(mode=0o700, parents=True)
    return scratch


def remove_scratch(root: Path, job_id: str) -> None:
    """All that claims of a job left."""
    for left in root.glob(f"{job_id}-*"):
        shutil.rmtree(left, ignore_errors=True)


def sweep_scratch(root: Path, unfinished: Collection[str]) -> None:
    """What workers that were killed left of jobs that have ended."""
    for left in root.glob("*-*"):
        if left.name.rpartition("-")[0] not in unfinished:
            shutil.rmtree(left, ignore_errors=True)
