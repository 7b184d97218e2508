"""A list that moves while it is read: whatever is captured stood in the account at one instant."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from genesis_etl.api.client import Client
from genesis_etl.api.page import Page
from genesis_etl.errors import ListMoved
from genesis_etl.reading import MAX_PASSES, Reading, read_account
from genesis_etl.sandbox import Fault, Sandbox
from tests.conftest import fewer, figure, settings_for

Item = dict[str, Any]
COLLECTIONS = ("images", "snapshots", "instances")
ORDERS: dict[str, Callable[[Item], Any]] = {
    "newest first": lambda item: (-item["born"], item["id"]),
    "oldest first": lambda item: (item["born"], item["id"]),
    "by name": lambda item: (item["name"], item["id"]),
    "by id": lambda item: item["id"],
}


class Account:
    """An account that lives through a seeded history, one step before each request while it is restless.

    Every state that it is ever in is remembered as a sum over its items, so that a step costs what it changes.
    """

    def __init__(self, seed: int, size: int, per_page: int, lists_snapshots: bool) -> None:
        self.chance = random.Random(seed)
        self.per_page = per_page
        self.order = self.chance.choice(list(ORDERS.values()))
        self.restless = self.chance.choice([3, 10, 20, 60])  # requests until it holds still
        self.restlessness = self.chance.choice([0.05, 0.2, 0.5, 1.0])
        self.lists_snapshots = lists_snapshots
        self.born = self.renamed = self.requests = 0
        self.items: list[Item] = []
        self.sums = dict.fromkeys(COLLECTIONS, 0)
        self.lock = threading.Lock()
        for _ in range(size):
            self._insert(self._oldest() if self.chance.random() < 0.5 else self.born)
        self.states: dict[str, set[int]] = {name: set() for name in COLLECTIONS}
        self._remember()

    def collection(self, name: str) -> list[Item]:
        """Return a collection as it stands, after the step that this request may bring."""
        with self.lock:
            self.requests += 1
            if self.requests <= self.restless and self.chance.random() < self.restlessness:
                self._step()
                self._remember()
            return sorted((item for item in self.items if self._shows(name, item)), key=self.order)

    def held(self, name: str, items: dict[str, Item]) -> bool:
        """Tell whether the collection ever held exactly these items."""
        return sum(_weight(name, item) for item in items.values()) in self.states[name]

    def _shows(self, name: str, item: Item) -> bool:
        if name == "instances":  # some that no other collection holds, and some that one does: it is all the same
            return item["born"] % 2 == 0
        return item["type"] == "snapshot" if name == "snapshots" else self.lists_snapshots or item["type"] == "base-os"

    def _step(self) -> None:
        chance = self.chance
        number = chance.choice([1, 1, 1, 2, 5, 30])
        match chance.choice(["delete", "insert", "append", "swap", "swap", "swap", "rename", "resort"]):
            case "delete":
                self._delete(number)
            case "insert":
                for _ in range(number):
                    self._insert(self.born)
            case "append":
                for _ in range(number):
                    self._insert(self._oldest())
            case "swap":  # the total stays, and an item that stayed may slip through between two pages
                for _ in range(self._delete(number, early=True)):
                    self._insert(chance.choice([self.born, self._oldest()]))
            case "rename":
                for item in chance.sample(self.items, min(number, len(self.items))):
                    self._remove(item)
                    self.renamed += 1
                    self._add({**item, "name": f"{chance.randrange(1000):03} {self.renamed}"})
            case _:
                self.order = chance.choice(list(ORDERS.values()))

    def _oldest(self) -> int:
        return min((item["born"] for item in self.items), default=0) - 1

    def _insert(self, born: int) -> None:
        self.born += 1
        kind = self.chance.choice(["snapshot", "snapshot", "base-os"])
        id = f"{self.chance.getrandbits(64):016x}"
        self._add({"id": id, "name": f"{self.chance.randrange(1000):03}", "type": kind, "born": born})

    def _delete(self, number: int, *, early: bool = False) -> int:
        victims = sorted(self.items, key=self.order)[: self.per_page] if early else self.items
        victims = self.chance.sample(victims, min(number, len(victims)))
        for item in victims:
            self._remove(item)
        return len(victims)

    def _add(self, item: Item) -> None:
        self.items.append(item)
        for name in self.sums:
            self.sums[name] += _weight(name, item) if self._shows(name, item) else 0

    def _remove(self, item: Item) -> None:
        self.items.remove(item)
        for name in self.sums:
            self.sums[name] -= _weight(name, item) if self._shows(name, item) else 0

    def _remember(self) -> None:
        for name, total in self.sums.items():
            self.states[name].add(total)


def _weight(collection: str, item: Item) -> int:
    return hash((item["id"], item["name"], None if collection == "instances" else item["type"]))


class Pages:
    """The account's pages without a network."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
        items = self.account.collection(collection)
        first = (number - 1) * self.account.per_page
        return Page(
            collection,
            number,
            items[first : first + self.account.per_page],
            len(items),
            self.account.per_page,
            digest=b"",
        )

    def stop(self) -> None:
        """Nothing waits here."""


