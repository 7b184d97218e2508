"""Connections whose reads keep to a deadline for the whole attempt, and end when they are told to stop."""

from __future__ import annotations

import io
import socket
import threading
import time
from typing import Any, Final, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

# requests' timeout is for each single read, so a server that drips bytes holds a request for ever.
# Here every read of a connection gets only what is left of the attempt its thread is making.
attempt = threading.local()
CHUNK: Final = 2**16
_SLICE: Final = 0.25  # how soon a waiting read notices that its client was stopped


def time_left() -> float:
    left = float(attempt.ends_at) - time.monotonic()
    if left <= 0:
        raise TimeoutError("the attempt's deadline has passed")
    if attempt.stopped.is_set():
        raise TimeoutError("stopped")
    return left


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Holds the socket open when the connection lets go of it while the body is still being read.
        self._holder = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(min(time_left(), _SLICE))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                continue

    def close(self) -> None:
        self._holder.close()
        super().close()


class _TimedSocket:
    """A connected socket whose reader keeps to the attempt's deadline; all else is the socket's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock), CHUNK)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _TimedHTTPConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _TimedSocket(self.sock))


class _TimedHTTPSConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = cast("socket.socket", _TimedSocket(self.sock))


class TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection
