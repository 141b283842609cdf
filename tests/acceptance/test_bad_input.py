"""Bad input of every kind: a clear error with the right code, and nothing lost or left behind."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models import Models
from support.platform import Platform, tidegate
from support.wait import free_ports, until

pytestmark = pytest.mark.slow


@pytest.fixture
def nothing_lost(platform: Platform, steady: str, models: Models) -> Iterator[None]:
    """The other models, their versions and their answers are as before; no scratch file stays."""
    before = _registered(platform)
    yield
    assert _registered(platform) == before
    assert platform.predict(steady, models.rows[0].tolist()).json()["prediction"] == models.says(
        "logistic", models.rows[:1]
    )
    until(lambda: not _files(platform.data_dir / "jobs"), what="the jobs' scratch folders removed")
    digests = {version["digest"] for versions in before.values() for version in versions}
    # A faster form lies beside its artifact, as DIGEST.FORM.
    assert {path.name.partition(".")[0] for path in (platform.data_dir / "artifacts").iterdir()} <= digests | {
        "registry"
    }


def _registered(platform: Platform) -> dict[str, Any]:
    models = platform.api("GET", "/api/v1/models").json()["models"]
    return {model["name"]: model["versions"] for model in models}


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


GRANT = "--allow-pickle"
REFUSED = {
    "not a model": (("text.joblib", GRANT), "not_a_model", ["text.joblib"]),
    "a truncated file": (("truncated.joblib", GRANT), "not_a_model", ["truncated"]),
    "a pickle without the grant": (("forest.joblib",), "pickle_not_granted", ["--allow-pickle"]),
    "a library that is missing": (("no-library.pkl", GRANT), "missing_library", ["lifelines", "pip install"]),
    "a library nobody knows": (("no-module.pkl", GRANT), "missing_code", ["boosted_trees_of_nowhere", "--code"]),
    "a class of the training script": (("script.joblib", GRANT), "missing_code", ["ChurnModel", "--code"]),
    "a class of a module not given": (("licensed.joblib", GRANT), "missing_code", ["licensed_model", "--code"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_be_taken_in(platform: Platform, models: Models, nothing_lost: None, case: str) -> None:
    (name, *options), code, words = REFUSED[case]
    error = platform.failed("register", models.path(name), "--name", "refused", *options)
    assert error["code"] == code, error
    for word in words:
        assert word in error["error"]
    assert platform.api("GET", "/api/v1/models/refused").status_code == 404


@pytest.mark.parametrize("name", ["nowhere.joblib", "empty.joblib"])
def test_a_path_where_nothing_is(platform: Platform, models: Models, name: str) -> None:
    ran = platform.cli("register", models.path(name), "--name", "refused")
    assert ran.code == 2
    assert name in ran.err


def test_a_model_that_crashes_on_load(platform: Platform, models: Models, nothing_lost: None) -> None:
    code = ("--code", models.path("crashing-code"))
    error = platform.failed("register", models.path("crashing.joblib"), "--name", "refused", GRANT, *code)
    assert error["code"] == "model_crashed", error
    assert "SIGKILL" in error["error"] or "9" in error["error"]


def test_a_model_that_hangs_on_load(platform: Platform, models: Models, nothing_lost: None) -> None:
    """The deadline is the request's own (`gate.timeout_s`), so that this test need not wait two minutes."""
    import io
    import tarfile

    def upload(content: bytes) -> str:
        answer = platform.api(
            "POST", "/api/v1/uploads", content=content, headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(models.path("hanging-code"), arcname=".")
    request = {
        "upload": upload(Path(models.path("hanging.joblib")).read_bytes()),
        "filename": "hanging.joblib",
        "allow_pickle": True,
        "code_upload": upload(buffer.getvalue()),
        "gate": {"timeout_s": 6.0},
    }
    answer = platform.api("POST", "/api/v1/models/refused/versions", request)
    assert answer.status_code == 202, answer.text
    job_path = f"/api/v1/jobs/{answer.json()['id']}"
    job = until(
        lambda: _ended(platform.api("GET", job_path).json()), timeout_s=40, what="the deadline of the registration"
    )
    assert job["state"] == "failed"
    assert job["error"]["code"] == "model_timed_out", job
    assert platform.api("GET", "/api/v1/models/refused").status_code == 404


def _ended(job: Any) -> Any:
    return job if job["state"] in ("succeeded", "failed") else None


def test_validation_data_without_the_target(platform: Platform, models: Models, nothing_lost: None) -> None:
    gate = ("--validation-data", models.path("no-target.csv"), "--target", "churned")
    error = platform.failed("register", models.path("forest.joblib"), "--name", "refused", GRANT, *gate)
    assert error["code"] == "validation_data_unusable"
    assert "churned" in error["error"]
    assert "x0" in error["error"], "says which columns there are"


def test_a_score_below_the_gate(platform: Platform, models: Models, nothing_lost: None) -> None:
    gate = ("--validation-data", models.path("validation.csv"), "--target", "y", "--min-score", "0.9")
    error = platform.failed("register", models.path("poor.joblib"), "--name", "refused", GRANT, *gate)
    assert error["code"] == "score_below_gate"
    assert "0.9" in error["error"]
    assert platform.api("GET", "/api/v1/models/refused").status_code == 404


@pytest.mark.parametrize("name", ["Churn", "churn_model", "-churn", "churn-", "a" * 64, "chürn", "a/b", "a.b"])
def test_names_that_are_no_dns_labels(platform: Platform, models: Models, name: str) -> None:
    ran = platform.cli("register", models.path("forest.joblib"), f"--name={name}", GRANT, "--json")
    assert (ran.code, ran.json["code"]) == (2, "invalid_argument"), ran.said
    answer = platform.api("PUT", f"/api/v1/endpoints/{name}", {"model": "steady"})
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]


