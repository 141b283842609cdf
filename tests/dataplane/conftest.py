"""A real server process of the data plane, one per module, and raw HTTP to talk to it byte by byte."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.echo import running_echo
from support.http_bytes import Connection, Reply, post
from support.linear import running_server


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running_server() as number:
        yield number


@pytest.fixture
def connect(port: int) -> Iterator[Callable[..., Connection]]:
    opened: list[Connection] = []

    def open_one(to: int | None = None) -> Connection:
        opened.append(Connection(port if to is None else to))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def ask(connect: Callable[..., Connection]) -> Callable[..., Reply]:
    def ask_one(path: str, body: bytes | str | dict[str, Any], *headers: str) -> Reply:
        connection = connect()
        connection.send(post(path, body, *headers))
        return connection.read()

    return ask_one


def _echo(model: str) -> Any:
    """A fixture of the model's name: the port of a replica that echoes."""

    @pytest.fixture(scope="module", name=model)
    def running() -> Iterator[int]:
        with running_echo(model) as port:
            yield int(port)

    return running


table, one, tensors = _echo("table"), _echo("one"), _echo("tensors")
