"""How many connections a process may have, by its limit of open files."""

import json
import subprocess
import sys

import pytest

ASK = """
import json, resource, sys
from tidegate.dataplane.serve import allow_files
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([allow_files(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "taken", "files"),
    [
        (256, 4096, 1024, 1024, 3072),  # raised as far as is needed
        (256, 1024, 8192, 512, 1024),  # as far as it may be
        (2048, 4096, 100, 100, 2048),  # enough already
        (64, 64, 8192, 32, 64),
    ],
)
def test_connections_keep_below_the_limit_of_open_files(
    soft: int, hard: int, wanted: int, taken: int, files: int
) -> None:
    argv = [sys.executable, "-c", ASK, str(soft), str(hard), str(wanted)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == [taken, files]
