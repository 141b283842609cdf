"""`python -m tidegate.fetch` against a served control plane: the version, or one line that says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from support.control import ME, SIGNATURE, add_version, container_at, served
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Fetch, version_path
from tidegate.core.workloads import WorkloadKey
from tidegate.errors import ArtifactDamaged, DiskFull, Forbidden, MissingLibrary, ModelLoadFailed, PartUnavailable
from tidegate.fetch import fit, receive
from tidegate.fetch.__main__ import main
from tidegate.fetch.receive import Wanted, fetch
from tidegate.packaging.filelist import find_fault
from tidegate.services.images.packages import AT_ONCE_MAX
from tidegate.wire.replicas.manifest import Accelerated, Manifest
from tidegate.wire.replicas.replica_key import replica_key
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container


def name_of(endpoint: str, version: str) -> str:
    return f"tidegate-{endpoint}-v{version}-{WorkloadKey(endpoint, version, Placement()).suffix}"


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """With two versions of `churn`, which an endpoint of another name serves, and one of another model."""
    container = container_at(tmp_path_factory.mktemp("fetch") / "data")
    add_version(container, "churn", "1")
    add_version(container, "churn", "2")
    add_version(container, "spam", "1")
    container.endpoints.deploy("at-risk", DeployRequest("churn", "1"), ME)
    yield container
    container.close()


@pytest.fixture(scope="module")
def api(container: Container) -> Iterator[httpx.Client]:
    with served(container) as client:
        yield client


def wanted(api: httpx.Client, container: Container, version: str = "1", **changes: Any) -> Wanted:
    name = name_of("at-risk", version)
    given = {
        "url": str(api.base_url),
        "version_path": version_path("churn", version, ""),
        "digest": container.manifests.read("churn", version).digest,
        "credential": name,
        "key": replica_key(container.keys.node, name),
        "timeout_s": 20.0,
    }
    return Wanted(**given | changes)  # type: ignore[arg-type]


def test_a_process_puts_the_version_into_its_folder(api: httpx.Client, container: Container, tmp_path: Path) -> None:
    asked = wanted(api, container)
    arguments = Fetch(asked.url, asked.version_path, asked.digest, 0).arguments(asked.credential, str(tmp_path))
    env = os.environ | {"TIDEGATE_API_KEY": asked.key}
    argv = [sys.executable, "-m", "tidegate.fetch", *arguments]
    ran = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert (tmp_path / "package" / "MLmodel").read_text() == "flavors: {}\n"
    assert find_fault(tmp_path / "package") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "package"]


def test_what_is_there_is_not_fetched_again(api: httpx.Client, container: Container, tmp_path: Path) -> None:
    asked = wanted(api, container)
    first = fetch(asked, tmp_path, print)
    nowhere = wanted(api, container, url="http://127.0.0.1:9", timeout_s=0.0)
    assert fetch(nowhere, tmp_path, print) == first
    (tmp_path / "package" / "MLmodel").write_text("something else")
    with pytest.raises(PartUnavailable, match="TIDEGATE_CONTROL_URL_INSIDE"):
        fetch(nowhere, tmp_path, print)
    assert fetch(asked, tmp_path, print) == first
    assert find_fault(tmp_path / "package") is None


def test_a_replica_fetches_its_own_version_alone(api: httpx.Client, container: Container, tmp_path: Path) -> None:
    own = wanted(api, container)
    for path in (version_path("churn", "2", ""), version_path("spam", "1", "")):
        with pytest.raises(Forbidden, match="its own version alone"):
            fetch(wanted(api, container, version_path=path), tmp_path, print)
    heads = {"authorization": f"Bearer {own.key}", "x-tidegate-credential": own.credential}
    assert api.get("/api/v1/models", headers=heads).status_code == 403
    assert api.get(own.version_path, headers=heads).status_code == 200
    stolen = heads | {"x-tidegate-credential": name_of("at-risk", "2")}
    assert api.get(own.version_path, headers=stolen).status_code == 401
    unnamed = {"authorization": f"Bearer {own.key}"}
    assert api.get(own.version_path, headers=unnamed).status_code == 401
    node = {"authorization": f"Bearer {container.keys.node}"}
    assert api.get(own.version_path, headers=node).status_code == 403
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_why_in_its_last_line(
    api: httpx.Client, container: Container, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    own = wanted(api, container)
    monkeypatch.setenv("TIDEGATE_API_KEY", "another-key")
    given = ["--url", own.url, "--version-path", own.version_path, "--digest", own.digest]
    assert main([*given, "--credential", own.credential, "--into", str(tmp_path)]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("tidegate-error: ")
    assert json.loads(line.partition(": ")[2])["code"] == "unauthenticated"
    assert main([*given, "--credential", own.credential, "--into", str(tmp_path / "none")]) == 2
    for never in ("nan", "inf", "-1"):
        assert main([*given, "--credential", own.credential, "--into", str(tmp_path), "--timeout-s", never]) == 2
    monkeypatch.delenv("TIDEGATE_API_KEY")
    assert main([*given, "--credential", own.credential, "--into", str(tmp_path)]) == 2
    assert "TIDEGATE_API_KEY" in capfd.readouterr().err


def test_a_form_that_is_not_served_any_more_and_an_unknown_version_are_refused(
    api: httpx.Client, container: Container
) -> None:
    gone = api.get(version_path("churn", "1", "trees"))
    assert (gone.status_code, gone.json()["code"]) == (409, "conflict")
    assert api.get(version_path("churn", "9", "")).json()["code"] == "unknown_version"
    assert api.get(version_path("none", "1", "")).json()["code"] == "unknown_model"


def test_a_version_with_an_environment_of_its_own_needs_an_image(api: httpx.Client, container: Container) -> None:
    add_version(container, "own", "1")
    manifest = container.manifests.read("own", "1")
    container.manifests.write(msgspec.structs.replace(manifest, environment="e" * 64))
    refused = api.get(version_path("own", "1", "")).json()
    assert "tidegate build own:1 --push" in refused["error"]


def test_versions_are_sent_within_a_bound_and_a_client_that_leaves_counts_no_more(
    api: httpx.Client, container: Container, tmp_path: Path
) -> None:
    said: list[str] = []
    for _ in range(AT_ONCE_MAX):
        assert container.packages.sending.acquire(blocking=False)

    def say(text: str) -> None:
        said.append(text)
        for _ in range(AT_ONCE_MAX):
            container.packages.close()

    fetch(wanted(api, container), tmp_path, say)
    assert len(said) == 1
    assert "trying again in 2.0 s" in said[0]  # as the answer's Retry-After says
    for _ in range(2 * AT_ONCE_MAX):
        with api.stream("GET", version_path("churn", "1", "")) as answer:
            assert answer.status_code == 200


def test_a_file_that_is_gone_from_the_store_is_said(api: httpx.Client, container: Container) -> None:
    add_version(container, "holes", "1")
    (container.models.artifacts.path(container.manifests.read("holes", "1").digest) / "MLmodel").unlink()
    answer = api.get(version_path("holes", "1", ""))
    assert answer.json()["code"] == "artifact_damaged"


class _Answers(ThreadingHTTPServer):
    """Gives prepared answers in turn, the last one for ever: status, headers, body, and how much of it is sent."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked = list(answers), 0


