"""A follower that is told of snapshots beside its poll."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateway_bed import TOKEN, Publisher
from support.wait import until
from tidegate.gateway.control.follower import ControlPlane, Follower, SnapshotFile
from tidegate.wire.snapshot import Snapshot


class Followed:
    """A follower of a publisher, and what it took."""

    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text(TOKEN)
        self.publisher = Publisher()
        self.taken: list[int] = []
        source = ControlPlane(self.publisher.url, folder, "gateway-0")
        file = SnapshotFile(folder / "snapshot.json")
        self.follower = Follower(source, file, lambda snapshot: self.taken.append(snapshot.revision), lambda: ())
        self.publisher.publish(Snapshot(1, ()))
        self.follower.start()
        self.waits_for(1)

    def waits_for(self, revision: int) -> None:
        """Until it has taken this one, said so, and asks for the next."""
        until(lambda: self.publisher.acknowledged.get("gateway-0") == revision, 5.0, f"revision {revision}")

    def close(self) -> None:
        self.follower.stop()
        self.publisher.stop()


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    made = Followed(tmp_path)
    yield made
    made.close()


def test_what_it_is_told_of_is_taken_once_whoever_brings_it(followed: Followed) -> None:
    followed.publisher.silent = True
    followed.publisher.publish(Snapshot(2, ()))
    followed.follower.hear(2)
    followed.waits_for(2)
    followed.publisher.publish(Snapshot(3, ()))
    followed.follower.hear(3)
    followed.waits_for(3)
    followed.publisher.silent = False
    followed.publisher.publish(Snapshot(4, ()))  # the first poll, which has waited all the time, brings this one
    followed.follower.hear(4)
    followed.waits_for(4)
    assert followed.taken == [1, 2, 3, 4]


def test_news_of_another_platform_cost_a_question_and_change_nothing(followed: Followed) -> None:
    before = followed.publisher.requests
    followed.follower.hear(10**17)
    until(lambda: followed.publisher.requests == before + 1, 5.0, "the question")
    followed.publisher.publish(Snapshot(2, ()))
    followed.waits_for(2)
    assert followed.taken == [1, 2]
    assert followed.publisher.requests <= before + 3


def test_news_while_the_control_plane_is_away_are_no_loss(followed: Followed) -> None:
    followed.publisher.stop()
    followed.follower.hear(2)
    followed.publisher.publish(Snapshot(2, ()))
    followed.publisher.start()
    followed.waits_for(2)
    followed.publisher.publish(Snapshot(3, ()))
    followed.follower.hear(3)
    followed.waits_for(3)
    assert followed.taken[-1] == 3
