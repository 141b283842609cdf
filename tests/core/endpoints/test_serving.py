"""Settings of how an endpoint is served: declared once, and found wherever they have to be."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from tidegate.cli.endpoints.deploy import deploy
from tidegate.client.resources.options import DeployOptions
from tidegate.core.endpoints.serving import (
    SERVING_SETTINGS,
    Serving,
    ServingOptions,
    ServingSetting,
    ServingValues,
    change_of,
    none_set,
)
from tidegate.core.reconcile import fleet
from tidegate.core.routing.snapshot import VersionFacts, route
from tidegate.errors import InvalidArgument
from tidegate.store.tables import EndpointRow
from tidegate.wire import rest
from tidegate.wire.gateways import snapshot
from tidegate.wire.signature import Signature

NAMES = [one.name for one in SERVING_SETTINGS]


def by_name(name: str) -> ServingSetting:
    return next(one for one in SERVING_SETTINGS if one.name == name)


def test_every_setting_is_in_the_typed_shapes_of_the_table() -> None:
    assert list(ServingValues.__annotations__) == NAMES
    assert list(ServingOptions.__annotations__) == NAMES
    assert set(NAMES) <= set(DeployOptions.__annotations__)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_a_column_and_in_request_answer_snapshot_and_command(name: str) -> None:
    column = EndpointRow.__table__.c[name]
    assert (column.default.arg, float(column.server_default.arg), column.nullable) == (0.0, 0.0, False)
    assert {one.name: one.default for one in dataclasses.fields(rest.Endpoint)}[name] == 0.0
    assert {one.name: one.default for one in dataclasses.fields(rest.DeployRequest)}[name] is None
    assert {one.name: one.default for one in msgspec.structs.fields(snapshot.RoutedEndpoint)}[name] == 0.0
    (option,) = [one for one in deploy.params if one.name == name]
    assert option.opts == [by_name(name).option]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache_ttl_s", -1.0),
        ("cache_ttl_s", 30 * 86_400 + 1.0),
        ("cache_ttl_s", float("nan")),
        ("rate_limit_per_s", -1.0),
        ("rate_limit_per_s", 1e-5),
        ("rate_limit_per_s", 1e7),
        ("rate_limit_per_s", float("nan")),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} must be .*, not ") as refused:
        by_name(name).check(value)
    assert refused.value.details["field"] == name


@pytest.mark.parametrize("value", [None, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_within_them_or_not_given_is_not(name: str, value: float | None) -> None:
    by_name(name).check(value)


def test_a_change_leaves_what_it_does_not_give_and_says_what_it_changed() -> None:
    before = Serving(settings={"cache_ttl_s": 60.0, "rate_limit_per_s": 5.0})
    after = before.after(None, {"cache_ttl_s": None, "rate_limit_per_s": 0.0})
    assert after.settings == {"cache_ttl_s": 60.0, "rate_limit_per_s": 0.0}
    assert change_of(before, after) == "rate limit unset (was 5/s)"
    assert change_of(Serving(), before) == "kept answers 60 s (was unset), rate limit 5/s (was unset)"


def test_gateways_read_them_byte_for_byte_where_they_always_were() -> None:
    facts = VersionFacts("d", Signature("matrix", (), ()), None, None, batchable=False)
    endpoint = fleet.EndpointFacts("churn", "churn", {"1": 100.0}, 1, 1, routed={"1": 100.0})
    limited = dataclasses.replace(endpoint, settings={"cache_ttl_s": 60.0, "rate_limit_per_s": 2.5})
    for one, tail in (
        (endpoint, b'"cache_ttl_s":0.0,"rate_limit_per_s":0.0}'),
        (limited, b'"cache_ttl_s":60.0,"rate_limit_per_s":2.5}'),
    ):
        written = msgspec.json.encode(route(fleet.Fleet(one), "salt", {"1": facts}))
        assert written.startswith(b'{"name":"churn","salt":"salt","variants":[')
        assert written.endswith(b'"reason":"no replica of version 1 is ready",' + tail)
    assert endpoint.settings == none_set()
