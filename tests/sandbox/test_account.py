"""The account: pure, exact in size, and lively in every 120 days."""

import hashlib
import itertools
import json
import subprocess
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from genesis_etl.sandbox import Account
from genesis_etl.sandbox.account import GENERATIONS
from genesis_etl.sandbox.clock import minute_of
from genesis_etl.sandbox.regions import ALL, PERMANENT, era
from tests.conftest import fewer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
# Ends of windows of 120 days: through a year, and years apart.
WINDOWS = (NOON, datetime(2027, 2, 3, 6, tzinfo=UTC), datetime(2025, 8, 30, 23, 59, tzinfo=UTC))

Lists = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def both(account: Account, at: datetime) -> Lists:
    """Return the collections of images and of snapshots."""
    return account.images(at), account.snapshots(at)


def digest(account: Account, at: datetime) -> str:
    """Return a hash of all that an account lists at an instant, and of its order."""
    return hashlib.sha256(json.dumps((*both(account, at), account.instances(at))).encode()).hexdigest()


ONE_WINDOW = pytest.mark.xdist_group("window")  # made once, by one process


@pytest.fixture(scope="module", params=fewer(WINDOWS, 1), ids=str)
def window(request: pytest.FixtureRequest) -> list[Lists]:
    """Both collections on each of 120 days in a row."""
    account = Account(1, "newest")
    return [both(account, request.param - (119 - day) * DAY) for day in range(120)]


@pytest.mark.parametrize("generation", fewer(GENERATIONS, 1))
def test_two_processes_list_the_same(generation: str) -> None:
    """The account is a function of its arguments: another process lists the same, in the same order."""
    script = (
        "import hashlib, json; from datetime import datetime, UTC; from genesis_etl.sandbox import Account\n"
        f"account = Account(7, {generation!r}, 400, datetime(2026, 11, 1, tzinfo=UTC))\n"
        "at = datetime(2026, 11, 23, 12, tzinfo=UTC)\n"
        "lists = account.images(at), account.snapshots(at), account.instances(at)\n"
        "print(hashlib.sha256(json.dumps(lists).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "5"},
    )
    account = Account(7, generation, 400, datetime(2026, 11, 1, tzinfo=UTC))
    assert other.stdout.strip() == digest(account, NOON)


def test_order_of_calls_is_irrelevant() -> None:
    """What an instant shows does not depend on which instants were asked for before."""
    instants = [NOON - day * DAY for day in range(0, 120, 11)]
    forward = [digest(Account(1, "middle"), at) for at in instants]
    account = Account(1, "middle")
    assert forward == [digest(account, at) for at in reversed(instants)][::-1]


def test_returned_lists_are_the_callers_own() -> None:
    """A caller that changes what it was given does not change the account."""
    account = Account(1, "middle")
    before = digest(account, NOON)
    account.images(NOON)[0]["name"] = "changed"
    account.images(NOON).clear()
    assert digest(account, NOON) == before


def test_seeds_differ() -> None:
    """Two seeds are two accounts: no id is in both."""
    one, other = (Account(seed, "newest").snapshots(NOON) for seed in (1, 2))
    assert not {item["id"] for item in one} & {item["id"] for item in other}


def test_instants_of_one_minute_are_one_state() -> None:
    """Everything happens on whole minutes, and an instant may come in any zone or none."""
    account = Account(1, "newest")
    assert account.snapshots(NOON) == account.snapshots(NOON + timedelta(seconds=59.9))
    assert account.snapshots(NOON) == account.snapshots(NOON.replace(tzinfo=None))


@pytest.mark.parametrize("at", [datetime(1989, 12, 31), datetime(2200, 1, 1)])
def test_instants_outside_its_life_are_refused(at: datetime) -> None:
    """An instant far off every calendar of use is an error, not an empty list."""
    with pytest.raises(ValueError, match="1990 to 2199"):
        Account(1, "newest").images(at)


@pytest.mark.parametrize("at", [datetime(1990, 1, 1), datetime(2021, 5, 1), datetime(2199, 12, 31)])
def test_far_instants_have_an_account(at: datetime) -> None:
    """The account lives on every date between, with entries in both collections."""
    assert all(both(Account(1, "newest"), at))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 250, 1000])
def test_size_is_exact(generation: str, number: int) -> None:
    """`images=N` is exactly N entries at the start: in /images, in the newest generation in both together."""
    images, snapshots = both(Account(3, generation, number, NOON), NOON)
    assert len(images) + (len(snapshots) if generation == "newest" else 0) == number
    assert len({item["id"] for item in [*images, *snapshots]}) == number


