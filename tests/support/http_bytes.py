"""A client that sends just the bytes it is told to, and reads HTTP responses."""

import json
import socket
from typing import Any


class Reply:
    """One HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A client that sends just the bytes it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> Reply:
        status_line = self.stream.readline()
        if not status_line:
            raise EOFError("the server closed the connection")
        headers: dict[str, str] = {}
        while (line := self.stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        body = self.stream.read(int(headers.get("content-length", 0)))
        return Reply(int(status_line.split()[1]), headers, body)

    def closed(self) -> bool:
        """Whether the server has closed its side, once it has said all."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def post(path: str, body: bytes | str | dict[str, Any], *headers: str) -> bytes:
    """The bytes of a POST."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    names = {line.partition(":")[0].lower() for line in headers}
    lines = [f"POST {path} HTTP/1.1", "host: test", *headers]
    if "content-type" not in names:
        lines.append("content-type: application/json")
    if "transfer-encoding" not in names and "content-length" not in names:
        lines.append(f"content-length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


def metric(port: int, name: str) -> float:
    """The first number that the server's metrics have by a name that begins so."""
    connection = Connection(port)
    try:
        connection.send(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        lines = connection.read().body.decode().splitlines()
    finally:
        connection.close()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])
