"""Entry of a worker's process. Says in one line what is missing when the platform is not installed."""

from __future__ import annotations

from tidegate.system.ending import end, run_with


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 wrong use."""

    def begin() -> int:
        from tidegate.worker.run import run

        return run(argv)

    return run_with(begin, lambda module: f"a worker needs {module}: pip install 'tidegate[platform,celery]'")


if __name__ == "__main__":
    end(main())
