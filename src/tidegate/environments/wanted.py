"""Which environment a version needs: the one of this process, or one that is built for its requirements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidegate.environments.building import Environment, Environments
from tidegate.environments.requirements import Requirements, version_of
from tidegate.errors import EnvironmentFailed, PickleNotGranted
from tidegate.packaging import ModelSource
from tidegate.packaging.code import DISTRIBUTIONS
from tidegate.packaging.mlmodel import REQUIREMENTS

SKLEARN = "scikit-learn"
_MINOR = re.compile(r"\d+\.\d+")
_WHEELS_ONLY = "--only-binary=numpy,scipy,pandas,scikit-learn"
"""Building these from source takes a compiler and most of an hour: no wheel for this Python is a plain refusal."""


def requirements_of(source: ModelSource, given: str | None, granted: bool) -> Requirements | None:
    """The requirements that this process's environment does not meet; None when it meets them all.

    Looked at are those that a person gave (`--requirements`, a Python folder's own), those that MLflow recorded for a
    model that loads as code (exact pins count for their minor version then), and the scikit-learn that a pickle or a
    skops file was saved with. Raises `PickleNotGranted` where an environment would be built for a model that was
    granted no code.
    """
    wanted = _declared(source, given)
    saved = _other_sklearn(source, wanted)
    if saved is not None:
        libraries = sorted(_libraries(source))
        wanted = (wanted or Requirements(())).plus(_WHEELS_ONLY, f"{SKLEARN}=={saved}.*", "pandas", *libraries)
    unmet = wanted.relaxed().unmet() if wanted and given is None and source.format == "mlflow" else None
    unmet = wanted.unmet() if wanted and unmet is None else unmet
    if not wanted or not unmet:
        return None
    if not granted:
        why = f"the requirements of {source.filename!r} do not fit this server ({', '.join(unmet)})"
        if saved is not None:
            why = f"{source.filename!r} was saved with scikit-learn {saved}, this server has {version_of(SKLEARN)}"
        raise PickleNotGranted(
            f"{why}, and an environment of its own runs the code of the packages in it. If you trust them, allow it "
            "with --allow-pickle",
            requirements=unmet,
        )
    return wanted


@contextmanager
def environment(
    environments: Environments, wanted: Requirements | None, source: ModelSource, on_step: Callable[[str], None]
) -> Iterator[Environment | None]:
    """The environment of these requirements; None for none. Raises `EnvironmentFailed`, with the reason to have one."""
    if wanted is None:
        yield None
        return
    try:
        with environments.lease(wanted, lambda step: on_step(f"building its environment: {step}")) as found:
            yield found
    except EnvironmentFailed as error:
        raise _with_reason(source, error) from error


def _with_reason(source: ModelSource, error: EnvironmentFailed) -> EnvironmentFailed:
    """The same error, and why an environment was wanted at all, for a model of another scikit-learn."""
    saved = _other_sklearn(source, None)
    if saved is None:
        return error
    return EnvironmentFailed(
        f"{source.filename!r} was saved with scikit-learn {saved} and this server has {version_of(SKLEARN)}: another "
        f"minor version may answer differently without saying so, so it is not loaded here; {error.message}",
        **error.details,
    )


def _declared(source: ModelSource, given: str | None) -> Requirements | None:
    folder = source.path if source.path.is_dir() else None
    if given is not None:
        return Requirements.read(given, folder)
    file = source.path / REQUIREMENTS
    is_code = source.format == "python" or (source.format == "mlflow" and source.needs_pickle_grant)
    if not is_code or not file.is_file():
        return None
    return Requirements.read(file.read_text(encoding="utf-8", errors="replace"), folder)


def _other_sklearn(source: ModelSource, wanted: Requirements | None) -> str | None:
    """The minor version that a pickle was saved with, where it is one, not the one here, and nobody asked for one."""
    saved = {match[0] for version in _saved(source) if (match := _MINOR.match(version))}
    here = _MINOR.match(version_of(SKLEARN) or "")
    if len(saved) != 1 or here is None or saved == {here[0]} or (wanted is not None and wanted.names(SKLEARN)):
        return None
    return saved.pop()


def _saved(source: ModelSource) -> frozenset[str]:
    return source.scan.sklearn_versions if source.scan is not None else source.sklearn_versions


def _libraries(source: ModelSource) -> set[str]:
    """What else the pickle names, of the libraries that models are made with; what a skops file is read with."""
    if source.sklearn_versions:
        return {"skops"}
    tops = {module.partition(".")[0] for module, _ in source.scan.globals} if source.scan is not None else set()
    return {DISTRIBUTIONS[top] for top in tops if top in DISTRIBUTIONS} - {SKLEARN, "numpy", "scipy", "pandas"}
