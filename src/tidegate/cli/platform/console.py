"""`console`: a link that logs a browser in once."""

from __future__ import annotations

import click

from tidegate.cli.app import App, command


@command("console", "tidegate console", "tidegate console --print", "tidegate console --json")
@click.option("--print", "print_", is_flag=True, help="Print the link alone, and open nothing.")
def console(app: App, *, print_: bool) -> None:
    """Open the console in the browser, logged in.

    The link logs one browser in, once, within five minutes; it needs the platform's token, as every command does. With
    --print or --json, and where no browser can be opened, it is printed.
    """
    import webbrowser

    from tidegate.client.login import login_url

    url = login_url(app.client())
    if app.json or print_:
        return app.emit({"url": url}, lambda: url)
    if webbrowser.open(url):
        return app.note("opened in the browser")
    app.note("no browser could be opened here: open this link in one, once, within five minutes")
    return click.echo(url)
