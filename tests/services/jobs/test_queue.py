from collections.abc import Iterator

import pytest

from support.control import ME, NewDatabase, container_at
from tidegate.errors import InvalidArgument, UnknownJob, UnknownUpload
from tidegate.wire.rest import Gate, RegisterRequest
from tidegate.wiring import Container


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path_factory.mktemp("jobs") / "data", database_url=migrated_database())
    yield container
    container.close()


@pytest.fixture(scope="module")
def upload(platform: Container) -> str:
    sink = platform.uploads.begin(None)
    sink.write(b"model")
    return sink.finish().id


def test_a_queued_job_can_be_seen(platform: Container, upload: str) -> None:
    job = platform.jobs.register("churn", RegisterRequest(upload=upload, filename="model.onnx"), ME)
    assert (job.state, job.kind, job.subject) == ("queued", "register", "churn")
    assert platform.jobs.get(job.id) == job
    assert platform.jobs.find("queued", "churn", 10)[0] == [job]
    assert platform.jobs.find("failed", None, 10)[0] == []


def test_an_unknown_job_or_state_is_said(platform: Container) -> None:
    with pytest.raises(UnknownJob, match="'nope'"):
        platform.jobs.get("nope")
    with pytest.raises(InvalidArgument, match="none of queued"):
        platform.jobs.find("done", None, 10)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (RegisterRequest(), "exactly one"),
        (RegisterRequest(upload="u", uri="models:/a/1"), "exactly one"),
        (RegisterRequest(upload="u"), "filename"),
        (RegisterRequest(upload="u", filename="../m.onnx"), "filename"),
        (RegisterRequest(upload="u", filename=".."), "filename"),
        (RegisterRequest(upload="u", filename="x" * 300), "filename"),
        (RegisterRequest(uri="file:///etc/passwd"), "not of this registry"),
        (RegisterRequest(uri="http://elsewhere/model"), "not of this registry"),
        (RegisterRequest(uri="models:/a/1", label="7"), "label"),
        (RegisterRequest(uri="models:/a/1", tags={"tidegate.digest": "x"}), "reserved"),
        (RegisterRequest(uri="models:/a/1", tags={"päck!": "x"}), "not allowed"),
        (RegisterRequest(uri="models:/a/1", tags={"../a": "x"}), "not allowed"),
        (RegisterRequest(uri="models:/a/1", description="d" * 10_001), "description is longer than 10000"),
        (RegisterRequest(uri="models:/a/1", gate=Gate(min_score=0.5)), "needs validation data"),
        (RegisterRequest(uri="models:/a/1", gate=Gate(validation_upload="u")), "target is missing"),
        (RegisterRequest(uri="models:/a/1", gate=Gate(timeout_s=0)), "timeout_s"),
    ],
)
def test_a_request_that_cannot_work_is_refused_before_it_is_queued(
    platform: Container, request_: RegisterRequest, told: str
) -> None:
    before = platform.jobs.find(None, None, 100)[0]
    with pytest.raises(InvalidArgument, match=told):
        platform.jobs.register("churn", request_, ME)
    assert platform.jobs.find(None, None, 100)[0] == before


def test_an_unknown_upload_is_refused_at_once(platform: Container, upload: str) -> None:
    with pytest.raises(UnknownUpload, match="upload the file again"):
        platform.jobs.register("churn", RegisterRequest(upload="nope", filename="m.onnx"), ME)
    with pytest.raises(UnknownUpload):
        platform.jobs.register("churn", RegisterRequest(upload=upload, filename="m.onnx", code_upload="nope"), ME)
