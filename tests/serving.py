"""A review server for a test, started from the command line."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server:
    def __init__(self, address: str) -> None:
        self.address, self.errors = address, ""  # errors: what it printed to standard error, once it has ended
        url = urlsplit(address)
        self.host, self.path = url.netloc, url.path

    def ask(
        self, path: str = "", *, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a request below the page, or of any path that begins with a slash."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        connection.putrequest(method, path if path.startswith("/") else self.path + path, skip_host=True)
        for name, value in ({"Host": self.host, "Content-Length": str(len(data or b""))} | named).items():
            connection.putheader(name, value)
        connection.endheaders(data)
        answer = connection.getresponse()
        said = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return said

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Return status and answer of what the page itself would send."""
        status, _, said = self.ask(path, method="POST", body=body, **({"Origin": f"http://{self.host}"} | headers))
        return status, json.loads(said) if said.startswith(b"{") else said.decode()


@contextmanager
def serving(db: Path, *words: str, **environment: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "dedup", "review", "--no-browser", "--db", str(db), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, process.stderr and process.stderr.read()
            server = Server(address)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=20)
        assert process.stderr is not None
        server.errors = process.stderr.read()
