"""How an endpoint is served beside its traffic: each setting declared once, and what changed of it in words. Pure.

A new setting is an entry of `SERVING_SETTINGS`, `ServingValues` and `ServingOptions` here; a typed field of request and
answer in `wire.rest`, and of `wire.gateways.snapshot`; a column in `store.tables` with its migration. Services, audit,
history, CLI and client take it from here. mypy and `tests/core/endpoints/test_serving.py` say what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

from tidegate.core.engines.placement import PlacementRequest
from tidegate.errors import InvalidArgument

CACHE_TTL_S_MAX, RATE_LIMIT_PER_S_MAX = 30 * 86_400, 1e6
RATE_LIMIT_PER_S_MIN = 1e-4


@dataclass(frozen=True)
class ServingSetting:
    """A number that `deploy` sets for good; 0 is allowed, and is the default.

    `name` is that of the field in REST, client, audit, row and snapshot; `option` and `help` are the CLI's.
    `bounds` completes "must be". `noun` and `amount` word it in the history, `said` in an endpoint's status.
    """

    name: str
    option: str
    help: str
    low: float
    high: float
    bounds: str
    noun: str
    amount: str
    said: str

    def check(self, value: float | None) -> None:
        """Raises `InvalidArgument`; None leaves it as it is."""
        if value is not None and value != 0 and not self.low <= value <= self.high:
            raise InvalidArgument(f"{self.name} must be {self.bounds}, not {value:g}", field=self.name)

    def value_in(self, values: ServingValues) -> float:
        """This setting's value."""
        return cast(float, values[self.name])  # type: ignore[literal-required]

    def worded(self, value: float) -> str:
        """As the history has it."""
        return self.amount.format(value) if value else "unset"


SERVING_SETTINGS = (
    ServingSetting(
        name="cache_ttl_s",
        option="--cache-ttl",
        help="Keep answers in Redis for so many seconds; 0: do not.",
        low=0,
        high=CACHE_TTL_S_MAX,
        bounds=f"from 0 (answers are not kept) to {CACHE_TTL_S_MAX} seconds",
        noun="kept answers",
        amount="{:g} s",
        said="answers are kept for {:g} s",
    ),
    ServingSetting(
        name="rate_limit_per_s",
        option="--rate-limit",
        help="Requests a second of each client; 0: as the setting says.",
        low=RATE_LIMIT_PER_S_MIN,
        high=RATE_LIMIT_PER_S_MAX,
        bounds=(
            f"0 (as the gateways' setting says) or from {RATE_LIMIT_PER_S_MIN:g} to "
            f"{RATE_LIMIT_PER_S_MAX:g} requests a second"
        ),
        noun="rate limit",
        amount="{:g}/s",
        said="a client may send {:g} requests a second",
    ),
)


class ServingValues(TypedDict):
    """An endpoint's value of each setting, in the order of `SERVING_SETTINGS`."""

    cache_ttl_s: float
    rate_limit_per_s: float


class ServingOptions(TypedDict, total=False):
    """The settings that a change sets; one that is missing or None stays as it is.

    With `cache_ttl_s` gateways keep answers in Redis for so many seconds (0: they do not); `rate_limit_per_s` is how
    many requests each client may send a second (0: as the gateways' setting says).
    """

    cache_ttl_s: float | None
    rate_limit_per_s: float | None


def none_set() -> ServingValues:
    """The defaults, of an endpoint that nothing was set of."""
    return cast(ServingValues, {one.name: 0.0 for one in SERVING_SETTINGS})


def settings_of(holder: object) -> ServingValues:
    """Those of an endpoint's row, or of an answer that has it."""
    return cast(ServingValues, {one.name: getattr(holder, one.name) for one in SERVING_SETTINGS})


def given_in(request: object) -> ServingOptions:
    """Those of a request; None was not given."""
    return cast(ServingOptions, {one.name: getattr(request, one.name) for one in SERVING_SETTINGS})


def given_among(options: Mapping[str, Any]) -> ServingOptions:
    """Those among the options of a call; None was not given."""
    return cast(ServingOptions, {one.name: options.get(one.name) for one in SERVING_SETTINGS})


def check_given(given: ServingOptions) -> None:
    """Raises `InvalidArgument`."""
    for one in SERVING_SETTINGS:
        one.check(cast("float | None", given.get(one.name)))


@dataclass(frozen=True)
class Serving:
    """What `deploy` may set for good: where replicas run and with which limits, and `SERVING_SETTINGS`.

    A rollback leaves it as it is. 0 stands for none.
    """

    placement: PlacementRequest = field(default_factory=PlacementRequest)
    settings: ServingValues = field(default_factory=none_set)

    def after(self, placement: PlacementRequest | None, given: ServingOptions) -> Serving:
        """With what was given; None leaves as it is."""
        changed = {name: value for name, value in given.items() if value is not None}
        return Serving(placement or self.placement, cast(ServingValues, {**self.settings, **changed}))


def change_of(before: Serving, after: Serving) -> str:
    """What differs, with what was before; nothing where nothing does.

    >>> limited = Serving(settings={"cache_ttl_s": 0, "rate_limit_per_s": 5})
    >>> change_of(limited, Serving(PlacementRequest("docker", memory_bytes=100 << 20)))
    'backend docker (was unset), memory 100 MiB (was unset), rate limit unset (was 5/s)'
    """
    old, new = _words(before), _words(after)
    return ", ".join(f"{name} {new[name]} (was {old[name]})" for name in new if new[name] != old[name])


def _words(one: Serving) -> dict[str, str]:
    placement = one.placement
    return {
        "backend": placement.backend or "unset",
        "CPU": f"{placement.cpus:g}" if placement.cpus else "unset",
        "memory": _mib(placement.memory_bytes),
        "CPU request": f"{placement.cpu_request:g}" if placement.cpu_request else "unset",
        "memory request": _mib(placement.memory_request_bytes),
        **{setting.noun: setting.worded(setting.value_in(one.settings)) for setting in SERVING_SETTINGS},
    }


def _mib(size_bytes: int | None) -> str:
    return f"{size_bytes / (1 << 20):g} MiB" if size_bytes else "unset"
