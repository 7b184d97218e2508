"""What remembers in between: an answer out of a cache is never landed as of now, and no clock is judged by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from genesis_etl.api.client import Client
from genesis_etl.checks.check import check
from genesis_etl.errors import ApiUnavailable, AuthError, BadPage, CollectionRefused
from genesis_etl.live import live_rows
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Settings
from tests.conftest import listing, refused, settings_for, some_images, some_instances, some_snapshots
from tests.raw import BODY, answer, client_of, raw

ADVICE = "take the API out of the proxy's cache"
WHERE = [("images", 1, 250), ("images", 2, 250), ("images", 3, 250), ("images", 1, 50), ("snapshots", 1, 50)]
WHERE += [("instances", 1, 50), ("instances", 3, 250)]
WHERE += [("snapshots", 2, 250), ("images", 2, 100)]  # the last: the page after a full last one
CACHED = pytest.mark.parametrize(("collection", "page", "count"), WHERE, ids=str)


class Moving:
    """Collections of so many entries; `move` takes the first entry away and puts another one at the end."""

    def __init__(self, count: int) -> None:
        self.lists = {"images": some_images(count), "snapshots": some_snapshots(count)}
        self.lists["instances"] = some_instances(count)

    def __call__(self, name: str, at: datetime) -> list[dict[str, Any]]:
        return self.lists[name]

    def move(self) -> None:
        """Leave the totals as they are."""
        for name, items in self.lists.items():
            self.lists[name] = [*items[1:], {**items[0], "id": f"new-{name}"}]


@pytest.fixture
def cached(serve: Callable[..., Sandbox]) -> Callable[..., tuple[Sandbox, Settings]]:
    """Serve an account with a cache in between that holds a page of a list which has moved since."""

    def start(collection: str, page: int, count: int, at: datetime | None = None, **options: Any) -> Any:
        moving = Moving(count)
        sandbox = serve(collections=moving, **({} if at is None else {"at": None}))
        settings = settings_for(sandbox)
        sandbox.faults.append(Fault("cache", collection, page, times=0, **options))
        with Client(settings.accounts[0], settings) as client:
            try:
                client.page(collection, page)
            except (CollectionRefused, AuthError, BadPage):
                assert options["status"] != 200
        moving.move()
        sandbox.requests.clear()
        return sandbox, settings

    return start


Cached = Callable[..., tuple[Sandbox, Settings]]


def test_every_request_asks_for_no_caching(serve: Callable[..., Sandbox]) -> None:
    """Each request of a capture, of `images` and of `check` says `Cache-Control: no-cache`."""
    sandbox = serve(collections=listing(250, 250))
    settings = settings_for(sandbox)
    export(settings)
    live_rows(settings, settings.accounts[0])
    check(settings)
    assert len(sandbox.requests) > 20
    assert {request.headers.get("Cache-Control") for request in sandbox.requests} == {"no-cache"}


@CACHED
@pytest.mark.parametrize("date", ["copy", "now"])
def test_a_cache_that_does_not_obey(cached: Cached, collection: str, page: int, count: int, date: str) -> None:
    """A page that only ever comes out of a cache fails the capture with 5, naming the page, the age and the cure."""
    sandbox, settings = cached(collection, page, count, age=61, date=date)
    error = refused(
        settings, sandbox.token, 5, f"GET /{collection} page {page}, attempt 4 of 4: out of a cache 61 s old"
    )
    assert error.failed["default"].advice == ADVICE
    asked = [r for r in sandbox.requests if r.path.endswith(collection) and r.query["page"] == str(page)]
    assert len(asked) == 4


@CACHED
def test_a_cache_that_obeys(cached: Cached, collection: str, page: int, count: int) -> None:
    """A cache that hands the request on is no harm: what is now is read, without a repeat."""
    sandbox, settings = cached(collection, page, count, obey=True)
    reading = export(settings)[0]
    assert (reading.images, reading.retries) == (2 * count, 0)
    assert len(sandbox.requests) == reading.requests


@CACHED
def test_a_copy_that_runs_out(cached: Cached, collection: str, page: int, count: int) -> None:
    """One answer out of a cache is a failed attempt; the page is asked for again, and read as it is now."""
    sandbox, settings = cached(collection, page, count)
    sandbox.faults[0].times = sandbox.faults[0].seen + 1
    rows = live_rows(settings, settings.accounts[0])
    ids = set(rows.table["image_id"].to_pylist())
    assert ids == {item["id"] for name in ("images", "snapshots") for item in sandbox.read(name)}
    asked = len(sandbox.requests)
    sandbox.faults.clear()
    assert asked == export(settings)[0].requests + 1


AGES = ["1", "61", "007", "9" * 400, "-1", "+0", "0.0", "0.5", "1e3", "5, 3", "0, 0", "0, 9", "", "soon", "0 s", "0x0"]


@pytest.mark.parametrize("headers", [*((f"Age: {age}",) for age in AGES), ("Age: 0", "Age: 0"), ("Age: 0", "Age: 7")])
def test_an_age_that_is_none_or_unreadable(headers: tuple[str, ...]) -> None:
    """An answer that tells an age above 0, or none that can be read as one number, is a failed attempt each time."""
    with raw(answer(BODY, *headers)) as server, client_of(server.port, attempts=3) as client:
        with pytest.raises(BadPage, match=r"attempt 3 of 3: out of a cache ") as caught:
            client.page("images", 1)
        assert len(server.received) == 3
    assert caught.value.advice == ADVICE
    assert len(caught.value.seen) < 100
    assert client.clock_skew is None


@pytest.mark.parametrize("headers", [(), ("Age: 0",), ("age:   00  ",), ("X-Age: 5",)])
def test_an_answer_of_now(headers: tuple[str, ...]) -> None:
    """No age, and an age of 0, are an answer of now."""
    with raw(answer(BODY, *headers)) as server, client_of(server.port) as client:
        assert client.page("images", 1).total_count == 3
        assert client.requests == 1


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("collection", ["snapshots", "instances"])
def test_a_refusal_out_of_a_cache(cached: Cached, collection: str, status: int) -> None:
    """That a collection may not be read is believed only of an answer of now, also by a first capture."""
    sandbox, settings = cached(collection, 1, 50, status=status)
    refused(settings, sandbox.token, 5, f"GET /{collection} page 1, attempt 4 of 4: out of a cache 60 s old")
    sandbox.faults[0].times = sandbox.faults[0].seen + 2
    assert getattr(export(settings)[0], collection) == 50


@pytest.mark.parametrize("status", [400, 404])
def test_the_end_out_of_a_cache(cached: Cached, status: int) -> None:
    """That there is no page after a full last one is believed only of an answer of now."""
    sandbox, settings = cached("images", 2, 100, status=status)
    refused(settings, sandbox.token, 5, "GET /images page 2, attempt 4 of 4: out of a cache 60 s old")


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        ("401 Unauthorized", AuthError, 1),
        ("403 Forbidden", AuthError, 1),
        ("404 Not Found", CollectionRefused, 1),
        ("405 Not Allowed", BadPage, 1),
        ("302 Found", BadPage, 1),
        ("503 Busy", ApiUnavailable, 2),
    ],
)
def test_what_is_no_answer_stays_what_it_is(status: str, kind: type[Exception], requests: int) -> None:
    """An age changes nothing about what is refused or fails anyway."""
    with raw(answer(b"", "Age: 60", status=status)) as server, client_of(server.port) as client:
        with pytest.raises(kind) as caught:
            client.page("images", 1)
        assert len(server.received) == requests
    assert "cache" not in str(caught.value)


def test_check_says_it_too(cached: Cached) -> None:
    """`check` fails where the token is accepted by a cache."""
    _, settings = cached("images", 1, 50)
    (row,) = (row for row in check(settings).to_pylist() if row["check"] == "token")
    assert (row["status"], row["advice"]) == ("failed", ADVICE)
    assert row["seen"].endswith("out of a cache 60 s old")


# --- the clock -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("date", ["copy", "now"])
def test_the_date_of_a_copy_is_not_blamed_on_the_clock(cached: Cached, date: str) -> None:
    """A cached page an hour old, read anew, says nothing about this machine's clock: the capture lands."""
    sandbox, settings = cached("images", 1, 50, at=datetime.now(UTC), age=3600, date=date)
    sandbox.faults[0].times = sandbox.faults[0].seen + 1
    assert export(settings)[0].retries == 1


