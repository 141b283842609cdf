"""Documents over the API, by the SDK and the command line: what is printed, exit codes, lines of what is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from support.control import add_version
from tidegate.cli.main import root
from tidegate.client import Client
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.wiring import Container

TEXT = """\
endpoint: filed
model: filed
version: 1
monitor:
  every: 1m
"""


@pytest.fixture(scope="module")
def client(container: Container, api: httpx.Client) -> Iterator[Client]:
    for number in ("1", "2"):
        add_version(container, "filed", number)
    with Client(str(api.base_url), container.keys.token) as client:
        yield client


@pytest.fixture
def tidegate(
    client: Client, container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("TIDEGATE_TOKEN", container.keys.token)
    monkeypatch.setenv("TIDEGATE_URL", str(api.base_url))

    def run(*argv: str, given: str | None = None) -> Result:
        return CliRunner().invoke(root, [*argv], input=io.BytesIO(given.encode()) if given else None)

    return run


def test_a_file_is_applied_shown_and_written(tidegate: Callable[..., Result], client: Client, tmp_path: Path) -> None:
    run = tidegate
    file = tmp_path / "endpoint.yaml"
    file.write_text(TEXT)
    dry = run("apply", "-f", str(file), "--dry-run", "--fail-on-change")
    assert dry.exit_code == 1
    assert dry.stdout.splitlines()[:3] == ["filed: would be created", "  traffic        1=100", "  replicas       1"]
    assert "monitor.every  5m → 1m" in dry.stdout
    assert "nothing was changed" in dry.stdout
    assert [one.name for one in client.endpoints.list() if one.name == "filed"] == []
    assert run("apply", "-f", str(file), "--no-wait").stdout.startswith("filed: created\n")
    again = run("apply", "-f", str(file), "--no-wait", "--dry-run", "--fail-on-change")
    assert (again.exit_code, again.stdout) == (0, "filed: no change\n")
    exported = run("export", "filed").stdout
    assert exported.startswith("# yaml-language-server: $schema=tidegate.schema.json\nendpoint: filed\n")
    assert "  every: 1m\n" in exported
    assert run("apply", "-f", "-", "--no-wait", given=exported).stdout == "filed: no change\n"


def test_what_is_wrong_in_a_file_is_said_with_its_line(tidegate: Callable[..., Result], tmp_path: Path) -> None:
    run = tidegate
    file = tmp_path / "endpoint.yaml"
    for text, said in (
        (TEXT + "---\nendpoint: other\nmonitr: {}\n", f"{file}:8: document 2 (other): monitr is no field"),
        (TEXT.replace("every: 1m", "every: soon"), f"{file}:5: monitor.every is 'soon'"),
        (TEXT.replace("version: 1", "version: 9"), f"{file}:1: model 'filed' has no version '9'"),
        (TEXT + "model: again\n", f"{file}: line 6: 'model' stands twice"),
        ("- a\n", f"{file}:1: a document has fields"),
    ):
        file.write_text(text)
        raised = run("apply", "-f", str(file), "--no-wait").exception
        assert isinstance(raised, TidegateError)
        assert said in str(raised.message), text
    for wrong in (["-f", str(tmp_path / "missing.yaml")], ["-f", str(file), "--fail-on-change"]):
        raised = run("apply", *wrong).exception
        assert isinstance(raised, InvalidArgument), wrong
        assert raised.exit_code == 2


def test_a_program_applies_documents_and_files(client: Client, tmp_path: Path) -> None:
    document = {"endpoint": "by-program", "model": "filed", "version": 2}
    (planned,) = client.apply(document, dry_run=True).documents
    assert planned.outcome == "created"
    (done,) = client.apply([document], wait=False).documents
    assert done == planned
    file = tmp_path / "one.yaml"
    file.write_text("endpoint: by-program\nreplicas: 2\n")
    assert [one.path for one in client.apply(file, wait=False).documents[0].changes] == ["replicas"]
    assert client.documents.export("by-program") == [
        {"endpoint": "by-program", "model": "filed", "version": "2", "replicas": 2}
    ]
    with pytest.raises(InvalidArgument, match="there is no format 'helm'"):
        client.documents.manifests(form="helm")
    file.write_text("[]")
    with pytest.raises(InvalidArgument, match="begin with 'endpoint: NAME'"):
        client.apply(file)


def test_manifests_are_written_with_a_platform_and_without(
    tidegate: Callable[..., Result], client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = tidegate, tmp_path / "cluster.yaml"
    file.write_text("endpoint: in-cluster\nmodel: filed\nversion: 2\nreplicas: 2\n")
    run("apply", "-f", str(file), "--no-wait")
    done = run("export", "in-cluster", "--format", "kubernetes")
    assert done.exit_code == 0
    assert " ".join(done.stderr.split()).startswith(
        "warning: in-cluster: the image tidegate/filed:2 is not known to have been pushed"
    )
    assert max(map(len, done.stderr.splitlines())) <= 80
    assert done.stdout == run("export", "in-cluster", "--format", "kubernetes").stdout
    found = client.documents.manifests("in-cluster")
    assert [one for one in yaml.safe_load_all(done.stdout) if one] == found.documents
    assert [one["kind"] for one in found.documents][:3] == ["Deployment", "Service", "HorizontalPodAutoscaler"]
    older = client.documents.manifests("in-cluster", version="1", autoscaler="none").documents
    assert [one["kind"] for one in older] == ["Deployment", "Service", "PodDisruptionBudget"]
    assert older[0]["metadata"]["labels"]["tidegate.io/version"] == "1"
    for options, said in (
        (["--version", "9"], "has no version '9'"),
        (["--format", "ecs"], "manifests for ECS need TIDEGATE_ECS_EXECUTION_ROLE"),
        (["--out", "somewhere"], "--out goes with --format ecs"),
    ):
        raised = run("export", "in-cluster", "--format", "kubernetes", *options).exception
        assert isinstance(raised, TidegateError)
        assert said in raised.message
    raised = run("export", "in-cluster", "--version", "1").exception
    assert isinstance(raised, InvalidArgument)
    monkeypatch.setenv("TIDEGATE_URL", "http://127.0.0.1:9")  # where nobody listens
    alone = run("export", "-f", str(file), "--format", "kubernetes")
    assert alone.exit_code == 0
    (there, here) = ([one for one in yaml.safe_load_all(text) if one] for text in (done.stdout, alone.stdout))
    for one in there:  # a file alone knows no digests
        one["metadata"].pop("annotations", None)
        one["spec"].get("template", {}).get("metadata", {}).pop("annotations", None)
    assert there == here
    image = f"registry.example.com/filed@sha256:{'a' * 64}"
    by_image = run("export", "in-cluster", "--format", "kubernetes", "--version", "2", "--image", image)
    assert (by_image.exit_code, by_image.stderr) == (0, "")
    assert f"image: {image}\n" in by_image.stdout
    of_file = run("export", "-f", str(file), "--format", "cloudrun", "--image", image)
    assert f"image: {image}\n" in of_file.stdout
    for options, said in (
        (["in-cluster", "--image", image], "takes the endpoint's name and --version"),
        (["in-cluster", "--image", "A B", "--version", "2"], "is no name of one"),
        (["in-cluster", "--image", image, "--version", "@best"], "is known to the platform alone"),
    ):
        raised = run("export", *options, "--format", "kubernetes").exception
        assert isinstance(raised, InvalidArgument)
        assert said in raised.message
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("TIDEGATE_ECS_SUBNETS", "subnet-1")
    monkeypatch.setenv("TIDEGATE_ECS_EXECUTION_ROLE", "arn:aws:iam::123456789012:role/tidegate")
    on_ecs = run("export", "-f", str(file), "--format", "ecs", "--out", str(tmp_path / "ecs"), "--image", image)
    assert "aws ecs create-service --cli-input-json file://" in on_ecs.stdout
    assert sorted(path.name for path in (tmp_path / "ecs").iterdir())[:2] == [
        "1-register-task-definition.json",
        "2-create-service.json",
    ]
    raised = run("export", "other", "-f", str(file), "--format", "kubernetes").exception
    assert isinstance(raised, InvalidArgument)
    assert "has no document of endpoint 'other'" in raised.message
    file.write_text(file.read_text() + "---\nendpoint: other\nmonitr: {}\n")
    raised = run("export", "-f", str(file), "--format", "kubernetes").exception
    assert isinstance(raised, InvalidArgument)
    assert raised.message.startswith(f"{file}:7: monitr is no field of a document")


def test_bodies_that_are_no_requests_are_refused(api: httpx.Client) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"documents": {}},
        {"documents": ["a"]},
        {"documents": [], "dry_run": 1},
        {"documents": []},
    ]
    for wrong in bodies:
        answer = api.post("/api/v1/apply", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument"), wrong
