"""Access control: an ASGI wrapper that passes only requests of our own page.

All addresses begin with a token that is drawn at random at each start, so no other site, program or user can guess
them. Host is checked against DNS rebinding; Origin and Sec-Fetch-Site are checked against cross-site requests. A server
for the network has a password as well, which every request carries by HTTP Basic authentication (RFC 7617).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dedup.errors import BadUsage

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


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The address under which an HTTPS proxy offers the review."""

    scheme: str
    netloc: str  # host, and port unless it is the default one
    path: str  # without a slash at the end

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def address(self) -> str:
        return self.origin + self.path


def parse_public_url(url: str) -> PublicUrl:
    """Return the parts of a public URL. Raises BadUsage."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        raise BadUsage(f"{url}: a public URL was expected, such as https://photos.example.org/dedup")
    name = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    return PublicUrl(parts.scheme, name if port in (None, default) else f"{name}:{port}", parts.path.rstrip("/"))


def has_control_characters(text: str) -> bool:
    return re.search(r"[\x00-\x1f\x7f]", text) is not None


class Guard:
    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        host_allowed: Callable[[str], bool],
        password: str = "",
        public_url: PublicUrl | None = None,
    ) -> None:
        self.app, self.token, self.host_allowed, self.password = app, token, host_allowed, password
        self.public_url = public_url
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

        path = self._without_prefix(scope["path"])
        refusal = await self._refusal(scope, path, Headers(scope=scope))
        if refusal is None:
            path = path.removeprefix(f"/{self.token}")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await (refusal or self.app)(scope, receive, send_guarded)

    def _without_prefix(self, path: str) -> str:
        """Return a path without that of the public URL, which a proxy may have left there."""
        prefix = self.public_url.path if self.public_url else ""
        return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path

    async def _refusal(self, scope: Scope, path: str, headers: Headers) -> Response | None:
        """Return the answer to a request that may not pass, None if it may."""
        if not path.startswith("/") or has_control_characters(path):
            return PlainTextResponse("this is not a path", 400)
        if not self._host_allowed(headers.get("host", "")):
            return PlainTextResponse("this server does not answer to that host name; see --public-url", 421)
        home = path == f"/{self.token}/" or (bool(self.password) and path == "/")
        if not self._same_site(scope["method"], home, headers):
            return PlainTextResponse("only the review page may send requests", 403)
        if "transfer-encoding" in headers:
            return PlainTextResponse("a Content-Length is required", 411)
        if not re.fullmatch("[0-9]{1,9}", headers.get("content-length", "0")):
            return PlainTextResponse("the Content-Length is not a number of bytes", 400)
        if int(headers.get("content-length", "0")) > _MAX_BODY:
            return PlainTextResponse("the request is too large", 413)
        return await self._unauthorized(path, headers)

    def _host_allowed(self, host: str) -> bool:
        public = self.public_url is not None and host.lower() == self.public_url.netloc
        return public or self.host_allowed(_host_name(host))

    def _same_site(self, method: str, home: bool, headers: Headers) -> bool:
        """Return whether the page itself sends the request, or a link or redirect opens the page in a tab."""
        reads = method in ("GET", "HEAD")
        site = headers.get("sec-fetch-site", "none")
        opens = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        if site not in ("same-origin", "none") and not (reads and home and opens):
            return False
        return reads or headers.get("origin", "") in self._origins(headers)

    def _origins(self, headers: Headers) -> set[str]:
        """Return the origins of our own page: at this server, and at a proxy in front of it."""
        host, forwarded = headers.get("host", ""), headers.get("x-forwarded-proto", "").split(",")[0].strip()
        schemes = {"http", "https"} & {"http", forwarded}
        own = {f"{scheme}://{host}" for scheme in schemes}
        return own | {self.public_url.origin} if self.public_url else own

    async def _unauthorized(self, path: str, headers: Headers) -> Response | None:
        """Return the answer to a request without the password or the token, None if it has them."""
        if self.password and not self._knows_password(headers.get("authorization", "")):
            async with self._guess:  # one guess a second, however many requests arrive
                await asyncio.sleep(1 if "authorization" in headers else 0)
            return PlainTextResponse(
                "a password is required", 401, {"WWW-Authenticate": 'Basic realm="dedup", charset="UTF-8"'}
            )
        first = path.split("/")[1]
        if secrets.compare_digest(first.encode(), self.token.encode()) and path.startswith(f"/{first}/"):
            return None
        if self.password and path == "/":
            prefix = self.public_url.path if self.public_url else ""
            return RedirectResponse(f"{prefix}/{self.token}/", 303)
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
