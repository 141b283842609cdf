"""The compactor's process: `python -m tidegate.compactor --data-dir D`.

Started and watched by the control plane that starts the gateways; in containers, a service of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.system.ending import StopSignals, end
from tidegate.telemetry import configure_logging


def main(argv: list[str] | None = None) -> int:
    """Compact until a signal ends it; 1 where it cannot begin, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="tidegate compactor", description="Makes Parquet of the capture journal.")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--once", action="store_true", help="compact what is there, and end")
    given = parser.parse_args(argv)
    try:
        settings = Settings.from_env(data_dir=given.data_dir)
    except TidegateError as error:
        sys.stderr.write(f"tidegate compactor: {error.message}\n")
        return error.exit_code
    configure_logging("compactor", settings.log_level)
    from tidegate.compactor.run import Compactor

    signals = StopSignals()
    signals.install()
    return Compactor(settings, signals.stop).run(once=given.once)


if __name__ == "__main__":
    end(main())
