"""Connections that keep to one deadline for the whole attempt, and end soon when they are told to stop.

requests' timeout is for each address and each single read, so a server that drips bytes holds a request for
ever. Here connecting, the TLS handshake and every read get only what is left of the attempt their thread makes,
and look up every quarter of a second. The bytes of an attempt are counted too, whatever HTTP makes of them.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import ssl
import threading
import time
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_write

CHUNK: Final = 2**16
# It logs the header lines that it cannot read, and a server may echo the token in one.
logging.getLogger("urllib3.connection").addFilter(lambda record: "Failed to parse headers" not in record.msg)
_SLICE: Final = 0.25  # how soon whatever waits notices that its client was stopped


class TooMuch(OSError):
    """The server sent more bytes than an answer may have."""


class Attempt(threading.local):
    """What the request of this thread may still take, and how far it has come.

    `is_at_proxy`: connected to, or connecting to, a proxy that has not let us through yet.
    """

    seconds = ends_at = 0.0
    bytes_left = 0
    stopped = threading.Event()
    is_at_proxy = False

    def begin(self, seconds: float, most_bytes: int, stopped: threading.Event) -> None:
        """Start the clock for one request."""
        self.seconds = seconds
        self.ends_at = time.monotonic() + seconds
        self.bytes_left = most_bytes
        self.stopped = stopped
        self.is_at_proxy = False

    def count(self, size: int) -> None:
        """Count bytes that came; TooMuch where there were too many."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise TooMuch("the answer does not end")

    def time_left(self) -> float:
        """Return the seconds left; TimeoutError where there are none, or the client was stopped."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the attempt's deadline has passed")
        if self.stopped.is_set():
            raise TimeoutError("stopped")
        return left


attempt = Attempt()


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Holds the socket open when the connection lets go of it while the body is still being read.
        self._holder = socket.socket.makefile(sock, "rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(min(attempt.time_left(), _SLICE))
            try:
                size = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            attempt.count(size)
            return size

    def close(self) -> None:
        self._holder.close()
        super().close()


class _TimedSocket(socket.socket):
    def makefile(self, *_: Any, **__: Any) -> Any:
        return io.BufferedReader(_TimedReader(self), CHUNK)


class _TimedTLS(ssl.SSLSocket):
    def makefile(self, *_: Any, **__: Any) -> Any:
        return io.BufferedReader(_TimedReader(self), CHUNK)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        # Only TLS inside of TLS, through an https proxy, reads in this way.
        while True:
            self.settimeout(min(attempt.time_left(), _SLICE))
            try:
                data = super().recv(buflen, flags)
            except TimeoutError:
                continue
            attempt.count(len(data))
            return data

    def do_handshake(self, block: bool = False) -> None:
        while True:
            self.settimeout(min(attempt.time_left(), _SLICE))
            try:
                return super().do_handshake(block)
            except TimeoutError:
                continue


def timed_context() -> ssl.SSLContext:
    """Return a TLS context that verifies, trusts nobody yet, and whose connections keep to the deadline."""
    context = create_urllib3_context()
    context.sslsocket_class = _TimedTLS
    return context


def _connected(host: str, port: int, options: Any) -> socket.socket:
    """Connect to the first address of a host that answers, each in its share of the time."""
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    failure = OSError(f"no address of {host}")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = attempt.time_left() / (len(addresses) - tried)
        sock = _TimedSocket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            _connect(sock, address, time.monotonic() + share)
            sock.settimeout(attempt.time_left())
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _connect(sock: socket.socket, address: Any, ends_at: float) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        while not wait_for_write(sock, min(attempt.time_left(), _SLICE)):
            if time.monotonic() >= ends_at:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


class _TimedHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        attempt.is_at_proxy = self.proxy is not None
        return _connected(self._dns_host, self.port, self.socket_options)


class _TimedHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        attempt.is_at_proxy = self.proxy is not None
        return _connected(self._dns_host, self.port, self.socket_options)

    def _tunnel(self) -> None:
        super()._tunnel()
        attempt.is_at_proxy = False


class TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection
