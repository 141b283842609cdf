"""The health check of a container."""

from __future__ import annotations

import pytest

from tidegate.server.health import port_of


@pytest.mark.parametrize(
    ("more", "port"),
    [([], 8000), (["--port", "9000"], 9000), (["--port=9001"], 9001), (["--port", "1", "--port", "2", ""], 2)],
)
def test_it_asks_the_port_that_the_server_was_given(more: list[str], port: int) -> None:
    assert port_of(["python", "-m", "tidegate.server", "--manifest", "/model/manifest.json", *more]) == port
