"""Where a registry's versions may be read from: its own stores, and nothing else that the platform can reach.

Whoever may write to the registry names a version's source: a folder of this machine, or any address that the platform's
own credentials open. Called by `registry.py` before anything is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from tidegate.adapters.mlflow.failures import place_of
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STEPS_MAX = 4
_LOCAL = ("", "file")


@dataclass(frozen=True)
class Stores:
    """`root` is the folder, of a disk or a bucket, of all experiments' files; None: unknown."""

    tracking_uri: str
    root: str | None

    def check(self, client: MlflowClient, source: str, uri: str) -> str:
        """The place that `source` leads to, which lies in a store of the registry; raises `InvalidArgument` else."""
        place = _resolved(client, source)
        if not self._holds(place):
            raise InvalidArgument(
                f"{uri} lies at {place_of(place)}, which is not in the registry's own store of artifacts: log the "
                "model to a run of an experiment there",
                field="uri",
            )
        return place

    def _holds(self, place: str) -> bool:
        parts = urlsplit(place)
        if parts.scheme in _LOCAL:
            return self._holds_path(_local_path(place))
        if parts.scheme in ("http", "https", "mlflow-artifacts"):
            own = urlsplit(self.tracking_uri)
            through_server = parts.scheme == "mlflow-artifacts" and parts.netloc in ("", own.netloc)
            return through_server or _origin(parts) == _origin(own)
        return self.root is not None and _lies_in(parts, urlsplit(self.root))

    def _holds_path(self, path: Path) -> bool:
        """Whether the folder, and every link in it, stays in the folder of the registry's experiments."""
        if self.root is None or urlsplit(self.root).scheme not in _LOCAL:
            return False
        home = _local_path(self.root).resolve()
        if home == home.parent:  # the whole disk is no store
            return False
        return all(found.resolve().is_relative_to(home) for found in _with_links(path))


def folder_of_experiments(location: str | None) -> str | None:
    """Where a server keeps all experiments, of one of which this is the location: its last part is the experiment's."""
    return None if location is None else location.rstrip("/").rpartition("/")[0] or "/"


def _resolved(client: MlflowClient, source: str) -> str:
    """`runs:/ID/PATH` and `models:/ID` as the places they stand for."""
    for _ in range(_STEPS_MAX):
        if source.startswith("runs:/"):
            run_id, _slash, path = source.removeprefix("runs:/").strip("/").partition("/")
            source = f"{client.get_run(run_id).info.artifact_uri.rstrip('/')}/{path}"
        elif source.startswith("models:/"):
            source = _of_model(client, source.removeprefix("models:/").strip("/"))
        else:
            return source
    raise InvalidArgument(f"{source} leads from one version to the next: name the first of them", field="uri")


def _of_model(client: MlflowClient, rest: str) -> str:
    name, _slash, version = rest.rpartition("/")
    if name:
        return str(client.get_model_version_download_uri(name, version))
    return str(client.get_logged_model(rest).artifact_location)


def _local_path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


def _with_links(path: Path) -> Iterator[Path]:
    """The path itself, and then the links below it: what lies elsewhere, such as the whole disk, is never walked."""
    yield path
    for folder, folders, files in os.walk(path):
        yield from (child for name in (*folders, *files) if (child := Path(folder, name)).is_symlink())


def _lies_in(place: SplitResult, root: SplitResult) -> bool:
    """Whether it is the bucket's folder of all experiments, or below it: the rest of a bucket may be anybody's."""
    steps, to_root = (unquote(parts.path).strip("/").split("/") for parts in (place, root))
    below = to_root == [""] or steps[: len(to_root)] == to_root
    return _origin(place) == _origin(root) and below and not {".", ".."} & set(steps)


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2]
