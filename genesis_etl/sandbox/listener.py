"""Listen on the port and hold what all connections share: what is served, the rate, who is connected."""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.server import ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from socketserver import BaseRequestHandler
from typing import Any, Protocol

from genesis_etl.sandbox.faults import Fault


@dataclass(frozen=True)
class Request:
    """One request as it arrived, and the status that it was answered with (0: none)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int
    received_at: float = field(default_factory=time.monotonic)


class Service(Protocol):
    """What is served; read anew for each request, for all of it may change while the server runs."""

    port: int
    path: str
    token: str
    rate: float
    faults: list[Fault]
    requests: list[Request]

    def read(self, name: str) -> Sequence[dict[str, Any]]:
        """Return a collection as it is now."""

    def now(self) -> datetime:
        """Return the simulated instant."""


class Bucket:
    """So many requests, refilled at as many a second; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._room = max(rate, 1)
        self._left = self._room
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a request out of the bucket, if there is one."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._room, self._left + (now - self._at) * self.rate)
            self._at = now
            if self.rate and self._left < 1:
                return False
            self._left -= 1
            return True


class Server(ThreadingHTTPServer):
    """The listening socket and its connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    # A sandbox that is started again takes its port back while old connections fade.
    allow_reuse_address = True

    def __init__(self, service: Service, handler: type[BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", service.port), handler)
        self.service = service
        self.bucket = Bucket(service.rate)
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self._connections: set[socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End every connection, also those that lie idle between two requests."""
        self.stopped.set()
        with self.lock:
            for connection in self._connections:
                try:
                    connection.shutdown(SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away in the middle is what the faults are for, not an error of the sandbox.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
