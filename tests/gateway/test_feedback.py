"""Feedback as applications send it: to real gateways, whose journals are read behind their backs."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway, stop_hard
from support.wait import until
from tidegate.wire.gateways.snapshot import CaptureRules
from tidegate.wire.journal import FeedbackEvent, FeedbackRecord, JournalEntry, list_segments, read_entries


def events(data_dir: Path) -> list[FeedbackEvent]:
    """All that is in the journals, in the order of writing."""
    found = [one for segment in list_segments(data_dir / "journal") for one in read_entries(segment)]
    records = [one.record for one in found if isinstance(one, JournalEntry) and isinstance(one.record, FeedbackRecord)]
    return [event for record in records for event in record.events]


def send(gateway: Gateway, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} | headers
    return httpx.post(f"http://127.0.0.1:{gateway.port}/feedback", content=content, headers=given, timeout=30)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Gateway]]:
    """A gateway that knows two endpoints, neither with a replica."""
    bed = Bed(tmp_path_factory.mktemp("feedback") / "data")
    try:
        gateway = bed.gateway()
        bed.publish_endpoints(bed.endpoint({"1": 1}), bed.endpoint({"1": 1}, name="other"))
        yield bed, gateway
    finally:
        bed.close()


def test_what_is_answered_202_is_in_the_journal(one: tuple[Bed, Gateway]) -> None:
    bed, gateway = one
    answer = send(gateway, [{"id": "a", "label": 1}, {"key": "u", "endpoint": "sums", "metrics": {"paid": 2.5}}])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    first, second = events(bed.data_dir)[-2:]
    assert (first.id, first.label, first.endpoint) == ("a", "1", None)
    assert (second.key, second.metrics, second.endpoint) == ("u", {"paid": 2.5}, "sums")
    text = httpx.get(f"http://127.0.0.1:{gateway.port}/metrics").text
    assert "tidegate_feedback_events_total" in text


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ([{"id": "a", "label": 1}, {"id": "b", "label": None}], {}, 422, "event 1: the label is null"),
        ({"id": "a", "label": 1, "endpoint": "summs"}, {}, 404, "'summs'; there is: other, sums"),
        ({"key": "u", "label": 1}, {}, 422, "needs 'endpoint'"),
        (b"{", {}, 400, "not JSON"),
        (b'{"id": "a", "label": 1}', {"content-type": "text/plain"}, 415, "application/json"),
        (b'{"id": "a", "label": 1}', {"content-type": "", "origin": "http://evil"}, 403, "a page"),
        (b"x", {"content-encoding": "gzip"}, 415, "compressed"),
        ({"key": "u" * 1_100_000, "label": 1}, {}, 413, "several requests"),
    ],
)
def test_what_is_refused_leaves_nothing_in_the_journal(
    one: tuple[Bed, Gateway], body: Any, headers: dict[str, str], status: int, said: str
) -> None:
    bed, gateway = one
    before = len(events(bed.data_dir))
    answer = send(gateway, body, **headers)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    assert len(events(bed.data_dir)) == before


def test_another_method_is_told_which_one_it_takes(one: tuple[Bed, Gateway]) -> None:
    answer = httpx.get(f"http://127.0.0.1:{one[1].port}/feedback")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_where_one_endpoint_is_served_a_label_by_key_is_its_own(bed: Bed) -> None:
    gateway = bed.gateway()
    early = send(gateway, {"id": "a", "label": 1})
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")  # it knows no endpoints yet
    bed.publish({"1": 1})
    assert send(gateway, {"key": "u", "label": 1}).status_code == 202
    assert events(bed.data_dir)[0].endpoint == "sums"


def test_a_key_is_never_kept_as_it_is_where_an_endpoints_keys_are_hashed(bed: Bed) -> None:
    gateway = bed.gateway()
    hashing = replace(bed.endpoint({"1": 1}), capture=CaptureRules(hash_keys=True))
    bed.publish_endpoints(hashing, bed.endpoint({"1": 1}, name="other"))
    metrics = {"key": "user-7", "metrics": {"paid": 1}}
    assert send(gateway, metrics).status_code == 422
    assert send(gateway, metrics | {"endpoint": "sums"}).status_code == 202
    (event,) = events(bed.data_dir)
    assert event.key is not None
    assert "user-7" not in event.key


def test_feedback_counts_to_the_clients_rate(bed: Bed) -> None:
    gateway = bed.gateway()
    bed.publish({"1": 1}, rate_limit_per_s=0.001)
    event = {"id": "a", "label": 1, "endpoint": "sums"}
    assert [send(gateway, [event, event]).status_code for _ in range(2)] == [202, 429]
    unnamed = {"id": "a", "label": 1}
    assert send(gateway, unnamed).status_code == 202
    refused = send(gateway, [unnamed, unnamed])
    assert refused.status_code == 429
    assert "or name the endpoint" in refused.json()["error"]


def test_off_loopback_feedback_needs_the_key(bed: Bed) -> None:
    gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="secret")
    bed.publish({"1": 1})
    event = {"id": "a", "label": 1}
    assert send(gateway, event).status_code == 401
    assert send(gateway, event, authorization="Bearer secret").status_code == 202


def test_a_journal_that_is_turned_off_is_said_by_its_setting(bed: Bed) -> None:
    gateway = bed.gateway(TIDEGATE_JOURNAL_BYTES_MAX="0")
    bed.publish({"1": 1})
    answer = send(gateway, {"id": "a", "label": 1})
    assert (answer.status_code, answer.json()["code"]) == (503, "feedback_not_kept")
    assert "TIDEGATE_JOURNAL_BYTES_MAX" in answer.json()["error"]


def test_a_journal_that_cannot_be_written_answers_503_until_it_can(bed: Bed) -> None:
    gateway = bed.gateway()
    bed.publish({"1": 1})
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    answer = send(gateway, {"id": "lost", "label": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: send(gateway, {"id": "kept", "label": 1}).status_code == 202, what="feedback that is taken again")
    assert [event.id for event in events(bed.data_dir)] == ["kept"]


def test_several_gateways_keep_what_each_answered_when_they_are_killed(bed: Bed) -> None:
    gateways = [bed.gateway(id=f"gateway-{n}") for n in range(2)]
    bed.publish({"1": 1})
    sent = []
    for number in range(40):
        batch = [{"id": f"{number}-{n}", "label": n} for n in range(5)]
        assert send(gateways[number % 2], batch).status_code == 202
        sent += [str(item["id"]) for item in batch]
    for gateway in gateways:
        stop_hard(gateway.process)
    assert sorted(str(event.id) for event in events(bed.data_dir)) == sorted(sent)
