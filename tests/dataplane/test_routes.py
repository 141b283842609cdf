"""Which paths are predictions, and which routes a table remembers: those in use, whatever else is asked for."""

from __future__ import annotations

from tidegate.dataplane.http import routes
from tidegate.dataplane.http.routes import PREDICTION_PATHS, RouteTable


def test_hot_path_and_application_take_the_same_paths() -> None:
    table, edges = RouteTable(), set()
    for path in PREDICTION_PATHS:
        found = table.find(path.format(name="churn", version="3").encode())
        assert found is not None, path
        assert found.name == ("churn" if "{name}" in path else None), path
        assert found.version == ("3" if "{version}" in path else None), path
        edges.add(found.edge)
    assert edges == {edge for _pattern, edge in routes._PATTERNS}


def test_urls_asked_for_once_do_not_push_out_one_that_is_in_use() -> None:
    table = RouteTable()
    route = table.find(b"/predict/churn")
    for number in range(20_000):
        assert table.find(b"/predict/nothing-%d" % number) is not None
        if number % 100 == 0:
            assert table.find(b"/predict/churn") is route


def test_a_url_that_comes_into_use_late_is_remembered_too() -> None:
    table = RouteTable()
    for number in range(20_000):
        table.find(b"/predict/churn?trace=%d" % number)
    route = table.find(b"/predict/late")
    assert route is not None
    assert route.name == "late"
    assert table.find(b"/predict/late") is route
