"""Endpoints that follow an alias of the embedded registry; jobs are queued and ended by hand, none runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.control import ME, SIGNATURE, add_version, container_at, digest_for
from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.core.ports import NewRegistryVersion
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    NotTakenIn,
    RegistryUnavailable,
    TidegateError,
    UnknownUpload,
    UnknownVersion,
)
from tidegate.loops.follow import FollowDependencies, RegistryWatch
from tidegate.services.endpoints import automated
from tidegate.services.endpoints.kept_aliases import KeptAliases
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.store.jobs.jobs import get_job
from tidegate.wire.rest import DeployRequest, Endpoint, Follow, Gate, RollbackRequest, TrafficRequest, TrustRequest
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container


class Bed:
    """A container, and models of the registry that each test names for itself: 1 and 2 are taken in, 3 is not."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container, self._folder = container, folder
        self.away: TidegateError | None = None
        dependencies = FollowDependencies(
            registry=container.registry,
            follows=container.follows,
            health=container.registry_health,
            leads=lambda: container.leadership.term is not None,
            poll_s=0.1,
            write_aliases=container.kept_aliases.write,
        )
        self._watch = RegistryWatch(dependencies)

    def model(self, name: str) -> str:
        for number in ("1", "2", "3"):
            entry = self.log(name, f"{name} {number}")
            if number != "3":
                add_version(self.container, name, entry, digest=digest_for(f"{name} {number}"))
        self.container.registry.set_alias(name, "champion", "1")
        return name

    def log(self, name: str, text: str) -> str:
        new = NewRegistryVersion(name=name, digest=digest_for(text), package_dir=self._folder)
        return self.container.registry.create_version(new).version

    def follow(self, name: str, version: str | None = "@champion", **options: Any) -> Endpoint:
        return self.container.endpoints.deploy(name, DeployRequest(name, version, follow=Follow(**options)), ME)

    def move(self, name: str, version: str) -> None:
        self.container.registry.set_alias(name, "champion", version)

    def alias(self, name: str, alias: str = "champion") -> str | None:
        """The version that it names in the registry."""
        found = {one: entry.version for entry in self.container.registry.versions(name) for one in entry.aliases}
        return found.get(alias)

    def experiment(self, name: str, version: str) -> None:
        """An experiment tries a version beside what is stable."""
        with self.container.fenced.transaction() as tx:
            row = get_endpoint(tx, name)
            assert row is not None
            shares = (Share("control", next(iter(row.traffic)), 50.0), Share("treatment", version, 50.0))
            weights = AutomatedWeights("experiment", "e1", row.revision, Split("salt", shares), row.traffic)
            assert automated.begin_or_step(tx, row, weights, action="experiment", note="", now=1.0)

    def promote(self, name: str, version: str) -> None:
        """The experiment has a winner."""
        with self.container.fenced.transaction() as tx:
            row = get_endpoint(tx, name)
            assert row is not None
            automated.promote(tx, row, version, by="experiment e1", note="better", now=2.0)

    def step(self, name: str) -> Endpoint:
        """One look at the registry, and what came of it."""
        self._watch.look_again()
        self._watch.step()
        return self.container.endpoints.get(name)

    def end_job(self, name: str, **how: Any) -> None:
        """As the job pool ends the job that takes a version in."""
        follow = self.container.endpoints.get(name).follow
        assert follow is not None
        assert follow.job is not None
        with self.container.store.transaction() as tx:
            job = get_job(tx, follow.job)
            assert job is not None
            assert job.payload["request"]["uri"] == f"models:/{name}/{follow.version}"
            job.state, job.error, job.message = how["state"], how.get("error"), how.get("message", "")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("follow")
    package = folder / "package"
    package.mkdir()
    (package / "MLmodel").write_text("flavors: {}\n")
    container = container_at(folder / "data")
    yield Bed(container, package)
    container.close()


def _state(endpoint: Endpoint) -> tuple[str, str | None]:
    assert endpoint.follow is not None
    return endpoint.follow.state, endpoint.follow.version


def _actions(bed: Bed, name: str) -> list[str]:
    return [entry.action for entry in bed.container.endpoints.history(name)]


def test_an_endpoint_goes_on_to_the_version_that_the_alias_is_moved_to(bed: Bed) -> None:
    name = bed.model("moves")
    assert _state(bed.follow(name)) == ("current", "1")
    assert bed.step(name).target == {"1": 100.0}
    bed.move(name, "2")
    seen = bed.step(name)
    assert (seen.target, _state(seen)) == ({"2": 100.0}, ("current", "2"))
    assert _actions(bed, name) == ["follow", "deploy"]
    newest, first = bed.container.endpoints.history(name)
    assert (newest.actor, first.note) == ("@champion", "follows @champion")
    rolled, asked = bed.container.audit.page(10, endpoint=name).entries
    assert (rolled.who.kind, rolled.who.name, rolled.action) == ("platform", "@champion", "follow")
    assert rolled.changes["traffic"] == [{"1": 100.0}, {"2": 100.0}]
    assert (asked.who.name, asked.changes["follows"][1]["alias"]) == ("me", "champion")
    assert bed.container.registry_health.view().status == "ready"


def test_a_rollback_holds_until_the_alias_is_moved_again(bed: Bed) -> None:
    name = bed.model("held")
    bed.follow(name)
    bed.move(name, "2")
    bed.step(name)
    bed.container.endpoints.rollback(name, RollbackRequest(), ME)
    seen = bed.step(name)
    assert (seen.target, _state(seen)) == ({"1": 100.0}, ("held", "2"))
    bed.move(name, "1")
    assert _state(bed.step(name)) == ("current", "1")
    bed.move(name, "2")
    assert bed.step(name).target == {"2": 100.0}


def test_other_changes_of_a_person_end_the_following(bed: Bed) -> None:
    name = bed.model("ended")
    endpoints = bed.container.endpoints
    bed.follow(name)
    assert endpoints.set_traffic(name, TrafficRequest({"1": 50, "2": 50}), ME).follow is None
    bed.follow(name)
    assert endpoints.deploy(name, DeployRequest(name, "@champion"), ME).follow is None
    bed.move(name, "2")
    assert bed.step(name).target == {"1": 100.0}
    bed.follow(name)
    endpoints.delete(name, ME)
    bed.move(name, "1")
    assert bed.step(name).target == {"2": 100.0}, "nothing is done to an endpoint that is being deleted"


def test_a_version_that_is_only_in_the_registry_is_registered_first_and_rolled_to(bed: Bed) -> None:
    name = bed.model("new")
    bed.follow(name)
    bed.move(name, "3")
    assert _state(bed.step(name)) == ("taking_in", "3")
    assert _state(bed.step(name)) == ("taking_in", "3")
    add_version(bed.container, name, "3", digest=digest_for(f"{name} 3"))
    bed.end_job(name, state="succeeded")
    seen = bed.step(name)
    assert (seen.target, _state(seen)) == ({"3": 100.0}, ("current", "3"))


def test_a_refusal_is_told_once_leaves_what_runs_and_ends_with_the_trust(bed: Bed) -> None:
    name = bed.model("refused")
    bed.follow(name)
    bed.move(name, "3")
    bed.step(name)
    bed.end_job(name, state="failed", error={"code": "pickle_not_granted", "error": "it is a pickle"})
    for _ in range(2):
        seen = bed.step(name)
        assert (seen.target, _state(seen)) == ({"1": 100.0}, ("refused", "3"))
    assert seen.reason == "does not follow @champion to version 3: it is a pickle"
    assert _actions(bed, name) == ["refused", "deploy"]
    assert bed.container.endpoints.history(name)[0].note == "version 3: it is a pickle"
    bed.container.registry_changed.clear()
    bed.container.models.trust(name, TrustRequest(pickle=True), ME)
    assert bed.container.registry_changed.is_set()
    assert _state(bed.step(name)) == ("taking_in", "3")
    assert bed.container.jobs.find("queued", name, 1)[0][0].asked_by == "@champion"