def is_wrong(account: Account, reading: Reading) -> bool:
    """Tell whether a reading holds what never stood together."""
    assert reading.snapshots is not None
    assert reading.instances is not None
    listed = {id for id, item in reading.images.items() if item["type"] == "snapshot"}
    return (
        not account.held("images", reading.images)
        or not account.held("snapshots", reading.snapshots)
        or not account.held("instances", reading.instances)
        or (bool(listed) and listed != reading.snapshots.keys())
    )


def trials(seeds: range, read: Callable[[Account], Reading], size: int, per_page: int) -> tuple[int, int]:
    """Return how many readings were wrong, and how many were made at all."""
    wrong = made = 0
    for seed in seeds:
        account = Account(seed, size, per_page, lists_snapshots=seed % 2 == 0)
        try:
            reading = read(account)
        except ListMoved:
            continue
        made += 1
        wrong += is_wrong(account, reading)
        assert 1 <= reading.passes <= MAX_PASSES
    if read is not read_once:
        figure("drift", len(seeds))
        figure("drift wrong", wrong)
        figure("drift refused", len(seeds) - made)
    return wrong, made


def read_in_process(account: Account) -> Reading:
    """Read an account without a network."""
    return read_account(Pages(account))


def read_once(account: Account) -> Reading:
    """Read an account as plain loops do: each page once, until all are there."""

    def read(name: str) -> dict[str, Item]:
        items: dict[str, Item] = {}
        number, pages = 0, Pages(account)
        while True:
            number += 1
            page = pages.page(name, number)
            items.update((item["id"], item) for item in page.items)
            if number * page.per_page >= page.total_count:
                return items

    return Reading(read("images"), read("snapshots"), 1, read("instances"))


def test_no_capture_is_wrong() -> None:
    """Of 500 accounts that change while they are read, none is captured as it never was."""
    wrong, made = trials(range(500), read_in_process, 25, 10)
    assert wrong == 0
    assert made > 250


@pytest.mark.slow
@pytest.mark.parametrize(("size", "per_page", "seeds"), [(25, 10, 6000), (250, 100, 1500), (95, 10, 1000)])
def test_no_capture_is_wrong_in_many(size: int, per_page: int, seeds: int) -> None:
    """The same of 8,500 more, of other sizes."""
    wrong, made = trials(range(10_000, 10_000 + seeds), read_in_process, size, per_page)
    assert wrong == 0
    assert made > seeds / 4


def test_the_histories_are_hard() -> None:
    """Read once, as plain loops do, the same accounts come out wrong by the hundred."""
    wrong, made = trials(range(500), read_once, 25, 10)
    assert made == 500
    assert wrong > 100


@pytest.mark.parametrize(
    "fault", fewer([None, "past-end=404,times=0", "close-after=0,times=0", "cache,times=0,obey=true"], 1)
)
def test_no_capture_is_wrong_over_http(serve: Callable[..., Sandbox], fault: str | None) -> None:
    """The same over a real socket, with pages of 100 in parallel, whatever stands or ends in between."""
    now: dict[str, Account] = {}
    sandbox = serve(collections=lambda name, at: now["account"].collection(name))
    sandbox.faults += [Fault.parse(fault)] if fault else []
    settings = settings_for(sandbox)

    def read(account: Account) -> Reading:
        now["account"] = account
        with Client(settings.accounts[0], settings) as client:
            return read_account(client)

    wrong, made = trials(range(50), read, 250, 100)
    assert wrong == 0
    assert made > 25