def test_a_refused_job_says_why_once(platform: Platform, models: Models) -> None:
    ran = platform.cli("register", models.path("forest.joblib"), "--name", "refused-once")
    assert ran.code == 1
    assert ran.said.count("is refused") == 1
    assert ran.err.splitlines()[-1].startswith("error: 'forest.joblib' is refused")
    (job,) = [job for job in platform.done("jobs")["jobs"] if job["subject"] == "refused-once"]
    shown = platform.cli("jobs", job["id"])
    assert shown.out.count("is refused") == 1
    assert "reading what came in" in shown.out


UNKNOWN = [
    (("deploy", "nothing"), "unknown_model"),
    (("deploy", "steady:99"), "unknown_version"),
    (("deploy", "steady@champion"), "unknown_version"),
    (("models", "show", "nothing"), "unknown_model"),
    (("models", "delete", "nothing", "--yes"), "unknown_model"),
    (("predict", "nothing", "--data", '{"features": [1]}'), "unknown_endpoint"),
    (("traffic", "nothing", "1=100"), "unknown_endpoint"),
    (("traffic", "steady", "99=100"), "unknown_version"),
    (("promote", "steady", "99"), "unknown_version"),
    (("rollback", "nothing"), "unknown_endpoint"),
    (("scale", "nothing", "--replicas", "2"), "unknown_endpoint"),
    (("delete", "nothing", "--yes"), "unknown_endpoint"),
    (("logs", "nothing"), "unknown_endpoint"),
    (("jobs", "nothing"), "unknown_job"),
]


@pytest.mark.parametrize(("command", "code"), UNKNOWN, ids=[" ".join(command[:2]) for command, _ in UNKNOWN])
def test_unknown_things(platform: Platform, steady: str, command: tuple[str, ...], code: str) -> None:
    error = platform.failed(*command)
    assert error["code"] == code
    assert any(name in error["error"] for name in ("nothing", "99", "champion"))


UNKNOWN_ROUTES = [
    ("GET", "/api/v1/models/nothing", None),
    ("GET", "/api/v1/models/steady/versions/99", None),
    ("GET", "/api/v1/models/steady/versions/@champion", None),
    ("GET", "/api/v1/endpoints/nothing", None),
    ("DELETE", "/api/v1/endpoints/nothing", None),
    ("PUT", "/api/v1/endpoints/nothing/traffic", {"traffic": {"1": 100}}),
    ("PUT", "/api/v1/endpoints/steady/traffic", {"traffic": {"99": 100}}),
    ("PUT", "/api/v1/endpoints/fresh", {"model": "nothing"}),
    ("GET", "/api/v1/jobs/nothing", None),
    ("GET", "/api/v1/nothing", None),
]


@pytest.mark.parametrize(("method", "path", "body"), UNKNOWN_ROUTES)
def test_unknown_things_over_http(platform: Platform, steady: str, method: str, path: str, body: Any) -> None:
    answer = platform.api(method, path, body)
    assert answer.status_code == 404
    assert answer.json()["error"]


@pytest.mark.parametrize("weights", [["1=90"], ["1=60", "1=30"], ["1=101"], ["1=-1", "2=101"], ["1=ninety"], ["1"]])
def test_weights_that_do_not_add_up(platform: Platform, steady: str, weights: list[str]) -> None:
    before = platform.endpoint(steady)["target"]
    ran = platform.cli("traffic", steady, *weights, "--json")
    assert ran.code == 2, ran.said
    assert platform.endpoint(steady)["target"] == before


