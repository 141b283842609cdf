"""PyTorch programs: TorchScript and `torch.export`, by the names of the program's own inputs."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.base.devices import chosen_device
from tidegate.runtimes.base.runtime import THREADS, Arrays, Wanted, error_text
from tidegate.runtimes.models.graph_model import GraphModel, named_outputs, with_any_rows
from tidegate.wire.signature import TensorSpec

_DATATYPES = {
    torch.float16: "FP16",
    torch.bfloat16: "FP32",  # V2 clients send no BF16 in JSON, and NumPy has none: a float32 holds all of them
    torch.float32: "FP32",
    torch.float64: "FP64",
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
}
_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
_WIDTHS_MAX = 8


class TorchModel(GraphModel):
    """A program that takes tensors by place. `dtypes` are the program's own, where they differ from what is sent."""

    def __init__(self, program: Any, inputs: tuple[TensorSpec, ...], device: str, dtypes: dict[str, Any]) -> None:
        inputs, one_row = with_any_rows(inputs)
        super().__init__(inputs, one_row=one_row)
        self._program = program
        self._device = device
        self._program_dtypes = dtypes

    def _run(self, feed: Arrays, wanted: Wanted) -> Arrays:
        tensors = [self._tensor(spec.name, feed) for spec in self.inputs]
        try:
            with torch.inference_mode():
                answer = named_outputs(self._call(tensors))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            # PyTorch has no error of its own for shapes and values that do not fit.
            raise UnfitInput(f"the model refused the input: {_last_line(error)}") from error
        return {name: _array(name, value) for name, value in answer.items() if wanted is None or name in wanted}

    def _call(self, tensors: list[Any]) -> Any:
        return self._program(*tensors)

    def _tensor(self, name: str, feed: Arrays) -> Any:
        if name not in feed:
            raise UnfitInput(f"input {name!r} is missing", input=name)
        array = np.ascontiguousarray(feed[name])
        # A copy where the request's own bytes must not be written to.
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor.to(device=self._device, dtype=self._program_dtypes.get(name))


class ExportedModel(TorchModel):
    """A `torch.export` program: its inputs may come in dictionaries and lists, as its own `forward` takes them."""

    def __init__(self, program: Any, device: str) -> None:
        specs, dtypes = _exported_inputs(program)
        self.exported = program
        self._in_spec = program.call_spec.in_spec
        # Its own guards are source text that would be executed; shapes and types are checked before they come here.
        super().__init__(program.module(check_guards=False), specs, device, dtypes)

    def _call(self, tensors: list[Any]) -> Any:
        args, kwargs = torch.utils._pytree.tree_unflatten(tensors, self._in_spec)
        return self._program(*args, **kwargs)


class ScriptModel(TorchModel):
    """A TorchScript module. Its file tells the names of its inputs, and their shapes only where it was traced."""

    def __init__(self, module: Any, drafts: list[tuple[TensorSpec, ...]], device: str) -> None:
        super().__init__(module, drafts[0], device, {})
        self._module, self._drafts = module, drafts

    def drafts(self) -> list[tuple[TensorSpec, ...]]:
        """What it was traced with, or what would fit its layers."""
        return self._drafts

    def with_inputs(self, specs: tuple[TensorSpec, ...]) -> GraphModel:
        """The same module with these inputs."""
        return self if specs == self.inputs else ScriptModel(self._module, [specs], self._device)


def load_exported(path: Path, device: str | None) -> ExportedModel:
    """The program of a `.pt2` file."""
    place = _prepare(device)
    program = torch.export.load(str(path))
    if place != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, place)
    return ExportedModel(program, place)


def load_script(path: Path, device: str | None) -> ScriptModel:
    """The module of a TorchScript file."""
    place = _prepare(device)
    module = torch.jit.load(str(path), map_location=place).eval()
    names = _forward_names(module)
    return ScriptModel(module, _script_drafts(module, names, _traced_inputs(path)), place)


def _prepare(device: str | None) -> str:
    torch.set_num_threads(THREADS)
    if torch.get_num_interop_threads() != THREADS:
        torch.set_num_interop_threads(THREADS)
    return chosen_device(device, torch.cuda.device_count, "PyTorch")


