"""Run the sandbox: the embedded API on a port of this machine, from start to stop."""

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from genesis_etl.sandbox.account import GENERATIONS, Account, lived_minute
from genesis_etl.sandbox.faults import Fault
from genesis_etl.sandbox.handler import Handler
from genesis_etl.sandbox.listener import Request, Server

Collections = Callable[[str, datetime], list[dict[str, Any]]]


class Sandbox:
    """A server of the Genesis Cloud API; a `with` block starts and stops it.

    `at` freezes the simulated instant and may be set while it runs (None: the clock). `images` is the exact
    number of entries in `/images` at the start (newest generation: in both collections together).
    `collections` answers in place of the account, called once for each request that reads a list. `rate` 0 is
    no limit. `requests` and `faults` are live lists.
    """

    def __init__(
        self,
        port: int = 0,
        images: int | None = None,
        seed: int = 1,
        generation: str = "newest",
        rate: float = 10,
        at: datetime | None = None,
        token: str | None = None,
        path: str = "/compute/v1",
        collections: Collections | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        if generation not in GENERATIONS:
            raise ValueError(f"generation is one of {', '.join(GENERATIONS)}, not {generation!r}")
        if images is not None and images < 0:
            raise ValueError(f"images is a number from 0, not {images}")
        if not rate >= 0:
            raise ValueError(f"rate is a number of requests a second from 0 (no limit), not {rate}")
        if token is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{6,}", token):
            raise ValueError("a token has at least 6 characters of A-Z, a-z, 0-9, '_', '.', '-'")
        self.port = port
        self.images = images
        self.seed = seed
        self.generation = generation
        self.rate = rate
        self.at = at
        self.token = token or f"sandbox-{os.urandom(8).hex()}"
        self.path = "/" + path.strip("/") if path.strip("/") else ""
        self.collections = collections
        self.faults = list(faults)
        self.requests: list[Request] = []
        self._account: Account | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def at(self) -> datetime | None:
        """The simulated instant, or None for the clock."""
        return self._at

    @at.setter
    def at(self, at: datetime | None) -> None:
        if at is not None:
            lived_minute(at)  # raises for an instant outside the account's life, here and not in a request
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
        self._at = at

    @property
    def endpoint(self) -> str:
        """The address that a client needs; known once the sandbox has started."""
        if not self.port:
            raise RuntimeError("the sandbox has no port before it starts")
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Listen, in a thread of its own. Started again after a stop, it keeps its port."""
        if self._server:
            return
        if self.collections is None:
            self._account = Account(self.seed, self.generation, self.images, self.now())
        self._ended.clear()
        self._server = Server(self, Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="sandbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection; nothing if it does not run."""
        server, self._server = self._server, None
        if server and self._thread:
            server.shutdown()
            server.hang_up()
            server.server_close()
            self._thread.join()
        self._ended.set()

    def serve_forever(self) -> None:
        """Serve until `stop` is called; KeyboardInterrupt stops it too, and is passed on."""
        self.start()
        try:
            self._ended.wait()
        finally:
            self.stop()

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def now(self) -> datetime:
        """Return the simulated instant, or the clock's."""
        return self._at or datetime.now(UTC)

    def read(self, name: str) -> Sequence[dict[str, Any]]:
        """Return a collection, `images`, `snapshots` or `instances`, as it is now."""
        if self.collections:
            return self.collections(name, self.now())
        assert self._account is not None, "there is an account since the start"
        return self._account.collection(name, self.now())
