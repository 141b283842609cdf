"""Functions that run a step at a time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tidegate.dataplane.base import stepwise
from tidegate.dataplane.base.stepwise import each, in_steps, pause, turned


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause ends a step."""
    monkeypatch.setattr(stepwise, "STEP_S", 0.0)


def _finish(steps: Any) -> tuple[list[bool], Any]:
    said = []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as end:
            return said, end.value


def test_a_function_goes_on_only_when_it_is_its_turn() -> None:
    done: list[str] = []

    def work() -> int:
        for name in "abc":
            done.append(name)
            pause()
        return len(done)

    steps = in_steps(work)
    for said in (["a"], ["a", "b"], ["a", "b", "c"]):
        assert next(steps) is True
        assert done == said
    assert _finish(steps) == ([], 3)


def test_what_it_raises_is_raised_to_its_caller() -> None:
    def work() -> None:
        pause()
        raise ValueError("no")

    steps = in_steps(work)
    assert next(steps) is True
    with pytest.raises(ValueError, match="no"):
        next(steps)


def test_one_that_nobody_waits_for_ends_where_it_stands() -> None:
    done: list[str] = []

    def work() -> None:
        try:
            pause()
            done.append("went on")
        except Exception:
            done.append("took it for a failure")
        finally:
            done.append("ended")

    steps = in_steps(work)
    next(steps)
    steps.close()
    assert done == ["ended"]


def test_threads_are_used_again() -> None:
    def work() -> int:
        pause()
        return threading.get_ident()

    one, other = in_steps(work), in_steps(work)
    next(one)
    next(other)
    first, second = _finish(one)[1], _finish(other)[1]
    assert first != second
    assert {_finish(in_steps(work))[1] for _ in range(20)} <= {first, second}


def test_elsewhere_a_pause_does_nothing() -> None:
    pause()
    other = threading.Thread(target=pause)

    def work() -> None:
        other.start()
        other.join(10)

    assert _finish(in_steps(work)) == ([], None)
    assert not other.is_alive()


@pytest.mark.parametrize("count", [0, 1, 1024, 1025, 5000])
def test_long_lists_are_worked_through_in_pieces(count: int) -> None:
    values = list(range(count))
    said, found = _finish(in_steps(lambda: list(each(values))))
    assert found == values
    assert len(said) == (1 if count <= 1024 else 2 + count // 1024)
    assert _finish(in_steps(lambda: list(each(iter(values)))))[1] == values
    assert turned([[one, -one] for one in values] or [[], []]) == ([values, [-one for one in values]] if count else [])