def test_what_may_pass_is_tried_again_by_itself(bed: Bed) -> None:
    name = bed.model("again")
    bed.follow(name)
    bed.move(name, "3")
    bed.step(name)
    bed.end_job(name, state="failed", error={"code": "artifacts_unavailable", "error": "no bucket"})
    seen = bed.step(name)
    assert _state(seen) == ("waiting", "3")
    assert "no bucket" in seen.reason
    assert _actions(bed, name) == ["deploy"]
    assert _state(bed.step(name)) == ("waiting", "3"), "not before its time"


def test_a_registry_that_is_silent_changes_nothing_and_is_told_of(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bed.model("silent")
    bed.follow(name)
    bed.move(name, "2")

    def silent() -> None:
        raise RegistryUnavailable("the model registry does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(bed.container.registry, "check", silent)
        seen = bed.step(name)
        assert seen.target == {"1": 100.0}
        assert seen.reason == "@champion cannot be followed now: the model registry does not answer"
        assert bed.container.registry_health.view().reason == "the model registry does not answer"
    seen = bed.step(name)
    assert (seen.target, seen.reason) == ({"2": 100.0}, "")
    assert bed.container.registry_health.view().status == "ready"


def test_an_alias_that_is_gone_changes_nothing(bed: Bed) -> None:
    name = bed.model("gone")
    bed.follow(name)
    bed.container.registry.delete_version(name, "1")
    seen = bed.step(name)
    assert seen.target == {"1": 100.0}
    assert "has no alias 'champion'" in seen.reason


def test_a_person_who_is_quicker_wins(bed: Bed) -> None:
    name = bed.model("quick")
    bed.follow(name)
    (stale,) = [following for following in bed.container.follows.all() if following.endpoint == name]
    bed.container.endpoints.deploy(name, DeployRequest(name, "2"), ME)
    from tidegate.core.endpoints.follow import Roll

    assert not bed.container.follows.apply(stale, Roll("1"))
    assert bed.container.endpoints.get(name).target == {"2": 100.0}


def test_a_number_that_stands_for_other_bytes_is_never_mistaken(bed: Bed) -> None:
    name = bed.model("anew")
    bed.follow(name)
    bed.container.registry.delete_model(name)
    assert [bed.log(name, f"another {number}") for number in (1, 2)] == ["1", "2"]
    bed.move(name, "2")
    seen = bed.step(name)
    assert (seen.target, _state(seen)) == ({"1": 100.0}, ("refused", "2"))
    assert f"tidegate models delete {name}:2" in seen.reason
    with pytest.raises(Conflict, match="not the one that was taken in"):
        bed.follow(name)


def test_what_cannot_be_followed_or_is_not_here_is_said(bed: Bed) -> None:
    name = bed.model("wrong")
    with pytest.raises(InvalidArgument, match="only an alias can be followed"):
        bed.follow(name, "1")
    with pytest.raises(InvalidArgument, match="name the column"):
        bed.follow(name, gate=Gate(validation_upload="0" * 32))
    with pytest.raises(UnknownUpload):
        bed.follow(name, gate=Gate(validation_upload="0" * 32, target="y"))
    with pytest.raises(NotTakenIn, match="tidegate register models:/wrong/3") as there:
        bed.container.endpoints.deploy(name, DeployRequest(name, "3"), ME)
    assert there.value.details == {"model": name, "version": "3"}
    with pytest.raises(NotTakenIn):
        bed.container.models.version(name, "3")
    with pytest.raises(UnknownVersion, match="there are 2, 1"):
        bed.container.endpoints.deploy(name, DeployRequest(name, "9"), ME)
    assert [one.name for one in bed.container.endpoints.shown.all() if one.name == name] == []


def test_the_data_that_versions_are_scored_on_is_kept_as_long_as_they_are(bed: Bed) -> None:
    name = bed.model("scored")
    sink = bed.container.uploads.begin(None)
    sink.write(b"x,y\n1,2\n")
    upload = sink.finish().id
    bed.follow(name, gate=Gate(validation_upload=upload, validation_filename="v.csv", target="y", min_score=0.9))
    bed.move(name, "2")
    assert _state(bed.step(name)) == ("taking_in", "2"), "it is here, and was not scored on these data"
    follow = bed.container.endpoints.get(name).follow
    assert follow is not None
    with bed.container.store.transaction() as tx:
        job = get_job(tx, str(follow.job))
        assert job is not None
        assert job.payload["request"]["gate"]["min_score"] == 0.9
    bed.container.uploads.release(job)
    bed.container.uploads.sweep()
    assert bed.container.uploads.path(upload).read_bytes() == b"x,y\n1,2\n"


def test_a_version_that_clients_of_the_live_one_cannot_use_is_refused(bed: Bed) -> None:
    name = bed.model("changes")
    entry = bed.log(name, f"{name} 4")
    wider = Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), SIGNATURE.outputs)
    add_version(bed.container, name, entry, digest=digest_for(f"{name} 4"), signature=wider)
    bed.follow(name)
    with bed.container.store.transaction() as tx:
        row = get_endpoint(tx, name)
        assert row is not None
        row.routed = {"1": 100.0}
    bed.move(name, entry)
    seen = bed.step(name)
    assert (seen.target, _state(seen)) == ({"1": 100.0}, ("refused", entry))
    assert seen.follow is not None
    assert "has shape [-1, 3] and had [-1, 2]" in seen.follow.reason
    assert "does not follow @champion to version 4" in seen.reason
    assert _state(bed.step(name)) == ("refused", entry)  # and stays so
    accepted = DeployRequest(name, "@champion", follow=Follow(), accept_signature_change=True)
    assert _state(bed.container.endpoints.deploy(name, accepted, ME)) == ("current", entry)


