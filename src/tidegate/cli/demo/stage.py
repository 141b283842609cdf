"""Where a demo plays: its folder, what it says, and the commands that it runs as a user would."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click

from tidegate import clock
from tidegate.cli.app import App
from tidegate.errors import DataDirUnusable, TidegateError

STEP_TIMEOUT_S = 180.0
OF_ANOTHER_PLATFORM = frozenset({"TIDEGATE_URL", "DATABASE_URL", "MLFLOW_TRACKING_URI"})
"""Variables that would lead the demo to a platform, a database or a registry that is not its own."""


@dataclass
class Stage:
    """Where the demo plays: says things, runs commands as a user would, and knows the platform's directory."""

    app: App
    data_dir: Path
    began_s: float = field(default_factory=clock.monotonic)
    started: bool = False
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the model files lie, and where the commands are run."""
        return self.data_dir / "demo-files"

    def say(self, text: str) -> None:
        click.echo(text, err=self.app.json)

    def prepare(self, wipe: bool) -> None:
        """Make room: stop the platform of an earlier demo, and forget it when the directory is the demo's own."""
        if wipe and self.data_dir.exists():
            if not self.folder.is_dir():
                raise DataDirUnusable(f"{self.data_dir} was not made by a demo: name another directory with --data-dir")
            self.stop(quiet=True)
            shutil.rmtree(self.data_dir)
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataDirUnusable(f"cannot write to {self.data_dir}: {error.strerror}") from None

    def say_title(self, title: str) -> None:
        self.say(f"\n{bold(title)}")

    def show(self, title: str, *arguments: str, lines_max: int | None = None) -> str:
        """Say what comes, print the command, run it, print what came back and return it. Raises when it fails.

        `lines_max`: print so many lines of what came back, and say how many more there are.
        """
        self.say_title(title)
        self.say(f"$ tidegate {shlex.join(arguments)}")
        code, output = self.run(arguments)
        lines = output.splitlines()
        self.say("\n".join(f"  {line}".rstrip() for line in lines[:lines_max]))
        if lines_max is not None and len(lines) > lines_max:
            self.say(f"  … and {len(lines) - lines_max} lines more")
        _check_code(code, arguments, output)
        return output

    def keep(self, into: str, *arguments: str) -> str:
        """Print a command and run it with its answer in a file; print and return the last line that it said."""
        self.say(f"$ tidegate {shlex.join(arguments)} > {into}")
        code, output = self.run(arguments, into=into)
        summary = output.strip().splitlines()[-1] if output.strip() else "nothing came back"
        self.say(f"  {summary}")
        _check_code(code, arguments, summary)
        return summary

    def run(self, arguments: tuple[str, ...], into: str | None = None) -> tuple[int, str]:
        """Run a command on the demo's data directory; its exit code, and all it printed.

        `into` names a file in the demo's folder for its standard output, as `> into` does.
        """
        line = [sys.executable, "-m", "tidegate", *arguments]
        env = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_PLATFORM}
        env["TIDEGATE_DATA_DIR"] = str(self.data_dir)
        # A file and not a pipe: `up --detach` leaves children behind, and a pipe would stay open with them.
        with tempfile.TemporaryFile() as said, ExitStack() as stack:
            out = said if into is None else stack.enter_context((self.folder / into).open("wb"))
            try:
                code = subprocess.run(
                    line, stdout=out, stderr=said, cwd=self.folder, env=env, timeout=STEP_TIMEOUT_S, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                raise TidegateError(f"'tidegate {arguments[0]}' did not end within {STEP_TIMEOUT_S:g} s") from None
            said.seek(0)
            return code, said.read().decode("utf-8", "replace")

    def stop(self, quiet: bool) -> None:
        """Stop the platform, whatever state it is in."""
        if self.folder.exists():
            code, output = self.run(("down",))
            if not quiet or (code != 0 and self.started):
                self.say(output)

    def down_line(self) -> str:
        """How a user stops this platform."""
        return shlex.join(["tidegate", "down", "--data-dir", str(self.data_dir)])


def _check_code(code: int, arguments: tuple[str, ...], output: str) -> None:
    if code != 0:
        last = output.strip().splitlines()[-1:] or ["no reason given"]
        raise TidegateError(f"'tidegate {arguments[0]}' failed: {last[0].removeprefix('error: ')}")


def bold(text: str) -> str:
    """As a heading on a terminal."""
    return click.style(text, bold=True)
