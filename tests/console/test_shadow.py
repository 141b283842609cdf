"""The page of an endpoint's shadow, over HTTP: starting one, what it says while nothing is known, switching it off."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from support.console import deploy_of_two
from support.control import ME, add_version
from tidegate.wire import rest
from tidegate.wiring import Container

Served = Callable[[str], str]


@pytest.fixture
def served(container: Container) -> Served:
    """Makes an endpoint of two versions, of which the first has the traffic; the path of its shadow's page."""

    def make(name: str) -> str:
        return f"{deploy_of_two(container, name)}/shadow"

    return make


def test_a_shadow_is_started_shown_and_switched_off(
    browser: httpx.Client, container: Container, served: Served
) -> None:
    path = served("shaded")
    page = browser.get(path).text
    assert "nobody waits for it" in page
    assert "tidegate shadow shaded 2 --share 20" in page
    answer = browser.post(path, data={"version": "2", "share": "12.5"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?done=start")
    shadow = container.endpoints.get("shaded").shadow
    assert shadow is not None
    assert (shadow.version, shadow.share) == ("2", 12.5)
    page = browser.get(f"{path}?done=start").text
    assert "gets a copy of 12.5 % of the traffic" in page
    assert "once labels come" in page
    assert "tidegate shadow shaded --off" in page
    assert browser.post(f"{path}/off").headers["location"] == f"{path}?done=off"
    assert container.endpoints.get("shaded").shadow is None
    assert "It gets no copies any more" in browser.get(f"{path}?done=off").text


def test_where_no_version_can_shadow_the_page_says_what_to_do(browser: httpx.Client, container: Container) -> None:
    add_version(container, "lonely", "1")
    container.endpoints.deploy("lonely", rest.DeployRequest("lonely", "1"), ME)
    page = browser.get("/endpoints/lonely/shadow").text
    assert 'id="new"' not in page
    assert '<a href="/models/lonely">register another version</a>' in page


@pytest.mark.parametrize(
    ("values", "status", "says"),
    [
        ({"version": "2", "share": "all"}, 422, "&#39;all&#39; is no share"),
        ({"version": "1", "share": "20"}, 409, "1"),
        ({"version": "9", "share": "20"}, 404, "9"),
    ],
)
def test_a_shadow_that_there_cannot_be_is_said_beside_the_form(
    browser: httpx.Client, container: Container, served: Served, values: dict[str, str], status: int, says: str
) -> None:
    name = f"dim-{status}"
    answer = browser.post(served(name), data=values)
    assert answer.status_code == status
    note = answer.text[answer.text.index('role="alert"') :][:400]
    assert says in note
    assert f'value="{values["share"]}"' in answer.text
    assert container.endpoints.get(name).shadow is None


def test_switching_off_what_is_not_there_is_said(browser: httpx.Client, served: Served) -> None:
    path = served("sunny")
    answer = browser.post(f"{path}/off")
    assert answer.status_code == 404
    assert "shadow" in answer.text[answer.text.index('role="alert"') :][:300]


def test_an_open_page_hears_that_a_shadow_began(browser: httpx.Client, served: Served) -> None:
    path = served("heard")

    def heard() -> str:
        with browser.stream("GET", "/live", params={"of": path}) as stream:
            return next(part for part in stream.iter_text() if "live_status" in part)

    assert "gets a copy of 20 %" not in heard()
    browser.post(path, data={"version": "2", "share": "20"})
    assert "gets a copy of 20 %" in heard()


def test_an_endpoint_that_is_not_there_is_404(browser: httpx.Client) -> None:
    assert browser.get("/endpoints/nowhere/shadow").status_code == 404
    assert browser.post("/endpoints/nowhere/shadow", data={"version": "1", "share": "5"}).status_code == 404
