"""Failures that are not the client's: an id in the answer and in the log, once, and never an exception's text."""

from __future__ import annotations

import logging

import pytest

from tidegate.dataplane.base.incidents import identified, internal
from tidegate.dataplane.calls.outputs import ModelFailed
from tidegate.errors import UnfitInput


def test_an_exception_is_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    error = internal(ValueError("of Ada Lovelace"))
    assert "Ada" not in str(error.body())
    assert str(error.details["id"]) in error.message
    assert str(error.details["id"]) in caplog.text
    assert identified(error).message.count(str(error.details["id"])) == 1
    assert len(caplog.records) == 1


def test_every_500_gets_an_id_and_other_failures_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        failed = identified(ModelFailed("the model answered no outputs"))
        assert identified(UnfitInput("age: what is missing")).details == {}
    (record,) = caplog.records
    assert str(failed.details["id"]) in record.getMessage()
    assert "no outputs" in record.getMessage()
    assert failed.body()["details"]["id"] in failed.body()["error"]
