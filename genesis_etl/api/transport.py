"""Connections that keep to one deadline for the whole attempt, and end soon when they are told to stop.

requests' timeout is for each address and each single read, so a server that drips bytes holds a request for
ever. Here connecting, the TLS handshake and every read get only what is left of the attempt their thread makes,
and look up every quarter of a second. The bytes of an attempt are counted too, whatever HTTP makes of them.

A host of several addresses is asked at one after the other, a quarter of a second apart, until one answers (the
"happy eyeballs" of RFC 8305); that one is asked first from then on.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

CHUNK: Final = 2**16
MAX_BODY: Final = 32 * 2**20
MAX_WIRE: Final = 2 * MAX_BODY  # headers, and chunks so small that their frames weigh as much as they hold
# It logs the header lines that it cannot read, and a server may echo the token in one.
logging.getLogger("urllib3.connection").addFilter(lambda record: "Failed to parse headers" not in record.msg)
_SLICE: Final = 0.25  # how soon whatever waits notices that its client was stopped
_HEAD_START: Final = 0.25  # of one address before the next; RFC 8305 recommends it


class TooMuch(OSError):
    """The server sent more bytes than an answer may have."""


class Addresses:
    """Remembers for all threads of one client which address of a host answered."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, int], Any] = {}

    def ordered(self, host: str, port: int, found: Sequence[Any]) -> list[Any]:
        """Return what the resolver found, the address that answered last in front."""
        known = self._answered.get((host, port))
        return sorted(found, key=lambda entry: entry[4] != known)

    def remember(self, host: str, port: int, address: Any) -> None:
        """Ask this address first from now on."""
        self._answered[host, port] = address


class Attempt(threading.local):
    """What the request of this thread may still take, and how far it has come.

    `is_at_proxy`: connected to, or connecting to, a proxy that has not let us through yet.
    `is_reused`: on a connection that an earlier answer came on. `has_heard`: at least one byte of an answer came.
    """

    seconds = ends_at = 0.0
    bytes_left = 0
    stopped = threading.Event()
    addresses = Addresses()
    wants_new = False
    is_at_proxy = is_reused = has_heard = False

    def begin(
        self, seconds: float, most_bytes: int, stopped: threading.Event, addresses: Addresses, *, wants_new: bool
    ) -> None:
        """Start the clock for one request, on a new connection if so wanted."""
        self.seconds = seconds
        self.ends_at = time.monotonic() + seconds
        self.bytes_left = most_bytes
        self.stopped = stopped
        self.addresses = addresses
        self.wants_new = wants_new
        self.is_at_proxy = self.is_reused = self.has_heard = False

    def count(self, size: int) -> None:
        """Count bytes that came; TooMuch where there were too many."""
        self.has_heard = self.has_heard or size > 0
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
    """Connect to the first address of a host that answers; OSError where none does."""
    waiting = attempt.addresses.ordered(host, port, _resolved(host.strip("[]"), port))
    failure = OSError(f"no address of {host}")
    next_at = 0.0
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        while waiting or selector.get_map():
            if waiting and (time.monotonic() >= next_at or not selector.get_map()):
                family, kind, protocol, _, address = waiting.pop(0)
                try:
                    sock = stack.enter_context(_TimedSocket(family, kind, protocol))
                    _begin_to_connect(sock, address, options)
                except OSError as error:
                    failure = error
                    continue
                selector.register(sock, selectors.EVENT_WRITE, address)
                next_at = time.monotonic() + _HEAD_START
            patience = min(attempt.time_left(), _SLICE)
            for key, _ in selector.select(min(patience, max(next_at - time.monotonic(), 0)) if waiting else patience):
                tried: Any = key.fileobj
                selector.unregister(tried)
                code = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return _chosen(tried, host, port, key.data)
                failure = OSError(code, os.strerror(code))
    raise failure


def _resolved(host: str, port: int) -> list[Any]:
    """Return the addresses of a host; the resolver knows no deadline, so its thread may be left behind."""
    found: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    while not found.done():
        wait([found], min(attempt.time_left(), _SLICE))
    return found.result()


def _begin_to_connect(sock: socket.socket, address: Any, options: Any) -> None:
    for option in options or ():
        sock.setsockopt(*option)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        raise OSError(code, os.strerror(code))


def _chosen(sock: socket.socket, host: str, port: int, address: Any) -> socket.socket:
    """Remember the address and return a connection of its own, for all that were tried are about to be closed."""
    sock.settimeout(attempt.time_left())
    attempt.addresses.remember(host, port, address)
    return _TimedSocket(fileno=sock.detach())


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
    """Connections without TLS that keep to the deadline; a new one each where the attempt wants it."""

    ConnectionCls = _TimedHTTPConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        return _noted(super()._get_conn(timeout))


class TimedHTTPSPool(HTTPSConnectionPool):
    """Connections with TLS that keep to the deadline; a new one each where the attempt wants it."""

    ConnectionCls = _TimedHTTPSConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        return _noted(super()._get_conn(timeout))


def _noted(connection: Any) -> Any:
    """Note whether a connection has been used before, closed first where a new one is wanted."""
    if attempt.wants_new:
        connection.close()
    attempt.is_reused = not connection.is_closed
    return connection
