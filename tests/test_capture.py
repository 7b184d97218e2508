"""The verified read: how many requests it costs, and what it does with a list that moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from genesis_etl.api.client import Client
from genesis_etl.api.page import Page
from genesis_etl.errors import BadPage, CaptureError, CollectionRefused, ListMoved
from genesis_etl.reading import Reading, read_account
from genesis_etl.sandbox import Fault, Sandbox
from tests.conftest import export, listing, refused, settings_for, some_images, some_snapshots

Item = dict[str, Any]
Change = Callable[[list[Item]], list[Item]]


def read(sandbox: Sandbox, **options: Any) -> tuple[Reading, Client]:
    """Read a sandbox's account, and return the client that counted."""
    settings = settings_for(sandbox)
    with Client(settings.accounts[0], settings) as client:
        return read_account(client, **options), client


def pages_of(count: int) -> int:
    """Return the requests that a still collection of so many items costs."""
    is_full = count > 0 and count % 100 == 0
    return (1 if count <= 100 else 2 * -(-count // 100)) + is_full


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (99, 1), (100, 2), (101, 4), (200, 5), (201, 6)])
@pytest.mark.parametrize("collection", ["images", "snapshots", "instances"])
def test_the_documented_number_of_requests(
    serve: Callable[..., Sandbox], collection: str, count: int, requests: int
) -> None:
    """A still collection costs the requests that are promised: its last page, if full, has one more behind it."""
    sandbox = serve(collections=listing(**{"images": 0, "snapshots": 0, collection: count}))
    _, client = read(sandbox)
    asked = [request for request in sandbox.requests if request.path.endswith(collection)]
    assert (len(asked), client.requests) == (requests, requests + 2)


@pytest.mark.parametrize("images", [0, 1, 99, 100, 101, 200, 201, 250])
@pytest.mark.parametrize(("snapshots", "instances"), [(0, 0), (100, 101), (101, 100), (250, 1), (1, 250)])
def test_requests_of_a_still_account(
    serve: Callable[..., Sandbox], images: int, snapshots: int, instances: int
) -> None:
    """A collection that fits its first answer costs 1 request, a larger one twice its pages, a full last page one."""
    sandbox = serve(collections=listing(images, snapshots, instances))
    reading, client = read(sandbox)
    found = tuple(len(items or {}) for items in (reading.images, reading.snapshots, reading.instances))
    assert found == (images, snapshots, instances)
    assert client.requests == len(sandbox.requests) == sum(map(pages_of, found))
    assert client.retries == 0
    assert reading.passes == (2 if max(found) > 100 else 1)
    assert [request.status for request in sandbox.requests] == [200] * client.requests


@pytest.mark.parametrize("count", [1, 100, 101, 250])
def test_requests_where_images_list_the_snapshots(serve: Callable[..., Sandbox], count: int) -> None:
    """Snapshots that stand in both collections cost no request more while they agree."""
    snapshots = some_snapshots(count)
    images = [{**item, "type": "snapshot", "regions": [item["region"]]} for item in snapshots]
    sandbox = serve(collections=lambda name, at: {"images": images, "snapshots": snapshots}.get(name, []))
    reading, client = read(sandbox)
    assert client.requests == 2 * pages_of(count) + 1
    assert reading.listed_snapshots == count


def moving(serve: Callable[..., Sandbox], items: list[Item], change: Change, after: int) -> tuple[Sandbox, list[Item]]:
    """Serve these images, changed once after so many requests; return the sandbox and what they become."""
    changed = change(list(items))
    asked = 0
    lock = threading.Lock()

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        if name != "images":
            return []
        with lock:
            asked += 1
            return items if asked <= after else changed

    return serve(collections=collections), changed


def _inserted(number: int) -> list[Item]:
    return [{**item, "id": f"new-{item['id']}"} for item in some_images(number)]


CHANGES: dict[str, Change] = {
    "1 deleted": lambda items: items[1:],
    "10 deleted": lambda items: items[10:],
    "1 on top": lambda items: _inserted(1) + items,
    "60 on top": lambda items: _inserted(60) + items,
    "1 swapped": lambda items: items[1:] + _inserted(1),
    "30 swapped": lambda items: items[30:] + _inserted(30),
    "resorted": lambda items: items[::-1],
    "renamed": lambda items: [*items[:150], {**items[150], "name": "another"}, *items[151:]],
    "all gone": lambda items: [],
    "one page left": lambda items: items[:100],
    "tenfold": lambda items: items + _inserted(2000),
    "1 becomes 1.0": lambda items: [{**items[0], "odd": 1.0}, *items[1:]],
}


