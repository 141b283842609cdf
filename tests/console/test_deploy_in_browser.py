"""From a model's file to a real prediction in a real browser, by clicks alone; and what the page refuses to send."""

from __future__ import annotations

import pickle
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import pytest
from playwright.sync_api import Page, Request

from support.models import Models
from support.platform import Platform
from support.services.chromium import Chromium, Visit

pytestmark = [pytest.mark.slow, pytest.mark.long]


class Sleeping:
    """A model that never loads."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (time.sleep, (600,))


@pytest.fixture
def visit(chromium: Chromium, platform: Platform) -> Iterator[Visit]:
    """The deploy page, logged in."""
    code = platform.api("POST", "/api/v1/login-codes").json()["code"]
    visit = chromium.visit(f"{platform.url}/login?code={code}")
    visit.page.wait_for_url(f"{platform.url}/")
    visit.page.goto(f"{platform.url}/deploy")
    yield visit
    visit.page.close()


def hand_in(page: Page, file: Path | str, name: str, *, grant: bool = True) -> None:
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Model", exact=True).fill(name)
    page.get_by_label("Let this file run code when it is loaded").set_checked(grant)
    page.get_by_role("button", name="Hand it in").click()


def test_a_file_becomes_a_prediction(visit: Visit, models: Models, tmp_path: Path) -> None:
    page, rows = visit.page, tmp_path / "rows.csv"
    columns = [f"c{place}" for place in range(models.rows.shape[1])]
    truth = {"truth": models.says("logistic", models.rows)}
    pd.DataFrame(models.rows, columns=columns).assign(**truth).to_csv(rows, index=False)
    page.get_by_text("Score it before it is taken in").click()
    page.get_by_label("Validation data").set_input_files(rows)
    page.get_by_label("Column to predict").fill("truth")
    hand_in(page, models.path("logistic.joblib"), "by-click")
    page.wait_for_url("**/jobs/*")
    deploy = page.get_by_role("link", name="Deploy version 1")
    deploy.wait_for(timeout=90_000)
    assert "It scored accuracy 1" in page.locator("main").inner_text()
    deploy.click()
    # From a version's page: one click deploys, and one asks for a prediction.
    page.get_by_role("button", name="Deploy version 1").click()
    page.wait_for_url("**/deployments/by-click/1")
    page.get_by_text("Version 1 answers, and has 100 % of the traffic.").wait_for(timeout=90_000)
    page.get_by_role("button", name="Predict", exact=True).click()
    answer = page.locator(".answer")
    answer.wait_for()
    assert re.match(r"[01] confidence 0\.\d+|[01] confidence 1\.000", answer.inner_text())
    assert "version 1 answered in" in page.locator("#answer").inner_text()
    assert visit.complaints == []


def test_what_is_empty_or_too_large_is_not_sent(visit: Visit, tmp_path: Path) -> None:
    page, sent = visit.page, list[str]()
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    (empty := tmp_path / "empty.onnx").write_bytes(b"")
    hand_in(page, empty, "nothing")
    fault = page.locator("[data-fault]")
    fault.get_by_text("empty.onnx is empty").wait_for()
    page.evaluate("document.querySelector('form[data-upload]').dataset.bytesMax = 1000")
    (large := tmp_path / "large.onnx").write_bytes(bytes(2000))
    hand_in(page, large, "too-much")
    fault.get_by_text("large.onnx has 2.0 kB and this server takes 1.0 kB").wait_for()
    assert sent == []
    assert visit.complaints == []


def test_a_file_that_is_chosen_no_more_is_not_handed_in(visit: Visit, models: Models, tmp_path: Path) -> None:
    """As when a browser goes back to the page, with what was sent from it."""
    page, rows = visit.page, tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    page.route("**/deploy", lambda route: route.fulfill(status=204))

    def is_form(asked: Request) -> bool:
        return asked.method == "POST" and asked.url.endswith("/deploy")

    page.get_by_text("Score it before it is taken in").click()
    page.get_by_label("Validation data").set_input_files(rows)
    with page.expect_request(is_form) as first:
        hand_in(page, models.path("small.joblib"), "chosen")
    page.get_by_label("Validation data").set_input_files([])
    with page.expect_request(is_form) as second:
        hand_in(page, models.path("small.joblib"), "chosen")
    fields = [parse_qs(one.value.post_data or "") for one in (first, second)]
    assert [("upload" in one, "validation_upload" in one) for one in fields] == [(True, True), (True, False)]
    assert fields[0]["upload"] != fields[1]["upload"]


def test_an_executable_is_refused_with_the_reason(visit: Visit, platform: Platform) -> None:
    hand_in(visit.page, Path(sys.executable).resolve(), "program")
    visit.page.get_by_text("It was not done, and nothing of it is left.").wait_for(timeout=60_000)
    assert platform.api("GET", "/api/v1/models/program").status_code == 404
    assert visit.complaints == []


def test_a_pickle_without_the_grant_is_asked_for_it(visit: Visit, models: Models) -> None:
    hand_in(visit.page, models.path("logistic.joblib"), "ungranted", grant=False)
    visit.page.get_by_text("If you trust where the file comes from").wait_for(timeout=60_000)
    visit.page.get_by_role("link", name="Hand it in again").click()
    assert visit.page.get_by_label("Model", exact=True).input_value() == "ungranted"
    assert visit.complaints == []


def test_a_job_is_cancelled_by_a_click_and_its_model_ends(visit: Visit, platform: Platform, tmp_path: Path) -> None:
    (hanging := tmp_path / "hanging.pkl").write_bytes(pickle.dumps(Sleeping()))
    page = visit.page
    hand_in(page, hanging, "hanging")
    page.get_by_text("loading the model").first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("what it made was undone").wait_for(timeout=60_000)
    assert platform.api("GET", "/api/v1/models/hanging").status_code == 404
    assert platform.processes("tidegate.runtimes.inspect") == []
    assert visit.complaints == []
