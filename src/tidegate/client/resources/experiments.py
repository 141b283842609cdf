"""`client.experiments`: creates experiments, runs them and reads what was found; and the four functions of the seed."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack, cast

import msgspec
import orjson

from tidegate.client.resources.endpoints import EndpointsClient
from tidegate.client.resources.gateway import Assignment, GatewayClient
from tidegate.client.resources.options import ReadOptions, as_read
from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paths import API, part
from tidegate.core.names import parse_ref
from tidegate.errors import InvalidArgument, UnknownExperiment
from tidegate.wire.experiments.experiments import (
    AaRequest,
    AaView,
    ExperimentList,
    ExperimentRequest,
    ExperimentView,
    LookView,
    OnBreach,
    OnNoTraffic,
)

METRIC = "value"
SLOW_S = 120.0
T = TypeVar("T")
_ANALYSED = (
    "model_a_mean", "model_b_mean", "improvement", "lower", "upper", "p_value", "significant", "winner",
)  # fmt: skip


class ExperimentOptions(TypedDict, total=False):
    """What an experiment may be told besides its arms and metrics; what is not given is as the API has it."""

    split: Sequence[float]
    guardrails: Sequence[str]
    mde: str | float
    alpha: float
    max_days: float
    auto: bool
    on_breach: OnBreach
    on_no_traffic: OnNoTraffic
    ramp: Sequence[float]
    ramp_every_s: float
    start: bool
    accept_signature_change: bool


class NamedOptions(ExperimentOptions, total=False):
    """The same, and the experiment's name; one that is free where none is given."""

    name: str


class ListedLooks(TypedDict):
    """Looks of an experiment."""

    looks: list[LookView]


