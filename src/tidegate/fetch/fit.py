"""Whether a version can be loaded by the Python and the libraries here, which are not those it passed its gate on.

A faster form needs no more than every Tidegate has. An original needs its framework, and one that was pickled needs it
as it was: objects of another release may load, and answer otherwise.
"""

from __future__ import annotations

import sys
from importlib import metadata

from tidegate.errors import MissingLibrary, ModelLoadFailed
from tidegate.wire.replicas.manifest import Manifest

DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "skops": "scikit-learn",
    "onnx": "onnxruntime",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "pyfunc": "mlflow-skinny",
}
_STANDS_IN = {"tensorflow": ("tensorflow-cpu",), "mlflow-skinny": ("mlflow",)}


def check_fits(manifest: Manifest) -> None:
    """Raises `MissingLibrary` or `ModelLoadFailed`, each with what to do instead."""
    if manifest.accelerated is not None:
        return
    built = f"'tidegate build {manifest.name}:{manifest.version} --push' makes an image that has what it needs"
    name = DISTRIBUTION.get(manifest.framework)
    here = None if name is None else _version(name)
    if name is not None and here is None:
        raise MissingLibrary(f"{manifest.name}:{manifest.version} needs {name}, which the runtime image lacks: {built}")
    if not manifest.pickle_granted:
        return
    python = "{}.{}".format(*sys.version_info[:2])
    if manifest.python is not None and _minor(manifest.python) != python:
        raise ModelLoadFailed(
            f"{manifest.name}:{manifest.version} was pickled on Python {_minor(manifest.python)}, and the runtime "
            f"image has {python}: {built}"
        )
    taken_in = manifest.library_versions.get(name or "")
    if here is not None and taken_in is not None and _minor(taken_in) != _minor(here):
        raise ModelLoadFailed(
            f"{manifest.name}:{manifest.version} was taken in with {name} {taken_in}, and the runtime image has "
            f"{here}: {built}"
        )


def _version(name: str) -> str | None:
    for one in (name, *_STANDS_IN.get(name, ())):
        try:
            return metadata.version(one)
        except metadata.PackageNotFoundError:
            continue
    return None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