class _Handler(BaseHTTPRequestHandler):
    server: _Answers

    def do_GET(self) -> None:
        status, heads, body = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | heads).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Any]:
    started: list[_Answers] = []

    def start(*answers: tuple[int, dict[str, str], bytes]) -> _Answers:
        started.append(_Answers(*answers))
        threading.Thread(target=started[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return started[-1]

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


def test_what_breaks_off_or_fails_for_a_while_is_asked_for_again(
    api: httpx.Client, container: Container, answering: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(receive, "PAUSE_FIRST_S", 0.01)
    good = api.get(version_path("churn", "1", ""))
    heads = {"X-Tidegate-Digest": good.headers["x-tidegate-digest"]}
    cut = heads | {"Content-Length": str(len(good.content))}
    server = answering(
        (503, {}, b"not json"),
        (429, {"Retry-After": "\xb2"}, b""),
        (200, cut, good.content[:700]),
        (200, heads, good.content[:1024]),
        (200, heads, good.content[:-600] + b"x" * 600),
        (200, heads, good.content),
    )
    said: list[str] = []
    asked = wanted(api, container, url=f"http://127.0.0.1:{server.server_port}")
    fetch(asked, tmp_path, said.append)
    assert len(said) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "package"]


def test_something_else_time_after_time_is_no_version(
    api: httpx.Client, container: Container, answering: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(receive, "PAUSE_FIRST_S", 0.01)
    asked = wanted(api, container)
    server = answering((200, {"X-Tidegate-Digest": asked.digest}, b"<html>" * 200))
    with pytest.raises(ArtifactDamaged, match="not the version"):
        fetch(wanted(api, container, url=f"http://127.0.0.1:{server.server_port}"), tmp_path, print)
    assert server.asked == receive.DAMAGED_MAX
    server = answering((200, {"X-Tidegate-Digest": "cd" * 32}, b""))
    with pytest.raises(ArtifactDamaged, match="said to be of digest"):
        fetch(wanted(api, container, url=f"http://127.0.0.1:{server.server_port}"), tmp_path, print)
    server = answering((302, {"Location": str(api.base_url)}, b""))
    with pytest.raises(Exception, match="it answered 302"):
        fetch(wanted(api, container, url=f"http://127.0.0.1:{server.server_port}"), tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_is_full_is_said(
    api: httpx.Client, container: Container, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(receive, "unpack", full)
    with pytest.raises(DiskFull, match="larger"):
        fetch(wanted(api, container), tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def manifest_of(**fields: Any) -> Manifest:
    here = {"scikit-learn": metadata.version("scikit-learn")}
    python = "{}.{}.9".format(*sys.version_info[:2])
    found = Manifest(
        "churn", "3", "d", "package", "sklearn", SIGNATURE, [0.0, 1.0], library_versions=here, python=python
    )
    return msgspec.structs.replace(found, **fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"pickle_granted": True}, None, id="as it was taken in"),
        pytest.param({"pickle_granted": True, "python": "3.4.1"}, ModelLoadFailed, id="another Python"),
        pytest.param({"python": "3.4.1"}, None, id="another Python, and nothing pickled"),
        pytest.param(
            {"pickle_granted": True, "library_versions": {"scikit-learn": "0.1.0"}},
            ModelLoadFailed,
            id="another library",
        ),
        pytest.param(
            {"pickle_granted": True, "python": "3.4.1", "accelerated": Accelerated("trees", "form")}, None, id="a form"
        ),
        pytest.param({"framework": "python"}, None, id="code of its own"),
    ],
)
def test_a_runtime_that_is_not_what_the_version_was_taken_in_with_is_refused(
    fields: dict[str, Any], error: type[Exception] | None
) -> None:
    if error is None:
        fit.check_fits(manifest_of(**fields))
        return
    with pytest.raises(error, match="tidegate build churn:3 --push"):
        fit.check_fits(manifest_of(**fields))


def test_a_framework_that_the_runtime_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fit.DISTRIBUTION, "torch", "no-such-distribution")
    with pytest.raises(MissingLibrary, match=r"no-such-distribution.*--push"):
        fit.check_fits(manifest_of(framework="torch"))


def test_the_command_imports_no_more_than_a_replica_does() -> None:
    """Its container starts before the replica does, with as little memory."""
    asked = "import sys, tidegate.fetch.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"pyarrow", "duckdb", "scipy", "sqlalchemy", "mlflow", "fastapi", "uvicorn", "pandas", "sklearn", "numpy"}
    assert heavy & set(ran.stdout.split()) == set()
