"""Servers of single connections, byte by byte, and clients of them: for what the sandbox is too well-behaved."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from genesis_etl.api.client import Client
from genesis_etl.errors import GenesisEtlError
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import some_images, told

TOKEN = "raw-token-0123456789"


def page_of(items: list[dict[str, Any]], **fields: Any) -> bytes:
    """Return the body of a first page that holds these images."""
    return json.dumps({"images": items, "total_count": len(items), "page": 1, "per_page": 100, **fields}).encode()


BODY = page_of(some_images(3))


def answer(body: bytes = BODY, *headers: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """Return an HTTP answer; its length is announced unless the headers frame the body themselves."""
    lines = [f"HTTP/{version} {status}", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding", "x-unframed")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunks(*parts: bytes) -> bytes:
    """Return a body in chunks, each with an extension, and a trailer behind the last."""
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"


Serve = Callable[[socket.socket, bytes], Any]


class RawServer:
    """A server that hands every connection's first request to a function; `received` keeps the requests."""

    def __init__(self, serve: Serve, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.received: list[bytes] = []
        self._serve = serve
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                data = connection.recv(65536)
                if not data:
                    return
                request += data
            self.received.append(request)
            self._serve(connection, request)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        """End everything, so that no thread outlives the test."""
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@contextmanager
def raw(serve: Serve | bytes, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serve these bytes, or what the function sends, on a port of this machine."""

    def send(connection: socket.socket, request: bytes) -> None:
        assert isinstance(serve, bytes)
        connection.sendall(serve)

    server = RawServer(send if isinstance(serve, bytes) else serve, host, tls)
    try:
        yield server
    finally:
        server.close()


def next_request(connection: socket.socket) -> bytes:
    """Read one more request of a connection that is kept."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        data = connection.recv(65536)
        if not data:
            raise ConnectionError
        request += data
    return request


class Dying:
    """Answers the first request of each connection once so many are there, and ends each in some way at its second."""

    def __init__(self, end: Callable[[socket.socket], Any], together: int = 1) -> None:
        self.requests = 0
        self._end = end
        self._left = together
        self._all_here = threading.Barrier(together)

    def __call__(self, connection: socket.socket, _: bytes) -> None:
        self.requests += 1
        self._left -= 1
        is_dying = self._left >= 0
        if is_dying:
            self._all_here.wait(10)
        connection.sendall(answer())
        while next_request(connection):
            self.requests += 1
            if is_dying:
                self._end(connection)
                return
            connection.sendall(answer())


def client_of(port: int, host: str = "127.0.0.1", scheme: str = "http", **changes: Any) -> Client:
    """Return a client of a raw server, with short waits."""
    account = Account("default", f"{scheme}://{host}:{port}/compute/v1", "GENESISCLOUD_TOKEN", Secret(TOKEN))
    defaults: dict[str, Any] = {"rate": 10_000.0, "backoff": 0.001, "deadline": 2.0, "attempts": 2}
    return Client(account, Settings(accounts=(account,), **{**defaults, **changes}))


def failure(serve: Serve | bytes, **changes: Any) -> GenesisEtlError:
    """Return the error that such answers end in, which tells no token."""
    with raw(serve) as server, client_of(server.port, **changes) as client:
        with pytest.raises(GenesisEtlError) as caught:
            client.page("images", 1)
        assert TOKEN not in told(caught.value)
        assert "GET /images page 1, attempt " in str(caught.value)
        return caught.value


@contextmanager
def addresses(monkeypatch: pytest.MonkeyPatch, *hosts: str, ports: Sequence[int] = ()) -> Iterator[None]:
    """Let every name resolve to these addresses, each with a port of its own if given."""

    def resolve(host: str, port: int, *_: Any, **__: Any) -> Any:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, own))
            for each, own in zip(hosts, ports or [port] * len(hosts), strict=True)
        ]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


@contextmanager
def deaf() -> Iterator[int]:
    """Hold a port whose queue is full: whoever connects waits for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
            waiting.append(caller)
        yield port
        for caller in waiting:
            caller.close()
