"""Loads a folder whose `model.py` holds a plain Python class with `predict(self, inputs)`. Runs the folder's code."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate.errors import MissingLibrary, ModelLoadFailed, NotAModel
from tidegate.packaging.code import DISTRIBUTIONS
from tidegate.packaging.mlmodel import MODEL_PY, PackageLayout
from tidegate.runtimes.base.runtime import error_text

CLASS = "Model"
EXAMPLE_FILE = "input_example.json"


@dataclass(frozen=True)
class PythonClass:
    """An instance of the folder's class, loaded, and what the class declares about itself."""

    instance: Any
    name: str
    folder: Path
    example: Any = None
    declared: Any = None
    batch: bool = False


def load_folder(layout: PackageLayout) -> PythonClass:
    """Import `model.py`, make its class and call its `load`.

    Raises `NotAModel` for no class or several, `MissingLibrary`, and `ModelLoadFailed` with the line that raised.
    """
    assert layout.file is not None  # noqa: S101 - for the type checker: `read_layout` found it
    folder = layout.file.parent.resolve()
    # Data files are found as they were beside the script, by a relative name too.
    with contextlib.chdir(folder):
        found = _class_of(_imported(layout.file.resolve()))
        instance = _made(found, folder)
    return PythonClass(
        instance,
        found.__name__,
        folder,
        example=getattr(instance, "example", None) or _example_file(folder),
        declared=getattr(instance, "signature", None),
        batch=getattr(instance, "batch", False) is True,
    )


def where(error: BaseException, folder: Path) -> str:
    """`ValueError: text (model.py, line 12)`: the last line of the traceback, and the folder's own line before it."""
    text = error_text(error)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({Path(error.filename).name}, line {error.lineno})" if "line" not in text else text
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(folder):
            return f"{text} ({Path(frame.filename).relative_to(folder)}, line {frame.lineno})"
    return text


def _imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None  # noqa: PT018, S101 - a path that ends in .py has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # so that what was pickled as `model.Something` is found again
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error, file.parent) from error
    except SystemExit as error:
        raise ModelLoadFailed(f"{file.name} ended the process while it was imported (exit {error.code})") from error
    except Exception as error:
        raise ModelLoadFailed(f"{file.name} cannot be imported: {where(error, file.parent)}") from error
    return module


def _missing(error: ModuleNotFoundError, folder: Path) -> MissingLibrary:
    module = (error.name or "unknown").partition(".")[0]
    library = DISTRIBUTIONS.get(module, module)
    return MissingLibrary(
        f"the model needs the module {module!r}, which is neither in its folder nor installed "
        f"({where(error, folder)}): put {module}.py into the folder, or name its package in requirements.txt "
        f"(probably {library!r})",
        library=library,
    )


def _class_of(module: ModuleType) -> type:
    """The class `Model`; without one the only class of the file that has `predict`."""
    named = vars(module).get(CLASS)
    if isinstance(named, type):
        return _with_predict(named)
    own = [item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__]
    if not own:
        raise NotAModel(f"{MODEL_PY} defines no class: write 'class {CLASS}:' with a method 'predict(self, inputs)'")
    able = [item for item in own if callable(getattr(item, "predict", None))]
    if not able:
        names = ", ".join(item.__name__ for item in own)
        raise NotAModel(f"no class of {MODEL_PY} ({names}) has a method 'predict(self, inputs)'")
    if len(able) > 1:
        names = " and ".join(item.__name__ for item in able)
        raise NotAModel(f"{MODEL_PY} has several classes with 'predict' ({names}): call the one to serve {CLASS!r}")
    return _with_predict(able[0])


def _with_predict(found: type) -> type:
    method = getattr(found, "predict", None)
    if not callable(method):
        raise NotAModel(f"the class {found.__name__} of {MODEL_PY} has no method 'predict(self, inputs)'")
    if inspect.iscoroutinefunction(method):
        raise NotAModel(f"'predict' of {found.__name__} is 'async': make it a plain method, it has a thread of its own")
    if not _takes(method, 2):
        raise NotAModel(f"'predict' of {found.__name__} must take one argument: 'def predict(self, inputs)'")
    return found


def _takes(method: Any, count: int) -> bool:
    try:
        inspect.signature(method).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # compiled code does not say
        return True
    return True


def _made(found: type, folder: Path) -> Any:
    """An instance; its `load` is called with the folder if it takes one."""
    step = f"{found.__name__}()"
    try:
        instance = found()
        load = getattr(instance, "load", None)
        if callable(load):
            step = f"load() of {found.__name__}"
            load(folder) if _takes(load, 1) else load()
    except ModuleNotFoundError as error:
        raise _missing(error, folder) from error
    except SystemExit as error:
        raise ModelLoadFailed(f"{step} ended the process (exit {error.code})") from error
    except Exception as error:
        raise ModelLoadFailed(f"{step} raised {where(error, folder)}") from error
    return instance


def _example_file(folder: Path) -> Any:
    try:
        return json.loads((folder / EXAMPLE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelLoadFailed(f"{EXAMPLE_FILE} cannot be read: {error_text(error)}") from None
