"""Imports MLflow whole or not at all. Called once by the registry's adapter, under its lock.

An import that is cut off half-way (no file descriptor left) leaves modules behind whose package is gone; later imports
find those, and never work again. So what it left is taken out, and the next attempt begins anew.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from tidegate.errors import RegistryUnavailable
from tidegate.system.exhaustion import exhausted

if TYPE_CHECKING:
    from mlflow import MlflowClient

LATER = (
    "mlflow.artifacts",
    "mlflow.store.artifact.artifact_repository_registry",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""What its client imports by itself when it is first used: there may be no descriptors left by then."""


def import_first() -> None:
    """NumPy, at the process's start: an import of it that fails half-way can never be made again in that process."""
    import_module("numpy")


def mlflow_client() -> type[MlflowClient]:
    """The class of its client. Raises `RegistryUnavailable` where the machine could not give what the import takes."""
    before = set(sys.modules)
    try:
        for name in LATER:
            import_module(name)
        return import_module("mlflow").MlflowClient  # type: ignore[no-any-return]
    except Exception as error:
        _take_out(before)
        here = exhausted(error)
        if here is None:
            raise
        raise RegistryUnavailable(f"MLflow could not be imported: {here.message}") from error


def _take_out(before: set[str]) -> None:
    """Of what was imported since: MLflow's own modules, and those of packages that did not get to their end."""
    for name in set(sys.modules) - before:
        package = name.partition(".")[0]
        if package == "mlflow" or package not in sys.modules or _lost_a_parent(name):
            sys.modules.pop(name, None)


def _lost_a_parent(name: str) -> bool:
    parent = name.rpartition(".")[0]
    return bool(parent) and (parent not in sys.modules or _lost_a_parent(parent))