def test_sized_account_evolves() -> None:
    """An account of a given size changes from day to day as well, small or large."""
    for number in (100, 1000):
        account = Account(1, "middle", number, NOON)
        days = [{item["id"] for item in account.snapshots(NOON + day * DAY)} for day in range(8)]
        assert any(before - after and after - before for before, after in itertools.pairwise(days))


@pytest.mark.slow
def test_hundred_thousand_entries_are_exact() -> None:
    """The largest size is exact too, and its second answer is the first one kept."""
    account = Account(1, "newest", 100_000, NOON)
    images, snapshots = account.collection("images", NOON), account.collection("snapshots", NOON)
    assert len(images) + len(snapshots) == 100_000
    assert account.collection("snapshots", NOON) is snapshots


@pytest.mark.parametrize(
    ("generation", "image", "snapshot", "size"),
    [
        (
            "seed",
            "id name type regions created_at",
            "id name region size status resource_id created_at",
            str,
        ),
        (
            "middle",
            "id name type regions created_at family slug versions os_type updated_at",
            "id name region size status resource_id created_at updated_at os_type",
            int,
        ),
        (
            "newest",
            "id name type regions created_at family slug versions os_type updated_at",
            "id name region size status source_instance_id source_snapshot_id created_at updated_at os_type",
            int,
        ),
    ],
)
def test_fields_are_those_of_the_generation(generation: str, image: str, snapshot: str, size: type) -> None:
    """Each generation has exactly its own fields, and sizes in its own unit."""
    images, snapshots = both(Account(1, generation), NOON)
    assert {frozenset(item) for item in images} == {frozenset(image.split())}
    assert {frozenset(item) for item in snapshots} == {frozenset(snapshot.split())}
    assert {type(item["size"]) for item in snapshots} == {size}


@pytest.mark.parametrize(
    ("generation", "types"),
    [
        ("seed", {"base-os", "preconfigured", "snapshot"}),
        ("middle", {"base-os", "preconfigured", "cloud-image", "snapshot"}),
        ("newest", {"cloud-image"}),
    ],
)
def test_types_are_those_of_the_generation(generation: str, types: set[str]) -> None:
    """Each generation lists exactly its own types."""
    assert {item["type"] for item in Account(1, generation).images(NOON)} == types


def test_snapshots_are_the_same_in_every_generation() -> None:
    """One seed has the same snapshots in all three: ids, names, regions, sizes, origins."""
    lists = [Account(1, generation).snapshots(NOON) for generation in GENERATIONS]
    assert {json.dumps([(item["id"], item["name"], item["region"]) for item in items]) for items in lists} == {
        json.dumps([(item["id"], item["name"], item["region"]) for item in lists[0]])
    }
    assert [int(item["size"]) for item in lists[0]] == [item["size"] << 30 for item in lists[1]]
    assert [item["resource_id"] for item in lists[1]] == [item["source_instance_id"] for item in lists[2]]


@pytest.mark.parametrize("generation", ["seed", "middle"])
def test_older_generations_list_snapshots_twice(generation: str) -> None:
    """In the older generations the snapshots of /images are those of /snapshots, name and region alike."""
    images, snapshots = both(Account(1, generation), NOON)
    assert [(item["id"], item["name"], item["regions"]) for item in images if item["type"] == "snapshot"] == [
        (item["id"], item["name"], [item["region"]]) for item in snapshots
    ]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_newest_come_first(generation: str) -> None:
    """The order is the sandbox's choice: created_at, then id, descending."""
    for items in both(Account(1, generation, 1000, NOON), NOON):
        order = [(item["created_at"], item["id"]) for item in items]
        assert order == sorted(order, reverse=True)


def test_instants_are_past_and_have_milliseconds() -> None:
    """created_at and updated_at are written like the documented example, in order, never in the future."""
    for items in both(Account(1, "newest"), NOON):
        for item in items:
            created, updated = (datetime.fromisoformat(item[name]) for name in ("created_at", "updated_at"))
            assert len(item["created_at"]) == len("2020-03-16T16:01:12.954Z") == len(item["updated_at"])
            assert created <= updated <= NOON


def test_default_account_is_of_a_size_to_look_at() -> None:
    """The account of today holds some hundred entries, and grew by roughly half in 120 days."""
    for seed in (1, 2, 3):
        account = Account(seed, "newest")
        first, last = both(account, NOON - 119 * DAY), both(account, NOON)
        assert 250 <= len(last[0]) + len(last[1]) <= 450
        assert 1.3 <= len(last[1]) / len(first[1]) <= 1.9


