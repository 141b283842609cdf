"""TensorFlow SavedModels by their serving signature, and Keras files, on TensorFlow: the names are the model's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Must be there before the first import: its start-up messages are no news in a replica's log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.base.devices import CPU, chosen_device
from tidegate.runtimes.base.runtime import THREADS, Arrays, Wanted, error_text
from tidegate.runtimes.models.graph_model import GraphModel, texts, with_any_rows
from tidegate.wire.signature import TensorSpec

SERVING = "serving_default"

_DATATYPES = {
    tf.float16: "FP16",
    tf.float32: "FP32",
    tf.float64: "FP64",
    tf.bool: "BOOL",
    tf.string: "BYTES",
    **{getattr(tf, f"{kind}{bits}"): f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


class TensorflowModel(GraphModel):
    """A compiled function of named tensors."""

    def __init__(self, function: Callable[..., Any], inputs: dict[str, Any], device: str) -> None:
        specs, one_row = with_any_rows(tuple(_spec(name, given) for name, given in inputs.items()))
        super().__init__(specs, one_row=one_row)
        self._function = function
        self._types = {name: given.dtype for name, given in inputs.items()}
        self._device = device

    def _run(self, feed: Arrays, wanted: Wanted) -> Arrays:
        missing = [name for name in self._types if name not in feed]
        if missing:
            raise UnfitInput(f"input {missing[0]!r} is missing", input=missing[0])
        try:
            with tf.device(self._device):
                tensors = {name: tf.constant(feed[name], dtype=kind) for name, kind in self._types.items()}
                answers = self._function(**tensors)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, ValueError, TypeError) as error:
            raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
        return {name: _array(name, value) for name, value in answers.items() if wanted is None or name in wanted}


def load_saved_model(folder: Path, device: str | None) -> TensorflowModel:
    """The function behind `serving_default`, or behind the only signature there is; and behind the others."""
    place = _prepare(device)
    with tf.device(place):
        loaded = tf.saved_model.load(str(folder))
    signatures = dict(loaded.signatures)
    name = SERVING if SERVING in signatures else next(iter(signatures), "")
    if not name or (name != SERVING and len(signatures) > 1):
        raise ModelLoadFailed(
            f"the SavedModel has no signature {SERVING!r} (it has {', '.join(sorted(signatures)) or 'none'}): save it "
            f"with signatures={{{SERVING!r}: function}}"
        )
    model = _behind(signatures.pop(name), loaded, place)
    model.name = "" if name == SERVING else name
    for other in sorted(signatures):
        # One whose inputs are no tensors of rows is left out: it cannot be asked here.
        with suppress(ModelLoadFailed):
            model.others[other] = _behind(signatures[other], loaded, place)
            model.others[other].name = other
    return model


def _behind(function: Any, loaded: Any, place: str) -> TensorflowModel:
    # The function lives only as long as what it was loaded with.
    function._tidegate_owner = loaded
    # Sorted: TensorFlow gives them in another order in each process.
    return TensorflowModel(function, dict(sorted(function.structured_input_signature[1].items())), place)


def load_keras(path: Path, device: str | None, *, granted: bool) -> TensorflowModel:
    """The model of a `.keras` file; lambdas and classes of its own only with the grant."""
    place = _prepare(device)
    import keras

    with tf.device(place):
        model = keras.saving.load_model(path, compile=False, safe_mode=not granted)
        return TensorflowModel(*_compiled(model), place)


def _compiled(model: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    structure, outputs = _structure(model)
    keys = [name for name, _ in structure] if isinstance(_arranged(model), dict) else None
    given = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in structure}
    single = len(given) == 1 and keys is None

    @tf.function(input_signature=list(given.values()))  # type: ignore[untyped-decorator]
    def call(*tensors: Any) -> Any:
        arranged = dict(zip(keys, tensors, strict=True)) if keys else tensors[0] if single else list(tensors)
        answer = model(arranged, training=False)
        if isinstance(answer, dict):
            return {str(name): value for name, value in answer.items()}
        return dict(zip(outputs, answer if isinstance(answer, list | tuple) else [answer], strict=True))

    function = call.get_concrete_function()
    names = list(given)

    def by_name(**tensors: Any) -> Any:
        return function(*[tensors[name] for name in names])

    return by_name, given


def _arranged(model: Any) -> Any:
    """The tensors a model was built with, in its own arrangement."""
    struct = getattr(model, "_inputs_struct", None)
    return getattr(model, "inputs", None) if struct is None else struct


def _structure(model: Any) -> tuple[list[tuple[str, Any]], list[str]]:
    """Inputs with their names, and the names of outputs that are not named by a dictionary."""
    arranged = _arranged(model)
    if arranged is None or not model.inputs:
        raise ModelLoadFailed(
            "the Keras model was saved without its input shapes: call it once before saving it, or save it with "
            "model.export(folder), as a SavedModel"
        )
    pairs = list(arranged.items()) if isinstance(arranged, dict) else [(one.name, one) for one in model.inputs]
    if any(not hasattr(tensor, "shape") for _, tensor in pairs):
        raise ModelLoadFailed("the Keras model nests its inputs: save it with model.export(folder), as a SavedModel")
    names = list(getattr(model, "output_names", None) or [])
    if len(names) != len(model.outputs):
        names = [model.layers[-1].name] if len(model.outputs) == 1 else [one.name for one in model.outputs]
    return pairs, names


def _prepare(device: str | None) -> str:
    """One thread, and only the GPU that was chosen. TensorFlow takes both only before its first operation."""
    if tf.config.threading.get_intra_op_parallelism_threads() != THREADS:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    gpus = tf.config.list_physical_devices("GPU")
    place = chosen_device(device, lambda: len(gpus), "TensorFlow")
    if gpus and place == CPU:
        tf.config.set_visible_devices([], "GPU")
    for gpu in gpus if place != CPU else []:
        tf.config.experimental.set_memory_growth(gpu, True)
    return "/CPU:0" if place == CPU else f"/GPU:{place.partition(':')[2]}"


def _spec(name: str, given: Any) -> TensorSpec:
    datatype = _DATATYPES.get(tf.as_dtype(given.dtype))
    if datatype is None or given.shape.rank is None or given.shape.rank == 0:
        raise ModelLoadFailed(
            f"the input {name!r} is a {given}, which cannot be sent as a tensor of rows: give the signature a "
            "tf.TensorSpec with the rows first"
        )
    return TensorSpec(name, datatype, tuple(-1 if side is None else int(side) for side in given.shape))


def _array(name: str, value: Any) -> Any:
    if value.shape.rank == 0:
        raise ModelLoadFailed(f"the output {name!r} is one number for all rows: a model answers each row")
    value = tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value
    return texts(value.numpy())
