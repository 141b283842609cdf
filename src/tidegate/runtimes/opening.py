"""Opens models for serving: a registered version by its manifest, or a bare file or folder. Called by the replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from tidegate.packaging import read_source, wrap
from tidegate.packaging.filelist import check_files
from tidegate.packaging.mlmodel import read_layout
from tidegate.runtimes.accelerated.serve.serving import fast_model
from tidegate.runtimes.base.inputs import row_count
from tidegate.runtimes.base.runtime import Arrays, LoadedModel, Runtime, Wanted, numpy_dtype
from tidegate.runtimes.inspection.inspect_model import InspectOptions, inspect_model
from tidegate.runtimes.loading.building import adopt, rebuild
from tidegate.runtimes.loading.objects import load_object
from tidegate.runtimes.models.graph_model import GraphModel
from tidegate.runtimes.models.pyfunc_model import PyfuncModel
from tidegate.wire.replicas.manifest import Framework, Manifest
from tidegate.wire.signature import Signature


class OpenedModel:
    """A model with its inferred signature. Answers requests of no rows itself: most models refuse them."""

    def __init__(self, model: LoadedModel, signature: Signature) -> None:
        self._model = model
        self._signature = signature

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """See `Runtime.predict`."""
        if row_count(inputs) == 0:
            return self._nothing(wanted)
        return self._model.predict(inputs, wanted)

    def predict_with(self, params: dict[str, Any], inputs: Arrays, wanted: Wanted) -> Arrays:
        """As `predict`, with params that fit the signature's; where it has others, the name of one of them."""
        if self._signature.others:
            other = cast(GraphModel, self._model).others[params["signature_name"]]
            return other.predict(inputs, wanted)
        if row_count(inputs) == 0:
            return self._nothing(wanted)
        return cast(PyfuncModel, self._model).predict(inputs, wanted, params)

    def _nothing(self, wanted: Wanted) -> Arrays:
        return {
            spec.name: np.empty((0, *[max(side, 0) for side in spec.shape[1:]]), dtype=numpy_dtype(spec.datatype))
            for spec in self._signature.outputs
            if wanted is None or spec.name in wanted
        }


def load(manifest: Manifest, package_dir: Path) -> Runtime:
    """The version's model, ready to answer: its accelerated form where the manifest names one, and never another.

    What is read is checked against the list of its files first. Raises `ArtifactDamaged`, `PickleNotGranted`,
    `MissingLibrary`, `MissingCode`, `NotAModel` or `ModelLoadFailed`.
    """
    if manifest.accelerated is not None:
        form_dir = package_dir.parent / manifest.accelerated.folder
        check_files(form_dir, "accelerated form")
        return OpenedModel(fast_model(form_dir, manifest.signature), manifest.signature)
    check_files(package_dir)
    layout = read_layout(package_dir)
    adopted = adopt(load_object(layout, manifest.pickle_granted, manifest.device), layout)
    return OpenedModel(rebuild(adopted, manifest.signature), manifest.signature)


def open_model(
    path: Path,
    name: str,
    *,
    into: Path,
    allow_pickle: bool = False,
    code_dir: Path | None = None,
    device: str | None = None,
) -> tuple[Manifest, Runtime]:
    """A bare model file or MLflow folder, packaged in the empty folder `into`, inspected, ready to answer as version 1.

    The model is loaded once. Raises what `read_source`, `wrap` and `inspect_model` raise.
    """
    package = wrap(read_source(path), into, code_dir=code_dir, allow_pickle=allow_pickle)
    found = inspect_model(package.dir, InspectOptions(allow_pickle, device=device))
    manifest = Manifest(
        name=name,
        version="1",
        digest=package.digest,
        package_dir=str(package.dir.resolve()),
        framework=cast(Framework, found.framework),
        signature=found.signature,
        example=found.example,
        batchable=found.batchable,
        pickle_granted=allow_pickle,
        device=device,
        python=found.python,
        library_versions=found.library_versions,
    )
    return manifest, OpenedModel(found.model, found.signature)