@pytest.mark.parametrize("traffic", [{"1": 90}, {}, {"1": -1, "2": 101}, {"1": "much"}, None])
def test_weights_that_do_not_add_up_over_http(platform: Platform, steady: str, traffic: Any) -> None:
    answer = platform.api("PUT", f"/api/v1/endpoints/{steady}/traffic", {"traffic": traffic})
    assert answer.status_code == 422
    assert answer.json()["code"]


def test_another_model_on_an_endpoint_that_exists(platform: Platform, steady: str, models: Models) -> None:
    platform.done("register", models.path("small.joblib"), "--name", "other", GRANT)
    assert platform.failed("deploy", "other", "--endpoint", steady)["code"] == "conflict"
    assert platform.api("PUT", f"/api/v1/endpoints/{steady}", {"model": "other"}).status_code == 409


def test_nothing_to_roll_back_to(platform: Platform, steady: str) -> None:
    assert platform.failed("rollback", steady)["code"] == "conflict"
    assert platform.api("POST", f"/api/v1/endpoints/{steady}/rollback", {}).status_code == 409


# -- rows -------------------------------------------------------------------------------------------------------------

GOOD = [0.5] * 30
ROWS: dict[str, tuple[Any, int, list[str]]] = {
    "too few features": (GOOD[:29], 422, ["30", "29"]),
    "too many features": ([*GOOD, 1.0], 422, ["30", "31"]),
    "a short row among good ones": ([GOOD, GOOD[:3], GOOD], 422, ["30", "3"]),
    "text where numbers belong": (["a"] * 30, 422, []),
    "one text among numbers": ([*GOOD[:29], "0.5"], 422, []),
    "null where the model takes none": ([*GOOD[:29], None], 422, []),
    "a row of null": (None, 422, []),
    "no rows": ([], 422, []),
    "a record for a model without names": ({"a": 1.0}, 422, []),
    "a number": (7, 422, []),
    "a string": ("rows", 422, []),
    "rows in rows in rows": ([[GOOD]], 422, []),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_do_not_fit(platform: Platform, steady: str, case: str) -> None:
    features, status, words = ROWS[case]
    answer = platform.predict(steady, features)
    assert (answer.status_code, "Traceback" in answer.text) == (status, False), answer.text
    for word in words:
        assert word in answer.json()["error"]


BODIES: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"features=1,2,3", 400),
    "half a JSON": (b'{"features": [0.5, 0.', 400),
    "nothing": (b"", 400),
    "no UTF-8": (b'{"features": ["\xff\xfe"]}', 400),
    "nested 100,000 deep": (b'{"features": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "nested and never closed": (b"[" * 100_000, 400),
    "a NaN literal": (json.dumps({"features": [float("nan"), *GOOD[1:]]}).encode(), 400),
    "no features": (b"{}", 422),
    "a list": (b"[]", 422),
    "2 MB of one row": (json.dumps({"features": [0.5] * 400_000}).encode(), 422),
    "5 MB of one row": (json.dumps({"features": [0.5] * 1_000_000}).encode(), 413),
    "5 MB of text": (json.dumps({"features": "x" * 5_000_000}).encode(), 422),
    "10 MB of one row": (json.dumps({"features": [0.5] * 2_000_000}).encode(), 413),
    "10 MB of good rows": (json.dumps({"features": [GOOD] * 67_000}).encode(), 413),
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_are_no_request(platform: Platform, steady: str, models: Models, case: str) -> None:
    body, status = BODIES[case]
    answer = platform.ask(f"/predict/{steady}", body)
    # What is JSON and no request may be called malformed too.
    assert answer.status_code in ({400, 422} if status == 422 else {status}), answer.text[:500]
    assert len(answer.content) < 10_000, "an error does not send the input back"
    assert answer.json()["error"]
    assert platform.predict(steady, models.rows[0].tolist()).status_code == 200


def test_megabytes_of_good_rows_are_answered(platform: Platform, steady: str, models: Models) -> None:
    rows = models.rows.tolist() * 150
    body = json.dumps({"features": rows}).encode()
    assert 4_000_000 < len(body) < 8_000_000
    answer = platform.ask(f"/predict/{steady}", body)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.json()["prediction"] == models.says("logistic", models.rows) * 150


def test_more_than_the_bound_is_413_while_it_arrives(platform: Platform, steady: str) -> None:
    headers = ("Host: x", "Content-Type: application/json", f"Content-Length: {1 << 30}")
    head = "\r\n".join([f"POST /predict/{steady} HTTP/1.1", *headers, "", ""])
    with socket.create_connection(("127.0.0.1", platform.ports[0]), timeout=20) as connection:
        connection.sendall(head.encode())
        for _ in range(65):
            connection.sendall(b" " * (1 << 20))
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_malformed_input_is_answered_at_once(platform: Platform, steady: str) -> None:
    """Within 100 ms of its last byte, once the machine has no other work just then."""

    def took_s() -> float:
        started = time.perf_counter()
        assert platform.ask(f"/predict/{steady}", b"[" * 100_000).status_code == 400
        return time.perf_counter() - started

    until(lambda: took_s() < 0.1, what="an answer within 100 ms")


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "application/xml"])
def test_a_wrong_content_type(platform: Platform, steady: str, content_type: str) -> None:
    body = json.dumps({"features": GOOD}).encode()
    answer = platform.ask(f"/predict/{steady}", body, headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]


