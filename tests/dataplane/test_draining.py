"""A server that ends beside another on its port resets no connection."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tidegate.dataplane.draining import turn_away
from tidegate.dataplane.serve import Listen, open_socket

CLIENTS = 16


def test_a_socket_that_turns_connections_away_keeps_those_it_has(free_port: int) -> None:
    leaving = open_socket(Listen(port=free_port, reuse_port=True))
    with leaving, socket.create_connection(("127.0.0.1", free_port)) as before:
        assert turn_away(leaving)
        staying = open_socket(Listen(port=free_port, reuse_port=True))
        before.sendall(b"hello")
        accepted, _ = leaving.accept()
        with accepted, staying:
            assert accepted.recv(5) == b"hello", "data of a connection is no new connection"
            with ExitStack() as stack:
                for _ in range(CLIENTS):
                    stack.enter_context(_connecting(free_port))
                leaving.close()
                staying.settimeout(30)
                for _ in range(CLIENTS):  # each of them reaches the one that stays, at once or with its second try
                    stack.enter_context(staying.accept()[0])


def _connecting(port: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client
