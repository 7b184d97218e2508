"""Object stores to test against: a real one on a socket, and a proxy before it that fails as told."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "lakes"


@contextmanager
def moto() -> Iterator[str]:
    """Run an S3 server with one bucket in a process of its own; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **KEYS},
    )
    try:
        for _ in range(300):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("PUT", f"/{BUCKET}")
                assert connection.getresponse().status == 200
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def keys(store: str) -> list[str]:
    """Return every key of the bucket, objects named `folder/` included."""
    with urllib.request.urlopen(f"{store}/{BUCKET}?list-type=2&encoding-type=url", timeout=30) as answer:
        return [unquote(key) for key in re.findall("<Key>([^<]*)</Key>", answer.read().decode())]


@dataclass(frozen=True)
class Request:
    """What a client asked of the store: LIST, HEAD, GET, PUT, POST or DELETE, and of which key (of a list: prefix)."""

    kind: str
    key: str
    method: str = field(repr=False)
    path: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @property
    def is_signed(self) -> bool:
        """Tell whether the signature (AWS version 4) fits the request as it arrived; moto itself does not look."""
        given = dict(part.strip().split("=", 1) for part in self.headers["authorization"].split(" ", 1)[1].split(","))
        values = {name.lower(): " ".join(value.split()) for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        signed = [f"{name}:{values[name]}" for name in given["SignedHeaders"].split(";")]
        words = (self.method, path, query, *signed, "", given["SignedHeaders"], values["x-amz-content-sha256"])
        scope = given["Credential"].partition("/")[2]
        digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
        key = b"AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"].encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = "\n".join(("AWS4-HMAC-SHA256", values["x-amz-date"], scope, digest))
        return hmac.new(key, text.encode(), "sha256").hexdigest() == given["Signature"]


@dataclass
class Fault:
    """How requests that it applies to fail: after a delay (seconds), with a status, so many times (None: always)."""

    applies: Callable[[Request], bool]
    status: int | None
    delay: float
    times: int | None
    met: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that gave up."""


class FaultyStore:
    """A store's URL that passes requests on, or answers them itself as told, and remembers them all."""

    def __init__(self, store: str) -> None:
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._store = urlsplit(store).netloc
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyStore:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(
        self,
        *kinds: str,
        status: int | None = 503,
        delay: float = 0.0,
        times: int | None = None,
        where: Callable[[str], bool] = lambda key: True,
    ) -> Fault:
        """Answer requests of these kinds (none: any), of keys that fit, with a status; None passes them on, late."""
        fault = Fault(lambda request: (not kinds or request.kind in kinds) and where(request.key), status, delay, times)
        with self._lock:
            self._faults.append(fault)
        return fault

    def mend(self) -> None:
        """Fail no more."""
        with self._lock:
            self._faults.clear()

    def asked(self, *kinds: str) -> list[Request]:
        """Return the requests of these kinds so far."""
        return [request for request in self.requests if request.kind in kinds]

    def _fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.applies(request) and (fault.times is None or fault.met < fault.times):
                    fault.met += 1
                    return fault
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.body()
                url = urlsplit(self.path)
                query = parse_qs(url.query, keep_blank_values=True)
                is_list = self.command == "GET" and "list-type" in query
                kind = "LIST" if is_list else self.command
                key = query.get("prefix", [""])[0] if is_list else unquote(url.path).partition(f"/{BUCKET}/")[2]
                fault = store._fault(Request(kind, key, self.command, self.path, dict(self.headers)))
                if fault is not None:
                    time.sleep(fault.delay)
                if fault is not None and fault.status is not None:
                    code = {403: "AccessDenied", 503: "SlowDown", 500: "InternalError"}.get(fault.status, "Refused")
                    self.send(
                        fault.status, [], f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
                    )
                    return
                connection = http.client.HTTPConnection(store._store, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                self.send(response.status, response.getheaders(), response.read())
                connection.close()

            def body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(parts)

            def send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                length = str(len(body))
                for name, value in headers:
                    if name.lower() == "content-length":
                        length = value
                    elif name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        return Handler


HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "expect", "content-length"))
