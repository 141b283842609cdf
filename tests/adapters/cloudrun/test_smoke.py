"""The script that tries Cloud Run in somebody's project: here against the one that is none of Google's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.workload_subjects.cloudrun import REPOSITORY, CloudRunSubject

SCRIPT = Path(__file__).parents[3] / "scripts" / "smoke_cloudrun.py"


def smoke(subject: CloudRunSubject, image: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--manifest", str(subject.manifest), "--image", image]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ), check=False)


def test_it_predicts_twice_and_leaves_nothing_behind(subject: CloudRunSubject) -> None:
    ran = smoke(subject, f"{REPOSITORY}:1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("it predicts: [3.0]") == 2
    assert "everything that was made is deleted" in ran.stdout
    assert subject.server.fake.services == {}


def test_what_goes_wrong_is_said_and_deleted_too(subject: CloudRunSubject) -> None:
    ran = smoke(subject, f"{REPOSITORY}:3")
    assert ran.returncode == 1
    assert f"error: the image {REPOSITORY}:3 is not in its registry" in ran.stderr
    assert "everything that was made is deleted" in ran.stdout
    assert subject.server.fake.services == {}
