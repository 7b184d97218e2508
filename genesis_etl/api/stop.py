"""What ends the waiting of many clients at once, when a signal comes or one of several runs is given up."""

from __future__ import annotations

import threading


class Stop:
    """Ends whatever the clients made with it wait for, those of now and those that are made later."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come while its own thread makes a client
        self._is_set = False
        self._events: list[threading.Event] = []

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        # On a cluster each process has its own clients to stop.
        return Stop, ()

    def event(self) -> threading.Event:
        """Return an event of one client's own, which is set with all others."""
        event = threading.Event()
        with self._lock:
            self._events.append(event)
            if self._is_set:
                event.set()
        return event

    def set(self) -> None:
        """Stop them all."""
        with self._lock:
            self._is_set = True
            for event in self._events:
                event.set()
