"""Connections: one that dies on reuse costs no attempt, and a host's dead address is waited for only once."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from genesis_etl.api import transport
from genesis_etl.api.client import Client
from genesis_etl.errors import ApiUnavailable
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from tests.conftest import fewer, listing, settings_for
from tests.raw import BODY, Dying, addresses, answer, client_of, deaf, raw


def reset(connection: socket.socket) -> None:
    """End a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def warm(client: Client, connections: int) -> None:
    """Read a page over so many connections at once, which are kept then."""
    with ThreadPoolExecutor(connections) as threads:
        pages = [threads.submit(client.page, "images", 1) for _ in range(connections)]
        assert [page.result().total_count for page in pages] == [3] * connections


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["FIN", "RST"])
def test_a_kept_connection_that_dies_costs_no_attempt(end: Callable[[socket.socket], Any]) -> None:
    """A request whose kept connection ends without a byte leaves once more on a new one, and counts as repeated."""
    dying = Dying(end)
    with raw(dying) as server, client_of(server.port, attempts=1) as client:
        assert [client.page("images", 1).total_count for _ in range(3)] == [3, 3, 3]
        assert (client.requests, client.retries, dying.requests) == (4, 1, 4)


def test_a_kept_connection_that_has_spoken_costs_an_attempt() -> None:
    """Once a byte of the answer came, a connection that ends is a failed attempt."""
    dying = Dying(lambda connection: connection.sendall(b"HTTP"))
    with raw(dying) as server, client_of(server.port, attempts=1) as client:
        client.page("images", 1)
        with pytest.raises(ApiUnavailable, match="attempt 1 of 1"):
            client.page("images", 1)


def test_a_new_connection_that_dies_costs_an_attempt() -> None:
    """A connection that ends without a byte at its first request is a failed attempt, each time."""
    with raw(b"") as server, client_of(server.port, attempts=3) as client:
        with pytest.raises(ApiUnavailable, match="attempt 3 of 3"):
            client.page("images", 1)
        assert (client.requests, client.retries, len(server.received)) == (3, 2, 3)


def test_the_repeat_is_not_lost_to_another_kept_connection() -> None:
    """However many kept connections are dead, the request that is repeated goes out on a new one."""
    with raw(Dying(socket.socket.close, together=5)) as server, client_of(server.port, attempts=1) as client:
        warm(client, 5)
        assert client.page("images", 1).total_count == 3
        assert (client.requests, client.retries) == (7, 1)


def test_a_kept_connection_that_falls_silent_is_not_used_again() -> None:
    """Where a kept connection says nothing until the deadline, the next attempt goes out on a new one."""
    dying = Dying(lambda connection: connection.recv(1), together=3)
    with raw(dying) as server, client_of(server.port, attempts=2, deadline=0.5) as client:
        warm(client, 3)
        assert client.page("images", 1).total_count == 3
        assert (client.requests, client.retries) == (5, 1)


@pytest.mark.parametrize("seconds", fewer([0.02, 0.0, 0.12], 1))
def test_a_hundred_pages_over_connections_that_end(serve: Callable[..., Sandbox], seconds: float) -> None:
    """A server that closes each connection soon after its answer costs a capture none of its attempts."""
    sandbox = serve(collections=listing(9_950, 3))
    sandbox.faults.append(Fault("close-after", times=0, seconds=seconds))
    (capture,) = export(settings_for(sandbox, attempts=1, rate=300.0))
    assert capture.images == 9_953
    assert capture.requests - capture.retries == 2 * 100 + 2


def connects(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Count the connections that are begun, by port."""
    begun: Counter[int] = Counter()
    begin = transport._begin_to_connect

    def count(sock: socket.socket, address: Any, options: Any) -> None:
        begun[address[1]] += 1
        begin(sock, address, options)

    monkeypatch.setattr(transport, "_begin_to_connect", count)
    return begun


@pytest.mark.parametrize("dead", [1, 5])
def test_a_dead_address_is_waited_for_once(dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a host's first addresses swallow packets, the live one answers in time and is asked first from then on."""
    begun = connects(monkeypatch)
    with raw(answer(BODY, "Connection: close")) as server, deaf() as port:
        ports = [*[port] * dead, server.port]
        with (
            addresses(monkeypatch, *["127.0.0.1"] * (dead + 1), ports=ports),
            client_of(1, deadline=2.5, attempts=1) as client,
        ):
            for _ in range(5):
                assert client.page("images", 1).total_count == 3
    assert begun == {port: dead, server.port: 5}


def test_a_live_address_that_dies_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that answered before is no longer waited for when another one does."""
    begun = connects(monkeypatch)
    served = answer(BODY, "Connection: close")
    with (
        raw(served) as one,
        raw(served) as two,
        addresses(monkeypatch, "127.0.0.1", "127.0.0.1", ports=[one.port, two.port]),
        client_of(1, attempts=1) as client,
    ):
        client.page("images", 1)
        one.close()
        client.page("images", 1)
        client.page("images", 1)
    assert begun == {one.port: 2, two.port: 2}


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a host keeps to the deadline of the attempt, too."""
    is_over = threading.Event()

    def resolve(*_: Any, **__: Any) -> Any:
        is_over.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with client_of(1, "api.test", "https", attempts=2, deadline=0.3) as client:
        with pytest.raises(ApiUnavailable, match=r"attempt 2 of 2: no whole answer within 0\.3 s"):
            client.page("images", 1)
        is_over.set()


def test_addresses_that_all_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every address refuses, the reason is told, and no connection is left open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        addresses(monkeypatch, "::1", "127.0.0.1", "127.0.0.2"),
        client_of(port, attempts=1) as client,
        pytest.raises(ApiUnavailable, match="Connection refused"),
    ):
        client.page("images", 1)
