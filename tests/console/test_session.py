"""Who gets in, how, and what a browser may keep and load: over HTTP, as a browser asks."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from support.console import HTML, browser_at
from tidegate.api.sessions import COOKIE, RENEW_S, SESSION_LIVES_S, Sessions
from tidegate.console.headers import HEADERS, POLICY
from tidegate.wiring import Container

PAGES = ("/", "/endpoints/none", "/nothing/here", "/live?of=/")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_page_says_how_to_log_in(url: str, path: str) -> None:
    with browser_at(url) as stranger:
        answer = stranger.get(path)
        assert (answer.status_code, "tidegate console" in answer.text) == (401, True)
        assert answer.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert answer.headers["cache-control"] == "no-store"
    told = httpx.get(url + path, trust_env=False)
    assert (told.status_code, told.json()["code"]) == (401, "unauthenticated"), "a program reads JSON"


def test_a_link_logs_one_browser_in_once(url: str, container: Container) -> None:
    code = container.login_codes.make()
    with browser_at(url) as browser:
        answer = browser.get("/login", params={"code": code})
        assert (answer.status_code, 'content="0; url=/"' in answer.text) == (200, True)
        cookie = answer.headers["set-cookie"]
        assert re.fullmatch(rf"{COOKIE}=[\w.]+; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie)
        assert browser.get("/").status_code == 200
    with browser_at(url) as late:
        answer = late.get("/login", params={"code": code})
        assert (answer.status_code, "used up" in answer.text) == (401, True)
        assert COOKIE not in late.cookies


def test_behind_tls_the_cookie_is_secure(url: str, container: Container) -> None:
    """The proxy on this machine says that it speaks TLS."""
    headers = {"x-forwarded-proto": "https", "host": "localhost", "origin": "https://localhost"}
    code = {"code": container.login_codes.make()}
    kept = Sessions(container.keys.token, lambda: time.time() - 2 * RENEW_S).make()
    with browser_at(url) as browser:
        begun = browser.get("/login", params=code, headers=headers)
        renewed = browser.get("/", headers=headers | {"cookie": f"{COOKIE}={kept}"})
    for answer in (begun, renewed):
        (cookie,) = answer.headers.get_list("set-cookie")
        assert (answer.status_code, cookie.endswith("; SameSite=strict; Secure")) == (200, True)


def test_asking_for_the_head_of_a_link_does_not_use_it_up(url: str, container: Container) -> None:
    code = {"code": container.login_codes.make()}
    with browser_at(url) as browser:
        assert browser.head("/login", params=code).status_code == 405
        assert browser.get("/login", params=code).status_code == 200


def test_every_answer_has_the_policy(browser: httpx.Client) -> None:
    with browser.stream("GET", "/live", params={"of": "/"}) as stream:
        assert stream.status_code == 200
        answers = [stream, browser.head("/live"), browser.post("/logout", json={}), browser.get("/static/none")]
        answers += [browser.get("/login"), browser.get("/nothing"), browser.get("/", headers={"origin": "null"})]
    assert [one.status_code for one in answers] == [200, 405, 415, 404, 401, 404, 403]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"


def test_a_program_logs_in_as_before(url: str, container: Container) -> None:
    answer = httpx.get(f"{url}/login", params={"code": container.login_codes.make()}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert COOKIE in answer.cookies


def test_a_session_that_is_forged_or_has_ended_is_none(url: str, container: Container) -> None:
    key = container.keys.token
    for cookie in (
        "forged",
        Sessions("another token", time.time).make(),
        Sessions(key, lambda: time.time() - SESSION_LIVES_S).make(),
    ):
        with httpx.Client(base_url=url, headers=HTML, cookies={COOKIE: cookie}, trust_env=False) as browser:
            answer = browser.get("/")
            assert (answer.status_code, "tidegate console" in answer.text) == (401, True)
    cookies = {COOKIE: Sessions(key, lambda: time.time() - 3600).make()}
    with httpx.Client(base_url=url, headers=HTML, cookies=cookies, trust_env=False) as browser:
        answer = browser.get("/")
        assert (answer.status_code, COOKIE in answer.cookies) == (200, True), "it is in use, which is written down"


def test_a_browser_logs_out(browser: httpx.Client, url: str) -> None:
    kept = browser.cookies[COOKIE]
    answer = browser.post("/logout")
    assert (answer.status_code, "Logged out" in answer.text) == (200, True)
    assert COOKIE not in browser.cookies
    with httpx.Client(base_url=url, headers=HTML, cookies={COOKIE: kept}, trust_env=False) as thief:
        assert thief.get("/").status_code == 401


@pytest.mark.parametrize("page", [True, False])
def test_logging_out_leaves_no_cookie_also_where_the_session_was_due_to_be_renewed(
    url: str, container: Container, *, page: bool
) -> None:
    kept = Sessions(container.keys.token, lambda: time.time() - 2 * RENEW_S).make()
    with httpx.Client(base_url=url, headers={**HTML, "origin": url}, trust_env=False) as browser:
        browser.headers["cookie"] = f"{COOKIE}={kept}"
        answer = browser.post("/logout") if page else browser.delete("/api/v1/session")
    assert answer.is_success
    (cookie,) = answer.headers.get_list("set-cookie")
    assert re.fullmatch(rf"{COOKIE}=; HttpOnly; Max-Age=0; Path=/; SameSite=strict", cookie)


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_logging_in_again_begins_a_new_session(url: str, container: Container, accept: str) -> None:
    kept = Sessions(container.keys.token, lambda: time.time() - 2 * RENEW_S).make()
    headers = {"accept": accept, "cookie": f"{COOKIE}={kept}"}
    code = {"code": container.login_codes.make()}
    answer = httpx.get(f"{url}/login", params=code, headers=headers, trust_env=False)
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.count(COOKIE) == 1
    assert cookie.partition("=")[2].split(".")[1] != kept.split(".")[1]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", None])
def test_a_form_of_another_site_is_refused(browser: httpx.Client, origin: str | None) -> None:
    if origin is None:
        del browser.headers["origin"]
    answer = browser.post("/logout", headers={} if origin is None else {"origin": origin})
    assert answer.status_code == 403
    assert "own pages" in answer.text
    assert browser.get("/", headers={"origin": str(browser.base_url).rstrip("/")}).status_code == 200, (
        "and nothing came of it"
    )


@pytest.mark.parametrize("host", ["localhost:1/jobs?", "localhost:[", "localhost:80/login"])
def test_the_page_is_that_of_the_path_whatever_the_host_says(url: str, host: str) -> None:
    with browser_at(url) as stranger:
        del stranger.headers["origin"]
        answer = stranger.get("/static/none%3Fx", headers={"host": host})
    assert (answer.status_code, "nothing at /static/none?x" in answer.text) == (404, True)


@pytest.mark.parametrize("path", ["/", "/api/v1/status"])
def test_an_origin_that_is_none_is_another_site(url: str, path: str) -> None:
    assert httpx.get(url + path, headers={"origin": "http://["}, trust_env=False).status_code == 403


def test_the_name_of_another_host_is_refused(browser: httpx.Client) -> None:
    answer = browser.get("/", headers={"host": "evil.example"})
    assert (answer.status_code, "TIDEGATE_ALLOWED_HOSTS" in answer.text) == (403, True)


@pytest.mark.parametrize("key", ["node", "metrics"])
def test_a_key_that_is_for_something_else_opens_no_page(url: str, container: Container, key: str) -> None:
    headers = {**HTML, "authorization": f"Bearer {getattr(container.keys, key)}"}
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 403


def test_under_a_path_of_a_proxy_it_says_that_it_does_not_work(browser: httpx.Client) -> None:
    answer = browser.get("/", headers={"x-forwarded-prefix": "/ml/<b>tidegate"})
    assert answer.status_code == 422
    assert "a host name of its own" in answer.text
    assert "<b>tidegate" not in answer.text
    assert browser.get("/", headers={"x-forwarded-prefix": "/"}).status_code == 200


def test_forms_are_bounded_and_nothing_else(browser: httpx.Client) -> None:
    assert browser.post("/logout", content=b"a=1&" * 300_000).status_code == 413
    assert browser.post("/logout", json={"a": 1}).status_code == 415
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert browser.post("/logout", content="&".join(f"a{n}=1" for n in range(2000)), headers=form).status_code == 422
    assert browser.post("/logout", content=b"\xff\xfe", headers=form).status_code == 422
    assert browser.get("/logout").status_code == 405
    assert browser.get("/").status_code == 200
