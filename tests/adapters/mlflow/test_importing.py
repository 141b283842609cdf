"""An import of MLflow that is cut off half-way by missing descriptors, in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import importlib.abc, os, resource, sys
from pathlib import Path
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.errors import RegistryUnavailable, UnknownVersion

where, folder = sys.argv[1], Path(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
class CutOff(importlib.abc.MetaPathFinder):
    met = False
    def find_spec(self, name, path, target=None):
        if name == where:
            self.met = True
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        return None
cut = CutOff()
sys.meta_path.insert(0, cut)
registry = MlflowRegistry.embedded(folder)
for _ in range(2):
    try:
        registry.check()
    except RegistryUnavailable as error:
        assert "no file descriptor left" in error.message or "Too many open files" in error.message, error.message
    else:
        raise SystemExit("nothing was cut off")
assert cut.met
sys.meta_path.remove(cut)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
registry.check()
try:
    registry.version_of_alias("churn", "champion")
except UnknownVersion:
    print("well again")
"""


@pytest.mark.parametrize("where", ["mlflow.entities", "pandas.core.frame"])
def test_it_is_whole_once_there_are_descriptors_again(where: str, tmp_path: object) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, where, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.stdout.strip() == "well again", ran.stderr[-3000:]
