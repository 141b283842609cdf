"""The pages of jobs: what they are doing, what came of them, and the button that ends one."""

from __future__ import annotations

from typing import Any

import httpx

from console.test_endpoint import MARKUP
from support.control import add_version
from tidegate.errors import PickleNotGranted
from tidegate.store.tables import JobRow
from tidegate.wiring import Container


def queue(container: Container, job_id: str, **fields: Any) -> str:
    values = {"kind": "register", "subject": "paged", "payload": {}, "state": "queued", "log": [], "created_at": 1.0}
    with container.store.transaction() as tx:
        tx.add(JobRow(id=job_id, **(values | fields)))
    return f"/jobs/{job_id}"


def test_jobs_are_listed_by_state_and_each_has_a_page(browser: httpx.Client, container: Container) -> None:
    running = queue(
        container,
        "goes-on",
        state="running",
        attempts=1,
        progress=0.42,
        message="scoring it",
        log=["scoring it"],
    )
    queue(container, "waits")
    listed = browser.get("/jobs?state=running").text
    assert 'id="job-goes-on"' in listed
    assert 'id="job-waits"' not in listed
    assert "tidegate jobs --state running" in listed
    assert 'id="job-waits"' in browser.get("/jobs?state=nonsense").text
    page = browser.get(running).text
    assert "Taking in paged" in page
    assert 'value="0.42"' in page
    assert "<li>scoring it</li>" in page
    assert "tidegate jobs cancel goes-on" in page
    assert browser.get("/jobs/none").status_code == 404


def test_a_job_is_cancelled_by_a_button(browser: httpx.Client, container: Container) -> None:
    path = queue(container, "unwanted")
    answer = browser.post(f"{path}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert container.jobs.get("unwanted").state == "cancelled"
    page = browser.get(path).text
    assert "what it made was undone" in page
    assert f'action="{path}/cancel"' not in page
    again = browser.post(f"{path}/cancel")
    assert (again.status_code, "has cancelled already" in again.text) == (409, True)
    running = queue(container, "busy", state="running", attempts=1)
    assert browser.post(f"{running}/cancel").status_code == 303
    assert "it ends as soon as it can" in browser.get(running).text
    assert browser.post("/jobs/none/cancel").status_code == 404


def test_what_was_taken_in_is_shown_with_its_score_and_can_be_deployed(
    browser: httpx.Client, container: Container
) -> None:
    add_version(container, "taken-in", "1")
    result = {"model": "taken-in", "version": "1", "created": True}
    page = browser.get(queue(container, "done", state="succeeded", progress=1.0, result=result)).text
    assert "Version 1 of taken-in is registered" in page
    assert 'href="/models/taken-in/versions/1#deploy"' in page
    gone = {"model": "gone", "version": "1", "created": True}
    assert browser.get(queue(container, "gone", state="succeeded", result=gone)).status_code == 200


def test_what_was_refused_says_what_to_tick_and_names_no_options(browser: httpx.Client, container: Container) -> None:
    for at, told in enumerate((
        "'m.joblib' is refused: it is a pickle. If you trust it, allow it with --allow-pickle (or 'x')",
        "runs their code: if you trust where the model comes from, allow it with --allow-pickle",
    )):  # fmt: skip
        error = PickleNotGranted(told).body()
        page = browser.get(queue(container, f"no-{at}", state="failed", message=told, error=error, log=[told])).text
        assert "tick <b>Let this file run code when it is loaded</b>" in page
        assert "--allow-pickle" not in page
        assert ("is a pickle." if at == 0 else "runs their code.") in page


def test_what_was_refused_says_why_and_asks_for_the_grant(browser: httpx.Client, container: Container) -> None:
    error = PickleNotGranted(f"loading {MARKUP} runs code").body()
    page = browser.get(queue(container, "refused", state="failed", message="no", error=error)).text
    assert "<script>alert" not in page
    assert "nothing of it is left" in page
    assert 'href="/deploy?name=paged&amp;allow_pickle=ask"' in page
    assert 'class="grant asked"' in browser.get("/deploy?name=paged&allow_pickle=ask").text
