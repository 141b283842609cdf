from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from tidegate.client.following import LOOK_EVERY_S, SILENT_LOOK_EVERY_S, LogFollower, NewLines, follow, newer
from tidegate.errors import NotRunning, TidegateError, UnknownEndpoint
from tidegate.wire.rest import LogLines


@pytest.mark.parametrize(
    ("before", "now", "new", "missed"),
    [
        ([], ["a", "b"], ["a", "b"], False),
        (["a", "b"], ["a", "b"], [], False),
        (["a", "b"], ["a", "b", "c"], ["c"], False),
        (["a", "b", "c"], ["b", "c", "d"], ["d"], False),
        (["a", "b", "c"], ["d", "e", "f"], ["d", "e", "f"], True),
        (["a", "a"], ["a", "a", "a"], ["a"], False),
        (["a", "b"], [], [], False),
        (["x", "a", "b"], ["b", "c"], ["c"], False),  # its file was cut down to its end
    ],
)
def test_what_is_new_comes_after_what_was_seen(before: list[str], now: list[str], new: list[str], missed: bool) -> None:
    assert newer(before, now) == (new, missed)


def test_each_replica_is_followed_and_forgotten_when_it_is_gone() -> None:
    follower = LogFollower()
    one, two = LogLines("r1", "1", ["a"]), LogLines("r2", "2", ["a"])
    assert follower.take([one]) == [NewLines("r1", "1", ["a"])]
    assert follower.take([one, two]) == [NewLines("r2", "2", ["a"])]
    assert follower.take([LogLines("r1", "1", []), two]) == []
    assert follower.take([LogLines("r1", "1", ["a", "b"]), two]) == [NewLines("r1", "1", ["b"])]
    follower.take([two])
    assert follower.take([one, two]) == [NewLines("r1", "1", ["a"])]


def test_silence_is_told_once_and_ends_with_the_endpoint() -> None:
    answers: Iterator[list[str] | TidegateError] = iter(
        [["a"], NotRunning("away"), NotRunning("away"), ["a", "b"], UnknownEndpoint("gone")]
    )
    told: list[str] = []
    slept: list[float] = []

    def look() -> list[LogLines]:
        answer = next(answers)
        if isinstance(answer, TidegateError):
            raise answer
        return [LogLines("r1", "1", answer)]

    found = follow(look, lambda error: told.append(error.message), slept.append)
    assert [new.lines for news in islice(found, 2) for new in news] == [["a"], ["b"]]
    with pytest.raises(UnknownEndpoint):
        next(found)
    assert told == ["away"]
    assert slept == [LOOK_EVERY_S, SILENT_LOOK_EVERY_S, SILENT_LOOK_EVERY_S, LOOK_EVERY_S]
