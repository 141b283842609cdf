"""The echoing models, each served by a replica of its own and all behind one gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.echo import echoing_gateway, running_echo
from support.echo_server import MODELS

Ports = dict[str, int]


@pytest.fixture(scope="session")
def echo_replicas() -> Iterator[Ports]:
    """By model."""
    with ExitStack() as stack:
        yield {name: int(stack.enter_context(running_echo(name))) for name in MODELS}


@pytest.fixture(scope="session")
def echo_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with echoing_gateway(tmp_path_factory.mktemp("echo") / "data") as port:
        yield port


@pytest.fixture(params=["replica", "gateway"])
def ports(request: pytest.FixtureRequest) -> Ports:
    """Where each model answers: its own replica, or the gateway."""
    if request.param == "replica":
        replicas: Ports = request.getfixturevalue("echo_replicas")
        return replicas
    return dict.fromkeys(MODELS, request.getfixturevalue("echo_gateway"))
