"""What is asked of a server that did not answer, and what is said of it."""

from __future__ import annotations

import logging

import pytest

from tidegate.adapters.outage import Outage
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineDenied, EngineUnavailable


def test_it_is_left_alone_for_ever_longer_and_asked_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    outage = Outage(lambda: now[0], Backoff(first_s=1.0, longest_s=4.0))
    outage.check()
    assert outage.fault is None
    for pause_s in (1.0, 2.0, 4.0, 4.0):
        assert outage.failed(EngineDenied("nobody is at home", where="there")).message == "nobody is at home"
        now[0] += pause_s - 0.01
        with pytest.raises(EngineDenied, match="nobody is at home") as caught:
            outage.check()
        assert caught.value.details == {"where": "there"}
        now[0] += 0.02
        outage.check()
    outage.over("the server")
    assert outage.fault is None
    outage.over("the server")
    assert caplog.messages == ["nobody is at home", "the server answers again"]
    assert isinstance(outage.failed(EngineUnavailable("away again")), EngineUnavailable)
    now[0] += 1.01
    outage.check()
