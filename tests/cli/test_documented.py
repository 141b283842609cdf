"""Every command that a page shows is one that there is, with options that it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tidegate.cli.main import root

HOUSE = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(
    page
    for page in (HOUSE / "README.md", HOUSE / "CHANGELOG.md", *(HOUSE / "docs").rglob("*.md"))
    if "reference" not in page.parts and "decisions" not in page.parts
)

BEFORE = r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:docker compose exec \S+ |kubectl exec .* -- )?"
"""What may stand before a command."""


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `tidegate` in blocks of shell, and in the text where it is a whole command."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        found += re.sub(r"\\\n\s*", " ", block).splitlines()
    for line in (*found, *re.findall(r"`(tidegate [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))):
        for part in re.split(r"&&|;|\$\(|(?<!\|)\|(?!\|)", line):
            match = re.match(BEFORE + r"tidegate (.*)", part)
            if match is None:
                continue
            try:
                words = shlex.split(match[1].partition(" #")[0].partition(" >")[0].rstrip(") &"))
            except ValueError:  # a quotation goes on in the next line
                continue
            if not any(word in ("…", "...") or "|" in word for word in words):
                yield words


def parsed(command: click.Command, words: list[str], path: str) -> None:
    """Raises `click.UsageError` for a command or an option that is not there."""
    context = click.Context(command, info_name=path)
    try:
        _, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.BadOptionUsage as error:
        if error.option_name == words[-1]:  # the text speaks of the option
            return
        raise
    if isinstance(command, click.Group) and rest:
        name, chosen, more = command.resolve_command(context, rest)
        assert chosen is not None
        parsed(chosen, more, f"{path} {name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    wrong = []
    for words in commands(page.read_text()):
        try:
            parsed(root, words, "tidegate")
        except (click.UsageError, AssertionError) as error:
            wrong.append(f"tidegate {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_command_that_is_not_there_is_found() -> None:
    page = "```sh\ntidegate status \\\n  churn --jason | head && tidegate nothing\n```\nand `tidegate down` of text"
    assert list(commands(page)) == [["status", "churn", "--jason"], ["nothing"], ["down"]]
    for words in (["status", "churn", "--jason"], ["nothing"]):
        with pytest.raises((click.UsageError, AssertionError)):
            parsed(root, words, "tidegate")
    parsed(root, ["down"], "tidegate")
