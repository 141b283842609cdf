"""The site of a control plane in the test's own process, API and console, and browsers that are logged in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from support.control import ME, add_version
from support.wait import free_ports, until
from tidegate.control.bounded_http import Waiting
from tidegate.control.site import Site
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.wire import rest
from tidegate.wiring import Container

HTML = {"accept": "text/html", "accept-encoding": "gzip"}


@contextmanager
def served_site(container: Container, connections_max: int = 512) -> Iterator[str]:
    """The site on a free port; its URL."""
    (port,) = free_ports(1)
    site, http = Site(container, connections_max), Waiting(connections_max).protocol()
    server = uvicorn.Server(
        uvicorn.Config(site, port=port, http=http, ws="none", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, what="the site")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        container.snapshot_changed.close()
        site.close_pages()
        server.should_exit = True
        thread.join(10)
        site.close()


def browser_at(url: str) -> httpx.Client:
    """A browser that nobody is logged in with. It says where its forms come from."""
    return httpx.Client(base_url=url, headers={**HTML, "origin": url}, timeout=30, trust_env=False)


@contextmanager
def logged_in(url: str, container: Container) -> Iterator[httpx.Client]:
    """A browser with a session."""
    with browser_at(url) as browser:
        assert browser.get("/login", params={"code": container.login_codes.make()}).status_code == 200
        yield browser


def route_all_to(container: Container, endpoint: str, version: str) -> None:
    """As the reconcile loop would once the version is ready: it answers all of the endpoint's traffic."""
    with container.store.transaction() as tx:
        row = get_endpoint(tx, endpoint)
        assert row is not None
        row.routed = {version: 100.0}


def deploy_of_two(container: Container, name: str, **options: Any) -> str:
    """Make an endpoint of two versions, of which the first has the traffic; the path of its page."""
    add_version(container, name, "1")
    add_version(container, name, "2")
    container.endpoints.deploy(name, rest.DeployRequest(name, "1", **options), ME)
    return f"/endpoints/{name}"