@dataclass(frozen=True)
class ExperimentsClient:
    """Experiments: versions of an endpoint beside one another, on units that stay where they are."""

    api: Api
    endpoints: EndpointsClient
    gateway: GatewayClient

    def create(
        self,
        endpoint: str,
        *,
        control: str | int,
        treatments: Sequence[str | int],
        metrics: Sequence[str],
        **options: Unpack[NamedOptions],
    ) -> ExperimentView:
        """Create an experiment; nothing changes for anybody until it is started (`start=True` does so at once).

        `split` has a percent for each arm, control's first. The answer has `expected_days`, where the metric's history
        is known. Raises `InvalidArgument` with what is wrong, `Conflict` where one of that name is there.

            client.experiments.create(
                "churn", control=1, treatments=[2], metrics=["converted:increase:proportion,window=7d"],
                guardrails=["errors:margin=abs:0.01"], auto=True,
            )
        """
        given: dict[str, Any] = dict(options)
        given |= {name: list(given[name]) for name in ("split", "guardrails", "ramp") if name in given}
        if "mde" in given:
            given["mde"] = str(given["mde"])
        request = ExperimentRequest(str(control), [str(one) for one in treatments], list(metrics), **given)
        return self._slow(_path(endpoint), request, ExperimentView)

    def list(self, endpoint: str) -> builtins.list[ExperimentView]:
        """Those of an endpoint, newest first."""
        return self.api.get(_path(endpoint), ExperimentList).experiments

    def get(self, endpoint: str, name: str | None = None) -> ExperimentView:
        """One as it is now: that of this name, else the one that is running, else the newest."""
        return self.api.get(_path(endpoint, self.name_of(endpoint, name)), ExperimentView)

    def start(self, endpoint: str, name: str | None = None, **how: Unpack[ReadOptions]) -> ExperimentView:
        """Assign units from now on. Raises `AutomationRunning` where another automation has the weights."""
        return self._do(endpoint, name, "start", how)

    def set_split(
        self, endpoint: str, split: Sequence[float], name: str | None = None, **how: Unpack[ReadOptions]
    ) -> ExperimentView:
        """Other percents for the arms of one that was not started, control's first. Raises `Conflict` afterwards."""
        path = f"{_path(endpoint, self.name_of(endpoint, name))}/split"
        return self.api.send("POST", path, {"split": [float(one) for one in split]}, ExperimentView, as_read(how))

    def pause(self, endpoint: str, name: str | None = None, **how: Unpack[ReadOptions]) -> ExperimentView:
        """Give everybody what is stable, without ending it."""
        return self._do(endpoint, name, "pause", how)

    def resume(self, endpoint: str, name: str | None = None, **how: Unpack[ReadOptions]) -> ExperimentView:
        """Go on, in a new phase."""
        return self._do(endpoint, name, "resume", how)

    def stop(self, endpoint: str, name: str | None = None, **how: Unpack[ReadOptions]) -> ExperimentView:
        """End it, and return to control."""
        return self._do(endpoint, name, "stop", how)

    def approve(self, endpoint: str, name: str | None = None, **how: Unpack[ReadOptions]) -> ExperimentView:
        """Promote the treatment that waits for approval. Raises `Conflict` where none does."""
        return self._do(endpoint, name, "approve", how)

    def looks(self, endpoint: str, name: str | None = None) -> builtins.list[LookView]:
        """What each look at the data found, oldest first."""
        path = f"{_path(endpoint, self.name_of(endpoint, name))}/looks"
        return self.api.get(path, ListedLooks)["looks"]

    def report(self, endpoint: str, name: str | None = None) -> str:
        """All of it as one page of HTML that opens without a network."""
        return self.api.text(f"{_path(endpoint, self.name_of(endpoint, name))}/report")

    def aa(
        self, endpoint: str, name: str | None = None, *, days: float = 14.0, repetitions: int = 1000, looks: int = 20
    ) -> AaView:
        """How often its metrics' tests find a difference in captured units that were split at random."""
        path = f"{_path(endpoint, self.name_of(endpoint, name))}/aa"
        return self._slow(path, AaRequest(days, repetitions, looks), AaView)

    def assignment(self, endpoint: str, key: str | int) -> Assignment:
        """What the gateway gives the unit `key` now. Nothing is recorded: the unit is exposed with a prediction."""
        return self.gateway.assignment(endpoint, key)

    def name_of(self, endpoint: str, name: str | None = None) -> str:
        """The name of the one that is meant where none is given. Raises `UnknownExperiment`."""
        if name is not None:
            return name
        found = self.list(endpoint)
        if not found:
            raise UnknownExperiment(f"endpoint {endpoint!r} has no experiment: create one")
        return next((one for one in found if one.active), found[0]).name

    # -- as the seed has it -----------------------------------------------------------------------------------------

    def create_experiment(
        self,
        name: str,
        model_a: str,
        model_b: str,
        traffic_split: float = 0.5,
        *,
        metric: str = f"{METRIC}:increase:mean",
        endpoint: str | None = None,
        **options: Unpack[ExperimentOptions],
    ) -> ExperimentView:
        """Create and start an experiment of two versions, of which `model_a` gets `traffic_split` (a share) of units.

        Models are `churn:1`, or versions where the endpoint is given. Its metric is `value`, which is better when it
        increases, unless told.

            client.experiments.create_experiment("checkout", "churn:1", "churn:2", 0.5)
        """
        place, control = _of_model(model_a, endpoint)
        other, treatment = _of_model(model_b, endpoint)
        if other != place:
            message = f"{model_a!r} and {model_b!r} are different models: name the endpoint that serves both"
            raise InvalidArgument(message, field="endpoint")
        if not 0 < traffic_split < 1:
            raise InvalidArgument(
                f"traffic_split is {traffic_split!r}: give the share of units that model_a gets, between 0 and 1",
                field="traffic_split",
            )
        split = [100.0 * traffic_split, 100.0 - 100.0 * traffic_split]
        given = cast(NamedOptions, {"start": True, **options, "name": name, "split": split})
        return self.create(place, control=control, treatments=[treatment], metrics=[metric], **given)

    def route_request(self, name: str, user_id: str | int, *, endpoint: str | None = None) -> str:
        """The version that answers this unit: the same one while the experiment runs, and then what is routed.

        The gateway decides so by itself for each prediction with this key (`X-Tidegate-Key`, or `user_id`).
        """
        return self.assignment(self._endpoint_of(name, endpoint), user_id).version

    def record_metric(
        self,
        name: str,
        version: str | int,
        value: float,
        *,
        key: str | int,
        metric: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        """Say what a metric came to for the unit `key`: its user, whom a test counts once however often it was served.

        `version` is the one that the unit was given (a version, `churn:2`, an arm's name, `a` or `b`). `metric` is the
        experiment's first one unless told. Raises `InvalidArgument` where the unit has another arm.
        """
        place = self._endpoint_of(name, endpoint)
        found = self.get(place, name)
        given = self.assignment(place, key)
        said = _arms_named(found, str(version))
        if given.experiment == name and given.variant not in said:
            raise InvalidArgument(
                f"unit {str(key)[:80]!r} is in arm {given.variant!r} of {name!r}, and not in {said[0]!r}",
                field="version",
            )
        values: Mapping[str, float] = {metric or found.metrics[0].name: float(value)}
        self.gateway.feedback(place, key=str(key), experiment=name, metrics=dict(values))

    def analyze_experiment(self, name: str, *, endpoint: str | None = None) -> dict[str, Any] | None:
        """The first metric as it stands, valid however often it is looked at; None where there is no such experiment.

        `{"status": "insufficient_data"}` while nothing can be said. `winner` is `a`, `b`, or None where neither is.
        """
        try:
            found = self.get(self._endpoint_of(name, endpoint), name)
        except UnknownExperiment:
            return None
        if found.status == "insufficient_data":
            return {"status": found.status}
        return {one: getattr(found, one) for one in _ANALYSED}

    def _endpoint_of(self, name: str, endpoint: str | None) -> str:
        """The endpoint that has an experiment of this name; one that is active before others."""
        if endpoint is not None:
            return endpoint
        places = [place.name for place in self.endpoints.list()]
        having = [(one.active, place) for place in places for one in self.list(place) if one.name == name]
        if not having:
            raise UnknownExperiment(f"there is no experiment {name!r}")
        active = [place for is_active, place in having if is_active]
        if len(active or having) > 1:
            raise InvalidArgument(
                f"several endpoints have an experiment {name!r}: say which endpoint is meant", field="endpoint"
            )
        return active[0] if active else having[0][1]

    def _slow(self, path: str, request: Any, shape: type[T]) -> T:
        """What reads captured rows first."""
        sent = orjson.dumps(msgspec.to_builtins(request))
        return decode(self.api.raw("POST", path, sent, timeout_s=SLOW_S).data, shape, "control plane")

    def _do(self, endpoint: str, name: str | None, verb: str, how: ReadOptions) -> ExperimentView:
        return self.api.send(
            "POST", f"{_path(endpoint, self.name_of(endpoint, name))}/{verb}", {}, ExperimentView, as_read(how)
        )


def _path(endpoint: str, name: str | None = None) -> str:
    path = f"{API}/endpoints/{part(endpoint)}/experiments"
    return path if name is None else f"{path}/{part(name)}"


def _of_model(model: str, endpoint: str | None) -> tuple[str, str]:
    """Endpoint and version of `churn:1`, or of a version where the endpoint is known."""
    if endpoint is not None and ":" not in model and "@" not in model:
        return endpoint, model
    ref = parse_ref(model)
    version = ref.version if ref.alias is None else f"@{ref.alias}"
    if version is None:
        raise InvalidArgument(f"{model!r} names no version: write it as {model}:1", field="model")
    return endpoint or ref.name, version


def _arms_named(found: ExperimentView, given: str) -> builtins.list[str]:
    """The arms that are meant by a name, a version (several may have it), a model with it, or the seed's a and b."""
    version = given.rpartition(":")[2]
    said = [
        arm.variant
        for place, arm in enumerate(found.arms)
        if given == arm.variant or version == arm.version or given == "abcdefgh"[place : place + 1]
    ]
    if said:
        return said
    arms = ", ".join(f"{arm.variant} ({arm.version})" for arm in found.arms)
    raise InvalidArgument(f"{given!r} is no arm of {found.name!r}, which has {arms}", field="version")
