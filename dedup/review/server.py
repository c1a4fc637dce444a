"""The HTTP server: one listening socket, bounded connections, and the address that the user opens."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dedup.errors import BadUsage
from dedup.files.user_dirs import ActionDirs
from dedup.languages.language import Language
from dedup.review.app import application
from dedup.review.figures import Figures
from dedup.review.guard import PublicUrl, local_host, network_host
from dedup.review.jobs import JobRunner
from dedup.review.overlays import Overlays
from dedup.review.pictures import Pictures
from dedup.review.session import Review

_CONNECTIONS = 100  # at once; a browser opens six
_HEAD_SECONDS = 10.0  # for a client to send the head of a request


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 in which no client can hold a connection without asking something.

    A connection that does not complete the head of a request in time is closed. With more than _CONNECTIONS, the one
    that has waited longest for a head is closed; if none waits, the new one is.
    """

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            waiting = [c for c in self.connections if isinstance(c, BoundedProtocol) and c.head_timer]
            oldest = min(waiting, key=lambda c: c.head_timer.when(), default=self)  # type: ignore[union-attr]
            oldest.transport.abort()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        """Run the timer while the head of a request is incomplete."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


def serve(
    db: str,
    *,
    host: str,
    port: int,
    password: str,
    public_url: PublicUrl | None,
    dirs: ActionDirs,
    workers: int,
    language: Language | None,
    started: Callable[[str], None],
) -> None:
    """Serve the review of a database until Ctrl-C. started is called with the address once the server listens.

    language: of the page; None for the one that each browser asks for. port: 0 for any free one. password: empty for
    a server of this machine only. public_url: the address at an HTTPS proxy. Raises BadUsage if the address cannot be
    used, StoreUnusable if there is no scan.
    """
    token = secrets.token_urlsafe(24)
    names = frozenset((socket.gethostname().lower(), f"{socket.gethostname()}.local".lower(), host.lower()))
    review = Review(db)
    with (
        listening(host, port) as listener,
        Pictures(workers=workers) as pictures,
        Figures(review) as figures,
        Overlays(review, workers=workers) as overlays,
    ):
        app = application(
            review,
            pictures,
            figures,
            overlays,
            JobRunner(db, dirs=dirs),
            language=language,
            token=token,
            password=password,
            host_allowed=network_host(names) if password else local_host,
            public_url=public_url,
        )
        name = f"[{host}]" if ":" in host else host
        origin = f"http://{name}:{listener.getsockname()[1]}"
        started(f"{public_url.address if public_url else origin}/{'' if password else f'{token}/'}")
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_level="error",  # a warning for each malformed request would fill the log
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the guard reads the forwarded scheme
            timeout_graceful_shutdown=3,
        )
        run_until_stopped(uvicorn.Server(config), listener)


def run_until_stopped(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run until Ctrl-C, SIGTERM or SIGHUP, and then return, so that the caller can clean up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises the signal again when it has stopped
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored below nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a listening socket. Raises BadUsage if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadUsage(f"{host}, port {port}: cannot listen there ({error.strerror or error})") from error
        listener.listen(128)
        yield listener


@contextmanager
def redirect_page(address: str) -> Iterator[str]:
    """Yield the path of a page that redirects to the address and that only this user can read.

    A browser is given this path, because every user of the machine can read its command line, and whoever knows the
    address can use the review. Jupyter does the same.
    """
    with TemporaryDirectory(prefix="dedup-review-") as folder:  # mode 0700
        path = os.path.join(folder, "open.html")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as page:
            page.write(
                '<!doctype html><meta charset="utf-8"><title>Review duplicates</title>'
                f'<meta http-equiv="refresh" content="0;url={escape(address)}">'
                f'<p><a href="{escape(address)}">Open the review</a>\n'
            )
        yield path


def open_browser(path: str) -> None:
    """Open a local page in the user's browser, without waiting: some browsers run until the user closes them."""
    Thread(target=webbrowser.open, args=(Path(path).as_uri(),), daemon=True).start()
