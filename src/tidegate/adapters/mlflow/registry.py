"""The registry on MLflow: its client, embedded on SQLite or talking to a server. `importing.py` imports it.

The import takes seconds, so it happens on first use, or early in the background through `warm`.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.adapters.mlflow.failures import (
    NOT_THERE,
    REFUSED,
    artifact_failures,
    code_of,
    place_of,
    registry_failures,
    short,
)
from tidegate.adapters.mlflow.importing import import_first, mlflow_client
from tidegate.adapters.mlflow.sources import Stores, folder_of_experiments
from tidegate.adapters.mlflow.undo import Undo, undo_on_failure
from tidegate.core.ports import NewRegistryVersion, RegistryVersion
from tidegate.errors import InvalidArgument, UnknownVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_log = logging.getLogger(__name__)

DIGEST_TAG, LABEL_TAG, CREATED_TAG = "tidegate.digest", "tidegate.label", "tidegate.created"
EXPERIMENT, DEFAULT_EXPERIMENT_ID = "tidegate", "0"
ARTIFACT_PATH = "model"
_PROCESS_WIDE = {
    # MLflow reads these when it is imported or makes a request; a user's own value wins.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    # boto3's own bounds for an S3 server that does not answer: 3 s to connect rather than a minute, 3 attempts.
    "AWS_DEFAULTS_MODE": "standard",
}
PROBE = "tidegate-probe"
"""A path that no run has: listing it costs the artifact store one small question."""


class MlflowRegistry:
    """`Registry` on MLflow. Safe to share between threads."""

    def __init__(self, tracking_uri: str, artifact_location: str | None, s3_endpoint: str | None = None) -> None:
        self._uri, self._artifact_location, self._s3_endpoint = tracking_uri, artifact_location, s3_endpoint
        self._lock = threading.Lock()
        self._client_made: MlflowClient | None = None

    @property
    def where(self) -> str:
        """As people know it, without passwords."""
        if self._artifact_location is not None:
            return "embedded MLflow"
        s3 = f", S3 at {place_of(self._s3_endpoint)}" if self._s3_endpoint else ""
        return f"MLflow at {place_of(self._uri)}{s3}"

    @classmethod
    def embedded(cls, data_dir: Path) -> MlflowRegistry:
        """On SQLite in the data directory, artifacts beside it."""
        return cls(f"sqlite:///{data_dir / 'mlflow.db'}", (data_dir / "mlflow-artifacts").as_uri())

    @classmethod
    def remote(cls, tracking_uri: str, s3_endpoint: str | None = None) -> MlflowRegistry:
        """On a server, which decides where artifacts lie. MLflow's client reads the S3 endpoint's variable itself."""
        return cls(tracking_uri, None, s3_endpoint)

    def warm(self) -> threading.Thread:
        """Import and connect in the background, so that the first use is quick; a failure shows at that use."""
        import_first()
        thread = threading.Thread(target=self._warm, name="mlflow-warm", daemon=True)
        thread.start()
        return thread

    def check(self) -> None:
        with self._client() as client:
            client.search_registered_models(max_results=1)
            root = self._artifact_root(client)
            if root is not None:
                from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

                with artifact_failures("its artifacts", root):
                    get_artifact_repository(root).list_artifacts(PROBE)

    def create_version(self, new: NewRegistryVersion) -> RegistryVersion:
        """Raises `InvalidArgument` for an unknown run, `DiskFull`, `RegistryUnavailable`; leaves nothing half-made."""
        with self._client() as client:
            known = self._with_digest(client, new.name, new.digest)
            if known is not None:
                return known
            with undo_on_failure() as undo:
                source, run_id = self._log_package(client, new, undo)
                return self._create(client, new, (source, run_id), undo)

    def get_version(self, name: str, version: str) -> RegistryVersion:
        if self._is_empty():
            raise UnknownVersion(f"the registry has no version {version!r} of model {name!r}")
        with self._client() as client:
            try:
                return _entry(client.get_model_version(name, version))
            except Exception as error:
                if code_of(error) in (*NOT_THERE, *REFUSED):
                    raise UnknownVersion(f"the registry has no version {version!r} of model {name!r}") from error
                raise

    def versions(self, name: str) -> list[RegistryVersion]:
        if self._is_empty():
            return []
        with self._client() as client:
            found = self._search(client, name)
            aliases = self._aliases(client, name) if found else {}
        entries = [_entry(version, aliases) for version in found]
        return sorted(entries, key=lambda entry: -int(entry.version))

    def version_of_alias(self, name: str, alias: str) -> RegistryVersion:
        with self._client() as client:
            aliases = self._aliases(client, name)
            number = next((number for number, names in aliases.items() if alias in names), None)
            if number is None:
                known = sorted(alias for names in aliases.values() for alias in names)
                how = f"'tidegate models alias {name} {alias} VERSION' sets it"
                raise UnknownVersion(
                    f"model {name!r} has no alias {alias!r}: {how}"
                    + (f"; there are {', '.join(known)}" if known else ""),
                    model=name,
                    alias=alias,
                )
            return _entry(client.get_model_version(name, number), aliases)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Raises `UnknownVersion`, and `InvalidArgument` for an alias that MLflow does not take (`v1`, `latest`)."""
        with self._client() as client:
            try:
                client.set_registered_model_alias(name, alias, version)
            except Exception as error:
                if code_of(error) in REFUSED:
                    raise InvalidArgument(
                        f"the registry does not take alias {alias!r}: {error}", field="alias"
                    ) from error
                if code_of(error) in NOT_THERE:
                    raise UnknownVersion(f"the registry has no version {version} of model {name!r}") from error
                raise

    def delete_alias(self, name: str, alias: str) -> None:
        with self._client() as client:
            client.delete_registered_model_alias(name, alias)

    def check_run(self, run_id: str) -> None:
        with self._client() as client:
            self._run(client, run_id)

    def set_tags(self, name: str, version: str, tags: dict[str, str]) -> None:
        with self._client() as client:
            for key, value in tags.items():
                client.set_model_version_tag(name, version, key, value)

    def fetch(self, uri: str, into: Path) -> RegistryVersion | None:
        with self._client() as client:
            if uri.startswith("models:/"):
                entry = self._of_uri(uri)
                source = client.get_model_version_download_uri(entry.name, entry.version)
                self._download(client, source, into, uri)
                return entry
            if uri.startswith("runs:/") and "/" in uri.removeprefix("runs:/").strip("/"):
                self._download(client, uri, into, uri)
                return None
        raise InvalidArgument(
            f"uri {uri!r} cannot be read: give models:/NAME/VERSION, models:/NAME@ALIAS or runs:/ID/PATH", field="uri"
        )

    def delete_version(self, name: str, version: str) -> None:
        """Also removes the run and artifacts that `create_version` made for it, and a model left without versions."""
        with self._client() as client:
            try:
                entry = client.get_model_version(name, version)
                client.delete_model_version(name, version)
            except Exception as error:
                if code_of(error) in NOT_THERE:
                    return
                raise
            self._remove_own_run(client, entry)
            if not self._search(client, name):
                self._remove_own_model(client, name)

    def delete_model(self, name: str) -> None:
        with self._client() as client:
            versions = self._search(client, name)
            try:
                client.delete_registered_model(name)
            except Exception as error:
                if code_of(error) not in NOT_THERE:
                    raise
            for version in versions:
                self._remove_own_run(client, version)

    def _is_empty(self) -> bool:
        """Of the embedded one: its database, which takes seconds to make, is not there yet."""
        return self._artifact_location is not None and not Path(self._uri.removeprefix("sqlite:///")).exists()

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        """The connected client; whatever MLflow, its database or its transport raises becomes one of ours."""
        with registry_failures(self.where):
            yield self._connect()

    def _warm(self) -> None:
        try:
            with self._client():
                _log.debug("the model registry is there")
        except Exception as error:
            _log.warning("the model registry is not there yet: %s", error)

    def _connect(self) -> MlflowClient:
        with self._lock:
            if self._client_made is None:
                self._client_made = self._connect_first()
            return self._client_made

    def _connect_first(self) -> MlflowClient:
        for name, value in _PROCESS_WIDE.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow's own dependencies, at import: nothing a user can act on
            client = mlflow_client()(tracking_uri=self._uri, registry_uri=self._uri)
            if self._artifact_location is not None:
                self._experiment(client)  # makes the database, which takes a while
                Path(self._uri.removeprefix("sqlite:///")).chmod(0o600)
        return client

    def _experiment(self, client: MlflowClient) -> str:
        """Of the runs that packages are logged to; made when it is first needed, which a server may not allow."""
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(client.create_experiment(EXPERIMENT, artifact_location=self._artifact_location))

    def _artifact_root(self, client: MlflowClient) -> str | None:
        """Where runs of an experiment keep their files; None where this user may see none."""
        try:
            found = client.get_experiment_by_name(EXPERIMENT) or client.get_experiment(DEFAULT_EXPERIMENT_ID)
        except Exception as error:
            if code_of(error) in (*NOT_THERE, "PERMISSION_DENIED"):
                return None
            raise
        return str(found.artifact_location)

    def _with_digest(self, client: MlflowClient, name: str, digest: str) -> RegistryVersion | None:
        matching = [version for version in self._search(client, name) if version.tags.get(DIGEST_TAG) == digest]
        return _entry(matching[0]) if matching else None

    def _search(self, client: MlflowClient, name: str) -> list[ModelVersion]:
        if "'" in name:  # it would end the filter's string
            raise InvalidArgument(f"model name {name!r} is not allowed", field="model")
        found: list[ModelVersion] = []
        token = None
        while token != "":
            page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
            found += page
            token = page.token or ""
        return found

    def _aliases(self, client: MlflowClient, name: str) -> dict[str, tuple[str, ...]]:
        try:
            aliases = client.get_registered_model(name).aliases
        except Exception as error:
            if code_of(error) in NOT_THERE:
                return {}
            raise
        by_version: dict[str, tuple[str, ...]] = {}
        for alias, version in sorted(aliases.items()):
            by_version[str(version)] = (*by_version.get(str(version), ()), alias)
        return by_version

    def _log_package(self, client: MlflowClient, new: NewRegistryVersion, undo: Undo) -> tuple[str, str]:
        """Upload the package to the run given, or to a new one; where it lies now and the run."""
        if new.run_id is None:
            run = client.create_run(self._experiment(client), run_name=f"register-{new.name}")
            undo.add(lambda: self._remove_run(client, run.info.run_id, ARTIFACT_PATH))
            path = ARTIFACT_PATH
        else:
            run = self._run(client, new.run_id)
            path = f"tidegate-{new.digest[:16]}"
            undo.add(lambda: self._remove_artifacts(client, run.info.run_id, path))
        with artifact_failures(f"model {new.name!r}", run.info.artifact_uri):
            client.log_artifacts(run.info.run_id, str(new.package_dir), path)
        if new.run_id is None:
            client.set_terminated(run.info.run_id)
        return f"{run.info.artifact_uri}/{path}", run.info.run_id

    def _run(self, client: MlflowClient, run_id: str) -> Any:
        try:
            return client.get_run(run_id)
        except Exception as error:
            if code_of(error) in (*NOT_THERE, *REFUSED):
                raise InvalidArgument(f"the registry has no run {run_id!r}", field="run_id") from error
            raise

    def _create(
        self, client: MlflowClient, new: NewRegistryVersion, source: tuple[str, str], undo: Undo
    ) -> RegistryVersion:
        self._ensure_model(client, new.name, undo)
        tags = new.tags | {DIGEST_TAG: new.digest} | ({LABEL_TAG: new.label} if new.label else {})
        tags |= {CREATED_TAG: "version" if new.run_id else "version+run"}
        uri, run_id = source
        version = client.create_model_version(
            new.name, source=uri, run_id=run_id, tags=tags, description=new.description or None
        )
        return _entry(version)

    def _ensure_model(self, client: MlflowClient, name: str, undo: Undo) -> None:
        try:
            client.create_registered_model(name, tags={CREATED_TAG: "model"})
        except Exception as error:
            if code_of(error) != "RESOURCE_ALREADY_EXISTS":
                raise
        else:
            undo.add(lambda: client.delete_registered_model(name))

    def _of_uri(self, uri: str) -> RegistryVersion:
        rest = uri.removeprefix("models:/").strip("/")
        name, at, alias = rest.partition("@")
        if at:
            return self.version_of_alias(name, alias)
        name, _slash, version = rest.rpartition("/")
        if not name or not version.isdigit():
            raise InvalidArgument(
                f"uri {uri!r} names no version: give models:/NAME/3 or models:/NAME@ALIAS", field="uri"
            )
        return self.get_version(name, version)

    def _download(self, client: MlflowClient, source: str, into: Path, uri: str) -> None:
        """Download a folder's content straight into `into`."""
        from mlflow.artifacts import download_artifacts

        try:
            root = self._artifact_location or folder_of_experiments(self._artifact_root(client))
            source = Stores(self._uri, root).check(client, source, uri)
        except Exception as error:
            if code_of(error) in (*NOT_THERE, *REFUSED):
                raise UnknownVersion(f"nothing lies at {uri}: {short(error)}") from error
            raise
        with tempfile.TemporaryDirectory(dir=into.parent) as scratch, artifact_failures(uri, source):
            got = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=self._uri))
            if not got.is_dir():
                raise InvalidArgument(f"{uri} is a file, not an MLflow model directory", field="uri")
            for item in got.iterdir():
                shutil.move(item, into / item.name)

    def _remove_own_run(self, client: MlflowClient, version: ModelVersion) -> None:
        if version.tags.get(CREATED_TAG) == "version+run" and version.run_id:
            self._remove_run(client, version.run_id, ARTIFACT_PATH)

    def _remove_own_model(self, client: MlflowClient, name: str) -> None:
        if client.get_registered_model(name).tags.get(CREATED_TAG) == "model":
            client.delete_registered_model(name)

    def _remove_run(self, client: MlflowClient, run_id: str, path: str) -> None:
        self._remove_artifacts(client, run_id, path)
        client.delete_run(run_id)

    def _remove_artifacts(self, client: MlflowClient, run_id: str, path: str) -> None:
        """Deleting a run leaves its files where they are; nothing else would ever free that space."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts(path)  # type: ignore[no-untyped-call]
        except Exception as error:  # a store that cannot delete: the version is gone all the same
            _log.warning("artifacts of run %s stay: %s", run_id, short(error))


def _entry(version: ModelVersion, aliases: dict[str, tuple[str, ...]] | None = None) -> RegistryVersion:
    number = str(version.version)
    return RegistryVersion(
        name=version.name,
        version=number,
        run_id=version.run_id or None,
        tags=dict(version.tags),
        aliases=tuple(version.aliases or ()) if aliases is None else aliases.get(number, ()),
        description=version.description or "",
    )
