"""What a standby passes on to the leader: over HTTP, with the key of gateways, and lost where it cannot be told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.gateway_bed import TOKEN, Publisher
from support.wait import free_ports, until
from tidegate.adapters.leader_link import LeaderLink
from tidegate.wire.gateways.load import LoadReport, VersionLoad

REPORT = LoadReport("g-0", 1.0, [VersionLoad("churn", "1", 0.5, 2, 1, [0] * 17)], host="b")


def test_the_leader_is_told_and_an_absent_one_costs_only_the_report() -> None:
    publisher, link = Publisher(), LeaderLink(TOKEN)
    try:
        link.pass_on(f"http://127.0.0.1:{free_ports(1)[0]}", REPORT)
        link.pass_on(publisher.url, LoadReport("g-1", 1.0, [], host="b"))
        until(lambda: [one["gateway"] for one in publisher.load] == ["g-1"], what="the other report")
        link.pass_on(publisher.url, REPORT)
        until(lambda: len(publisher.load) == 2, what="the next report")
        assert publisher.load[-1] == {
            "gateway": "g-0",
            "span_s": 1.0,
            "host": "b",
            "truncated": False,
            "versions": [
                {
                    "endpoint": "churn",
                    "version": "1",
                    "in_progress_s": 0.5,
                    "requests": 2,
                    "errors": 1,
                    "durations": [0] * 17,
                }
            ],
        }
    finally:
        link.close()
        publisher.stop()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_report_that_cannot_be_written_costs_itself_alone_and_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    publisher, link = Publisher(), LeaderLink(TOKEN)
    try:
        for number in range(3):
            link.pass_on(publisher.url, replace(REPORT, gateway="\ud800"))
            link.pass_on(publisher.url, replace(REPORT, gateway=f"g-{number}"))
            until(lambda: len(publisher.load) == number + 1, what="the next report")  # noqa: B023 - waited for at once
        assert [record.message for record in caplog.records] == [
            f"a report of load could not be passed on to the control plane at {publisher.url}"
        ]
    finally:
        link.close()
        publisher.stop()


def test_closing_ends_the_thread_and_nothing_is_passed_on_after() -> None:
    publisher, link = Publisher(), LeaderLink(TOKEN)
    link.close()
    link.pass_on(publisher.url, REPORT)
    publisher.stop()
    assert not publisher.load
