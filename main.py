"""`python main.py`: the platform in the foreground, as `tidegate up` with the settings of `.env` (docs/compose.md)."""

import sys
from pathlib import Path

from tidegate.cli.main import main
from tidegate.env_file import take

if __name__ == "__main__":
    take(Path(__file__).with_name(".env"))
    sys.argv[1:1] = ["up"]
    main()
