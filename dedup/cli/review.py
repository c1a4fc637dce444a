"""dedup review: the page in the browser."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import click

from dedup.cli.options import database, in_language, language_of, notes
from dedup.errors import BadUsage
from dedup.files import user_dirs
from dedup.languages.language import Language, load
from dedup.types.message import Message
from dedup.version import installation


@click.command(
    epilog=notes(
        "decisions are stored at once; photos are moved only by Apply on the page, as with 'dedup apply --yes'.",
        "dedup review",
        "dedup review --port 8000 --no-browser",
    )
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Default: any free one.")
@click.option("--host", metavar="ADDRESS", help="Serve the network too, with a password: DEDUP_REVIEW_PASSWORD.")
@click.option("--public-url", metavar="URL", help="The address at an HTTPS proxy in front of this server.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@in_language
@database
def review(port: int, host: str | None, public_url: str | None, no_browser: bool, lang: str | None, db: str) -> None:
    """Review the groups in the browser: decide, apply, undo. Ctrl-C ends it."""
    try:
        from dedup.review.guard import parse_public_url
        from dedup.review.server import open_browser, redirect_page, serve
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise BadUsage(
            Message(
                "{command} needs {package}: {install}",
                command="dedup review",
                package=missing,
                install=installation("review"),
            )
        ) from error

    network = host is not None or public_url is not None
    with ExitStack() as stack:

        def started(address: str) -> None:
            click.echo(address)
            click.echo(language_of(lang).gettext("Press Ctrl-C to end."), err=True)
            if not network and not no_browser:
                open_browser(stack.enter_context(redirect_page(address)))

        serve(
            os.path.abspath(db),
            host=host or "127.0.0.1",
            port=port,
            password=network_password(language_of(lang)) if network else "",
            public_url=parse_public_url(public_url) if public_url else None,
            dirs=user_dirs.for_actions(),
            workers=os.cpu_count() or 1,
            language=load(lang) if lang else None,
            started=started,
        )


def network_password(language: Language) -> str:
    """Return the password of a server for the network, and print what it protects. Raises BadUsage."""
    password = os.environ.get("DEDUP_REVIEW_PASSWORD", "")
    if not password and sys.stdin.isatty():
        password = click.prompt(language.gettext("Password for this review"), hide_input=True, confirmation_prompt=True)
    if len(password) < 8:
        raise BadUsage(
            Message(
                "{options} need a password of at least 8 characters, in {variable} or typed here",
                options="--host, --public-url",
                variable="DEDUP_REVIEW_PASSWORD",
            )
        )
    click.echo(
        language.gettext(
            "Anyone with the password can see every photo of the groups and can move photos away. Without an HTTPS "
            "proxy, the password travels unencrypted: use a network that you trust."
        ),
        err=True,
    )
    return password
