"""Puts together what an image is built from: which libraries a version needs, its files, Tidegate's replica.

Reads packages and metadata of installed distributions as bytes; loads no model.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

import tidegate
from tidegate.adapters.images.wheelhouse import Pin
from tidegate.environments import Requirements
from tidegate.environments.installed import Find, closure, find_here
from tidegate.environments.requirements import STANDS_IN
from tidegate.errors import ImageBuildFailed, ModelLoadFailed, PickleNotGranted
from tidegate.packaging import read_source
from tidegate.packaging.mlmodel import REQUIREMENTS, PackageLayout, read_layout
from tidegate.packaging.wrap import libraries_of
from tidegate.wire.replicas.manifest import Accelerated, Manifest, encode_manifest

PROGRAM = ("dataplane", "environments", "errors", "packaging", "runtimes", "server", "swagger_ui", "system", "wire")
"""The packages of Tidegate that a replica is made of; of single modules it has those that all layers share."""
MODULES = (
    "__init__.py",
    "clock.py",
    "cloud_settings.py",
    "listening.py",
    "request_head.py",
    "setting_values.py",
    "settings.py",
    "telemetry.py",
    "version.py",
)
NOT_FOR_REPLICAS = frozenset({"rich", "urllib3"})
"""Of the base install: these two draw tables and call the control plane."""
INSTALLER = "pip"
_GRAPH_FILE = "model.onnx"
_SKLEARN_MARK = b"scikit_learn"
_MLFLOW = frozenset({"mlflow", "mlflow-skinny"})
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?", re.ASCII)


def check_grant(manifest: Manifest, package_dir: Path) -> None:
    """Raises `PickleNotGranted` when loading the version would run code of its files and nobody granted it."""
    if manifest.accelerated is None and not manifest.pickle_granted:
        reason = read_layout(package_dir).pickle_reason
        if reason is not None:
            raise PickleNotGranted(
                f"no image is made of {manifest.name}:{manifest.version}: {reason}, and the version was never granted "
                "that. If you trust where it comes from, register it again with --allow-pickle"
            )


def pins_of(manifest: Manifest, package_dir: Path, environment: Path | None, machine: str) -> list[Pin]:
    """The exact distributions of the version's image, as they are installed where it passed its gate.

    `environment` is the site-packages folder of the version's own environment; None for the platform's.
    """
    own = {} if environment is None else _installed(environment)

    def find(name: str) -> metadata.Distribution | None:
        return own.get(name) or find_here(name)

    wanted = [*_replica(), INSTALLER, *own]
    if environment is None:
        wanted += _libraries(manifest, package_dir, find)
    marker_env = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine}
    found = closure(wanted, find, marker_env)
    if "torch" not in found:  # XGBoost asks for it, to train on several GPUs: 300 MB that no prediction needs
        found = {name: item for name, item in found.items() if not name.startswith("nvidia-nccl")}
    return sorted((Pin(name, item.version) for name, item in found.items()), key=str)


def licences(pins: list[Pin]) -> dict[Pin, str]:
    """What each distribution says of its licence, where it is installed here and says it in a word."""
    found = {}
    for pin in pins:
        distribution = find_here(pin.name)
        if distribution is not None:
            fields = distribution.metadata.json
            licence = str(fields.get("license_expression") or fields.get("license") or "")
            if licence and "\n" not in licence and len(licence) <= 64:
                found[pin] = licence
    return found


def _replica() -> list[str]:
    """What Tidegate's own data plane needs of its base install."""
    tidegate_here = find_here("tidegate")
    if tidegate_here is None:
        raise ImageBuildFailed("this installation of Tidegate does not know what it needs: install it again with pip")
    requires = tidegate_here.requires or []
    names = [found[0] for text in requires if "extra ==" not in text and (found := _NAME.match(text))]
    return [name for name in names if canonicalize_name(name) not in NOT_FOR_REPLICAS]


