"""The page that takes a model in: the file goes to the API first, and the form names it."""

from __future__ import annotations

import re
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest

from console.test_endpoint import MARKUP
from tidegate.wiring import Container


def upload(browser: httpx.Client, content: bytes = b"bytes of a model") -> str:
    answer = browser.post("/api/v1/uploads", content=content, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_file_that_was_sent_is_taken_in_by_a_job(browser: httpx.Client, container: Container) -> None:
    page = browser.get("/deploy")
    assert f'data-bytes-max="{container.settings.upload_bytes_max}"' in page.text
    assert "whoever made the file can have this machine do anything" in page.text
    form = {
        "upload": upload(browser),
        "filename": "model.joblib",
        "validation_upload": upload(browser, b"a,b\n1,2\n"),
        "validation_filename": "rows.csv",
        "name": "handed-in",
        "target": "b",
        "min_score": "0.75",
        "label": "v1.0.0",
        "allow_pickle": "yes",
        "accelerate": "no",
    }
    answer = browser.post("/deploy", data=form)
    assert answer.status_code == 303
    job = container.jobs.get(answer.headers["location"].removeprefix("/jobs/"))
    assert (job.kind, job.subject, job.state) == ("register", "handed-in", "queued")
    with container.store.reading() as tx:
        from tidegate.store.jobs.jobs import get_job

        row = get_job(tx, job.id)
        assert row is not None
        request = row.payload["request"]
    assert (request["allow_pickle"], request["accelerate"], request["label"]) == (True, False, "v1.0.0")
    assert (request["gate"]["min_score"], request["gate"]["target"]) == (0.75, "b")


def test_a_link_can_ask_for_the_grant_and_not_give_it(browser: httpx.Client) -> None:
    for given in ("yes", "ask", "1"):
        page = browser.get("/deploy", params={"name": "x; id", "allow_pickle": given}).text
        box = re.search(r'<input type="checkbox" name="allow_pickle"[^>]*>', page)
        assert box
        assert "checked" not in box[0]
        assert "grant asked" in page
        assert "tidegate register FILE --name &#39;x; id&#39;</code>" in page, "as a shell takes it"
    again = browser.post("/deploy", data={"name": "x", "allow_pickle": "yes"}).text
    assert 'name="allow_pickle" value="yes" checked' in again, "what was filled in stays"


def test_without_the_grant_it_is_not_given(browser: httpx.Client, container: Container) -> None:
    form = {"upload": upload(browser), "filename": "m.joblib", "name": "ungranted", "accelerate": ""}
    job = browser.post("/deploy", data=form).headers["location"].removeprefix("/jobs/")
    with container.store.reading() as tx:
        from tidegate.store.jobs.jobs import get_job

        row = get_job(tx, job)
        assert row is not None
        assert row.payload["request"]["allow_pickle"] is False


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"upload": ""}, "no file came along"),
        ({"upload": "f" * 32}, "upload the file again"),
        ({"name": ""}, "has no name"),
        ({"name": MARKUP}, "model"),
        ({"label": "x" * 10_000}, "… (10,000 characters) is not allowed"),
        ({"min_score": "nan"}, "is no number"),
        ({"min_score": "0.5"}, "needs validation data"),
        ({"filename": "../model.joblib"}, "own name"),
        ({"description": "x" * 20_000}, "description"),
    ],
)
def test_what_cannot_be_taken_in_is_said(browser: httpx.Client, values: dict[str, str], says: str) -> None:
    form = {"upload": upload(browser), "filename": "m.joblib", "name": "wrong"} | values
    answer = browser.post("/deploy", data=form)
    assert 400 <= answer.status_code < 500
    assert 'class="note bad"' in answer.text
    assert says in answer.text
    assert "<script>alert" not in answer.text


def test_uploads_of_nothing_and_of_ten_gigabytes_are_refused_before_they_are_read(browser: httpx.Client) -> None:
    headers = {"content-type": "application/octet-stream"}
    assert browser.post("/api/v1/uploads", content=b"", headers=headers).status_code == 422
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with closing(HTTPConnection(browser.base_url.host, browser.base_url.port or 80, timeout=20)) as connection:
        connection.putrequest("POST", "/api/v1/uploads")
        for name, value in (headers | {"cookie": cookies, "content-length": str(10 << 30)}).items():
            connection.putheader(name, value)
        connection.endheaders(b"the first bytes of many")
        answer = connection.getresponse()
        assert (answer.status, b"TIDEGATE_UPLOAD_BYTES_MAX" in answer.read()) == (413, True)


NO_SCRIPT = {"name": "no-script", "label": "", "target": "b", "min_score": "0.5", "allow_pickle": "yes"}


def test_without_scripts_the_form_brings_its_files_along(browser: httpx.Client, container: Container) -> None:
    page = browser.get("/deploy").text
    assert 'enctype="multipart/form-data"' in page
    model = b"\r\n--x" * 500_000  # more than fits into a form that is held in memory
    files = {"upload_file": (r"C:\models\model.joblib", model), "validation_file": ("rows.csv", b"a,b\n1,2\n")}
    answer = browser.post("/deploy", data=NO_SCRIPT, files=files)
    assert answer.status_code == 303, answer.text
    job = container.jobs.get(answer.headers["location"].removeprefix("/jobs/"))
    with container.store.reading() as tx:
        from tidegate.store.jobs.jobs import get_job

        row = get_job(tx, job.id)
        assert row is not None
        request = row.payload["request"]
    assert (request["filename"], request["gate"]["validation_filename"]) == ("model.joblib", "rows.csv")
    assert (request["allow_pickle"], request["gate"]["min_score"]) == (True, 0.5)
    assert container.uploads.path(request["upload"]).read_bytes() == model


def test_without_scripts_what_is_missing_or_too_large_is_said_on_a_page(
    browser: httpx.Client, container: Container
) -> None:
    nothing = browser.post("/deploy", data=NO_SCRIPT, files={"upload_file": ("", b"")})
    assert nothing.status_code == 422
    assert "no file came along: choose the model&#39;s file" in nothing.text
    assert 'value="no-script"' in nothing.text, "as it was filled in"
    empty = browser.post("/deploy", data=NO_SCRIPT, files={"upload_file": ("model.onnx", b"")})
    assert (empty.status_code, "the upload is empty" in empty.text) == (422, True)
    long = browser.post("/deploy", data={"name": "x" * 70_000}, files={"upload_file": ("", b"")})
    assert (long.status_code, "have more than 65536 bytes" in long.text) == (413, True)
    broken = browser.post("/deploy", content=b"--x\r\n", headers={"content-type": "multipart/form-data; boundary=x"})
    assert (broken.status_code, "it ends in the middle" in broken.text) == (400, True)
    assert not list(container.uploads.directory.glob("*.part"))
    elsewhere = browser.post("/endpoints/churn/traffic", files={"upload_file": ("model.onnx", b"x")})
    assert elsewhere.status_code == 415


def test_without_a_session_or_from_another_site_no_file_is_taken(url: str, browser: httpx.Client) -> None:
    files = {"upload_file": ("model.onnx", b"x")}
    with httpx.Client(base_url=url, headers={"accept": "text/html", "origin": url}) as stranger:
        assert stranger.post("/deploy", data=NO_SCRIPT, files=files).status_code == 401
    elsewhere = browser.post("/deploy", data=NO_SCRIPT, files=files, headers={"origin": "https://example.com"})
    assert elsewhere.status_code == 403
