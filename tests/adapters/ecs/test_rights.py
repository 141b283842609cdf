"""The rights that a platform needs on AWS, and the smoke test for whoever has a cluster, run against the fake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import botocore.session
import pytest

from support.ecs.server import FakeAws
from support.wait import until
from tidegate.adapters.ecs.client import CALLS
from tidegate.adapters.ecs.rights import action, policy

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "smoke_ecs.py"


def test_the_policy_has_every_call_once_and_is_the_document_beside_the_script() -> None:
    allowed = [one for statement in policy()["Statement"] for one in statement["Action"]]
    assert len(set(allowed)) == len(allowed)
    called = {action(service, one) for service, all_of in CALLS.items() for one in all_of}
    assert set(allowed) - called == {"iam:PassRole", "ssm:AddTagsToResource"}
    assert called <= set(allowed)
    assert json.loads((ROOT / "scripts" / "smoke_ecs_policy.json").read_text()) == policy()


@pytest.mark.parametrize("service", CALLS)
def test_every_call_is_one_that_aws_has(service: str) -> None:
    names = botocore.session.get_session().get_service_model(service).operation_names
    assert {action(service, one).partition(":")[2] for one in CALLS[service]} <= set(names)


def test_the_smoke_test_walks_and_leaves_nothing(aws: FakeAws, manifest: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--image", "ready", "--manifest", str(manifest), "--minutes-max", "2"]
    ran = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"1 ready after \d+ s: tcp:127\.31\.", ran.stdout)
    assert ran.stdout.splitlines()[-2:] == ["nothing of it is left but its log streams", "all of it worked"]
    ours = [one for name, one in aws.cluster.services.items() if name.startswith("tidegate-smoke")]
    assert [one.status for one in ours] == ["INACTIVE"]


def test_the_smoke_test_cleans_up_after_a_failure(aws: FakeAws, manifest: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--image", "nowhere:1", "--manifest", str(manifest)]
    command += ["--minutes-max", "0.05"]
    ran = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    assert "nowhere:1 is not in its registry" in ran.stdout
    assert "nothing of it is left" in ran.stdout
    ours = [one for name, one in aws.cluster.services.items() if name.startswith("tidegate-smoke")]
    assert {one.status for one in ours} == {"INACTIVE"}


def test_the_smoke_test_cleans_up_when_it_is_told_to_end(aws: FakeAws, manifest: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--image", "ready", "--manifest", str(manifest)]
    before = set(aws.cluster.services)
    with subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as running:
        (name,) = until(lambda: set(aws.cluster.services) - before, what="a service", timeout_s=60)
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=120)
    assert running.returncode == 1, said
    assert "nothing of it is left" in said
    assert said.splitlines()[-1] == "error: interrupted"
    assert aws.cluster.services[name].status == "INACTIVE"
