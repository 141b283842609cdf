"""`python scripts/init_db.py`: the database's tables, as `tidegate db upgrade` with the settings of `.env`."""

import sys
from pathlib import Path

from tidegate.cli.main import main
from tidegate.env_file import take

if __name__ == "__main__":
    take(Path(__file__).parent.with_name(".env"))
    sys.argv[1:1] = ["db", "upgrade"]
    main()
