"""`tidegate audit` on a control plane in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.control import ME, add_version, container_at, served
from tidegate.cli.main import root
from tidegate.client import Client
from tidegate.wire.rest import DeployRequest, ScaleRequest, TrustRequest


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Runs the command against a platform on which an endpoint was deployed and scaled."""
    with closing(container_at(tmp_path / "data")) as container, served(container) as api:
        add_version(container, "churn", "1")
        container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
        container.endpoints.scale("churn", ScaleRequest(4), ME)
        for number in range(5):
            container.models.trust("fraud", TrustRequest(pickle=number % 2 == 0), ME)
        env = {"TIDEGATE_TOKEN": container.keys.token, "TIDEGATE_URL": str(api.base_url)}
        yield lambda *argv: CliRunner().invoke(root, ["audit", *argv], env=env)


def test_it_says_who_changed_what(run: Callable[..., Result]) -> None:
    told = run("--endpoint", "churn")
    assert told.exit_code == 0, told.output
    head, scaled, deployed = told.stdout.splitlines()
    assert head.split() == ["AT", "WHO", "ACTION", "WHAT", "BEFORE", "→", "AFTER"]
    assert "me   scale   endpoint churn  revision 1 → 2, replicas 1 → 4" in scaled
    assert "traffic 1=100" in deployed
    assert len(run("--since", "7d").stdout.splitlines()) == 9


def test_json_has_the_rest_shape_and_the_limit_is_told(run: Callable[..., Result]) -> None:
    found = run("--endpoint", "churn", "--json")
    (scaled, _) = json.loads(found.stdout)["entries"]
    assert scaled["changes"]["replicas"] == [1, 4]
    assert (scaled["who"], scaled["request_id"]) == ({"kind": "token", "name": "me"}, "a-request")
    limited = run("--limit", "2", "--json")
    assert len(json.loads(limited.stdout)["entries"]) == 2
    assert "--limit shows them" in limited.stderr
    assert run("--since", "soon").exit_code != 0


def test_a_client_reads_page_after_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.client.resources.audit.PAGE", 3)
    with closing(container_at(tmp_path / "data")) as container, served(container) as api:
        for number in range(10):
            container.models.trust("fraud", TrustRequest(pickle=number % 2 == 0), ME)
        with Client(url=str(api.base_url), token=container.keys.token) as client:
            assert len(client.platform.audit()) == 10
            assert [entry.id for entry in client.platform.audit(limit=7)] == [10, 9, 8, 7, 6, 5, 4]