V2: dict[str, tuple[Any, int]] = {
    "a wrong shape": ([{"name": "input", "shape": [1, 29], "datatype": "FP64", "data": GOOD[:29]}], 422),
    "less data than the shape says": ([{"name": "input", "shape": [2, 30], "datatype": "FP64", "data": GOOD}], 400),
    "an unknown datatype": ([{"name": "input", "shape": [1, 30], "datatype": "FP99", "data": GOOD}], 400),
    "text for numbers": ([{"name": "input", "shape": [1, 30], "datatype": "BYTES", "data": ["a"] * 30}], 422),
    "a negative shape": ([{"name": "input", "shape": [-1, 30], "datatype": "FP64", "data": GOOD}], 400),
    "no inputs": ([], 422),
    "no list": ("x", 400),
}


@pytest.mark.parametrize("case", V2)
def test_v2_inputs_that_do_not_fit(platform: Platform, steady: str, case: str) -> None:
    inputs, status = V2[case]
    answer = platform.ask(f"/v2/models/{steady}/infer", {"inputs": inputs})
    assert answer.status_code in {400, 422}, answer.text
    assert status == 400 or answer.status_code == 422, answer.text
    assert answer.json()["error"]


def test_v2_takes_no_rows(platform: Platform, steady: str) -> None:
    tensor = {"name": "input", "shape": [0, 30], "datatype": "FP64", "data": []}
    answer = platform.ask(f"/v2/models/{steady}/infer", {"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["shape"] == [0]


def test_unknown_endpoints_and_routes_at_the_gateway(platform: Platform, steady: str) -> None:
    tensor = {"name": "input", "shape": [1, 30], "datatype": "FP64", "data": GOOD}
    for path in ("/predict/nothing", "/v2/models/nothing/infer", "/v2/models/steady/versions/99/infer", "/nothing"):
        answer = platform.ask(path, {"features": GOOD, "inputs": [tensor]})
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["error"]


# -- the machine ------------------------------------------------------------------------------------------------------


def test_a_port_in_use(platform: Platform, tmp_path: Path) -> None:
    """Another program has the gateway's port: said at once, and nothing is left running."""
    taken = str(platform.ports[0])
    own = Platform(tmp_path / "data", ports=[int(taken), *free_ports(2)])
    ran = own.up()
    assert (ran.code, taken in ran.err) == (1, True), ran.said
    assert own.processes() == []


def test_a_port_in_use_for_serve(platform: Platform, models: Models) -> None:
    ran = tidegate("serve", models.path("logistic.joblib"), "--allow-pickle", "--port", str(platform.ports[0]))
    assert (ran.code, str(platform.ports[0]) in ran.err) == (1, True), ran.said


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder below a file: root, who may write anywhere else, cannot write there either."""
    (tmp_path / "file").write_text("")
    ran = Platform(tmp_path / "file" / "data").up()
    assert ran.code in (1, 2)
    assert str(tmp_path / "file") in ran.err
    assert "Traceback" not in ran.err


def test_a_data_directory_in_use(platform: Platform, steady: str, models: Models) -> None:
    other = Platform(platform.data_dir)
    ran = other.up()
    assert ran.code == 1, ran.said
    assert str(platform.data_dir) in ran.err
    assert platform.predict(steady, models.rows[0].tolist()).status_code == 200


def test_off_loopback_without_a_key(tmp_path: Path, models: Models) -> None:
    own = Platform(tmp_path / "data", host="0.0.0.0")
    ran = own.up()
    assert ran.code == 2, ran.said
    assert "TIDEGATE_API_KEY" in ran.err
    assert own.processes() == []
    serve = tidegate("serve", models.path("logistic.joblib"), "--allow-pickle", "--host", "0.0.0.0")
    assert serve.code == 2, serve.said
    assert "TIDEGATE_API_KEY" in serve.err


def test_a_platform_that_does_not_run(tmp_path: Path) -> None:
    ran = tidegate("endpoints", "--data-dir", str(tmp_path / "none"), "--json")
    assert ran.code == 1
    assert ran.json["code"] == "not_running"
    assert "tidegate up" in ran.err
