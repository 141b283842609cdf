"""`python -m tidegate.fetch`: what an init container runs. Ends with 0 once the version is in its folder.

An error is the last line of standard error, as a replica on a platform says it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

from tidegate.errors import InvalidArgument, KeyRequired, TidegateError
from tidegate.fetch.receive import Wanted, fetch

ERROR_LINE = "tidegate-error: "
KEY = "TIDEGATE_API_KEY"


def main(argv: list[str] | None = None) -> int:
    """0 when it is there, 1 when it cannot be had, 2 for wrong use."""
    options = _parse(argv)
    try:
        manifest = fetch(_wanted(options), _folder(options.into), _say)
    except TidegateError as error:
        _say(ERROR_LINE + json.dumps(error.body(), default=str))
        return error.exit_code
    _say(f"{manifest.name}:{manifest.version} is in {options.into}")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tidegate.fetch", description="Fetch a version's files from the control plane, and check them."
    )
    parser.add_argument("--url", required=True, help="the control plane, as seen from here")
    parser.add_argument("--version-path", required=True, help="/internal/v1/packages/NAME/VERSION?form=FORM")
    parser.add_argument("--digest", required=True, help="the version's")
    parser.add_argument("--credential", required=True, help=f"the name of the key in {KEY}")
    parser.add_argument("--into", type=Path, required=True, help="a folder, which gets manifest.json and the files")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="of all tries together (default: 600)")
    parser.add_argument("--ca-file", type=Path, help="certificates that the control plane's is checked against")
    return parser.parse_args(argv)


def _wanted(options: argparse.Namespace) -> Wanted:
    key = os.environ.get(KEY, "")
    if not key:
        raise KeyRequired(f"set {KEY} to the key that goes by the name {options.credential!r}")
    if not options.version_path.startswith("/"):
        raise InvalidArgument(f"--version-path {options.version_path!r} begins with no '/'", field="version_path")
    if not 0 <= options.timeout_s < math.inf:
        raise InvalidArgument(f"--timeout-s {options.timeout_s:g} is no number of seconds: 600", field="timeout_s")
    what = (options.url, options.version_path, options.digest, options.credential)
    return Wanted(*what, key, options.timeout_s, options.ca_file)


def _folder(into: Path) -> Path:
    if not into.is_dir():
        raise InvalidArgument(
            f"--into {into} is no folder: mount a volume there, for example an emptyDir", field="into"
        )
    return into


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 (read by the platform, or by a person)


if __name__ == "__main__":
    sys.exit(main())
