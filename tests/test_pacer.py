"""The pace: evenly, never above the rate, slower while the API says so."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from genesis_etl.api.pacer import Pacer
from genesis_etl.errors import ApiUnavailable
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from tests.conftest import listing, settings_for

SOON = 60.0


def leave(pacer: Pacer, times: int, threads: int = 8) -> list[float]:
    """Let so many requests leave from several threads and return their instants."""
    with ThreadPoolExecutor(threads) as pool:
        return sorted(pool.map(lambda _: pacer.wait(time.monotonic() + SOON), range(times)))


def test_requests_leave_evenly() -> None:
    """Whatever thread they come from, two requests are never closer than 1/rate."""
    sent = leave(Pacer(100, threading.Event()), 40)
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.01
    assert sent[-1] - sent[0] < 39 * 0.01 * 2 + 5


def test_time_that_passed_is_not_made_up_for() -> None:
    """After a pause no burst follows: unused time is lost."""
    pacer = Pacer(50, threading.Event())
    leave(pacer, 2)
    time.sleep(0.2)
    sent = leave(pacer, 5)
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 0.02


def test_a_hold_holds_everyone() -> None:
    """While the API asked for a pause nobody leaves."""
    pacer = Pacer(1000, threading.Event())
    sent_at = pacer.wait(time.monotonic() + SOON)
    pacer.hold(0.3, sent_at)
    assert leave(pacer, 4)[0] - sent_at >= 0.3


def test_one_wave_of_429_slows_down_once() -> None:
    """The refusals of requests that left together widen the interval once, a later one again; successes narrow it."""
    pacer = Pacer(1000, threading.Event())
    wave = leave(pacer, 6)
    for sent_at in wave:
        pacer.hold(0, sent_at)
    assert pacer._interval == pytest.approx(0.0015)
    pacer.hold(0, pacer.wait(time.monotonic() + SOON))
    assert pacer._interval == pytest.approx(0.00225)
    for _ in range(100):
        pacer.narrow()
    assert pacer._interval == 0.001


def test_the_interval_has_an_end() -> None:
    """However often it is throttled, a page is asked for again every five seconds at least."""
    pacer = Pacer(10, threading.Event())
    for _ in range(100):
        pacer.hold(0, time.monotonic())
    assert pacer._interval == 5.0


def test_a_turn_beyond_the_end_is_refused_at_once() -> None:
    """Whoever's turn would come too late is told so without waiting."""
    pacer = Pacer(0.01, threading.Event())
    pacer.wait(time.monotonic() + SOON)
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="over"):
        pacer.wait(time.monotonic() + 1)
    assert time.monotonic() - began < 0.5


def test_a_stop_ends_every_wait() -> None:
    """Whoever waits for a turn gives up as soon as the client is stopped."""
    stopped = threading.Event()
    pacer = Pacer(0.01, stopped)
    pacer.wait(time.monotonic() + SOON)
    threading.Timer(0.1, stopped.set).start()
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="stopped"):
        pacer.wait(began + 1000)
    assert time.monotonic() - began < 1


def test_the_rate_as_the_api_sees_it(serve: Callable[..., Sandbox]) -> None:
    """A capture of several pages arrives at the API evenly, at the rate and never above it."""
    sandbox = serve(collections=listing(900, 0))
    began = time.monotonic()
    (capture,) = export(settings_for(sandbox, rate=40.0))
    took = time.monotonic() - began
    arrived = sorted(request.received_at for request in sandbox.requests)
    assert capture.requests == len(arrived) == 21
    for number in range(2, len(arrived)):
        for first, last in zip(arrived, arrived[number:], strict=False):
            assert last - first >= number / 40 - 0.15  # a busy machine delays one and not another
    assert 20 / 40 <= took < 20 / 40 * 2 + 5


def test_a_strict_api_refuses_nothing(serve: Callable[..., Sandbox]) -> None:
    """An API that allows the rate, and not one request more, answers no 429."""
    sandbox = serve(collections=listing(1500, 0), rate=25)
    export(settings_for(sandbox, rate=25.0))
    assert {request.status for request in sandbox.requests} == {200}


def test_a_stricter_api_is_adapted_to(serve: Callable[..., Sandbox]) -> None:
    """Where the API allows less than the settings, throttling slows the capture down, and it succeeds."""
    sandbox = serve(collections=listing(900, 0))
    sandbox.faults.append(Fault("retry-after", "images", times=3, skip=4, after="0.1"))
    (capture,) = export(settings_for(sandbox, rate=200.0))
    assert (capture.requests, capture.retries) == (24, 3)
    arrived = sorted(request.received_at for request in sandbox.requests)
    assert max(later - earlier for earlier, later in itertools.pairwise(arrived)) >= 0.09
