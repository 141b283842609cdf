"""Which routes a table remembers: those in use, whatever else is asked for."""

from __future__ import annotations

from tidegate.dataplane.http.routes import RouteTable


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
