"""What people do with models and versions: list, trust, alias, delete. How they are taken in: `intake.py`.

The registry (MLflow) numbers versions and holds aliases; rows, manifests and artifacts here are what serving needs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy.orm import Session, make_transient

from tidegate.adapters.artifacts.store import ManifestFiles
from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.names import check_name
from tidegate.core.ports import ArtifactStore, Registry
from tidegate.environments import Environments
from tidegate.errors import RegistryUnavailable, UnknownModel, UnknownVersion
from tidegate.services.audit import outside_audited, version_change, version_facts
from tidegate.services.models.in_use import check_no_endpoint, check_unused
from tidegate.services.reading import views
from tidegate.services.reading.lookup import in_registry, model_or_raise, version_or_raise
from tidegate.services.reading.pages import rows_that_fit
from tidegate.store import audit
from tidegate.store.database.engine import Store
from tidegate.store.models import models as rows
from tidegate.store.models.pushed_images import forget_pushed
from tidegate.store.monitoring import forget_baselines
from tidegate.store.tables import ModelRow, VersionRow
from tidegate.wire import rest

NEWEST, VERSIONS_OF_A_PAGE_MAX = 20, 2000
"""Of each model in a list, and of all models of a page together."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The use cases. `files` guards artifact directories: one that is being adopted cannot be removed meanwhile.

    A job's writer may have been replaced: what changes files first asks the store's fence.
    `changed` wakes the loop that follows aliases.
    """

    store: Store
    registry: Registry
    artifacts: ArtifactStore
    manifests: ManifestFiles
    clock: Clock
    environments: Environments
    files: AbstractContextManager[object] = field(default_factory=threading.Lock)
    changed: Callable[[], None] = lambda: None

    def page(
        self, rows_max: int, cursor: str | None = None, newest: int = NEWEST, *, in_short: bool = False
    ) -> tuple[list[rest.Model], str | None]:
        """Up to so many models by name after the cursor, and the cursor of the next page, None after the last.

        With the `newest` versions of each, `in_short` without what is large of them; fewer models where these are more
        than `VERSIONS_OF_A_PAGE_MAX`.
        """
        with self.store.reading() as tx:
            models = rows.page(tx, cursor or "", rows_max + 1)
            counts = rows.version_counts(tx, [model.name for model in models])
            shown = [min(counts.get(model.name, 0), newest) for model in models[:rows_max]]
            fitting = rows_that_fit(shown, VERSIONS_OF_A_PAGE_MAX)
            more, models = len(models) > fitting, models[:fitting]
            versions = rows.newest_by_model(tx, [model.name for model in models], newest, in_short=in_short)
        aliases = self._aliases([model.name for model in models if model.name in versions])
        listed = [
            replace(
                views.model_view(row, versions.get(row.name, []), aliases.get(row.name, {}), in_short=in_short),
                version_count=counts.get(row.name, 0),
            )
            for row in models
        ]
        return listed, listed[-1].name if more else None

    def get(self, name: str, *, in_short: bool = False) -> rest.Model:
        """With all of its versions. Raises `UnknownModel`."""
        with self.store.reading() as tx:
            model, versions = model_or_raise(tx, name), rows.versions_of(tx, name)
        aliases = self._aliases([name] if versions else [])
        return views.model_view(model, versions, aliases.get(name, {}), in_short=in_short)

    def version(self, name: str, reference: str) -> rest.Version:
        """One version by number, label, `latest` or `@alias`. Raises `UnknownModel`, `UnknownVersion`."""
        row = self._find(name, reference)
        return views.version_view(row, self._aliases([name]).get(name, {}).get(row.version, ()))

    def trust(self, name: str, request: rest.TrustRequest, who: Principal) -> rest.Model:
        """Grant (or withdraw) pickles for versions of this name to come; a name may be trusted before it is used."""
        check_name(name, "model")
        with self.store.transaction() as tx:
            row = found_or_new(tx, name, self.clock())
            if row.pickle_trusted != request.pickle:
                self._record(
                    tx,
                    who,
                    audit.AuditedChange("trust", "model", name, {"pickle": (not request.pickle, request.pickle)}),
                )
            row.pickle_trusted = request.pickle
        self.changed()
        return self.get(name)

    def set_alias(self, name: str, alias: str, request: rest.AliasRequest, who: Principal) -> rest.Model:
        """Point an alias at a version. Raises `UnknownModel`, `UnknownVersion`, `InvalidArgument`.

        The registry is in no transaction of ours: what is audited first is that it was asked, then what came of it.
        """
        row = self._find(name, request.version)
        named = [number for number, aliases in self._aliases([name]).get(name, {}).items() if alias in aliases]
        change = audit.AuditedChange("alias", "model", name, {f"@{alias}": (next(iter(named), None), row.version)})
        with outside_audited(self.store, change, who, self.clock):
            self.registry.set_alias(name, alias, row.version)
        self.changed()
        return self.get(name)

    def _record(self, tx: Session, who: Principal, change: audit.AuditedChange) -> None:
        audit.record(tx, who, self.clock(), change)

    def delete_version(self, name: str, reference: str, who: Principal) -> None:
        """Remove one version here and from the registry. Raises `InUse` while an endpoint uses it."""
        number = self._find(name, reference).version
        with self.files:
            with self.store.transaction() as tx:
                row = rows.get_version(tx, name, number)
                if row is None:
                    return
                check_unused(tx, name, number)
                forget_baselines(tx, name, number)
                forget_pushed(tx, name, number)
                tx.delete(row)
                change = version_change("delete", row, before=version_facts(row))
                self._record(tx, who, change)
            # After the row: an endpoint can no longer take the version, so the registry loses none that is in use.
            with self._put_back([row], who, change):
                self.registry.delete_version(name, number)
            self._remove_files([row])

    def delete(self, name: str, who: Principal) -> None:
        """Remove a model with all its versions. Raises `UnknownModel`, and `InUse` while an endpoint serves it."""
        with self.files:
            with self.store.transaction() as tx:
                model = model_or_raise(tx, name)
                check_no_endpoint(tx, name)
                forget_baselines(tx, name)
                forget_pushed(tx, name)
                versions = rows.versions_of(tx, name)
                for version in versions:
                    tx.delete(version)
                tx.flush()
                tx.delete(model)
                held = {"versions": ([version.version for version in versions], None)}
                change = audit.AuditedChange("delete", "model", name, held)
                self._record(tx, who, change)
            with self._put_back([model, *versions], who, change):
                self.registry.delete_model(name)
            self._remove_files(versions)

    @contextmanager
    def _put_back(self, removed: list[Any], who: Principal, change: audit.AuditedChange) -> Iterator[None]:
        """Write rows that were deleted again when what follows fails: the caller can then delete once more."""
        try:
            yield
        except BaseException:
            with self.store.transaction() as tx:
                for row in removed:
                    make_transient(row)
                    tx.add(row)
                    tx.flush()
                self._record(tx, who, replace(change, outcome="failed", note="put back"))
            raise

    def known(self, name: str, digest: str) -> rest.Version | None:
        """The version this model already has of these bytes."""
        with self.store.reading() as tx:
            row = rows.version_by_digest(tx, name, digest)
            return None if row is None else views.version_view(row)

    def pickle_trusted(self, name: str) -> bool:
        """Whether versions of this name may load pickles without a grant of their own."""
        with self.store.reading() as tx:
            row = rows.get_model(tx, name)
            return row is not None and row.pickle_trusted

    def _find(self, name: str, reference: str) -> VersionRow:
        check_name(name, "model")
        if reference.startswith("@"):
            reference = self.registry.version_of_alias(name, reference[1:]).version
        try:
            with self.store.reading() as tx:
                return version_or_raise(tx, name, reference)
        except (UnknownModel, UnknownVersion) as error:
            raise in_registry(self.registry, name, reference, error) from error

    def _aliases(self, names: list[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        """Aliases by model and version number. A registry that does not answer costs the aliases, not the list."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        try:
            for name in names:
                found[name] = {version.version: version.aliases for version in self.registry.versions(name)}
        except RegistryUnavailable as error:
            _log.warning("models are shown without their aliases: %s", error)
        return found

    def _remove_files(self, versions: list[VersionRow]) -> None:
        with self.store.reading() as tx:
            unused = {row.digest for row in versions if not rows.digest_in_use(tx, row.digest)}
        for row in versions:
            self.manifests.delete(row.model, row.version)
        for digest in unused:
            self.artifacts.delete(digest)
        self._remove_environments()

    def _remove_environments(self) -> None:
        """Those that no version names any more. A manifest that cannot be read may name any: then all stay."""
        try:
            self.environments.remove_unused(self.manifests.environments())
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("no environment is removed: %s", error)


def found_or_new(tx: Session, name: str, now: float) -> ModelRow:
    """A model's row, added where there is none yet."""
    row = rows.get_model(tx, name)
    if row is None:
        row = ModelRow(name=name, description="", pickle_trusted=False, created_at=now)
        tx.add(row)
    return row
