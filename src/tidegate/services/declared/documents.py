"""Makes endpoints as documents say, all of them in one transaction or none, and writes down what they are.

Each part is set by the use case that people have for it, so that checks, history, audit and alerts are those of a
change by hand. A dry run is the same transaction, taken back at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.declared.changes import changes_of
from tidegate.core.declared.endpoint import path_of, read_endpoint
from tidegate.core.engines.placement import placed
from tidegate.core.manifests.served import ServedRequest
from tidegate.errors import InvalidArgument, TidegateError, UnknownModel, UnknownVersion
from tidegate.services.declared.decisions import (
    outcomes_of,
    planned_days,
)
from tidegate.services.declared.facts import document_of, facts_of
from tidegate.services.declared.manifests import Manifests
from tidegate.services.declared.sections import SECTIONS_SET, ApplyPart
from tidegate.services.declared.spec import Applying, AskedSpec, apply_spec, placement_asked
from tidegate.services.declared.use_cases import UseCases
from tidegate.services.endpoints.deploy_requests import named_version
from tidegate.services.reading.lookup import endpoint_or_raise, in_registry
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.fleet.fleet import placement_request_of
from tidegate.store.tables import EndpointRow
from tidegate.wire.endpoints.declared import DOCUMENTS_MAX, AppliedDocument, ApplyAnswer, ApplyRequest, ExportAnswer


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


@dataclass(frozen=True)
class Documents:
    """The use cases of the API."""

    store: Store
    uses: UseCases
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
                    "--version and --autoscaler are of manifests: give --format kubernetes, ecs or cloudrun",
                    field="format",
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
                    found = planned_days(self.uses.experiments, one.endpoint, one.values["experiment"])
                    expected_days[one.endpoint] = found
        woken: list[Callable[[], None]] = []
        try:
            done = self._in_one_transaction(_Asked(asked, expected_days, request, who), woken)
        except _TakenBack as dry:
            return ApplyAnswer(dry.done, dry_run=True)
        except (UnknownModel, UnknownVersion) as error:  # the registry is not asked within a transaction
            model, version = error.details.get("model", ""), error.details.get("version")
            raise in_registry(self.uses.endpoints.registry, model, version, error) from error
        for wake in dict.fromkeys(woken):
            wake()
        return ApplyAnswer(done)

    def _in_one_transaction(self, all_of: _Asked, woken: list[Callable[[], None]]) -> list[AppliedDocument]:
        done: list[AppliedDocument] = []
        asked, request = all_of.documents, all_of.request
        with self.store.transaction() as tx:
            uses = self.uses.joined(tx, lambda wake: lambda: woken.append(wake))
            part = ApplyPart(tx, uses, all_of.expected_days, request)
            applying = Applying(part.uses.endpoints, request, all_of.who)
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
        return AskedSpec(values, named_version(self.uses.endpoints.registry, self._model_of(values), reference))

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
        return [str(named_version(self.uses.endpoints.registry, model, one).version) for one in named]

    def _check_engine(self, asked: AskedSpec) -> None:
        """Whether replicas can be started where the document has them run, as a deployment asks."""
        with self.store.reading() as tx:
            row = rows.get_endpoint(tx, asked.endpoint)
            now = None if row is None else placement_request_of(row)
        wanted = placement_asked(asked) or now
        if wanted != now or now is None:
            usual = self.uses.endpoints.placement
            self.uses.endpoints.can_start(placed(wanted, usual) if wanted else usual)


def _applied(part: ApplyPart, asked: AskedSpec, applying: Applying) -> AppliedDocument:
    name, row = asked.endpoint, rows.get_endpoint(part.tx, asked.endpoint)
    before = None if row is None else facts_of(part.tx, row)
    generation = None if row is None else row.generation
    with _placed_in(("scaling", "placement", "serving")):
        row = apply_spec(part.tx, asked, applying)
    if row.generation != generation:
        part.uses.endpoints.changed()
    for section, set_section in SECTIONS_SET.items():
        if section in asked.values:
            with _placed_in((section,)):
                set_section(part, name, asked.values[section], applying.who)
    changes = changes_of(before, facts_of(part.tx, row))
    outcome = "created" if before is None else "changed" if changes else "unchanged"
    return AppliedDocument(name, outcome, changes, outcomes_of(part.tx, row, asked.values))  # type: ignore[arg-type]


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
