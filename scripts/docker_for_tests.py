"""Gets ready, as root, what the tests of images need: Debian's Docker, debootstrap and a base image. Says what runs.

`make test` does the same by itself where TIDEGATE_REQUIRE_SERVICES is set; elsewhere it skips those tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.docker_engine import main

if __name__ == "__main__":
    sys.exit(main())