def test_a_cache_that_does_not_obey_is_no_matter_of_the_clock(cached: Cached) -> None:
    """Where only copies an hour old come, the cache is told, not the clock."""
    sandbox, settings = cached("images", 1, 50, at=datetime.now(UTC), age=3600)
    refused(settings, sandbox.token, 5, "out of a cache 36", ADVICE)


def dated(seconds: int) -> str:
    """Return a Date header that is so many seconds ahead of this machine."""
    return f"Date: {format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)}"


@pytest.mark.parametrize(
    "hit",
    [
        "X-Cache: HIT",
        "X-Cache: Hit from cloudfront",
        "CF-Cache-Status: HIT",
        'Cache-Status: "proxy"; hit; ttl=30',
        "X-Cache-Lookup: HIT from proxy:3128",
    ],
)
def test_the_clock_is_not_judged_by_a_hit(hit: str) -> None:
    """An answer that says in another way that a cache gave it tells nothing about the clock."""
    with raw(answer(BODY, dated(-3600), hit)) as server, client_of(server.port) as client:
        client.page("images", 1)
    assert client.clock_skew is None


@pytest.mark.parametrize("miss", ["X-Cache: MISS", 'Cache-Status: "proxy"; fwd=miss', "X-Cache: Miss from cloudfront"])
def test_the_clock_is_judged_by_a_miss(miss: str) -> None:
    """A cache that handed the request on lets the Date of the API through."""
    with raw(answer(BODY, dated(-3600), miss)) as server, client_of(server.port) as client:
        client.page("images", 1)
    assert client.clock_skew == pytest.approx(-3600, abs=5)


@pytest.mark.parametrize("skews", [(-3600, 0), (0, -3600), (-3600, -7200, 0, -10)])
def test_one_answer_of_now_clears_the_clock(skews: tuple[int, ...]) -> None:
    """Copies lag and never lead, so the clock is judged by the answer that is furthest ahead."""
    left = list(skews)
    with (
        raw(lambda connection, _: connection.sendall(answer(BODY, dated(left.pop(0)), "Connection: close"))) as server,
        client_of(server.port) as client,
    ):
        for _ in skews:
            client.page("images", 1)
    assert client.clock_skew == pytest.approx(0, abs=5)


def test_an_error_does_not_judge_the_clock() -> None:
    """Whoever answers 503 on the way may have any clock."""
    answers = [answer(b"", dated(-7200), "Connection: close", status="503 Busy"), answer(BODY, dated(-7000))]
    with raw(lambda connection, _: connection.sendall(answers.pop(0))) as server, client_of(server.port) as client:
        client.page("images", 1)
    assert client.clock_skew == pytest.approx(-7000, abs=5)
