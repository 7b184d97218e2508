"""The rate that all threads of one account share."""

from __future__ import annotations

import threading
import time

from genesis_etl.errors import ApiUnavailable


class Pacer:
    """Lets requests leave evenly, one every 1/rate seconds, whichever thread they come from.

    A 429 holds everyone back and widens the interval; every answer narrows it again by a twentieth.
    """

    def __init__(self, rate: float, stopped: threading.Event) -> None:
        self._least = self._interval = 1 / rate
        self._next = 0.0
        self._slowed_at = 0.0
        self._lock = threading.Lock()
        self._stopped = stopped

    def wait(self, until: float) -> float:
        """Wait for this caller's turn and return its instant; ApiUnavailable if it would come after `until`."""
        while True:
            if self._stopped.is_set():
                raise ApiUnavailable("stopped", advice="run it again")
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval
                    return now
                turn = self._next
            if turn > until:
                raise ApiUnavailable("the time for one capture is over", advice="try again later")
            self._stopped.wait(turn - now)

    def hold(self, seconds: float, sent_at: float) -> None:
        """Let nobody leave for so long, and slow down, once for all requests that were already under way."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
            if sent_at >= self._slowed_at:
                self._slowed_at = time.monotonic()
                self._interval = min(self._interval * 1.5, max(self._least, 5.0))

    def narrow(self) -> None:
        """Come a little closer to the full rate again."""
        with self._lock:
            self._interval = max(self._least, self._interval * 0.95)
