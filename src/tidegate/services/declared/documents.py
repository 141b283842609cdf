"""Makes endpoints as documents say, all of them in one transaction or none, and writes down what they are.

Each part is set by the use case that people have for it, so that checks, history, audit and alerts are those of a
change by hand. A dry run is the same transaction, taken back at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.alerting.rules import read_action, shown_action
from tidegate.core.declared.changes import changes_of
from tidegate.core.declared.endpoint import path_of, read_endpoint
from tidegate.core.engines.placement import placed
from tidegate.core.manifests.served import ServedRequest
from tidegate.errors import InvalidArgument, TidegateError, UnknownModel, UnknownVersion
from tidegate.services.alerting.rules import AlertRules, stored_rules
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.capture.settings import CaptureRulesOf
from tidegate.services.declared.decisions import (
    Told,
    facts_of_decisions,
    outcomes_of,
    planned_days,
    set_canary,
    set_experiment,
    set_shadow,
)
from tidegate.services.declared.facts import document_of, facts_of
from tidegate.services.declared.manifests import Manifests
from tidegate.services.declared.spec import Applying, AskedSpec, apply_spec, placement_asked
from tidegate.services.endpoints.deploy_requests import named_version
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.reading.lookup import endpoint_or_raise, in_registry
from tidegate.services.shadows.shadows import Shadows
from tidegate.store import endpoints as rows
from tidegate.store.engine import Store
from tidegate.store.fleet import placement_request_of
from tidegate.store.tables import EndpointRow
from tidegate.wire.alerts import AlertRule, AlertRulesRequest
from tidegate.wire.canary import CanaryRequest
from tidegate.wire.capture import CaptureSettingsRequest
from tidegate.wire.declared import DOCUMENTS_MAX, AppliedDocument, ApplyAnswer, ApplyRequest, ExportAnswer
from tidegate.wire.monitoring import MonitorRequest


class _TakenBack(Exception):
    """The end of a dry run, with what would have been done."""

    def __init__(self, done: list[AppliedDocument]) -> None:
        super().__init__()
        self.done = done


@dataclass(frozen=True)
class _Asked:
    """A request, read: aliases are versions, and captured rows have said how long experiments take."""

    documents: Sequence[AskedSpec]
    expected_days: Mapping[str, float | None]
    request: ApplyRequest
    who: Principal


@dataclass
class _Part:
    """The use cases, as part of one transaction."""

    tx: Session
    endpoints: Endpoints
    capture_rules: CaptureRulesOf
    monitoring: Monitoring
    alert_rules: AlertRules
    experiments: Experiments
    canaries: Canaries
    shadows: Shadows
    expected_days: Mapping[str, float | None]
    request: ApplyRequest


class Section(Protocol):
    """Sets one section of a document, whole, in the transaction of `part`."""

    def __call__(self, part: _Part, endpoint: str, values: Any, who: Principal) -> None: ...


@dataclass(frozen=True)
class Documents:
    """The use cases of the API."""

    store: Store
    endpoints: Endpoints
    capture_rules: CaptureRulesOf
    monitoring: Monitoring
    alert_rules: AlertRules
    experiments: Experiments
    canaries: Canaries
    shadows: Shadows
    manifests: Manifests

    def export(
        self, endpoint: str | None = None, form: str = "tidegate", request: ServedRequest | None = None
    ) -> ExportAnswer:
        """Endpoints as documents or as manifests, by name: one, or all that are not being deleted.

        Raises `UnknownEndpoint`, `InvalidArgument` for a form that is not there, and what `Manifests.of` raises.
        """
        documents = self._documents(endpoint)
        if form == "tidegate":
            if request is not None and request != ServedRequest():
                raise InvalidArgument(
                    "a version and an autoscaler are of manifests: give --format kubernetes too", field="format"
                )
            return ExportAnswer(documents)
        return self.manifests.of(documents, form, request or ServedRequest())

    def _documents(self, endpoint: str | None) -> list[dict[str, Any]]:
        with self.store.reading() as tx:
            if endpoint is not None:
                found = [endpoint_or_raise(tx, endpoint)]
            else:
                found = [row for row in _every(tx) if row.deleted_at is None]
            return [document_of(facts_of(tx, row)) for row in found]

    def apply(self, request: ApplyRequest, who: Principal) -> ApplyAnswer:
        """Make the endpoints so. Where one cannot be, nothing is changed, and the error says which and where.

        Raises what the use cases of its parts raise.
        """
        asked = self._read(request.documents)
        expected_days: dict[str, float | None] = {}
        for number, one in enumerate(asked):
            with _of_document(number, one.endpoint, len(asked)), _placed_in(("experiment",)):
                self._check_engine(one)
                if "experiment" in one.values:
                    found = planned_days(self.experiments, one.endpoint, one.values["experiment"])
                    expected_days[one.endpoint] = found
        woken: list[Callable[[], None]] = []
        try:
            done = self._in_one_transaction(_Asked(asked, expected_days, request, who), woken)
        except _TakenBack as dry:
            return ApplyAnswer(dry.done, dry_run=True)
        except (UnknownModel, UnknownVersion) as error:  # the registry is not asked within a transaction
            model, version = error.details.get("model", ""), error.details.get("version")
            raise in_registry(self.endpoints.registry, model, version, error) from error
        for wake in dict.fromkeys(woken):
            wake()
        return ApplyAnswer(done)

    def _in_one_transaction(self, all_of: _Asked, woken: list[Callable[[], None]]) -> list[AppliedDocument]:
        done: list[AppliedDocument] = []
        asked, request = all_of.documents, all_of.request
        with self.store.transaction() as tx:
            part = self._part(tx, woken, all_of)
            applying = Applying(part.endpoints, request, all_of.who)
            for number, one in enumerate(asked):
                with _of_document(number, one.endpoint, len(asked)):
                    done.append(_applied(part, one, applying))
            if request.dry_run:
                raise _TakenBack(done)
        return done

    def _read(self, documents: Sequence[Mapping[str, Any]]) -> list[AskedSpec]:
        """What is asked for; aliases as the registry has them now."""
        if not 1 <= len(documents) <= DOCUMENTS_MAX:
            raise InvalidArgument(
                f"there are {len(documents)} documents: give from 1 to {DOCUMENTS_MAX}", field="documents"
            )
        asked: dict[str, AskedSpec] = {}
        for number, raw in enumerate(documents):
            name = raw.get("endpoint")
            with _of_document(number, name if isinstance(name, str) else "", len(documents)):
                one = self._resolved(read_endpoint(raw))
                if one.endpoint in asked:
                    raise InvalidArgument(
                        "another document is of this endpoint too: give one of each", field="endpoint"
                    )
                asked[one.endpoint] = one
        return list(asked.values())

    def _resolved(self, values: Mapping[str, Any]) -> AskedSpec:
        if "experiment" in values:
            values = {**values, "experiment": self._with_versions(values, values["experiment"])}
        if "canary" in values:
            values = {
                **values,
                "canary": {**values["canary"], "version": self._numbers(values, [values["canary"]["version"]])[0]},
            }
        reference = values.get("follow") or values.get("version")
        if reference is None or not reference.startswith("@"):
            return AskedSpec(values)
        with self.store.reading() as tx:
            row = rows.get_endpoint(tx, values["endpoint"])
            if row is not None and row.follow is not None and f"@{row.follow.alias}" == values.get("follow"):
                return AskedSpec(values)
        return AskedSpec(values, named_version(self.endpoints.registry, self._model_of(values), reference))

    def _model_of(self, values: Mapping[str, Any]) -> str:
        with self.store.reading() as tx:
            row = rows.get_endpoint(tx, values["endpoint"])
            model = values.get("model") or (row.model if row is not None else "")
        if not model:
            raise InvalidArgument(
                f"endpoint {values['endpoint']!r} is new: say with 'model' what it serves", field="model"
            )
        return str(model)

    def _with_versions(self, values: Mapping[str, Any], experiment: Mapping[str, Any]) -> dict[str, Any]:
        """The experiment with the versions that the registry has for aliases now."""
        named = self._numbers(values, [experiment["control"], *experiment["treatments"]])
        return {**experiment, "control": named[0], "treatments": named[1:]}

    def _numbers(self, values: Mapping[str, Any], named: list[str]) -> list[str]:
        """Versions as the document names them, aliases by their numbers."""
        if not any(one.startswith("@") for one in named):
            return named
        model = self._model_of(values)
        return [str(named_version(self.endpoints.registry, model, one).version) for one in named]

    def _check_engine(self, asked: AskedSpec) -> None:
        """Whether replicas can be started where the document has them run, as a deployment asks."""
        with self.store.reading() as tx:
            row = rows.get_endpoint(tx, asked.endpoint)
            now = None if row is None else placement_request_of(row)
        wanted = placement_asked(asked) or now
        if wanted != now or now is None:
            self.endpoints.can_start(placed(wanted, self.endpoints.placement) if wanted else self.endpoints.placement)

    def _part(self, tx: Session, woken: list[Callable[[], None]], all_of: _Asked) -> _Part:
        def later(wake: Callable[[], None]) -> Callable[[], None]:
            return lambda: woken.append(wake)

        return _Part(
            tx,
            replace(self.endpoints, store=self.endpoints.store.joined(tx), changed=later(self.endpoints.changed)),
            replace(
                self.capture_rules, store=self.capture_rules.store.joined(tx), changed=later(self.capture_rules.changed)
            ),
            replace(self.monitoring, store=self.monitoring.store.joined(tx), wake=later(self.monitoring.wake)),
            replace(self.alert_rules, store=self.alert_rules.store.joined(tx), changed=later(self.alert_rules.changed)),
            replace(
                self.experiments,
                store=self.experiments.store.joined(tx),
                changed=later(self.experiments.changed),
                wake=later(self.experiments.wake),
            ),
            replace(
                self.canaries,
                store=self.canaries.store.joined(tx),
                changed=later(self.canaries.changed),
                wake=later(self.canaries.wake),
            ),
            replace(self.shadows, store=self.shadows.store.joined(tx), changed=later(self.shadows.changed)),
            all_of.expected_days,
            all_of.request,
        )


def _applied(part: _Part, asked: AskedSpec, applying: Applying) -> AppliedDocument:
    name, row = asked.endpoint, rows.get_endpoint(part.tx, asked.endpoint)
    before = None if row is None else facts_of(part.tx, row)
    generation = None if row is None else row.generation
    with _placed_in(("scaling", "placement", "serving")):
        row = apply_spec(part.tx, asked, applying)
    if row.generation != generation:
        part.endpoints.changed()
    for section, set_section in SECTIONS_SET.items():
        if section in asked.values:
            with _placed_in((section,)):
                set_section(part, name, asked.values[section], applying.who)
    changes = changes_of(before, facts_of(part.tx, row))
    outcome = "created" if before is None else "changed" if changes else "unchanged"
    return AppliedDocument(name, outcome, changes, outcomes_of(part.tx, row, asked.values))  # type: ignore[arg-type]


def _set_capture(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    part.capture_rules.set(endpoint, CaptureSettingsRequest(**values), who)


def _set_monitor(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    part.monitoring.configure(endpoint, MonitorRequest(**values), who, whole=True)


def _set_alerts(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    known = {type_: [action.key for action in rule.actions] for type_, rule in stored_rules(part.tx, endpoint).items()}
    everywhere = list(dict.fromkeys(key for keys in known.values() for key in keys))
    changes = []
    for type_, rule in values.items():
        own = [*known.get(type_, ())]
        actions = [_whole_action(text, own, everywhere) for text in rule["actions"]]
        threshold = -1.0 if rule["threshold"] is None else rule["threshold"]
        changes.append(AlertRule(type_, **{**rule, "actions": actions, "threshold": threshold}))
    part.alert_rules.change(endpoint, AlertRulesRequest(changes, reset=True), who)


def _set_experiment(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    past = Told(part.experiments.past.captured, part.experiments.clock, days=part.expected_days.get(endpoint))
    experiments = replace(part.experiments, past=past)
    set_experiment(part.tx, experiments, endpoint, values, who, accepted=part.request.accept_signature_change)


def _set_canary(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    steps = values["steps"]
    request = CanaryRequest(
        values["version"],
        steps["weights"],
        steps["every_s"],
        steps["guardrails"],
        accept_signature_change=part.request.accept_signature_change,
        end_automation=part.request.end_automation,
    )
    set_canary(part.tx, part.canaries, endpoint, request, who)


def _set_shadow(part: _Part, endpoint: str, values: Any, who: Principal) -> None:
    before = facts_of_decisions(part.tx, endpoint_or_raise(part.tx, endpoint))["shadow"]
    set_shadow(part.tx, part.shadows, endpoint, values, who)
    if facts_of_decisions(part.tx, endpoint_or_raise(part.tx, endpoint))["shadow"] != before:
        part.shadows.changed()


def _whole_action(text: str, own: list[str], everywhere: Sequence[str]) -> str:
    """An action as it is kept: one that is written as it is shown, without what is secret, is the one that is there.

    It is the rule's `own`, each meant once and in their order, or else the only one of all rules that is shown so.
    """
    mine = next((key for key in own if shown_action(key) == text), None)
    if mine is not None:
        own.remove(mine)
        return mine
    alike = [key for key in everywhere if shown_action(key) == text]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InvalidArgument(
            f"{text} may be one of {len(alike)} addresses that are set: write it whole", field="actions"
        )
    if text.endswith("…"):
        raise InvalidArgument(
            f"{text} is how an address is shown, without what is secret in it, and none like it is set here: write it "
            "whole",
            field="actions",
        )
    return read_action(text).key


SECTIONS_SET: Mapping[str, Section] = {
    "capture": _set_capture,
    "monitor": _set_monitor,
    "alerts": _set_alerts,
    "experiment": _set_experiment,
    "canary": _set_canary,
    "shadow": _set_shadow,
}


def _every(tx: Session) -> Iterator[EndpointRow]:
    after = ""
    while found := rows.page(tx, after, DOCUMENTS_MAX):
        yield from found
        after = found[-1].name


@contextmanager
def _placed_in(sections: Sequence[str]) -> Iterator[None]:
    """Have an error name the path of what it is about, rather than what services call that."""
    try:
        yield
    except InvalidArgument as error:
        path = path_of(str(error.details.get("field", "")), sections)
        if path and not error.message.startswith(path):
            error.details["field"] = path
            _say(error, f"{path}: {error.message}")
        raise


@contextmanager
def _of_document(number: int, endpoint: str, count: int) -> Iterator[None]:
    """Have an error say which of several documents it is about."""
    try:
        yield
    except TidegateError as error:
        error.details.setdefault("document", number)
        if count > 1:
            _say(error, f"document {number + 1}{f' ({endpoint})' if endpoint else ''}: {error.message}")
        raise


def _say(error: TidegateError, message: str) -> None:
    error.message, error.args = message, (message,)
