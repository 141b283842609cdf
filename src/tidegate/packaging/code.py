"""Finds out, without importing anything, whether the classes that a pickle names can be had here."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections import defaultdict
from pathlib import Path

from tidegate.errors import MissingCode, MissingLibrary
from tidegate.packaging.pickles import PickleScan

MAIN = "__main__"
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "imblearn": "imbalanced-learn",
    "category_encoders": "category-encoders",
    "feature_engine": "feature-engine",
    "sklearn_pandas": "sklearn-pandas",
    "cv2": "opencv-python",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "skimage": "scikit-image",
    "keras": "keras",
    "dateutil": "python-dateutil",
} | {
    name: name
    for name in [
        *("catboost", "dask", "dill", "econml", "gensim", "hdbscan", "interpret", "joblib", "jax", "lightgbm"),
        *("lifelines", "mlflow", "mlxtend", "nltk", "numba", "numpy", "onnxruntime", "optuna", "pandas", "polars"),
        *("prophet", "pyarrow", "pycaret", "pyod", "scipy", "shap", "skops", "skorch", "sktime", "spacy"),
        *("statsmodels", "tensorflow", "torch", "transformers", "tslearn", "xgboost"),
    ]
}
"""Import name to the name pip knows, for the libraries that models are pickled with."""


EXTRAS = {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "catboost": "catboost"}
"""Libraries that an extra of ours installs in a version that is known to work."""


def check_code(scan: PickleScan, filename: str, code_dir: Path | None, requirements: str | None = None) -> None:
    """Raise `MissingCode` or `MissingLibrary` when the pickle names something that neither this environment nor
    `code_dir` has. Only top-level modules are looked for; nothing is imported.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for module, name in scan.globals:
        if module == MAIN or not (is_installed(module) or in_folder(module, code_dir)):
            wanted[module].add(name.partition(".")[0])
    _check_main(wanted.pop(MAIN, set()), filename, code_dir)
    listed = {re.split(r"[^A-Za-z0-9]", line, maxsplit=1)[0].lower() for line in (requirements or "").splitlines()}
    for module, names in sorted(wanted.items()):
        top = module.partition(".")[0]
        if top in DISTRIBUTIONS or top.lower() in listed:
            raise missing_library(top, f"{filename!r} was pickled with {module}.{min(names)}")
        raise missing_module(filename, module, names, code_dir)


def missing_library(module: str, why: str) -> MissingLibrary:
    """The error for a library that is not here, with the line that installs it."""
    library = DISTRIBUTIONS.get(module, module)
    install = f"'tidegate[{EXTRAS[module]}]'" if module in EXTRAS else library
    return MissingLibrary(
        f"the model needs the library {module!r}, which is not installed here ({why}): pip install {install}",
        library=library,
    )


def missing_module(filename: str, module: str, names: set[str], code_dir: Path | None) -> MissingCode:
    """The error for a module that is neither installed nor in the folder that was given."""
    where = f"nor in {code_dir.name!r}, the folder given with --code" if code_dir else "and no --code was given"
    return MissingCode(
        f"{filename!r} was pickled with {_and(names)} of the module {module!r}, which is not installed here {where}: "
        f"give the folder that holds {module.partition('.')[0]}.py with --code DIR "
        f"(or, if it is a library, pip install {module.partition('.')[0]})",
        module=module,
        names=sorted(names),
    )


def is_installed(module: str) -> bool:
    """Whether the top-level module is there, other than by accident in the folder this process was started in."""
    top = module.partition(".")[0]
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return not any(place and Path(place).parent in (Path.cwd(), Path.cwd() / top) for place in places)


def in_folder(module: str, code_dir: Path | None) -> bool:
    """Whether `code_dir` has this module or package at its top."""
    if code_dir is None:
        return False
    top = module.partition(".")[0]
    return (code_dir / f"{top}.py").is_file() or (code_dir / top).is_dir()


def definitions(names: set[str], code_dir: Path) -> dict[str, list[str]]:
    """For each name, the modules at the top of `code_dir` that define it (a class, a function or an assignment)."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for path in sorted(code_dir.glob("*.py")):
        for name in names & _defined_in(path):
            found[name].append(path.stem)
    return found


def _defined_in(path: Path) -> set[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _check_main(names: set[str], filename: str, code_dir: Path | None) -> None:
    if not names:
        return
    if code_dir is None:
        raise MissingCode(
            f"{filename!r} was pickled with {_and(names)} of the script or notebook that trained it ('__main__'), "
            "which is not in the file: put it into a module and give its folder with --code DIR "
            "(best: import it from that module when you train, too)",
            module=MAIN,
            names=sorted(names),
        )
    for name, modules in definitions(names, code_dir).items():
        if len(modules) != 1:
            problem = f"both {' and '.join(modules)} define it: keep one" if modules else "no .py file there defines it"
            raise MissingCode(
                f"{filename!r} was pickled with {name!r} of the script that trained it ('__main__'), and in "
                f"{code_dir.name!r}, the folder given with --code, {problem}",
                module=MAIN,
                names=[name],
            )


def _and(names: set[str]) -> str:
    listed = sorted(names)
    return " and ".join([", ".join(map(repr, listed[:-1])), repr(listed[-1])] if len(listed) > 1 else [repr(listed[0])])
