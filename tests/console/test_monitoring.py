"""The Monitoring page of an endpoint: what was found, over HTTP, and the forms that run and set monitors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import httpx
import msgspec
import pytest

from support.control import ME, add_version
from support.monitoring import HOUR_S, NOON, check_result, drift_results, performance_results
from tidegate.clock import now
from tidegate.console.watching.results import CARDS
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.monitoring import add_results, monitor_to_write
from tidegate.wire import rest
from tidegate.wire.monitoring.monitoring import MonitorResult
from tidegate.wiring import Container

EVIL = "<script>alert(1)</script>\"'&"
Found = Callable[[str, Sequence[MonitorResult]], str]


@pytest.fixture
def found(container: Container) -> Found:
    """Makes an endpoint of which monitors found this a moment ago; the path of its page."""

    def make(name: str, results: Sequence[MonitorResult]) -> str:
        add_version(container, name, "3")
        container.endpoints.deploy(name, rest.DeployRequest(name, "3"), ME)
        keep(container, name, results)
        return f"/endpoints/{name}/monitoring"

    return make


def keep(container: Container, name: str, results: Sequence[MonitorResult]) -> None:
    """As an evaluation does; what was made at noon is of now."""
    moved = now() - NOON
    shifted = [
        msgspec.structs.replace(
            one, since=one.since + moved, until=one.until + moved, evaluated_at=one.evaluated_at + moved, endpoint=name
        )
        for one in results
    ]
    with container.store.transaction() as tx:
        row = get_endpoint(tx, name)
        assert row is not None
        monitor_to_write(tx, row).evaluated_at = now()
        add_results(tx, row.uid, shifted)


def test_what_needs_attention_comes_first_and_columns_by_how_far_they_moved(
    browser: httpx.Client, found: Found
) -> None:
    results = [*drift_results({"calm": 0.0, "age": 0.6, "score": 0.3}), *performance_results([0.1, 0.1, 0.3])]
    page = browser.get(found("watched", results)).text
    first = page[page.index('id="first-h"') : page.index('id="quality-h"')]
    assert first.index("accuracy") < first.index("age")
    assert re.findall(r"<h3><bdi>([^<]*)", page) == ["age", "score", "calm"]
    assert page.count('role="img"') == 3 + 2
    assert "tidegate monitor watched --now" in page
    assert 'class="outline"' in page


def test_before_anything_ran_it_says_what_is_missing(browser: httpx.Client, found: Found) -> None:
    page = browser.get(found("unwatched", [])).text
    assert "Nothing is known yet" in page
    assert "tidegate baseline unwatched:VERSION --data FILE.csv" in page
    assert "No column was compared yet" in page


def test_names_out_of_rows_are_only_text(browser: httpx.Client, found: Found) -> None:
    evil = check_result("feature_drift", "alert", EVIL, feature=EVIL, segment=None, severity="high")
    segment = check_result("performance", "alert", EVIL, metric=EVIL, segment=EVIL)
    page = browser.get(found("evil", [evil, segment])).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_columns_come_page_by_page_and_version_by_version(browser: httpx.Client, found: Found) -> None:
    columns = {f"f{number:02}": 0.0 for number in range(CARDS + 2)}
    path = found("wide", [*drift_results(columns), *drift_results({"f00": 0.0}, version="4")])
    assert browser.get(path).text.count("<article>") == CARDS
    assert browser.get(f"{path}?skip={CARDS}").text.count("<article>") == 3
    assert browser.get(f"{path}?version=4").text.count("<article>") == 1


def test_a_run_that_is_asked_for_is_made(browser: httpx.Client, found: Found) -> None:
    path = found("asked", [])
    answer = browser.post(f"{path}/run")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=run")
    page = browser.get(f"{path}?done=run").text
    assert "It was run" in page
    assert "Looked at" in page


def test_settings_are_set_by_a_form_and_shown_as_a_command(
    browser: httpx.Client, container: Container, found: Found
) -> None:
    path = found("settled", [])
    answer = browser.post(path, data={"every": "10m", "window": "2h", "label_delay": "1d", "by": "", "timezone": "UTC"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=settings")
    view = container.monitoring.get("settled")
    assert (view.every_s, view.window_s, view.label_delay_s) == (600.0, 7200.0, 86_400.0)
    assert "tidegate monitor settled --every 10m --window 2h --label-delay 1d" in browser.get(path).text


def test_what_cannot_be_meant_is_said_and_stays_filled_in(browser: httpx.Client, found: Found) -> None:
    answer = browser.post(found("vague", []), data={"every": "soon", "by": "region"})
    assert answer.status_code == 422
    assert "&#39;soon&#39; is no span of time" in answer.text
    assert 'name="every" value="soon"' in answer.text
    assert 'data-live="/endpoints/vague/monitoring?seen=' in answer.text


def test_monitoring_is_switched_off_and_on(browser: httpx.Client, container: Container, found: Found) -> None:
    path = found("switched", [])
    assert browser.post(path, data={"on": "off"}).status_code == 303
    assert not container.monitoring.get("switched").on
    page = browser.get(path).text
    assert "Off: nothing is looked at" in page
    refused = browser.post(f"{path}/run")
    assert refused.status_code == 409
    assert "is not monitored" in refused.text
    assert browser.post(path, data={"on": "on"}).status_code == 303
    assert container.monitoring.get("switched").on


def test_an_open_page_hears_of_newer_results(browser: httpx.Client, container: Container, found: Found) -> None:
    path = found("newer", performance_results([0.1, 0.1]))
    live = re.search(r'data-live="([^"]*)"', browser.get(path).text)
    assert live

    def heard() -> str:
        with browser.stream("GET", "/live", params={"of": live[1]}) as stream:
            return next(part for part in stream.iter_text() if "live_status" in part)

    assert "Show the new results" not in heard()
    keep(container, "newer", [check_result("errors", "ok", "fine", at=NOON + HOUR_S)])
    assert "Show the new results" in heard()


def test_an_endpoint_that_is_not_there_is_404(browser: httpx.Client) -> None:
    assert browser.get("/endpoints/nowhere/monitoring").status_code == 404
    assert browser.post("/endpoints/nowhere/monitoring/run").status_code == 404


def test_the_report_is_saved_as_one_file(browser: httpx.Client, found: Found) -> None:
    path = found("told", [*drift_results({"age": 0.6}), *performance_results([0.1, 0.3])])
    link = re.search(r'href="([^"]+)" download>Save the report', browser.get(path).text)
    assert link
    answer = browser.get(link[1])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="told-monitoring.html"'
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "<h1>told" in answer.text
    assert answer.text.count('role="img"') == 1 + 2
    assert "made 20" in browser.get(f"{link[1]}?since_s=60").text
    assert browser.get(f"{link[1]}?since_s=0").status_code == 422
    assert browser.get("/api/v1/endpoints/nowhere/monitor/report").status_code == 404


def test_captured_rows_are_read_only_where_somebody_asks(
    browser: httpx.Client, container: Container, found: Found
) -> None:
    path = found("captured", [])

    def asked() -> list[str]:
        page = container.audit.page(100, None, None, "captured")
        return [one.action for one in page.entries if one.action == "query_capture"]

    page = browser.get(path).text
    assert "Show the newest" in page
    assert asked() == []
    shown = browser.get(f"{path}?rows=newest").text
    assert "Nothing was captured in the last hour" in shown
    assert "rows=newest" not in re.search(r'data-live="([^"]*)"', shown)[1], "a live sample reads none"  # type: ignore[index]
    assert asked() == ["query_capture"]