def _exported_inputs(program: Any) -> tuple[tuple[TensorSpec, ...], dict[str, Any]]:
    nodes = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    specs, dtypes = [], {}
    for name in program.graph_signature.user_inputs:
        value = nodes.get(name)
        if not isinstance(value, torch.Tensor) or value.ndim == 0:
            raise ModelLoadFailed(
                f"the program's input {name!r} is no tensor of rows: export a module whose inputs all are"
            )
        sides = tuple(side if isinstance(side, int) else -1 for side in value.shape)
        specs.append(TensorSpec(name, _datatype(name, value.dtype), sides))
        dtypes[name] = value.dtype
    return tuple(specs), dtypes


def _datatype(name: str, dtype: Any) -> str:
    found = _DATATYPES.get(dtype)
    if found is None:
        raise ModelLoadFailed(f"the input {name!r} is of {dtype}, which cannot be sent as a tensor")
    return found


def _forward_names(module: Any) -> list[str]:
    arguments = module.forward.schema.arguments[1:]
    other = [argument.name for argument in arguments if str(argument.type) != "Tensor" and not _is_optional(argument)]
    if other:
        raise ModelLoadFailed(
            f"the program takes {', '.join(other)}, which is no tensor: wrap it in a module whose inputs all are"
        )
    return [argument.name for argument in arguments if not _is_optional(argument)]


def _is_optional(argument: Any) -> bool:
    return bool(argument.has_default_value())


def _script_drafts(module: Any, names: list[str], traced: list[Any]) -> list[tuple[TensorSpec, ...]]:
    """The shapes it was traced with; else one input of the widths that its layers take."""
    if len(traced) == len(names) and names:
        # The rows of the example it was traced with are no limit: a trace runs with any number of them, or is refused.
        return [
            tuple(TensorSpec(name, _datatype(name, t), (-1, *sides[1:])) for name, (t, sides) in _pairs(names, traced))
        ]
    if len(names) != 1:
        raise ModelLoadFailed(
            f"the file does not say which shapes its inputs {', '.join(names) or '(none)'} have: save it with "
            "torch.jit.trace and an example, or as a .pt2 with torch.export.save"
        )
    weights = [parameter for parameter in module.parameters() if parameter.ndim == 2]
    widths = list(dict.fromkeys(int(weight.shape[1]) for weight in weights))[:_WIDTHS_MAX]
    datatype = _DATATYPES.get(weights[0].dtype, "FP32") if weights else "FP32"
    shapes = [(datatype, width) for width in widths] + [(datatype, -1), ("INT64", -1)]
    return [(TensorSpec(names[0], kind, (-1, width)),) for kind, width in shapes]


def _pairs(names: list[str], traced: list[Any]) -> Any:
    return zip(names, traced, strict=True)


class _Shapes(pickle.Unpickler):
    """Reads the types and shapes of the tensors a trace keeps, and makes nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, _offset, size, *_: (storage, tuple(size))
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return lambda value, _type: value
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1]


def _traced_inputs(path: Path) -> list[Any]:
    """Type and shape of each input of the example that `forward` was traced with; empty where none is kept."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/traced_inputs.pkl")]
        if not names:
            return []
        try:
            with archive.open(names[0]) as file:
                kept = _Shapes(file).load()
        except (pickle.UnpicklingError, AttributeError, ValueError, TypeError, KeyError):
            return []
    found = dict(kept).get("forward", []) if isinstance(kept, dict) else []
    return [item for item in found if isinstance(item, tuple) and len(item) == 2 and len(item[1])]


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, torch.Tensor):
        raise ModelLoadFailed(f"the output {name!r} is a {type(value).__name__} and no tensor: leave it out")
    if value.ndim == 0:
        raise ModelLoadFailed(f"the output {name!r} is one number for all rows: a model answers each row")
    value = value.float() if value.dtype == torch.bfloat16 else value
    found: np.ndarray[Any, Any] = value.detach().cpu().numpy()
    return found


def _last_line(error: BaseException) -> str:
    """What went wrong, without TorchScript's traceback through the model's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and "TorchScript" in str(error) else error_text(error)
