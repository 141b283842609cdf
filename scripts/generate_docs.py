"""Writes the reference pages that come from the code: the command line, the settings, the errors, the JSON Schema.

`make docs-generate` runs it; with --check it writes nothing and fails when a page is not as it would be written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click
import orjson

from tidegate import errors, settings
from tidegate.cli.main import root
from tidegate.cloud_settings import CloudSettings
from tidegate.core.declared.endpoint import SCHEMA_FILE, schema
from tidegate.errors.kinds import HTTP_STATUS

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by scripts/generate_docs.py from the code: change it there, then `make docs-generate`. -->\n"


def main() -> int:
    """Write the pages, or say which are not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when a page is not current")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(REFERENCE.parent.parent)} is not current: make docs-generate", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path])
        print(f"wrote {path.relative_to(REFERENCE.parent.parent)}")
    return 0


def pages() -> dict[Path, str]:
    """Each generated page and its text."""
    made = {"cli.md": cli_page(), "settings.md": settings_page(), "errors.md": errors_page()}
    described = orjson.dumps(schema(), option=orjson.OPT_INDENT_2).decode() + "\n"
    return {REFERENCE / name: f"{NOTE}\n{text}" for name, text in made.items()} | {REFERENCE / SCHEMA_FILE: described}


# -- command line -----------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its options and examples."""
    shared = {option for param in root.params for option in param.opts}
    parts = [
        "# Command line\n",
        "`tidegate COMMAND --help` says the same. Every command takes these options, before or after its name:\n",
        _options(root, set()),
        "Exit codes: 0 done, 1 failed, 2 wrong use. A failure is one line on standard error; with `--json` the error's "
        "body is on standard output too.\n",
    ]
    for path, command in _commands(root, "tidegate"):
        parts.append(_command(path, command, shared))
    return "\n".join(parts)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group, info_name=path)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def _command(path: str, command: click.Command, shared: set[str]) -> str:
    ctx = click.Context(command, info_name=path)
    parts = [f"## {path}\n", f"```\n{' '.join([path, *command.collect_usage_pieces(ctx)])}\n```\n", _text(command.help)]
    options = _options(command, shared)
    examples = getattr(command, "examples", ())
    if options:
        parts.append(options)
    if examples:
        parts.append("```sh\n" + "\n".join(examples) + "\n```\n")
    return "\n".join(parts)


def _options(command: click.Command, shared: set[str]) -> str:
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    rows = [
        (f"`{', '.join([*option.opts, *option.secondary_opts])}{_value(option)}`", _cell(_help(option)))
        for option in options
        if not shared.issuperset(option.opts)
    ]
    return _table(("option", "meaning"), rows) if rows else ""


def _help(option: click.Option) -> str:
    told = option.show_default and option.default is not None and not option.is_flag
    return f"{option.help} [default: {option.default}]" if told else option.help or ""


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if option.metavar:
        return f" {option.metavar}"
    if isinstance(option.type, click.Choice):
        return f" {'|'.join(map(str, option.type.choices))}"
    return f" {option.type.name.upper().replace('INTEGER RANGE', 'INTEGER').replace(' RANGE', '')}"


def _text(text: str | None) -> str:
    paragraphs = (text or "").replace("\b", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) + "\n"


# -- settings ---------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting of `Settings`, from its metadata."""
    rows = [(f"`{env}`", default, allowed, doc) for env, default, allowed, doc in _settings()]
    return (
        "# Settings\n\n"
        "Read once when a process starts. The ports and the host are options of `tidegate up` and `tidegate serve`.\n\n"
        + _table(("environment variable", "default", "allowed", "meaning"), rows)
    )


def _settings() -> Iterator[tuple[str, str, str, str]]:
    clouds = {item.name for item in fields(CloudSettings)}
    for item in sorted(fields(settings.Settings), key=lambda item: item.name in clouds):  # theirs are last
        default = None if item.default is MISSING else item.default
        low, high = item.metadata["allowed"] or ("", "")
        allowed = f"{low} to {high}" if high else ""
        yield item.metadata["env"], _default(default), allowed, _cell(item.metadata["doc"])


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "`1`" if value else "`0`"
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"`{value}` ({value >> 20:,} MiB)"
    return f"`{value}`"


# -- errors -----------------------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Every foreseen failure with its code, HTTP status, exit code and what it says when it has nothing better."""
    found = sorted(_classes(errors.TidegateError), key=lambda cls: (HTTP_STATUS[cls.kind], cls.code))
    rows = [(f"`{cls.code}`", str(HTTP_STATUS[cls.kind]), str(cls.exit_code), _cell(cls.__doc__)) for cls in found]
    return (
        "# Errors\n\n"
        "Every failure that was foreseen has a code that stays the same. The API and the gateway answer\n"
        '`{"error": message, "code": code, "details"?: {...}}`; the message says what was wrong, where, and what to\n'
        "do. A 500 carries an id that the server's log has too, never a traceback.\n\n"
        + _table(("code", "HTTP", "exit code", "meaning"), rows)
    )


def _classes(cls: type[errors.TidegateError]) -> list[type[errors.TidegateError]]:
    return [deeper for sub in cls.__subclasses__() for deeper in [sub, *_classes(sub)]]


# -- Markdown ---------------------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())


if __name__ == "__main__":
    sys.exit(main())
