"""Where replicas run: what is asked for, what the settings say, and what cannot be had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.engines.placement import (
    Placement,
    PlacementRequest,
    bytes_of,
    check_placement_request,
    placed,
    requested_after,
)
from tidegate.errors import InvalidArgument

Three = tuple[str | None, float | None, int | None]
DEFAULT = Placement("docker", cpus=2.0, memory_bytes=1 << 30)


@pytest.mark.parametrize(
    ("requested", "default", "where"),
    [
        (PlacementRequest(), Placement(), Placement("local")),
        (PlacementRequest(), DEFAULT, DEFAULT),
        (PlacementRequest(cpus=0.5), DEFAULT, Placement("docker", 0.5, 1 << 30)),
        (PlacementRequest("local"), DEFAULT, Placement("local")),
        (PlacementRequest("docker", memory_bytes=64 << 20), Placement(), Placement("docker", None, 64 << 20)),
        (PlacementRequest("docker"), Placement("local", 1.0, 1 << 30), Placement("docker", 1.0, 1 << 30)),
        (PlacementRequest("kubernetes", cpu_request=0.5), DEFAULT, Placement("kubernetes", cpu_request=0.5)),
        (PlacementRequest("docker", cpu_request=0.5), Placement(), Placement("docker")),
    ],
)
def test_what_is_asked_for_goes_before_the_settings(
    requested: PlacementRequest, default: Placement, where: Placement
) -> None:
    assert placed(requested, default) == where


@pytest.mark.parametrize(
    ("requested", "field"),
    [
        (PlacementRequest("podman"), "backend"),
        (PlacementRequest("docker", cpus=-1), "cpus"),
        (PlacementRequest("docker", cpus=float("nan")), "cpus"),
        (PlacementRequest("docker", memory_bytes=1 << 20), "memory_bytes"),
        (PlacementRequest("local", cpus=1.0), "backend"),
        (PlacementRequest(memory_bytes=1 << 30), "backend"),
        (PlacementRequest("docker", cpu_request=1.0), "backend"),
        (PlacementRequest(memory_request_bytes=1 << 30), "backend"),
        (PlacementRequest("kubernetes", cpu_request=4096.0), "cpu_request"),
        (PlacementRequest("kubernetes", memory_request_bytes=5), "memory_request_bytes"),
        (PlacementRequest("kubernetes", cpus=1.0, cpu_request=2.0), "cpu_request"),
        (PlacementRequest("kubernetes", memory_bytes=64 << 20, memory_request_bytes=65 << 20), "memory_request_bytes"),
    ],
)
def test_what_cannot_be_had_is_refused(requested: PlacementRequest, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_placement_request(requested, Placement())
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (("docker", 2.0, None), (None, None, None), ("docker", 2.0, None)),
        (("docker", 2.0, 64 << 20), (None, 0.5, 0), ("docker", 0.5, None)),
        (("docker", 2.0, 64 << 20), ("local", None, None), ("local", None, None)),
        (("local", None, None), ("docker", None, 64 << 20), ("docker", None, 64 << 20)),
    ],
)
def test_a_request_changes_what_it_names_and_limits_go_where_there_are_none(
    before: Three, now: Three, after: Three
) -> None:
    assert requested_after(PlacementRequest(*before), PlacementRequest(*now), Placement()) == PlacementRequest(*after)


def test_requests_are_kept_and_taken_back_as_limits_are_and_go_where_there_are_none() -> None:
    before = PlacementRequest("kubernetes", 2.0, None, 0.5, 64 << 20)
    for now, after in (
        (PlacementRequest(cpu_request=0), replace(before, cpu_request=None)),
        (PlacementRequest(memory_bytes=1 << 30), replace(before, memory_bytes=1 << 30)),
        (PlacementRequest("docker"), PlacementRequest("docker", 2.0)),
        (PlacementRequest("local"), PlacementRequest("local")),
    ):
        assert requested_after(before, now, Placement()) == after
    with pytest.raises(InvalidArgument, match=r"cpu_request \(0\.5\) is more than cpus \(0\.25\)"):
        requested_after(before, PlacementRequest(cpus=0.25), Placement())


@pytest.mark.parametrize(("text", "size_bytes"), [("512m", 512 << 20), ("2G", 2 << 30), ("1.5gib", 3 << 29), ("0", 0)])
def test_memory_is_read_as_docker_reads_it(text: str, size_bytes: int) -> None:
    assert bytes_of(text) == size_bytes


@pytest.mark.parametrize("text", ["", "much", "-1m", "1e9", "12 parsecs"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="512m"):
        bytes_of(text)