@ONE_WINDOW
def test_window_grows(window: list[Lists]) -> None:
    """There are more snapshots at the end of a window than at its beginning, and no id is there twice."""
    for lists in window:
        ids = [item["id"] for items in lists for item in items]
        assert len(ids) == len(set(ids))
    assert len(window[-1][1]) > 1.05 * len(window[0][1])


@ONE_WINDOW
def test_window_sees_regions_open_and_close(window: list[Lists]) -> None:
    """A region opens and one closes: images gain and lose it, and no snapshot stays in a closed region."""
    regions = [{region for item in images for region in item["regions"]} for images, _ in window]
    assert any(after - before for before, after in itertools.pairwise(regions))
    assert any(before - after for before, after in itertools.pairwise(regions))
    assert set(PERMANENT) <= set.intersection(*regions)
    fleeting = [{item["region"] for item in snapshots} - set(PERMANENT) for _, snapshots in window]
    assert any(before - after for before, after in itertools.pairwise(fleeting))
    assert set().union(*regions, *fleeting) <= set(ALL)


@ONE_WINDOW
def test_window_sees_releases_come_spread_and_go(window: list[Lists]) -> None:
    """A release appears without any region, reaches them one after the other, and old ones are withdrawn."""
    spread: dict[str, list[int]] = {}
    for images, _ in window:
        for item in images:
            spread.setdefault(item["id"], []).append(len(item["regions"]))
    assert any(counts[0] == 0 and len(set(counts)) > 3 for counts in spread.values())
    ids = [{item["id"] for item in images} for images, _ in window]
    assert ids[-1] - ids[0]
    assert ids[0] - ids[-1]
    assert {item["slug"] for item in window[0][0]} == {item["slug"] for item in window[-1][0]}


@ONE_WINDOW
def test_window_sees_snapshots_taken_and_expired(window: list[Lists]) -> None:
    """Nightly and weekly snapshots are taken and expire; copies name a source in another region."""
    first, last = ({item["id"]: item for item in window[day][1]} for day in (0, -1))
    for kind in ("nightly-", "weekly-"):
        for one, other in ((first, last), (last, first)):
            assert any(item["name"].startswith(kind) for id, item in one.items() if id not in other)
    copies = [item for item in last.values() if item["source_snapshot_id"] in last]
    assert copies
    for copy in copies:
        source = last[copy["source_snapshot_id"]]
        assert copy["region"] != source["region"]
        assert copy["size"] == source["size"]
        assert copy["created_at"] > source["created_at"]
    assert any(not item["name"].isascii() for item in last.values())


@ONE_WINDOW
def test_window_sees_instances_come_and_go(window: list[Lists]) -> None:
    """Instances that had snapshots at the beginning have none at the end, and the other way round."""
    first, last = ({item["source_instance_id"] for item in window[day][1]} for day in (0, -1))
    assert first - last
    assert last - first


@ONE_WINDOW
def test_window_sees_instances_made_and_deleted() -> None:
    """Instances are made and deleted, listed without a gap in between, and some leave snapshots behind."""
    account = Account(1, "newest")
    days = [{item["id"] for item in account.instances(NOON - day * DAY)} for day in range(120, -1, -3)]
    assert days[-1] - days[0]
    assert days[0] - days[-1]
    for id in set().union(*days):
        there = [day for day, ids in enumerate(days) if id in ids]
        assert there == list(range(there[0], there[-1] + 1))
    sources = [item["source_instance_id"] for item in account.snapshots(NOON)]
    left = [source for source in sources if source not in days[-1]]
    assert set().union(*days) & set(left)
    assert 0 < len(left) < len(sources) / 2


def test_instances_are_the_same_in_every_generation_and_size() -> None:
    """One seed has the same instances in all three generations, whatever the number of images asked for."""
    accounts = [Account(1, generation, images, NOON) for generation in GENERATIONS for images in (None, 0, 30, 2000)]
    told = [[(item["id"], item["name"]) for item in account.instances(NOON)] for account in accounts]
    assert told == [told[0]] * len(told)
    assert len(set(told[0])) == len({id for id, _ in told[0]}) > 20


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fields_of_an_instance(generation: str) -> None:
    """An instance has the documented fields, was made from an image of its generation, and its times are past."""
    names = "id name hostname type region os_type status image volumes ssh_keys security_groups disk_size floating_ip"
    names += " private_ip public_ip reservation_id created_at updated_at"
    for item in Account(1, generation).instances(NOON):
        assert set(item) == set(names.split())
        assert set(item["image"]) == {"id", "name"}
        assert datetime.fromisoformat(item["created_at"]) <= datetime.fromisoformat(item["updated_at"]) <= NOON
        then = Account(1, generation).images(datetime.fromisoformat(item["created_at"]) + timedelta(minutes=1))
        assert item["image"] in [{"id": image["id"], "name": image["name"]} for image in then]


