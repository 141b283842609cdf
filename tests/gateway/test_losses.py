"""Hints to the control plane that a replica was lost: sent at once, bounded, and never in the way when they fail."""

from __future__ import annotations

import threading

from support.wait import until
from tidegate.gateway.losses import Losses


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
