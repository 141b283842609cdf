"""Many Unix sockets asked at once, in one thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.descriptors import none_left
from tidegate.adapters.local import unix_probe
from tidegate.adapters.local.unix_probe import get_status, get_statuses
from tidegate.errors import OutOfResources

LONG_S = 30.0


@contextmanager
def answering(path: Path, answers: list[bytes], together: threading.Barrier | None = None) -> Iterator[None]:
    """A server at `path` with these answers in turn, each given once so many others (`together`) were asked too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    if together is not None:
                        together.wait(LONG_S)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_all_are_asked_before_any_has_answered(tmp_path: Path) -> None:
    count = 40
    together, paths = threading.Barrier(count), [tmp_path / str(number) for number in range(count)]
    with ExitStack() as stack:
        for number, path in enumerate(paths):
            stack.enter_context(answering(path, [b"HTTP/1.1 %d X\r\n\r\n" % (200 + number)], together))
        assert get_statuses(paths, "/", LONG_S) == [200 + number for number in range(count)]


def test_no_more_are_asked_at_a_time_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix_probe, "AT_ONCE_MAX", 2)
    paths = [tmp_path / str(number) for number in range(7)]
    with ExitStack() as stack:
        for path in paths[::2]:
            stack.enter_context(answering(path, [b"HTTP/1.1 503 X\r\n\r\n"]))
        assert get_statuses(paths, "/", LONG_S) == [503, None, 503, None, 503, None, 503]


def test_one_that_is_silent_costs_the_others_nothing(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent,
        answering(tmp_path / "b", [b"HTTP/1.1 200 X\r\n"]),
    ):
        silent.bind(str(tmp_path / "a"))
        silent.listen()
        assert get_statuses([tmp_path / "a", tmp_path / "b"], "/", 0.2) == [None, 200]


@pytest.mark.parametrize("said", [b"", b"220 mail\r\n", b"HTTP/1.1 \r\n", b"HTTP/1.1 2x0 OK\r\n", b"x" * 1000])
def test_what_is_no_answer_is_none(tmp_path: Path, said: bytes) -> None:
    with answering(tmp_path / "s", [said]):
        assert get_status(tmp_path / "s", "/", LONG_S) is None


def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 2")
                connection.recv(1000)
                connection.sendall(b"00 OK\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert get_status(path, "/", LONG_S) == 200
        thread.join(LONG_S)


def test_without_descriptors_it_says_that_it_could_not_ask(tmp_path: Path) -> None:
    with none_left():
        (answer,) = get_statuses([tmp_path / "s"], "/", LONG_S)
        with pytest.raises(OutOfResources):
            get_status(tmp_path / "s", "/", LONG_S)
    assert isinstance(answer, OutOfResources)