def _installed(site: Path) -> dict[str, metadata.Distribution]:
    return {canonicalize_name(item.name): item for item in metadata.distributions(path=[str(site)])}


def _libraries(manifest: Manifest, package_dir: Path, find: Find) -> list[str]:
    """What the model itself needs: a faster form hardly anything, code whatever it imports or says it needs."""
    if manifest.accelerated is not None:
        form = package_dir.parent / manifest.accelerated.folder
        return ["numpy", "onnxruntime"] if (form / _GRAPH_FILE).exists() else ["numpy"]
    layout = read_layout(package_dir)
    wanted = set(libraries_of(layout.format))
    if manifest.signature.kind == "columns":
        wanted.add("pandas")
    if layout.format == "xgboost" and layout.file and _SKLEARN_MARK in layout.file.read_bytes():
        wanted.add("scikit-learn")  # saved from its scikit-learn class, which loads it again
    if layout.pickle_reason is not None:
        wanted |= _of_modules(_modules(package_dir, layout))
        wanted |= set(_recorded(package_dir, layout))
    if layout.format == "pyfunc":
        wanted.add(STANDS_IN["mlflow"] if find("mlflow") is None else "mlflow")
    return sorted(wanted)


def _recorded(package_dir: Path, layout: PackageLayout) -> Iterator[str]:
    """Names of the package's requirements; MLflow itself is needed only where nothing else loads the model."""
    for file in {package_dir / REQUIREMENTS, *(folder / REQUIREMENTS for folder in layout.code_dirs)}:
        if file.is_file():
            for line in Requirements.read(file.read_text(encoding="utf-8", errors="replace")).lines:
                name = _NAME.match(line)
                if name and canonicalize_name(name[0].partition("[")[0]) not in _MLFLOW:
                    yield name[0]


def _modules(package_dir: Path, layout: PackageLayout) -> set[str]:
    """Top-level modules that the pickle names or that the model's own code imports."""
    scan = read_source(package_dir).scan
    named = {module.partition(".")[0] for module, _ in scan.globals} if scan is not None else set()
    for folder in layout.code_dirs:
        for file in folder.rglob("*.py"):
            named |= _imports(file)
    return named


def _imports(file: Path) -> set[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _of_modules(modules: set[str]) -> set[str]:
    known = metadata.packages_distributions()
    named = {name for module in modules for name in known.get(module, [])}
    return {name for name in named if canonicalize_name(name) not in _MLFLOW | {"tidegate"}}


def write_requirements(pins: list[Pin], into: Path) -> None:
    """What pip installs in the image: all but itself, each exactly as it is here."""
    lines = [str(pin) for pin in pins if canonicalize_name(pin.name) != INSTALLER]
    (into / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_program(into: Path) -> None:
    """Tidegate's replica: no control plane, no command line."""
    source, target = Path(tidegate.__file__).parent, into / "program" / "tidegate"
    target.mkdir(parents=True)
    for name in MODULES:
        shutil.copyfile(source / name, target / name)
    for name in PROGRAM:
        shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    _readable(into / "program")


def write_model(manifest: Manifest, package_dir: Path, into: Path) -> None:
    """The manifest and what it serves: the faster form alone where there is one, so that its pickle stays out."""
    target = into / "model"
    target.mkdir()
    accelerated = None
    if manifest.accelerated is not None:
        accelerated = Accelerated(manifest.accelerated.form, "form")
        _copy(package_dir.parent / manifest.accelerated.folder, target / "form")
    else:
        _copy(package_dir, target / "package")
    granted = accelerated is None and manifest.pickle_granted
    served = msgspec.structs.replace(
        manifest, package_dir="package", accelerated=accelerated, environment=None, pickle_granted=granted
    )
    (target / "manifest.json").write_bytes(encode_manifest(served))
    _readable(target)


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise ModelLoadFailed(f"the version's files are not in {source}: restore them, or register the version again")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _readable(root: Path) -> None:
    """For any user, writable by none but root: the data directory's own modes would lock the replica out."""
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
