"""What makes a workload another one, and what its name is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.core.engines.capabilities import KUBERNETES
from tidegate.core.engines.placement import Placement
from tidegate.core.workloads import WorkloadKey

KEY = WorkloadKey("churn", "3", Placement(KUBERNETES, 0.5, 1 << 30))


def test_another_form_or_placement_is_another_name_and_the_same_is_the_same() -> None:
    others = [
        replace(KEY, form="trees-float32"),
        replace(KEY, placement=Placement(KUBERNETES, 1.0, 1 << 30)),
        replace(KEY, placement=Placement(KUBERNETES)),
    ]
    suffixes = {KEY.suffix, *(other.suffix for other in others)}
    assert len(suffixes) == 4
    assert all(len(suffix) == 8 for suffix in suffixes)
    assert replace(KEY, endpoint="fraud", version="4").suffix == KEY.suffix, "the name has room for those"


def test_names_outlast_a_release_that_gives_placements_another_field() -> None:
    @dataclass(frozen=True)
    class Later(Placement):
        zone: str | None = None

    assert replace(KEY, placement=Later(KUBERNETES, 0.5, 1 << 30)).suffix == KEY.suffix
    assert KEY.suffix == "4eb8d8f6", "running workloads are called so"