@pytest.mark.parametrize("after", [1, 2, 3, 4])
@pytest.mark.parametrize("change", list(CHANGES))
def test_a_list_that_moves_once_is_read_exactly(serve: Callable[..., Sandbox], change: str, after: int) -> None:
    """Whatever moved between two pages, a state that stood is read: the later one, unless all was read before."""
    items = [{**item, "odd": 1} for item in some_images(250)]
    sandbox, changed = moving(serve, items, CHANGES[change], after)
    reading, client = read(sandbox)
    # 1 and 1.0 are the same to Python, but not in text.
    states = [{item["id"]: repr(item) for item in state} for state in (changed, items)]
    assert {id: repr(item) for id, item in reading.images.items()} in states[: 1 if after <= 3 else 2]
    assert 2 <= reading.passes <= 4
    assert client.requests == len(sandbox.requests)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), ([0], [False]), ({"a": 1}, {"a": 1.0})])
def test_passes_agree_only_where_the_json_is_the_same(serve: Callable[..., Sandbox], one: Any, other: Any) -> None:
    """What is equal in Python alone, such as 1 and true, has changed between two passes, and a third is made."""
    items = [{**item, "odd": one} for item in some_images(101)]
    sandbox, changed = moving(serve, items, lambda items: [{**items[0], "odd": other}, *items[1:]], after=2)
    reading, _ = read(sandbox)
    assert reading.passes == 3
    assert repr(reading.images[items[0]["id"]]) == repr(changed[0])


def never_still(serve: Callable[..., Sandbox], move: Callable[[int, list[Item]], list[Item]]) -> Sandbox:
    """Serve images that are others at every request."""
    items = some_images(250)
    asked = 0
    lock = threading.Lock()

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        if name != "images":
            return []
        with lock:
            asked += 1
            return move(asked, items)

    return serve(collections=collections)


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda asked, items: items[asked:], "total_count went from"),
        (lambda asked, items: [{**item, "name": f"{asked}"} for item in items], "250 changed"),
        (lambda asked, items: items[asked:] + _inserted(asked), ""),
    ],
)
def test_never_still(serve: Callable[..., Sandbox], move: Any, words: str) -> None:
    """A list that never holds still is given up after five passes, with what kept moving."""
    sandbox = never_still(serve, lambda asked, items: items)
    export(settings_for(sandbox))
    moving = never_still(serve, move)
    error = refused(settings_for(moving), moving.token, 5, "/images did not hold still in 5 passes: ", words)
    assert isinstance(error.failed["default"], ListMoved)
    assert "nothing was written" in str(error)
    assert len(moving.requests) <= 5 * 3 + 5


