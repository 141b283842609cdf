"""The command line itself: help, exit codes, --json, and what a start imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from support.platform import TIDEGATE, clean_env, tidegate
from tidegate import __version__
from tidegate.cli.app import LazyGroup
from tidegate.cli.main import COMMANDS, root

HEAVY = ("numpy", "pandas", "rich", "urllib3", "fastapi", "starlette", "sqlalchemy", "mlflow", "msgspec", "sklearn")
ISSUE_COMMANDS = (
    "up down demo serve register models deploy endpoints predict traffic promote rollback scale delete status logs jobs"
)


def commands(group: LazyGroup, path: str) -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, LazyGroup):
            yield from commands(command, f"{path} {name}")


EVERY = list(commands(root, "tidegate"))


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom tidegate.cli.main import main\nsys.argv = ['tidegate', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_with_its_own_short_help() -> None:
    said = " ".join(tidegate("--help").out.split())
    for name in ISSUE_COMMANDS.split():
        assert COMMANDS[name][2] in said


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[path for path, _ in EVERY])
def test_every_help_has_examples_that_parse(path: str, command: click.Command) -> None:
    with click.Context(command, info_name=path) as ctx:
        said = command.get_help(ctx)
    assert command.help
    shown = said.partition("Examples:")[2]
    assert max(map(len, shown.splitlines())) <= 80
    examples = [line.strip() for line in shown.replace(" \\\n", " ").splitlines() if line.strip()]
    assert examples, f"{path} --help shows no example"
    assert all(line.startswith("tidegate ") for line in examples)
    assert any(path.removeprefix("tidegate ") in line for line in examples)
    options = said.partition("Options:")[2].partition("Examples:")[0]
    assert max(map(len, options.splitlines())) <= 80
    assert {"--json", "--data-dir", "--url"} <= {name for option in command.params for name in option.opts}


def test_the_lazy_table_names_real_commands() -> None:
    for name, (module, attribute, _) in COMMANDS.items():
        assert getattr(import_module(f"tidegate.cli.{module}"), attribute).name == name


def test_the_version() -> None:
    assert tidegate("--version").out.strip().endswith(__version__)
    assert tidegate("version", "--json").json["version"] == __version__
    ran = subprocess.run([sys.executable, "-m", "tidegate", "version"], capture_output=True, text=True, check=True)
    assert __version__ in ran.stdout


WRONG = [
    ("modles",),
    ("register", "model.onnx"),
    ("scale", "churn", "--replicas", "0"),
    ("up", "--port", "70000"),
    ("predict", "churn"),
    ("predict", "churn", "--data", "[1", "--file", "x.csv"),
    ("predict", "churn", "--data", '"text"'),
    ("traffic", "churn", "2"),
    ("traffic", "churn", "1=50", "1=50"),
    ("deploy", "model.joblib"),
    ("deploy", "churn", "--allow-pickle"),
    ("deploy", "churn:1", "--follow", "--no-accelerate"),
    ("deploy", "models:/Churn_Model/1"),
    ("deploy", "churn:"),
    ("register", "model.onnx", "--name", "churn", "--tag", "team"),
    ("models", "trust", "churn"),
    ("serve", "nowhere.onnx"),
    ("status", "--url", "not-a-url"),
]


@pytest.mark.parametrize("argv", WRONG, ids=[" ".join(argv) for argv in WRONG])
def test_wrong_use_is_code_2_and_one_line(argv: tuple[str, ...], tmp_path: Path) -> None:
    """Also without a platform: what is wrong with the words is said first."""
    ran = tidegate(*argv, cwd=tmp_path, env={"TIDEGATE_URL": "http://127.0.0.1:9"})
    assert ran.code == 2, ran.said
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""


def test_json_that_is_none_is_pointed_at() -> None:
    ran = tidegate("predict", "churn", "--data", '{"features": [1, 2,, 3]}')
    assert ran.code == 2
    assert "line 1 column" in ran.err


@pytest.mark.parametrize("argv", [("--json", "models"), ("models", "--json"), ("models", "list", "--json")])
def test_an_error_with_json_is_the_error_body(argv: tuple[str, ...], tmp_path: Path) -> None:
    ran = tidegate(*argv, "--data-dir", str(tmp_path))
    assert ran.code == 1
    assert json.loads(ran.out)["code"] == "not_running"
    assert ran.err == f"error: {json.loads(ran.out)['error']}\n"


def test_wrong_use_with_json_is_an_error_body_too() -> None:
    ran = tidegate("modles", "--json")
    assert (ran.code, ran.json["code"]) == (2, "wrong_use")
    assert "did you mean 'models'" in ran.json["error"]


def test_a_command_given_its_options_before_its_name(tmp_path: Path) -> None:
    ran = tidegate("--data-dir", str(tmp_path / "mine"), "status")
    assert ran.code == 1
    assert str(tmp_path / "mine") in ran.err


def test_what_was_not_foreseen_is_one_line_too(tmp_path: Path) -> None:
    """A control.json that is a directory, say."""
    (tmp_path / "token").mkdir()
    (tmp_path / "control.json").write_text('{"url": "http://[::1"}')
    ran = tidegate("status", "--data-dir", str(tmp_path))
    assert ran.code in (1, 2)
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    piped = f"{TIDEGATE} --help | head -n 1"
    ran = subprocess.run(["/bin/sh", "-c", piped], capture_output=True, text=True, env=clean_env(), check=True)
    assert ran.stdout.startswith("Usage")
    assert ran.stderr == ""
