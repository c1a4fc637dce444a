"""The server of the review against real connections: who gets in, odd requests, stale pages, idle connections."""

import base64
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from album import scene
from click.testing import CliRunner, Result
from serving import Server, serving

from dedup.cli.main import main
from dedup.errors import BadUsage
from dedup.store.store import Store
from dedup.types.groups import Decisions

pytest.importorskip("starlette")
from dedup.review.guard import parse_public_url

Dedup = Callable[..., Result]
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an album with two groups."""
    folder = tmp_path_factory.mktemp("scanned")
    (folder / "Photos").mkdir()
    for seed in (1, 2):
        for size in ((320, 240), (160, 120)):
            scene(seed, size).save(folder / "Photos" / f"{seed} {size[0]}.png")
    words = ["scan", str(folder / "Photos"), "-q", "--db", str(folder / "test.db")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return folder / "test.db"


def decisions(db: Path) -> Decisions:
    with Store(str(db)) as store:
        return store.decisions.load()


def fingerprint(server: Server, path: str, **headers: str) -> str:
    page = server.ask(path, **headers)[2].decode()
    found = re.search(r'data-(?:fingerprint|accept|apply)="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


# The address


def test_browser_gets_a_page_that_only_the_user_can_read_and_does_not_hold_the_server(db: Path, tmp_path: Path) -> None:
    script = tmp_path / "browser"
    script.write_text(f"#!{sys.executable}\n" + BLOCKING_BROWSER.format(folder=str(tmp_path)))
    script.chmod(0o700)
    command = [sys.executable, "-m", "dedup", "review", "--db", str(db)]
    environment = os.environ | {"BROWSER": str(script)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as review:
        assert review.stdout is not None
        address = review.stdout.readline().strip()
        try:
            while not (tmp_path / "done").exists():
                assert review.poll() is None
                time.sleep(0.05)
            given = json.loads((tmp_path / "done").read_text())
            assert Server(address).ask()[0] == 200  # while the browser runs
        finally:
            review.terminate()
            review.wait(timeout=20)
            os.kill(int((tmp_path / "pid").read_text()), 9)
    token = urlsplit(address).path.strip("/")
    assert len(token) > 20
    assert all(token not in word for word in given["arguments"])
    assert (given["file"], given["folder"]) == (0o600, 0o700)
    assert f'content="0;url={address}"' in given["text"]
    assert not os.path.exists(given["path"])


BLOCKING_BROWSER = """
import json, os, sys, time
from pathlib import Path
from urllib.parse import unquote, urlsplit
folder = Path({folder!r})
path = unquote(urlsplit(sys.argv[1]).path)
mode = lambda path: os.stat(path).st_mode & 0o777
given = dict(arguments=sys.argv, path=path, text=Path(path).read_text())
given |= dict(file=mode(path), folder=mode(os.path.dirname(path)))
(folder / "pid").write_text(str(os.getpid()))
(folder / "half").write_text(json.dumps(given))
os.rename(folder / "half", folder / "done")
time.sleep(600)
"""


def test_link_may_open_the_page_in_a_tab_but_nothing_else(db: Path) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    with serving(db) as server:
        assert server.ask("", **link)[0] == 200
        assert server.ask("group/1", **link)[0] == 403
        assert server.ask("", **(link | {"Sec_Fetch_Dest": "iframe"}))[0] == 403
        assert server.ask("", **(link | {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}))[0] == 403
        assert server.post("decide", {}, **link)[0] == 403


# An HTTPS proxy


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://Photos.example.org", "https://photos.example.org", ""),
        ("https://photos.example.org:443/", "https://photos.example.org", ""),
        ("https://nas.local:8443/dedup/", "https://nas.local:8443", "/dedup"),
        ("http://[fd00::1]:80/a/b", "http://[fd00::1]", "/a/b"),
    ],
)
def test_public_url_has_the_origin_that_browsers_send(url: str, origin: str, path: str) -> None:
    public = parse_public_url(url)
    assert (public.origin, public.path) == (origin, path)


@pytest.mark.parametrize(
    "url", ["photos.example.org", "ftp://x", "https://", "https://me@x", "https://x/?a", "https://x:y"]
)
def test_what_is_no_public_url_is_refused(url: str) -> None:
    with pytest.raises(BadUsage, match="a public URL was expected"):
        parse_public_url(url)


@pytest.mark.parametrize("prefix", ["/dedup", ""], ids=["prefix kept", "prefix removed"])
def test_review_works_behind_an_https_proxy(db: Path, prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ("--public-url", "https://photos.example.org/dedup/", "--port", str(port))
    with serving(db, *words, DEDUP_REVIEW_PASSWORD=PASSWORD) as server:
        assert server.address == "https://photos.example.org/dedup/"
        local = Server(f"http://127.0.0.1:{port}/")
        proxy = {"Host": "photos.example.org", "X_Forwarded_Proto": "https", "Authorization": basic(PASSWORD)}
        status, headers, _ = local.ask(f"{prefix}/", **proxy)
        assert (status, headers["location"][:7]) == (303, "/dedup/")
        home = headers["location"].replace("/dedup", prefix, 1)
        assert local.ask(home, **proxy)[0] == 200
        shown = fingerprint(local, f"{home}group/1", **proxy)
        body = {"group": 1, "action": "accept", "shown": shown}
        same = {"Origin": "https://photos.example.org", "Sec_Fetch_Site": "same-origin"}
        assert local.post(f"{home}decide", body, **(proxy | same))[0] == 200
        assert local.post(f"{home}undo-decision", {}, **(proxy | same))[0] == 200
        for origin in ("https://evil.example", "http://photos.example.org.evil.example", "null"):
            assert local.post(f"{home}decide", body, **(proxy | {"Origin": origin}))[0] == 403
        assert local.ask(home, **(proxy | {"Authorization": ""}))[0] == 401
        assert local.ask(home, **(proxy | {"Host": "evil.example"}))[0] == 421


def test_proxy_that_forwards_the_scheme_and_an_address_needs_no_public_url(db: Path) -> None:
    with serving(db, "--host", "127.0.0.3", DEDUP_REVIEW_PASSWORD=PASSWORD) as server:
        known = {"Authorization": basic(PASSWORD)}
        home = server.ask("/", **known)[1]["location"]
        secure = known | {"Origin": f"https://{server.host}"}
        assert server.post(f"{home}undo-decision", {}, **secure)[0] == 403
        assert server.post(f"{home}undo-decision", {}, **(secure | {"X_Forwarded_Proto": "https"}))[0] == 409


def test_public_url_needs_a_password(dedup: Dedup, db: Path) -> None:
    words = ("review", "--no-browser", "--public-url", "https://photos.example.org", "--db", db)
    assert "need a password" in dedup(*words, code=2).stderr


# Stale pages


def test_decision_of_a_page_that_showed_something_else_is_refused(db: Path) -> None:
    with serving(db) as server:
        first, second = fingerprint(server, "group/1"), fingerprint(server, "group/2")
        for group, shown in ((1, second), (2, first), (1, ""), (1, "0" * 64)):
            status, answer = server.post("decide", {"group": group, "action": "accept", "shown": shown})
            assert (status, "has changed since it was shown" in answer["error"]) == (409, True)
        assert decisions(db) == Decisions()
        assert server.post("decide", {"group": 1, "action": "keep-all", "shown": first})[0] == 200
        status, _ = server.post("decide", {"group": 1, "action": "accept", "shown": first})  # another fate by now
        assert (status, len(decisions(db).kept)) == (409, 2)
        server.post("undo-decision", {})
        assert decisions(db) == Decisions()


def test_groups_that_changed_since_they_were_shown_are_not_accepted(db: Path) -> None:
    with serving(db) as server:
        shown = fingerprint(server, "shown")
        for words in ({"query": "text=1+320", "shown": shown}, {"query": "", "shown": "2"}, {"query": ""}):
            status, answer = server.post("accept", words)
            assert (status, "Check them again" in answer["error"]) == (409, True)
        server.post("decide", {"group": 2, "action": "accept", "shown": fingerprint(server, "group/2")})
        assert server.post("accept", {"query": "", "shown": shown})[0] == 409
        server.post("undo-decision", {})
        assert server.post("accept", {"query": "", "shown": shown})[0] == 200
        server.post("undo-decision", {})
    assert decisions(db) == Decisions()


# Odd requests


NUMBER = "9" * 5000
BODIES = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"group": ' + NUMBER.encode() + b"}",
    b'{"group": 1e999, "action": "accept"}',
    b'{"group": true, "action": "accept"}',
    b'{"group": {"a": 1}}',
    b'{"group": "1", "action": "acc\\u0000ept"}',
    b'{"group": "1", "action": "\\ud800"}',
    b'{"group": "\xd9\xa1"}',
    b"\xff\xfe",
    b"null",
    b"",
]


@pytest.fixture(scope="module")
def watched(db: Path) -> Iterator[Server]:
    """A server that must not have printed anything in the end."""
    with serving(db) as server:
        yield server
    assert server.errors.strip() == "Press Ctrl-C to end."


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_odd_body_is_a_bad_request(watched: Server, body: bytes) -> None:
    for path in ("decide", "accept", "undo-decision", "apply", "undo"):
        if path == "decide" or not body.startswith(b'{"group'):
            answer = raw(watched, "POST", watched.path + path, body=body, headers=[f"Origin: http://{watched.host}"])
            assert answer.split(b"\r\n")[0] == b"HTTP/1.1 400 Bad Request", answer


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "*", 400),
        ("OPTIONS", "*", 400),
        ("CONNECT", "evil.example:443", 400),
        ("GET", "http://evil.example/", 400),
        ("GET", "{page}%00", 400),
        ("GET", "{page}static/%00", 400),
        ("GET", "{page}photo/%0d%0aX: y/thumb", 400),
        ("GET", "{page}group/" + NUMBER, 400),
        ("GET", "{page}group/x", 400),
        ("GET", "{page}group/-1", 400),
        ("GET", "{page}figure/a/b/" + NUMBER, 400),
        ("GET", "{page}static/" + "x" * 5000, 404),
        ("GET", "{page}?group=" + NUMBER, 200),
        ("GET", "{page}groups?start=" + NUMBER + "&least=" + NUMBER, 200),
        ("GET", "{page}groups?text=%00%ed%a0%80", 200),
        ("GET", "{page}plan?to=%00&everything=%ff", 200),
        ("GET", "{page}explanation/%ff/%ff", 200),
        ("BREW", "{page}", 403),
        ("TRACE", "/", 403),
    ],
)
def test_odd_target_is_answered_and_is_no_error_of_the_server(
    watched: Server, method: str, target: str, status: int
) -> None:
    answer = raw(watched, method, target.format(page=watched.path))
    assert int(answer.split()[1]) == status, answer


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + NUMBER.encode() + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=range(10),
)
def test_odd_head_is_refused_without_a_line_in_the_log(watched: Server, head: bytes) -> None:
    answer = exchange(watched, head)
    assert re.match(rb"HTTP/1.1 4\d\d |$", answer), answer
    assert watched.ask()[0] == 200


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_client_that_hangs_up_is_no_error_of_the_server(watched: Server, reset: bool) -> None:
    page = watched.ask()[2].decode()
    thumb = re.search(r"photo/[0-9a-f]{64}/thumb", page)
    assert thumb is not None
    full = thumb[0].replace("thumb", "full")
    head = f"Host: {watched.host}\r\nOrigin: http://{watched.host}\r\n"
    for path in ("decide", "accept", "undo-decision", "apply", "undo"):
        for body in ("", '{"group": 1'):
            hang_up(
                watched, f"POST {watched.path}{path} HTTP/1.1\r\n{head}Content-Length: 999\r\n\r\n{body}", reset=reset
            )
    for path in ("", "groups", thumb[0], full, "plan", "shown", "job", "static/review.js", "nothing"):
        hang_up(watched, f"GET {watched.path}{path} HTTP/1.1\r\n{head}\r\n" * 9, reset=reset)
        hang_up(watched, f"GET {watched.path}{path} HTTP/1.1\r\n{head}", reset=reset)
    assert watched.ask()[0] == 200


def hang_up(server: Server, text: str, *, reset: bool) -> None:
    """Send a request, or a part of one, and close the connection without waiting for the answer."""
    connection = connect(server)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(text.encode())
    connection.close()


def raw(server: Server, method: str, target: str, *, body: bytes = b"", headers: list[str] | None = None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {server.host}", f"Content-Length: {len(body)}", *(headers or [])]
    return exchange(server, "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)


def exchange(server: Server, data: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    received = b""
    with connect(server) as connection:
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                received += piece
        except (ConnectionResetError, BrokenPipeError):  # closed before it had read everything
            pass
    return received


def connect(server: Server) -> socket.socket:
    host, _, port = server.host.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=120)


# Connections


@pytest.mark.slow
def test_half_open_connections_are_closed_and_keep_nobody_out(db: Path) -> None:
    with serving(db) as server:
        page = f"GET {server.path} HTTP/1.1\r\nHost: {server.host}\r\n".encode()
        silent = [connect(server) for _ in range(150)]
        half = [connect(server) for _ in range(150)]
        for connection in half[-20:]:
            connection.sendall(page)
        assert server.ask()[0] == 200  # more than the server holds are open
        for connection in (*silent, *half):
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
        again = connect(server)  # a second request on one connection is under the same limit
        again.sendall(page + b"\r\n")
        assert again.recv(12) == b"HTTP/1.1 200"
        again.sendall(b"GET / HT")
        while again.recv(1 << 16):
            pass
        again.close()
        assert server.ask()[0] == 200
    assert server.errors.strip() == "Press Ctrl-C to end."