def test_an_alias_that_moves_during_an_experiment_is_waited_with(bed: Bed) -> None:
    name = bed.model("waits")
    bed.follow(name)
    shares = (Share("control", "1", 50.0), Share("treatment", "2", 50.0))
    with bed.container.fenced.transaction() as tx:
        row = get_endpoint(tx, name)
        assert row is not None
        seen = automation.seen_of(row)
        weights = AutomatedWeights("experiment", "blue", row.revision, Split("salt", shares), {"1": 100.0})
        assert automation.set_weights(tx, seen, weights, Entry("experiment", 1.0))
    bed.move(name, "2")
    held = bed.step(name)
    assert (held.target, _state(held)) == ({"1": 50.0, "2": 50.0}, ("current", "1"))
    assert held.follow is not None
    assert held.follow.trouble == "experiment 'blue' sets the traffic until it ends"
    assert _actions(bed, name) == ["experiment", "deploy"]
    with bed.container.fenced.transaction() as tx:
        assert automation.end_weights(tx, seen, Entry("stop", 2.0))
    assert (bed.step(name).target, _state(bed.step(name))) == ({"2": 100.0}, ("current", "2"))


# -- aliases that promotions move -------------------------------------------------------------------------------------


def test_champion_and_challenger_are_in_step_with_promotions_and_not_followed_again(bed: Bed) -> None:
    name = bed.model("in-step")
    bed.follow(name)
    bed.experiment(name, "2")
    bed.step(name)
    assert (bed.alias(name), bed.alias(name, "challenger")) == ("1", "2")
    bed.promote(name, "2")
    seen = bed.step(name)
    assert (bed.alias(name), bed.alias(name, "challenger")) == ("2", None)
    assert (seen.target, _state(seen)) == ({"2": 100.0}, ("current", "2"))
    again = bed.step(name)
    assert (again.revision, _actions(bed, name)) == (seen.revision, ["promote", "experiment", "deploy"])
    moved = [one for one in bed.container.audit.page(20).entries if one.subject.name == name and one.action == "alias"]
    assert [one.changes for one in moved] == [
        {"@champion": ["1", "2"]},
        {"@challenger": ["2", None]},
        {"@challenger": [None, "2"]},
    ]
    assert {(one.who.kind, one.who.name) for one in moved} == {("platform", name)}


