"""What all commands share: the options that work everywhere, examples in every help, output, and the client.

Imports click and nothing heavier, so that `tidegate --help` answers at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tidegate.client import Client
    from tidegate.client.registration.files import OnProgress
    from tidegate.client.rest.paging import Page

Body = Callable[..., None]
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@dataclass(frozen=True)
class App:
    """One invocation: how it speaks (`json`) and which platform it means."""

    json: bool = False
    data_dir: Path | None = None
    url: str | None = None

    def client(self) -> Client:
        """A client of the platform this invocation means; closed when the process ends."""
        from tidegate.client import Client

        return Client(url=self.url, data_dir=self.data_dir)

    def emit(self, value: Any, text: Callable[[], str]) -> None:
        """The command's result on standard output: the REST shape with --json, else what `text` returns."""
        if not self.json:
            return click.echo(text())
        import msgspec
        import orjson

        return click.echo(orjson.dumps(msgspec.to_builtins(value), option=orjson.OPT_INDENT_2))

    def emit_page(self, name: str, page: Page[Any], text: Callable[[], str]) -> None:
        """A page of a list; where there are more, how to go on is said on standard error."""
        self.emit({name: page.rows, "next": page.next}, text)
        if page.next is not None:
            self.note(f"there are more: --cursor {page.next}")

    def note(self, text: str) -> None:
        """A line for the person who watches, on standard error."""
        click.echo(text, err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is gone. Where nobody can be asked, `--yes` must have been given."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} Nobody can be asked here: add --yes", click.get_current_context())
        click.confirm(question, abort=True, err=True)

    def progress(self) -> AbstractContextManager[OnProgress]:
        """A place to report progress to, on standard error: a bar on a terminal, else a line for each new step."""
        from tidegate.cli.output import progress

        return progress(bar=sys.stderr.isatty() and not self.json)


def paging_options(body: Body) -> Body:
    """Give a command that lists --limit and --cursor."""
    after = "Go on after this page: what the page before named."
    body = click.option("--cursor", help=after)(body)
    return click.option("--limit", type=click.IntRange(1, 1000), help="At most so many [default: 100].")(body)


def yes_option(body: Body) -> Body:
    """Give a command that removes something --yes, which `App.confirm` takes."""
    return click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")(body)


_EXAMPLE_WORDS = re.compile(r"""(?:--[\w-]+ (?!-))?(?:"[^"]*"|'[^']*'|\S)+""")
"""An option goes with its value."""
EXAMPLE_CHARS_MAX = 80


def folded(example: str) -> Iterator[str]:
    """The lines of an example, which a shell reads as one: each but the last ends with a backslash."""
    words = _EXAMPLE_WORDS.findall(example)
    line = f"  {words[0]}"
    for word in words[1:]:
        if len(line) + len(word) + 3 > EXAMPLE_CHARS_MAX:
            yield f"{line} \\"
            line = f"    {word}"
        else:
            line += f" {word}"
    yield line


class _WithExamples(click.Command):
    """A command whose help ends with examples, each a line (or a few) that can be typed as it stands."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in chain.from_iterable(map(folded, self.examples)):
                    formatter.write(f"{line}\n")


class Command(_WithExamples):
    """One verb."""


class LazyGroup(_WithExamples, click.Group):
    """A group that knows its commands' names and one-line helps, and imports a command when it is called.

    `lazy` maps a name to (module below `tidegate.cli`, attribute, one-line help).
    """

    lazy: dict[str, tuple[str, str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self.lazy[cmd_name]
        command: click.Command = getattr(import_module(f"tidegate.cli.{module}"), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        eager = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        rows = [(name, help_) for name, (_, _, help_) in self.lazy.items()] + list(eager.items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def common_options() -> list[click.Option]:
    """The options that every command takes, before and after its name."""
    return [
        click.Option(["--json", "json_"], is_flag=True, help="Print the REST shape on standard output."),
        click.Option(
            ["--data-dir"],
            type=click.Path(path_type=Path, file_okay=False),
            help="The platform's data directory [default: TIDEGATE_DATA_DIR, else ~/.tidegate].",
        ),
        click.Option(["--url"], help="The control plane, such as http://127.0.0.1:8800 [default: TIDEGATE_URL]."),
    ]


def remember(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> App:
    """The invocation so far, with this command's common options on top."""
    above = ctx.find_object(App) or App()
    app = replace(above, json=above.json or json_, data_dir=data_dir or above.data_dir, url=url or above.url)
    ctx.obj = app
    return app


def command(name: str, *examples: str) -> Callable[[Body], click.Command]:
    """Make `body(app, **parameters)` a command that takes the common options; its docstring is the help."""

    def decorate(body: Body) -> click.Command:
        def run(json_: bool, data_dir: Path | None, url: str | None, **parameters: Any) -> None:
            body(remember(click.get_current_context(), json_, data_dir, url), **parameters)

        run.__doc__ = body.__doc__
        run.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
        made = click.command(name, cls=Command, context_settings=CONTEXT)(run)
        made.params += common_options()
        made.examples = examples
        return made

    return decorate