@pytest.mark.parametrize(
    "fault",
    [
        Fault("patch", "images", 2, patch=lambda page: page | {"images": []}),
        Fault("patch", "images", 2, patch=lambda page: page | {"images": page["images"][:-1]}),
        Fault("patch", "images", 3, patch=lambda page: page | {"images": page["images"] + _inserted(1)}),
        Fault("patch", "images", 2, patch=lambda page: page | {"images": some_images(1) + page["images"][1:]}),
        Fault("field", "images", 2, name="total_count", value=251),
        Fault("field", "images", 1, name="total_count", value=251),
        Fault("field", "images", 1, name="total_count", value=249),
        Fault("field", "images", 1, name="total_count", value=10**400),
        Fault("field", "images", 1, name="total_count", value=0),
    ],
    ids=lambda fault: f"{fault.kind}-page-{fault.page}-{str(fault.options.get('value'))[:9]}",
)
@pytest.mark.parametrize("times", [1, 0])
def test_pages_that_contradict_each_other(serve: Callable[..., Sandbox], fault: Fault, times: int) -> None:
    """A short, empty, overlapping page or another total makes a pass disagree: once is healed, for ever is 5."""
    sandbox = serve(collections=listing(250, 0))
    sandbox.faults.append(Fault(fault.kind, fault.collection, fault.page, times=times, **fault.options))
    if times:
        reading, _ = read(sandbox)
        assert len(reading.images) == 250
        assert reading.passes == 3
    else:
        refused(settings_for(sandbox), sandbox.token, 5, "/images did not hold still in 5 passes")


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("cap", [1, 10, 33, 99])
def test_a_server_that_caps_its_pages(serve: Callable[..., Sandbox], cap: int, echo: bool) -> None:
    """Pages shorter than asked for are followed to the end, whether the server says so or not."""
    count = min(120, 20 * cap)
    sandbox = serve(collections=listing(count, 3))
    sandbox.faults.append(Fault("cap", times=0, cap=cap, echo=echo))
    reading, client = read(sandbox)
    assert len(reading.images) == count
    is_full = echo and count % cap == 0
    assert client.requests == 2 * -(-count // cap) + is_full + (1 if cap >= 3 else 6 + echo) + 1


@pytest.mark.parametrize(("count", "total"), [(250, 100), (250, 200), (101, 100), (1050, 1000), (1000, 900)], ids=str)
@pytest.mark.parametrize("collection", ["images", "snapshots", "instances"])
def test_a_total_that_is_capped(serve: Callable[..., Sandbox], collection: str, count: int, total: int) -> None:
    """A `total_count` behind which there are more items is refused with 5, and nothing is written."""
    sandbox = serve(collections=listing(**{"images": 3, "snapshots": 3, collection: count}))
    sandbox.faults.append(Fault("capped-total", collection, times=0, total=total))
    words = (f"/{collection} says that it has {total:,} items", f"page {total // 100 + 1}: its total_count is capped")
    error = refused(settings_for(sandbox), sandbox.token, 5, *words)
    assert isinstance(error.failed["default"], CaptureError)


@pytest.mark.parametrize("total", [50, 150, 249])
def test_a_total_that_is_too_small_for_its_pages(serve: Callable[..., Sandbox], total: int) -> None:
    """A `total_count` that the pages themselves contradict is never believed."""
    sandbox = serve(collections=listing(250, 0))
    sandbox.faults.append(Fault("capped-total", "images", times=0, total=total))
    refused(settings_for(sandbox), sandbox.token, 5, "/images did not hold still in 5 passes")


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("count", [100, 200])
@pytest.mark.parametrize("collection", ["images", "snapshots", "instances"])
def test_a_server_that_refuses_a_page_past_the_end(
    serve: Callable[..., Sandbox], collection: str, count: int, status: int
) -> None:
    """400 and 404 for the page after the last one are an end as good as an empty page, and are not asked again."""
    sandbox = serve(collections=listing(**{"images": 3, "snapshots": 3, collection: count}))
    sandbox.faults.append(Fault("past-end", collection, times=0, status=status))
    _, client = read(sandbox)
    assert client.requests == pages_of(count) + 2


@pytest.mark.parametrize(("status", "exit_code"), [(403, 3), (422, 5), (503, 4)])
def test_a_page_past_the_end_that_fails(serve: Callable[..., Sandbox], status: int, exit_code: int) -> None:
    """Any other answer to the page after the last one is none, and fails the capture as it would on every page."""
    sandbox = serve(collections=listing(100, 0))
    sandbox.faults.append(Fault("past-end", "images", times=0, status=status))
    refused(settings_for(sandbox), sandbox.token, exit_code, "GET /images page 2, attempt ", str(status))


@pytest.mark.parametrize("status", [None, 400, 404])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_list_that_becomes_shorter(serve: Callable[..., Sandbox], after: int, status: int | None) -> None:
    """Pages that are no longer there while a list is read, empty or refused, are a list that moved: read again."""
    sandbox, changed = moving(serve, some_images(250), lambda items: items[:150], after)
    if status:
        sandbox.faults.append(Fault("past-end", "images", times=0, status=status))
    reading, _ = read(sandbox)
    assert reading.images.keys() == {item["id"] for item in changed}


@pytest.mark.parametrize("count", [100, 200])
@pytest.mark.parametrize("change", ["1 on top", "1 deleted", "all gone", "tenfold"])
def test_a_list_that_moves_before_its_end_is_seen(serve: Callable[..., Sandbox], change: str, count: int) -> None:
    """Where the page after the last one tells another total, the list is read again."""
    sandbox, changed = moving(serve, some_images(count), CHANGES[change], pages_of(count) - 1)
    reading, client = read(sandbox)
    assert reading.images.keys() == {item["id"] for item in changed}
    assert reading.passes <= 4
    assert client.requests == len(sandbox.requests)


def test_a_list_that_moves_at_its_end_for_ever(serve: Callable[..., Sandbox]) -> None:
    """A total that is another one whenever the end is looked at is given up after five passes."""
    sandbox = serve(collections=listing(100, 0))
    sandbox.faults.append(Fault("patch", "images", 2, times=0, patch=lambda page: page | {"total_count": 101}))
    refused(settings_for(sandbox), sandbox.token, 5, "in 5 passes: total_count went from 100 to 101")
    assert len(sandbox.requests) == 10


def test_a_server_that_ignores_per_page(serve: Callable[..., Sandbox]) -> None:
    """One answer that holds more than was asked for, and everything, is one state."""
    sandbox = serve(collections=listing(250, 0))
    sandbox.faults.append(Fault("patch", "images", times=0, patch=lambda page: page | {"images": some_images(250)}))
    reading, client = read(sandbox)
    assert (len(reading.images), client.requests) == (250, 3)


def both(serve: Callable[..., Sandbox], count: int, late: int) -> Sandbox:
    """Serve snapshots in both collections, one more of them in /images from the start, in /snapshots `late`."""
    snapshots = some_snapshots(count + 1)
    images = [{**item, "type": "snapshot", "regions": [item["region"]]} for item in snapshots]
    asked = 0

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        if name != "snapshots":
            return images if name == "images" else []
        asked += 1
        return snapshots[:count] if asked <= late else snapshots

    return serve(collections=collections)


def test_collections_that_differ_are_read_again(serve: Callable[..., Sandbox]) -> None:
    """A snapshot made between the two reads is found by reading both again."""
    reading, client = read(both(serve, 40, late=2))
    assert reading.images.keys() == (reading.snapshots or {}).keys()
    assert (len(reading.images), reading.passes, client.requests) == (41, 3, 7)


@pytest.mark.parametrize("count", [40, 150])
def test_collections_that_never_agree(serve: Callable[..., Sandbox], count: int) -> None:
    """Where /images keeps listing other snapshots than /snapshots, the capture fails within five passes."""
    sandbox = both(serve, count, late=10**9)
    refused(settings_for(sandbox), sandbox.token, 5, "in 5 passes: /images and /snapshots differed by 1 snapshots")
    assert len(sandbox.requests) <= 10 * -(-count // 100)


@pytest.mark.parametrize("status", [403, 404])
def test_snapshots_that_may_not_be_read(serve: Callable[..., Sandbox], status: int) -> None:
    """A refused /snapshots leaves them None and says why; where they must be had it raises."""
    sandbox = serve(collections=listing())
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=status))
    reading, _ = read(sandbox)
    assert reading.snapshots is None
    assert f"GET /snapshots page 1, attempt 1 of 4: {status}" in reading.refusals["snapshots"]
    with pytest.raises(CollectionRefused):
        read(sandbox, must_have_snapshots=True)


