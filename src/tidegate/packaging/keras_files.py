"""Says of Keras files and SavedModel folders whether loading one could run code, by their bytes. Never loads one."""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAVED_MODEL = "saved_model.pb"

_RUNS_CODE = frozenset({"__lambda__", "Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"})
_ACTIVE_OPS = (
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "LookupTableExport"),
    *("WholeFileReader", "WholeFileReaderV2", "PrintV2", "DebugIdentity", "LoadDataset", "SaveDatasetV2"),
)
"""Operations by which a graph reaches Python or files other than its own variables and assets."""


def keras_reason(path: Path) -> str | None:
    """Why loading this `.keras` file needs a grant (lambdas, classes not of Keras itself); None when it does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        what = next(_foreign(config), None)
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile):
        what = "a configuration that cannot be read"
    return None if what is None else f"it holds {what}, and loading it runs code"


def _foreign(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _foreign(item)
    if not isinstance(value, dict):
        return
    name, module = value.get("class_name"), value.get("module")
    if name in _RUNS_CODE:
        yield f"a {str(name).strip('_').capitalize()} layer" if "ambda" in name else f"a {name}"
    if isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
        yield f"{name!r} of the module {module!r}"
    if name == "function" and module != "builtins" and not str(module).startswith(_FUNCTION_HOMES):
        yield f"the function {value.get('config')!r} of {module!r}"
    if value.get("registered_name") and ">" in str(value["registered_name"]):
        yield f"the class {value['registered_name']!r}, which is not Keras's own"
    for item in value.values():
        yield from _foreign(item)


_FUNCTION_HOMES = ("keras.activations", "keras.losses", "keras.metrics", "keras.initializers", "keras.ops")


def saved_model_reason(folder: Path) -> str | None:
    """Why loading this SavedModel needs a grant: its graph calls Python or touches files. None when it does not."""
    path = folder / SAVED_MODEL
    if path.stat().st_size == 0:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for op in _ACTIVE_OPS:
            # A node's operation is field 2 of its message: the tag, the length, the name.
            if content.find(b"\x12" + bytes([len(op)]) + op.encode()) >= 0:
                return f"its graph has the operation {op}, which reaches beyond the model when it is run"
    return None