def test_an_alias_that_somebody_moves_after_a_promotion_is_followed(bed: Bed) -> None:
    name = bed.model("moved-back")
    bed.follow(name)
    bed.experiment(name, "2")
    bed.promote(name, "2")
    bed.step(name)
    bed.move(name, "1")
    seen = bed.step(name)
    assert (seen.target, _state(seen), bed.alias(name)) == ({"1": 100.0}, ("current", "1"), "1")
    assert _actions(bed, name)[0] == "follow"


def test_the_champion_goes_along_with_what_gives_one_version_all_of_the_traffic_once_a_promotion_moved_it(
    bed: Bed,
) -> None:
    name = bed.model("goes-along")
    endpoints = bed.container.endpoints
    endpoints.deploy(name, DeployRequest(name, "1"), ME)
    endpoints.deploy(name, DeployRequest(name, "2"), ME)
    bed.step(name)
    assert bed.alias(name) == "1"  # no promotion yet: the alias is people's
    endpoints.set_traffic(name, TrafficRequest({"2": 100.0}, "promote"), ME)
    endpoints.set_traffic(name, TrafficRequest({"1": 100.0}), ME)
    endpoints.set_traffic(name, TrafficRequest({"2": 100.0}, "promote"), ME)
    bed.step(name)
    assert bed.alias(name) == "2"
    endpoints.set_traffic(name, TrafficRequest({"1": 50.0, "2": 50.0}), ME)
    bed.step(name)
    assert bed.alias(name) == "2"
    endpoints.set_traffic(name, TrafficRequest({"1": 100.0}), ME)
    bed.step(name)
    assert bed.alias(name) == "1"
    bed.move(name, "2")  # somebody takes it back
    endpoints.set_traffic(name, TrafficRequest({"2": 50.0, "1": 50.0}), ME)
    endpoints.set_traffic(name, TrafficRequest({"1": 100.0}), ME)
    bed.step(name)
    endpoints.set_traffic(name, TrafficRequest({"1": 50.0, "2": 50.0}), ME)
    endpoints.rollback(name, RollbackRequest(), ME)
    bed.step(name)
    assert bed.alias(name) == "2"


def test_an_endpoint_of_another_name_moves_no_alias(bed: Bed) -> None:
    name = bed.model("main")
    bed.container.endpoints.deploy("beside", DeployRequest(name, "1"), ME)
    bed.container.endpoints.set_traffic("beside", TrafficRequest({"2": 100.0}, "promote"), ME)
    bed.step("beside")
    assert bed.alias(name) == "1"


def test_a_registry_that_is_away_delays_no_promotion_and_is_told_later(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bed.model("told-later")
    bed.follow(name)
    bed.experiment(name, "2")
    at = [100.0]
    aliases = KeptAliases(bed.container.fenced, bed.container.registry, lambda: at[0])

    def away(*_given: object) -> None:
        raise RegistryUnavailable("MLflow does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(type(bed.container.registry), "set_alias", away)
        bed.promote(name, "2")
        aliases.write()
        assert bed.container.endpoints.get(name).target == {"2": 100.0}
    aliases.write()  # its time has not come
    assert bed.alias(name) == "1"
    at[0] += 300.0
    aliases.write()
    assert (bed.alias(name), bed.alias(name, "challenger")) == ("2", None)


def test_a_setting_leaves_aliases_to_people(bed: Bed) -> None:
    name = bed.model("off")
    bed.container.endpoints.deploy(name, DeployRequest(name, "1"), ME)
    bed.container.endpoints.set_traffic(name, TrafficRequest({"2": 100.0}, "promote"), ME)
    KeptAliases(bed.container.fenced, bed.container.registry, lambda: 1.0, on=False).write()
    bed.step(name)
    assert bed.alias(name) == "1"
