"""`python -m tidegate.runtimes.inspect REQUEST.json RESULT.json`: one inspection in a process of its own.

Progress goes to standard output as JSON lines; whatever the model prints goes to standard error. The job that started
it keeps the deadline; an alarm ends the process if that job is gone by then.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tidegate.errors import Internal, ModelLoadFailed, TidegateError
from tidegate.packaging.filelist import check_files
from tidegate.runtimes.base.runtime import Progress, error_text
from tidegate.runtimes.inspection.inspect_model import InspectOptions, inspect_model
from tidegate.runtimes.signatures.tables import Validation
from tidegate.system.atomic import write_whole
from tidegate.system.ending import end
from tidegate.system.exhaustion import exhausted

ALARM_GRACE_S = 5


Work = Callable[[dict[str, Any], Progress], dict[str, Any]]


def main(argv: list[str]) -> int:
    """Inspect and write the result; 0 when the result was written, also when the model was refused."""
    return run(argv, _inspect)


def run(argv: list[str], work: Work) -> int:
    """Do `work` on the request and write what came of it; shared with `tidegate.runtimes.accelerate`."""
    if len(argv) != 2:
        print("usage: python -m tidegate.runtimes.MODULE REQUEST.json RESULT.json", file=sys.stderr)  # noqa: T201
        return 2
    request = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    if request.get("timeout_s"):
        signal.alarm(math.ceil(request["timeout_s"]) + ALARM_GRACE_S)
    with _progress_channel() as channel:
        result = _guarded(work, request, _reporter(channel))
    _write(Path(argv[1]), result)
    return 0


def _progress_channel() -> TextIO:
    """The real standard output; what the model prints to it from now on lands in standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _reporter(channel: TextIO) -> Progress:
    def report(progress: float, message: str) -> None:
        channel.write(json.dumps({"progress": progress, "message": message}) + "\n")
        channel.flush()

    return report


def _guarded(work: Work, request: dict[str, Any], on_progress: Progress) -> dict[str, Any]:
    try:
        return {"ok": True, **work(request, on_progress)}
    except TidegateError as error:
        return {"ok": False, "error": (exhausted(error) or error).body()}
    except SystemExit as error:
        return {"ok": False, "error": ModelLoadFailed(f"the model's code ended the process (exit {error.code})").body()}
    except MemoryError:
        return {"ok": False, "error": ModelLoadFailed("the machine's memory does not suffice for this model").body()}
    except Exception as error:
        if (here := exhausted(error)) is not None:
            return {"ok": False, "error": here.body()}
        import traceback

        traceback.print_exc()
        return {"ok": False, "error": Internal(f"the job's own code failed: {error_text(error)}").body()}


def _inspect(request: dict[str, Any], on_progress: Progress) -> dict[str, Any]:
    rows_file = Path(request["rows_file"]) if request.get("rows_file") else None
    options = InspectOptions(
        bool(request.get("allow_pickle")), validation_of(request), request.get("device"), rows_file
    )
    package_dir = Path(request["package_dir"])
    check_files(package_dir)
    return inspect_model(package_dir, options, on_progress).body()


def validation_of(request: dict[str, Any]) -> Validation | None:
    """The validation data that a request names."""
    asked = request.get("validation")
    return Validation(**{**asked, "path": Path(asked["path"])}) if asked else None


def _write(path: Path, result: dict[str, Any]) -> None:
    """Whole or not at all: a process that dies while it writes leaves no result."""
    write_whole(path, json.dumps(result).encode(), durable=False)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