@pytest.mark.parametrize(("status", "exit_code"), [(403, 3), (404, 5)])
@pytest.mark.parametrize("page", [1, 2])
def test_snapshots_that_are_refused_half_way(
    serve: Callable[..., Sandbox], status: int, exit_code: int, page: int
) -> None:
    """A refusal after a part of /snapshots was read is a failure: this account may see them."""
    sandbox = serve(collections=listing())
    sandbox.faults.append(Fault("status", "snapshots", page, times=0, skip=1, status=status))
    refused(settings_for(sandbox), sandbox.token, exit_code, f"GET /snapshots page {page}, ", str(status), "try again")


def test_without_snapshots(serve: Callable[..., Sandbox]) -> None:
    """Where they are not wanted, neither /snapshots is asked for nor /instances, which only they name."""
    sandbox = serve(collections=listing())
    reading, _ = read(sandbox, with_snapshots=False)
    assert (reading.snapshots, reading.instances, reading.refusals) == (None, None, {})
    assert {request.path.rpartition("/")[2] for request in sandbox.requests} == {"images"}


def test_the_progress_counts_every_page(serve: Callable[..., Sandbox]) -> None:
    """The progress is told of each page as it comes: how many of how many, in which pass."""
    seen: list[tuple[str, int, int, int]] = []
    read(serve(collections=listing(250, 1)), progress=lambda *step: seen.append(step))
    images = [("images", done, 3, turn) for turn in (1, 2) for done in (1, 2, 3)]
    assert [step for step in seen if step[0] == "images"] == images
    assert [step for step in seen if step[0] != "images"] == [("snapshots", 1, 1, 1), ("instances", 1, 1, 1)]


