"""Access control: an ASGI wrapper that passes only requests of our own page.

All addresses begin with a token that is drawn at random at each start, so no other site, program or user can guess
them. Host is checked against DNS rebinding; Origin and Sec-Fetch-Site are checked against cross-site requests. A server
for the network has a password as well, which every request carries by HTTP Basic authentication (RFC 7617).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_BODY = 1 << 20  # bytes
_CSP = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def local_host(host: str) -> bool:
    """Return whether a Host is this machine, by a name that no DNS server can redirect."""
    return host in ("127.0.0.1", "localhost", "::1")


def network_host(names: frozenset[str]) -> Callable[[str], bool]:
    """Return a check of Host for a server on a network: an IP address or one of our own names passes."""

    def check(host: str) -> bool:
        try:
            return bool(ip_address(host))
        except ValueError:
            return host in names or local_host(host)

    return check


class Guard:
    def __init__(self, app: ASGIApp, *, token: str, host_allowed: Callable[[str], bool], password: str = "") -> None:
        self.app, self.token, self.host_allowed, self.password = app, token, host_allowed, password
        self._guess = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = await self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            path = scope["path"].removeprefix(f"/{self.token}")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await (refusal or self.app)(scope, receive, send_guarded)

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that may not pass, None if it may."""
        host = headers.get("host", "")
        if not self.host_allowed(_host_name(host)):
            return PlainTextResponse("this server does not answer to that host name", 421)
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return PlainTextResponse("only the review page may send requests", 403)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
            return PlainTextResponse("only the review page may send requests", 403)
        if not headers.get("content-length", "0").isdecimal() or int(headers.get("content-length", "0")) > _MAX_BODY:
            return PlainTextResponse("the request is too large", 413)
        if "transfer-encoding" in headers:
            return PlainTextResponse("a Content-Length is required", 411)
        if self.password and not self._knows_password(headers.get("authorization", "")):
            async with self._guess:  # one guess a second, however many requests arrive
                await asyncio.sleep(1 if "authorization" in headers else 0)
            return PlainTextResponse(
                "a password is required", 401, {"WWW-Authenticate": 'Basic realm="dedup", charset="UTF-8"'}
            )
        first = scope["path"].split("/")[1]
        if secrets.compare_digest(first.encode(), self.token.encode()) and scope["path"].startswith(f"/{first}/"):
            return None
        if self.password and scope["path"] == "/":
            return RedirectResponse(f"/{self.token}/", 303)
        return PlainTextResponse("open the address that 'dedup review' printed", 404)

    def _knows_password(self, authorization: str) -> bool:
        kind, _, value = authorization.partition(" ")
        try:
            _, _, password = base64.b64decode(value, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == "basic" and secrets.compare_digest(password, self.password.encode())


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, empty if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
