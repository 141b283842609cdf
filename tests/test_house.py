"""The house itself: what documentation and Makefile promise is there, and nothing of a maker's machine is."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

import tidegate
from tidegate.cli.main import root
from tidegate.settings import Settings

HOUSE = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "docs", "benchmarks", "scripts", "deploy", ".ci")
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]
LINES_MAX = 400


def files() -> Iterator[Path]:
    """Every file of the project (found without git: a source archive is tested too)."""
    yield from (path for path in HOUSE.iterdir() if path.is_file() and path.name != ".git")  # a worktree's is a file
    for folder in FOLDERS:
        yield from (path for path in (HOUSE / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_generated_pages_are_current() -> None:
    argv = [sys.executable, str(HOUSE / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented() -> None:
    page = (HOUSE / "docs" / "reference" / "settings.md").read_text()
    names = [item.metadata["env"] for item in fields(Settings)]
    assert len(set(names)) == len(names)
    for item in fields(Settings):
        assert re.fullmatch(r".{10,}\.", item.metadata["doc"]), f"{item.name} needs a sentence"
        assert f"`{item.metadata['env']}`" in page


def imported(page: str) -> Iterator[tuple[str, str]]:
    """Module and name of each `from tidegate… import …` in blocks of Python."""
    for block in re.findall(r"^ *```python\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "tidegate":
                yield from ((node.module, one.name) for one in node.names)


def test_what_pages_import_is_there() -> None:
    found = [(page.name, *one) for page in PAGES for one in imported(page.read_text())]
    assert len(found) > 10
    assert [one for one in found if not hasattr(importlib.import_module(one[1]), one[2])] == []


def test_the_version_is_one() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert project["version"] == tidegate.__version__
    assert f"## [{tidegate.__version__}]" in (HOUSE / "CHANGELOG.md").read_text()


def test_every_make_target_has_its_line_of_help() -> None:
    makefile = (HOUSE / "Makefile").read_text()
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    listed = subprocess.run(["make", "help"], cwd=HOUSE, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S607
    assert [name for name in phony if not re.search(rf"^  make {name} +\w", listed, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_pages_name_only_commands_that_there_are(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE)
    for line in code_lines(text):
        if line.startswith("tidegate "):
            check_command(line)
        elif line.startswith("make "):
            named = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
            assert [word for word in named if word not in (*targets, "&&", "export")] == [], line


def test_messages_name_only_commands_that_there_are() -> None:
    for path in (HOUSE / "src").rglob("*.py"):
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text())  # messages of several lines
        for line in re.findall(r"'(tidegate [a-z][^'\\]*)'", text):
            check_command(re.sub(r"\{[^}]*\}", "X", line))


def test_the_console_names_only_commands_that_there_are() -> None:
    lines = [
        line
        for path in (HOUSE / "src" / "tidegate" / "console" / "templates").glob("*.html")
        for line in re.findall(r'ui\.cli\("(tidegate [^"]*)"', path.read_text())
    ]
    assert len(lines) > 20
    for line in lines:
        check_command(line)


def code_lines(text: str) -> list[str]:
    """Shell lines of a page: in blocks, continued lines joined, and in backticks."""
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = [
        code for code in re.findall(r"`((?:tidegate|make) [a-z][^`]*)`", text) if not re.search(r"[A-Z]{2}$", code)
    ]
    return [line.removeprefix("$ ") for line in lines if "[OPTIONS]" not in line] + inline


def check_command(line: str) -> None:
    """The command and each of its options exist."""
    command: click.Command = root
    options = {name for param in root.params for name in [*param.opts, *param.secondary_opts]}
    before = ""
    for word in shlex.split(line, comments=True)[1:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in {*options, "--help"}, f"{line!r}: there is no option {word!r}"
        elif isinstance(command, click.Group) and not before.startswith("-"):
            found = command.get_command(click.Context(command), word)
            assert found, f"{line!r}: there is no command {word!r}"
            command = found
            options |= {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
        before = word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_map_of_the_code_names_only_files_and_names_that_there_are() -> None:
    """`path.py` of docs/architecture.md, and `name` in (`path.py` (`name`)), wherever a path begins."""
    text = (HOUSE / "docs" / "architecture.md").read_text()
    sources = [path for folder in ("src", "tests") for path in (HOUSE / folder).rglob("*.py")]
    wrong = []
    for path, name in re.findall(r"`([\w/]+\.py)`(?: \(`([\w.]+)`)?", text):
        found = [one for one in sources if one.as_posix().endswith(f"/{path}")]
        if not any(re.search(rf"\b{name.rpartition('.')[2]}\b", one.read_text()) for one in found):
            wrong.append(f"{path} {name}".strip())
    assert wrong == []


def test_nothing_of_a_makers_machine_is_in_the_project() -> None:
    """Home directories, work folders and the hosts of package registries (each spelled so as not to find itself)."""
    pattern = re.compile(r"(?<![\w.])/(?:w[o]rk|r[o]ot|h[o]me/\w+|opt/p[y]pi)/\w|p[y]pi\.org|deb[.]debian\.org")
    found = []
    for path in files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(HOUSE)}:{n}: {line[:80]}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert found == []


def test_source_files_stay_short() -> None:
    long = {
        str(path.relative_to(HOUSE)): count
        for path in (HOUSE / "src").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_types_are_decoded_through_the_one_lock() -> None:
    """msgspec lets a thread read a type that another is building (signal 11): `wire/decoding.py` says more."""
    found = []
    for path in sorted((HOUSE / "src").rglob("*.py")):
        module = ast.parse(path.read_text())
        at_import = {
            id(part)
            for statement in module.body
            if isinstance(statement, ast.Assign | ast.AnnAssign)
            for part in ast.walk(statement)
        }
        for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            raw = name in ("msgspec.json.decode", "msgspec.msgpack.decode") and (
                len(call.args) > 1 or any(item.arg == "type" for item in call.keywords)
            )
            built_late = name in ("msgspec.json.Decoder", "msgspec.msgpack.Decoder") and id(call) not in at_import
            if raw or built_late or name == "msgspec.convert":
                found.append(f"{path.relative_to(HOUSE)}:{call.lineno}: {name}")
    assert [line for line in found if "wire/decoding.py" not in line] == []


def test_no_two_public_classes_have_one_name() -> None:
    """Who searches for a name finds one class."""
    package, places = Path(tidegate.__file__).parent, dict[str, list[str]]()
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(package).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
