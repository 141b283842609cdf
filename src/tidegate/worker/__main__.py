"""Entry of a worker's process. Says in one line what is missing when the platform is not installed."""

from __future__ import annotations

import sys

from tidegate.system.ending import end


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 wrong use."""
    try:
        from tidegate.worker.run import run

        return run(argv)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tidegate":
            raise
        sys.stderr.write(f"error: a worker needs {error.name}: pip install 'tidegate[platform,celery]'\n")
        return 1


if __name__ == "__main__":
    end(main())