def test_statuses_follow_the_life_of_an_instance() -> None:
    """An instance is creating for some minutes, then active, and deleting before it is no longer listed."""
    account = Account(1, "newest")
    weeks = [account.instances(NOON + week * 7 * DAY) for week in range(20)]
    known = {item["id"] for item in weeks[0]} | {item["id"] for item in weeks[-1]}
    one = next(item for items in weeks for item in items if item["id"] not in known)
    week = max(week for week, items in enumerate(weeks) if any(item["id"] == one["id"] for item in items))
    born = datetime.fromisoformat(one["created_at"])
    last = NOON + week * 7 * DAY

    def is_gone(minute: int) -> bool:
        return one["id"] not in {item["id"] for item in account.instances(last + timedelta(minutes=minute))}

    gone = bisect_left(range(7 * 1440), True, key=is_gone)
    minutes = [born + timedelta(minutes=minute) for minute in range(9)]
    minutes += [last + timedelta(minutes=minute) for minute in range(gone - 5, gone + 1)]
    lives = [{item["id"]: item["status"] for item in account.instances(at)}.get(one["id"]) for at in minutes]
    assert [status for status, _ in itertools.groupby(lives)] == [None, "creating", "active", "deleting", None]


@ONE_WINDOW
def test_window_sees_renames_but_no_resize(window: list[Lists]) -> None:
    """Some snapshots are renamed; size, region, origin and created_at never change."""
    names: dict[str, set[str]] = {}
    fixed: dict[str, set[tuple[object, ...]]] = {}
    for _, snapshots in window:
        for item in snapshots:
            names.setdefault(item["id"], set()).add(item["name"])
            still = (item["size"], item["region"], item["source_instance_id"], item["created_at"])
            fixed.setdefault(item["id"], set()).add(still)
    assert any(len(given) == 2 for given in names.values())
    assert {len(values) for values in fixed.values()} == {1}


@ONE_WINDOW
def test_window_updates_exactly_what_changes(window: list[Lists]) -> None:
    """updated_at moves when, and only when, something else of the entry does; few change in a day."""
    changed = kept = 0
    for before, after in itertools.pairwise([[*images, *snapshots] for images, snapshots in window]):
        known = {item["id"]: item for item in before}
        for item in after:
            if item["id"] in known:
                old = known[item["id"]]
                assert (old == item) == (old["updated_at"] == item["updated_at"])
                changed += old != item
                kept += 1
    # Before 2026 the account is small, and its public images weigh more.
    assert 0 < changed / kept < (0.008 if kept > 20_000 else 0.02)


def test_new_snapshots_of_an_instance_are_no_smaller() -> None:
    """Disks fill up: of one instance, a later nightly snapshot is as large as an earlier one or larger."""
    account = Account(1, "newest")
    sizes: dict[str, dict[str, int]] = {}
    for day in range(0, 120, 7):
        for item in account.snapshots(NOON - day * DAY):
            if item["name"].startswith("nightly-"):
                sizes.setdefault(item["source_instance_id"], {})[item["created_at"]] = item["size"]
    grown = [[size for _, size in sorted(of.items())] for of in sizes.values()]
    assert all(of == sorted(of) for of in grown)
    assert any(of[-1] > of[0] for of in grown)


@pytest.mark.slow
def test_statuses_follow_the_life_of_a_snapshot() -> None:
    """A snapshot is creating for some minutes, then created, and pending_delete before it goes."""
    account = Account(1, "newest")
    one = next(item for item in account.snapshots(NOON - 4 * DAY) if item["name"].startswith("nightly-web"))
    born = datetime.fromisoformat(one["created_at"])
    minutes = [born + timedelta(minutes=minute) for minute in (*range(15), *range(7 * 1440, 7 * 1440 + 70))]
    lives = [{item["id"]: item["status"] for item in account.snapshots(at)}.get(one["id"]) for at in minutes]
    assert [status for status, _ in itertools.groupby(lives)] == [
        None,
        "creating",
        "created",
        "pending_delete",
        "deleting",
        None,
    ]


def test_every_110_days_each_fleeting_region_opens_and_closes() -> None:
    """The calendar of regions needs no luck: wherever a window begins, both changes lie in it."""
    for start in range(minute_of(NOON), minute_of(NOON + 115 * DAY), 1440):
        for region in set(ALL) - set(PERMANENT):
            states = [era(region, minute) is not None for minute in range(start, start + 111 * 1440, 1440)]
            assert {(False, True), (True, False)} <= set(itertools.pairwise(states))
