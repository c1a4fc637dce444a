"""dedup review: the pages for the browser."""

from __future__ import annotations

import os
import sys

import click

from dedup.cli.options import database, notes
from dedup.errors import BadUsage
from dedup.files import user_dirs


@click.command(
    epilog=notes(
        "decisions go to the database at once; photos move only by Apply on the page, as with 'dedup apply --yes'.",
        "dedup review",
        "dedup review --port 8000 --no-browser",
    )
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Default: any that is free.")
@click.option("--host", metavar="ADDRESS", help="Let others on the network in, with a password: DEDUP_REVIEW_PASSWORD.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@database
def review(port: int, host: str | None, no_browser: bool, db: str) -> None:
    """Look at the groups in the browser: choose, apply, undo. Ends with Ctrl-C."""
    import webbrowser

    try:
        from dedup.review.app import serve
    except ModuleNotFoundError as error:
        raise BadUsage(
            f"dedup review needs {(error.name or '').split('.')[0]}: pip install 'dedup-photos[review]'"
        ) from error

    def opened(address: str) -> None:
        click.echo(address)
        click.echo("Ctrl-C ends it.", err=True)
        if not host and not no_browser:
            webbrowser.open(address)

    serve(
        os.path.abspath(db), host=host or "127.0.0.1", port=port, password=network_password() if host else "",
        home_trash=user_dirs.trash(), workers=os.cpu_count() or 1, opened=opened,
    )  # fmt: skip


def network_password() -> str:
    """Return the password that a server on a network demands, and say what having one means. Raises BadUsage."""
    password = os.environ.get("DEDUP_REVIEW_PASSWORD", "")
    if not password and sys.stdin.isatty():
        password = click.prompt("Password for this review", hide_input=True, confirmation_prompt=True)
    if len(password) < 8:
        raise BadUsage("--host needs a password of eight characters at least, in DEDUP_REVIEW_PASSWORD or typed here")
    click.echo(
        "Whoever knows the password sees every photo of every group and may move photos away. It travels unencrypted: "
        "use a network that you trust, or an HTTPS proxy.",
        err=True,
    )
    return password
