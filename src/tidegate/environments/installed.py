"""Which distributions are installed and what they need in turn. Reads their metadata; imports and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Find = Callable[[str], metadata.Distribution | None]


def find_here(name: str) -> metadata.Distribution | None:
    """A distribution of this process's environment."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def closure(
    wanted: Iterable[str], find: Find = find_here, marker_env: Mapping[str, str] | None = None
) -> dict[str, metadata.Distribution]:
    """The distributions that these requirements (`name` or `name[extra]`) lead to, by canonical name.

    One that is not installed is left out: what was seen to work without it works without it. `marker_env` replaces
    values that markers are evaluated with (`{"sys_platform": "linux"}`).
    """
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        distribution = find(key)
        if distribution is None:
            continue
        found[key] = distribution
        for extra in {"", *requirement.extras}:
            if (key, extra) not in seen:
                seen.add((key, extra))
                waiting += _needed(distribution, {**(marker_env or {}), "extra": extra})
    return found


def _needed(distribution: metadata.Distribution, marker_env: Mapping[str, str]) -> list[Requirement]:
    parsed = [Requirement(text) for text in distribution.requires or []]
    return [item for item in parsed if item.marker is None or item.marker.evaluate(dict(marker_env))]
