"""Entry of the control plane's process. Says in one line what is missing when the platform is not installed."""

from __future__ import annotations

from tidegate.system.ending import end, run_with


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 wrong use."""

    def begin() -> int:
        from tidegate.control.run import run

        return run(argv)

    return run_with(begin, missing_platform)


def missing_platform(module: str | None) -> str:
    """What to do about a library that is not there."""
    return f"this command needs the platform ({module} is not installed): pip install 'tidegate[platform]'"


if __name__ == "__main__":
    end(main())