class Overlapping:
    """Pages that note which pass was under way when another began."""

    def __init__(self) -> None:
        self.running = 0
        self.overlaps: list[int] = []
        self.passes = 0
        self._lock = threading.Lock()

    def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
        if collection != "images":
            return Page(collection, number, [], 0, 100, b"")
        with self._lock:
            if number == 1:
                self.passes += 1
                self.overlaps.append(self.running)
            self.running += 1
        if number > 1:
            threading.Event().wait(0.02)
        with self._lock:
            self.running -= 1
        items = some_images(500)[(number - 1) * 100 : number * 100] if collection == "images" else []
        total = 0 if collection == "snapshots" else 500 + (number == 2 and self.passes < 3)
        return Page(collection, number, items, total, 100, b"")

    def stop(self) -> None:
        """Nothing waits here."""


def test_a_pass_begins_after_the_one_before_has_ended() -> None:
    """No request of a pass that was given up reaches into the next one."""
    pages = Overlapping()
    assert len(read_account(pages).images) == 500
    assert pages.overlaps == [0] * len(pages.overlaps)
    assert pages.passes == 4


def test_an_item_too_deep_to_compare_is_refused() -> None:
    """An item that differs somewhere below a thousand brackets ends with 5, not with a traceback."""

    class Deep:
        passes = 0

        def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
            self.passes += number == 1
            deep: Any = self.passes
            for _ in range(5000):
                deep = [deep]
            items = [{**item, "deep": deep} for item in some_images(200)[(number - 1) * 100 : number * 100]]
            return Page(collection, number, items, 200, 100, b"")

        def stop(self) -> None:
            """Nothing waits here."""

    with pytest.raises(CaptureError, match="00000000-0000-4000-8000-000000000000 is nested too deep to be compared"):
        read_account(Deep())


def test_pages_of_other_lengths_than_the_first_are_not_believed() -> None:
    """Only the last page may be shorter: pages of 2, 1 and 3 items contradict each other, though all six are there."""

    class Uneven:
        def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
            if collection == "snapshots":
                return Page(collection, number, [], 0, 100, b"")
            start, end = {1: (0, 2), 2: (2, 3), 3: (3, 6)}[number]
            return Page(collection, number, some_images(6)[start:end], 6, 100, b"")

        def stop(self) -> None:
            """Nothing waits here."""

    with pytest.raises(ListMoved, match="page 2 held 1 items"):
        read_account(Uneven())


def test_snapshots_are_asked_for_during_the_first_pass_over_a_long_list() -> None:
    """While the first pass over /images still waits for a page, /snapshots has been asked for."""

    class Waiting:
        def __init__(self) -> None:
            self.is_asked = threading.Event()
            self.waited: list[bool] = []

        def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
            if collection == "snapshots":
                self.is_asked.set()
                return Page(collection, number, [], 0, 100, b"")
            if number == 2:
                self.waited.append(self.is_asked.wait(10))
            return Page(collection, number, some_images(150)[(number - 1) * 100 : number * 100], 150, 100, b"")

        def stop(self) -> None:
            """Nothing waits here."""

    pages = Waiting()
    read_account(pages)
    assert set(pages.waited) == {True}


def test_an_error_stops_what_is_under_way() -> None:
    """A page that fails for good stops the client, so that no other page is waited for."""

    class Failing:
        is_stopped = False

        def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
            if number == 1:
                return Page(collection, 1, some_images(100), 500, 100, b"")
            raise BadPage("no")

        def stop(self) -> None:
            self.is_stopped = True

    pages = Failing()
    with pytest.raises(BadPage):
        read_account(pages)
    assert pages.is_stopped
