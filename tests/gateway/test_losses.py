"""Hints to the control plane that a replica was lost: sent at once, bounded, and never in the way when they fail."""

from __future__ import annotations

import threading

import pytest

from support.wait import until
from tidegate.gateway.control.losses import Losses


def test_a_hint_that_fails_does_not_end_the_hints() -> None:
    tried = 0

    def send() -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ConnectionRefusedError("nobody there")

    losses = Losses(send)
    losses.tell()
    until(lambda: tried == 1, what="the first hint")
    losses.tell()
    until(lambda: tried == 2, what="the second")
    losses.stop()


def test_losses_during_a_hint_are_one_more_hint() -> None:
    held, sent = threading.Event(), threading.Semaphore(0)

    def send() -> None:
        sent.release()
        held.wait(10)

    losses = Losses(send)
    losses.tell()
    assert sent.acquire(timeout=10)
    for _ in range(50):
        losses.tell()
    held.set()
    assert sent.acquire(timeout=10)
    losses.stop()
    until(lambda: not any(thread.name == "losses" for thread in threading.enumerate()), what="the end of the thread")
    assert not sent.acquire(blocking=False)


def test_a_loss_that_no_thread_can_tell_is_no_failure_and_the_next_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = threading.Semaphore(0)
    losses = Losses(sent.release)

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refused)
        losses.tell()
    losses.tell()
    assert sent.acquire(timeout=10)
    losses.stop()
