"""Requests for an endpoint that sleeps, on a real gateway: they wait, wake it, and are answered when it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway, Replica, Reply
from support.wait import until
from tidegate.core.routing.assign import WeightedVariants


class Asked:
    """A request in a thread of its own."""

    def __init__(self, ask: Callable[[], Reply]) -> None:
        self._replies: list[Reply] = []
        self._thread = threading.Thread(target=lambda: self._replies.append(ask()), daemon=True)
        self._thread.start()

    @property
    def reply(self) -> Reply:
        """Its answer, once it has one."""
        self._thread.join(30)
        return self._replies[0]

    @property
    def answered(self) -> bool:
        return bool(self._replies)


def sleep(bed: Bed, *but_for: Replica, wakes: bool = True, reason: str = "", version: str = "1") -> None:
    """The endpoint `sums` without any replica but those."""
    without = tuple(one for one in bed.replicas if one not in but_for)
    endpoint = bed.endpoint({version: 100}, without=without)
    variants = tuple(replace(one, wakes=wakes) for one in endpoint.variants)
    bed.publish_endpoints(replace(endpoint, variants=variants, reason=reason))


def waits(gateway: Gateway, count: int) -> None:
    """Until so many requests are in progress."""
    busy = b'model_requests_in_progress{endpoint="sums"} %d.0' % count
    until(lambda: busy in gateway.request("GET", "/metrics").body, what=f"{count} requests that wait")


def test_a_request_wakes_the_endpoint_and_is_answered_when_a_replica_is_there(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    sleep(bed)
    assert gateway.request("GET", "/v2/models/sums/ready").status == 200, "who asks before it predicts may predict"
    assert bed.publisher.wanted == []
    asked = [Asked(lambda: gateway.ask([1, 2, 3])) for _ in range(3)]
    until(lambda: bed.publisher.wanted, what="word that it is wanted")
    waits(gateway, 3)
    bed.publish({"1": 100})
    for one in asked:
        assert (one.reply.status, one.reply.json["prediction"]) == (200, [6.0])
        assert one.reply.headers["x-tidegate-cold-start"] == "true"
    assert set(bed.publisher.wanted) == {"sums"}
    assert "x-tidegate-cold-start" not in gateway.ask([1, 2, 3]).headers


def test_arms_of_a_version_that_sleeps_wait_together_and_answer_under_their_own_names(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()

    def publish(*, asleep: bool) -> None:
        endpoint = bed.endpoint({"1": 100}, without=tuple(bed.replicas) if asleep else ())
        arms = tuple(
            replace(endpoint.variants[0], name=name, weight=weight, share=share, wakes=asleep)
            for name, weight, share in (("baseline", 30.0, 60.0), ("canary", 20.0, 40.0), ("stable", 50.0, 0.0))
        )
        bed.publish_endpoints(replace(endpoint, variants=arms, coverage=0.5, uncovered="stable", phase=1))

    publish(asleep=True)
    table = WeightedVariants({"baseline": 60, "canary": 40}, 0.5, "stable")
    units = [f"user-{number}" for number in range(12)]
    asked = [Asked(partial(gateway.ask, [1, 2, 3], user_id=unit)) for unit in units]
    tester = Asked(lambda: gateway.ask([1, 2, 3], headers={"X-Tidegate-Variant": "canary"}))
    waits(gateway, len(units) + 1)
    publish(asleep=False)
    named = [one.reply.headers["x-tidegate-variant"] for one in asked]
    assert named == [table.variant("salt", unit) for unit in units]
    assert set(named) == {"baseline", "canary", "stable"}
    assert (tester.reply.status, tester.reply.headers["x-tidegate-variant"]) == (200, "canary")


def test_a_request_that_comes_while_the_endpoint_falls_asleep_waits_for_it_to_wake(bed: Bed) -> None:
    leaving, stays = bed.replica("1"), bed.replica("1")
    gateway = bed.gateway(TIDEGATE_BATCH_ROWS_MAX="1")
    bed.publish_endpoints(bed.endpoint({"1": 100}, without=(stays,)))
    computed = Asked(lambda: gateway.ask([111, 2, 0]))
    waits(gateway, 1)
    queued = [Asked(lambda: gateway.ask([1, 2, 3])) for _ in range(2)]
    waits(gateway, 3)
    sleep(bed)
    until(lambda: bed.publisher.wanted, what="word that it is wanted")
    assert computed.reply.status == 200
    bed.publish_endpoints(bed.endpoint({"1": 100}, without=(leaving,)))
    assert [one.reply.status for one in queued] == [200, 200]
    assert all(one.reply.headers["x-tidegate-cold-start"] == "true" for one in queued)


def test_the_control_plane_is_told_again_as_long_as_a_request_waits(bed: Bed) -> None:
    gateway = bed.gateway()
    sleep(bed)
    asked = Asked(lambda: gateway.ask([1, 2, 3], headers={"X-Tidegate-Timeout-Ms": "20000"}))
    until(lambda: len(bed.publisher.wanted) >= 2, what="the second word")
    sleep(bed, wakes=False, reason="version 1: start failed once, trying again: no torch")
    assert asked.reply.status == 503
    assert "no torch" in asked.reply.json["error"], "a version that fails on waking says so at once"
    told = len(bed.publisher.wanted)
    refused = gateway.ask([1, 2, 3])
    assert (refused.status, "no torch" in refused.json["error"]) == (503, True)
    assert len(bed.publisher.wanted) == told


def test_past_its_deadline_a_request_is_told_to_try_again(bed: Bed) -> None:
    gateway = bed.gateway()
    sleep(bed)
    reply = gateway.ask([1, 2, 3], headers={"X-Tidegate-Timeout-Ms": "300"})
    assert (reply.status, reply.json["code"]) == (503, "no_ready_replica")
    assert int(reply.headers["retry-after"]) >= 1
    assert "did not wake within 300 ms" in reply.json["error"]


def test_so_many_requests_wait_and_no_more(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway(TIDEGATE_WAKING_REQUESTS_MAX="2")
    sleep(bed)
    asked = [Asked(lambda: gateway.ask([1, 2, 3])) for _ in range(2)]
    waits(gateway, 2)
    refused = gateway.ask([1, 2, 3])
    assert (refused.status, refused.json["code"]) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    bed.publish({"1": 100})
    assert [one.reply.status for one in asked] == [200, 200]


def test_without_a_control_plane_nothing_is_waited_for(bed: Bed) -> None:
    gateway = bed.gateway()
    sleep(bed)
    bed.publisher.stop()
    reply = gateway.ask([1, 2, 3])
    assert (reply.status, "does not answer" in reply.json["error"]) == (503, True)
    assert int(reply.headers["retry-after"]) >= 1


def test_what_does_not_fit_wakes_nobody(bed: Bed) -> None:
    gateway = bed.gateway()
    sleep(bed)
    assert gateway.ask([1, 2]).status == 422
    assert bed.publisher.wanted == []


def test_requests_that_wait_go_to_the_version_that_takes_the_sleepers_place(bed: Bed) -> None:
    bed.replica("2")
    gateway = bed.gateway()
    sleep(bed)
    asked, pinned = Asked(lambda: gateway.ask([1, 2, 3])), Asked(lambda: gateway.ask([1, 2, 3], model_version="1"))
    waits(gateway, 2)
    bed.publish({"2": 100})
    assert (asked.reply.status, asked.reply.json["prediction"]) == (200, [12.0])
    assert asked.reply.headers["x-tidegate-cold-start"] == "true"
    assert pinned.reply.status == 503
    assert "replaced before it woke" in pinned.reply.json["error"]


def test_a_request_that_waits_for_an_endpoint_which_is_deleted_is_told_so(bed: Bed) -> None:
    gateway = bed.gateway()
    sleep(bed)
    asked = Asked(lambda: gateway.ask([1, 2, 3]))
    waits(gateway, 1)
    bed.publish_endpoints()
    assert (asked.reply.status, asked.reply.json["code"]) == (404, "unknown_endpoint")
    assert "was deleted before it woke" in asked.reply.json["error"]
