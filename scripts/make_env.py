"""Writes `.env` from `.env.example` with a password of its own in each empty place.

With --dev it is also for a platform on this machine beside the servers of compose.dev.yaml: `python main.py` takes
their addresses from it, and docker-compose the names of both files. An `.env` that is there already is left alone.
"""

import argparse
import os
import re
import secrets
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
DEV = """
# For a platform on this machine (python main.py) beside the servers of compose.dev.yaml.
COMPOSE_FILE=compose.yaml:compose.dev.yaml
DATABASE_URL=postgresql://tidegate:{POSTGRES_PASSWORD}@127.0.0.1:5432/tidegate
REDIS_URL=redis://:{REDIS_PASSWORD}@127.0.0.1:6379/0
PROMETHEUS_URL=http://127.0.0.1:9090
GRAFANA_URL=http://127.0.0.1:3000
"""


def filled(example: str, *, dev: bool) -> str:
    """The file's text."""
    text = re.sub(r"^([A-Z0-9_]+)=$", lambda found: f"{found[1]}={secrets.token_hex(24)}", example, flags=re.MULTILINE)
    return text + DEV.format_map(dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))) if dev else text


def main() -> None:
    """Write the file, for its owner alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dev", action="store_true", help="for `python main.py` beside compose.dev.yaml")
    parser.add_argument("--into", type=Path, default=HOUSE / ".env", help="where to [default: .env]")
    given = parser.parse_args()
    text = filled((HOUSE / ".env.example").read_text(), dev=given.dev)
    try:
        with os.fdopen(os.open(given.into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except FileExistsError:
        sys.exit(f"{given.into} is there already and was left alone: remove it to have passwords made anew")
    print(f"wrote {given.into}")


if __name__ == "__main__":
    main()
