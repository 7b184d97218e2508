"""What becomes of a snapshot's instance: read after the images, unread without harm, gone and told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from genesis_etl.errors import BadPage
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.rows import to_rows
from genesis_etl.sandbox import Fault, Sandbox
from tests.commands import Run
from tests.conftest import fewer, later, refused, settings_for, some_images, some_instances, some_snapshots
from tests.histories import Row, at, land_all, report, row

Item = dict[str, Any]
UNKNOWN = "account default: nothing is known of the instances of snapshots: "
FAILS = [(401, 3), (400, 5), (302, 5), (503, 4)]


class Account:
    """Three images and two snapshots, of `vm0` and of `vm9`; `instances` may be changed between two captures."""

    def __init__(self, *instances: Item) -> None:
        self.images = some_images(3)
        self.snapshots = some_snapshots(2, source_instance_id="vm0")
        self.snapshots[1]["source_instance_id"] = "vm9"
        self.instances = list(instances or some_instances(2))

    def __call__(self, name: str, at: Any) -> list[Item]:
        items: list[Item] = getattr(self, name)
        return items


def told(lake: str = "lake") -> list[tuple[Any, ...]]:
    """Return what the newest capture tells of the instances of its snapshots, by image."""
    statement = "select source_instance_name as name, source_instance_exists as is_there from images"
    rows = open_lake(lake).sql_rows(f"{statement} where source_instance_id is not null order by image_id").to_pylist()
    return [tuple(each.values()) for each in rows]


KNOWN = [("instance 0", True), (None, False)]
NOTHING = [(None, None)] * 2


# --- one capture


def test_a_snapshot_tells_of_its_instance(serve: Callable[..., Sandbox]) -> None:
    """Name and existence come from /instances, read last; an image without a source has neither."""
    sandbox = serve(collections=Account())
    said: list[str] = []
    (capture,) = export(settings_for(sandbox), notice=said.append)
    assert told() == KNOWN
    assert (capture.instances, capture.requests, said) == (2, 3, [])
    assert [request.path.rpartition("/")[2] for request in sandbox.requests] == ["images", "snapshots", "instances"]
    others = "select count(*) as n from images where source_instance_id is null and source_instance_exists is not null"
    assert open_lake("lake").sql_rows(others).to_pylist() == [{"n": 0}]


def test_of_an_instance_nothing_else_is_kept(serve: Callable[..., Sandbox]) -> None:
    """Addresses and whatever else an instance has are in no file, and no unknown field of it is told."""
    account = Account(*some_instances(2, public_ip="192.0.2.77", secret_field="s3cr3t", name="web"))
    said: list[str] = []
    export(settings_for(serve(collections=account)), notice=said.append)
    assert said == []
    everything = open_lake("lake").sql_rows("select * from images, captures").to_pylist()
    assert "web" in str(everything)
    assert not any(word in str(everything) for word in ("192.0.2.77", "s3cr3t", "secret_field"))


def test_instances_whose_status_never_rests_are_read(serve: Callable[..., Sandbox]) -> None:
    """Only what is kept of an instance has to hold still: a status that is another in every pass costs nothing."""
    account = Account()
    asked = 0

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        asked += 1
        return some_instances(250, status=f"{asked}") if name == "instances" else account(name, at)

    (capture,) = export(settings_for(serve(collections=collections)))
    assert (capture.instances, capture.passes, capture.requests) == (250, 2, 8)


def test_instances_that_move_are_read_until_they_hold_still(serve: Callable[..., Sandbox]) -> None:
    """One deleted on the first page and one made at the end keep the total, and are seen all the same."""
    account = Account(*some_instances(250))
    account.snapshots[1]["source_instance_id"] = "new"
    asked = 0

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        asked += name == "instances"
        if name == "instances" and asked == 2:
            account.instances = [*account.instances[1:], {"id": "new", "name": "new"}]
        return account(name, at)

    (capture,) = export(settings_for(serve(collections=collections)))
    assert (capture.instances, capture.passes) == (250, 3)
    assert told() == [(None, False), ("new", True)]


def test_instances_that_never_hold_still_fail_the_capture(serve: Callable[..., Sandbox]) -> None:
    """After five passes without agreement it is 5, as for /images."""
    account = Account()
    asked = 0

    def collections(name: str, at: Any) -> list[Item]:
        nonlocal asked
        asked += 1
        return some_instances(250, name=f"{asked}") if name == "instances" else account(name, at)

    sandbox = serve(collections=collections)
    refused(settings_for(sandbox), sandbox.token, 5, "/instances did not hold still in 5 passes")


@pytest.mark.parametrize("wrong", [None, 7, ["web"], "missing"], ids=str)
def test_an_instance_without_a_usable_name_is_refused(serve: Callable[..., Sandbox], wrong: Any) -> None:
    """A name that is no text ends with 5 and names the instance, as for an image."""
    item = {"id": "vm0"} if wrong == "missing" else {"id": "vm0", "name": wrong}
    sandbox = serve(collections=Account(item))
    refused(settings_for(sandbox), sandbox.token, 5, "/instances: the item vm0 has an unusable name")
    with pytest.raises(BadPage):
        to_rows({}, {}, {"vm0": item})


# --- /instances cannot be read


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(("page", "count"), fewer([(1, 2), (1, 250), (2, 250), (3, 250)], 2))
def test_instances_that_are_refused(serve: Callable[..., Sandbox], page: int, count: int, status: int) -> None:
    """403 and 404, wherever it begins, leave null what they would tell, with a note; the capture stands."""
    sandbox = serve(collections=Account(*some_instances(count)))
    export(settings_for(sandbox))
    sandbox.faults.append(Fault("status", "instances", page, times=0, status=status))
    said: list[str] = []
    (capture,) = export(later(settings_for(sandbox)), notice=said.append)
    assert (capture.images, capture.snapshots, capture.instances) == (5, 2, None)
    assert told() == NOTHING
    (line,) = said
    assert line.startswith(f"{UNKNOWN}GET /instances page {page}, ")
    assert f"{status} " in line
    sandbox.faults.clear()
    assert export(later(settings_for(sandbox), 2))[0].instances == count


@pytest.mark.parametrize(("status", "exit_code"), FAILS)
def test_instances_that_fail_otherwise(serve: Callable[..., Sandbox], status: int, exit_code: int) -> None:
    """Any other lasting failure fails the capture with the code that it has for /images."""
    sandbox = serve(collections=Account())
    sandbox.faults.append(Fault("status", "instances", times=0, status=status))
    refused(settings_for(sandbox), sandbox.token, exit_code, "GET /instances page 1, ", str(status))


def test_a_page_of_instances_that_is_missing_as_a_bad_request(serve: Callable[..., Sandbox]) -> None:
    """400 for a page that should be there is such a failure too."""
    sandbox = serve(collections=Account(*some_instances(250)))
    sandbox.faults.append(Fault("status", "instances", 2, times=0, status=400))
    refused(settings_for(sandbox), sandbox.token, 5, "GET /instances page 2, ", "400")


@pytest.mark.parametrize("without", [True, False])
def test_without_snapshots_nobody_asks_for_instances(serve: Callable[..., Sandbox], without: bool) -> None:
    """Only a snapshot names an instance: where /snapshots is left out or refused, /instances is not asked for."""
    sandbox = serve(collections=Account())
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=403))
    (capture,) = export(settings_for(sandbox), without_snapshots=without)
    assert (capture.snapshots, capture.instances) == (None, None)
    assert not [request for request in sandbox.requests if request.path.endswith("/instances")]


# --- from some to none


def test_instances_that_are_all_gone_at_once_are_not_believed(serve: Callable[..., Sandbox]) -> None:
    """From some to none counts as not read, as long as it lasts, until it is allowed; then it is as it says."""
    account = Account()
    settings = settings_for(serve(collections=account))
    export(settings)
    account.instances = []
    for hours in (1, 2):
        said: list[str] = []
        (capture,) = export(later(settings, hours), notice=said.append)
        assert (capture.snapshots, capture.instances) == (2, None)
        assert told() == NOTHING
        assert said == [
            f"{UNKNOWN}/instances lists nothing, but when it was last captured it listed 2 instances; "
            "if they are really gone, give --allow-empty"
        ]
    assert export(later(settings, 3), allow_empty=True)[0].instances == 0
    assert told() == [(None, False)] * 2
    said = []
    assert export(later(settings, 4), notice=said.append)[0].instances == 0
    assert (told(), said) == ([(None, False)] * 2, [])


def test_an_account_that_never_had_instances(serve: Callable[..., Sandbox]) -> None:
    """None from the beginning on is believed."""
    account = Account()
    account.instances = []
    settings = settings_for(serve(collections=account))
    said: list[str] = []
    for hours in (0, 1):
        assert export(later(settings, hours), notice=said.append)[0].instances == 0
    assert (told(), said) == ([(None, False)] * 2, [])


def test_the_command_takes_an_account_without_instances_as_it_says(
    api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`export` notes that nothing is known and ends with 0; `--allow-empty` believes it."""
    account = Account()
    api(collections=account)
    assert run("export").code == 0
    account.instances = []
    monkeypatch.setenv("GENESIS_ETL_NOW", "2026-11-20T13:00Z")
    ended = run("export")
    assert (ended.code, "/instances lists nothing" in ended.err) == (0, True)
    monkeypatch.setenv("GENESIS_ETL_NOW", "2026-11-20T14:00Z")
    ended = run("export", "--allow-empty")
    assert (ended.code, ended.err) == (0, "")
    gone = run("sql", "select distinct source_instance_exists from images where size_gib > 0", "--format", "json").rows
    assert gone == [{"source_instance_exists": False}]


# --- live


def test_live_images_tell_of_their_instances(api: Callable[..., Sandbox], run: Run) -> None:
    """`images` merges /instances as a capture does, and says where it may not."""
    sandbox = api(collections=Account())
    rows = run("images", "--type", "snapshot", "--format", "json").rows
    assert [(each["source_instance_name"], each["source_instance_exists"]) for each in rows] == KNOWN
    sandbox.faults.append(Fault("status", "instances", times=0, status=403))
    ended = run("images", "--format", "json")
    assert {each["source_instance_exists"] for each in ended.rows} == {None}
    assert "without /instances: GET /instances page 1" in ended.err


# --- changes, stale-snapshots


def of(source: str | None, name: str | None, exists: bool | None, id: str = "s", **fields: Any) -> Row:
    """Return a row of a snapshot with what is told of its instance."""
    known = {"source_instance_id": source, "source_instance_name": name, "source_instance_exists": exists}
    return row(id, created_at=at("2026-01-01"), **known, **fields)


def test_an_instance_that_goes_is_told_once_by_each_of_its_snapshots() -> None:
    """One row however many regions, with the name that it had; that it stays away is told no more."""
    here, gone = ("vm", "web", True), ("vm", None, False)
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [of(*here), of(*here, region="R2"), of(*here, "t"), of("vm2", "db", True, "u")],
            "2026-11-02": [of(*gone), of(*gone, region="R2"), of(*gone, "t"), of("vm2", "db", True, "u")],
            "2026-11-03": [of(*gone), of(*gone, region="R2"), of(*gone, "t"), of("vm2", "db", True, "u")],
        },
    )
    columns = ("change", "image_id", "region", "before", "after")
    assert report("lake", "changes", *columns, since="2026-11-01") == [
        ("source_gone", "s", None, "web", None),
        ("source_gone", "t", None, "web", None),
    ]
    assert report("lake", "changes", "image_id", since="2026-11-01", region="R2") == [("s",)]


@pytest.mark.parametrize(
    ("before", "after"),
    fewer(
        [
            (("vm", "web", True), ("vm", "web", True)),
            (("vm", "web", True), ("vm", "renamed", True)),
            (("vm", "web", True), ("vm", None, None)),
            (("vm", None, None), ("vm", "web", True)),
            (("vm", None, None), ("vm", None, False)),
            (("vm", None, False), ("vm", "web", True)),
            (("vm", None, False), ("vm", None, None)),
        ],
        3,
    ),
    ids=str,
)
def test_nothing_else_about_an_instance_is_a_change(before: Any, after: Any) -> None:
    """A capture that could not read them, one that can again, another name, a return: `changes` tells of none."""
    land_all(Lake("lake"), {"2026-11-01": [of(*before)], "2026-11-02": [of(*after)]})
    assert report("lake", "changes", since="2026-11-01") == []
    assert [each for (each,) in report("lake", "snapshot-growth", "closing", since="2026-11-01")] == [1, 1]
    assert [each for (each,) in report("lake", "snapshot-growth", "created", since="2026-11-02")] == [0]


def test_a_source_that_goes_beside_other_changes() -> None:
    """`updated` never tells of the instance; beside it an `updated_at` alone is no row, another field is."""
    times = {"2026-11-01": at("2026-11-01"), "2026-11-02": at("2026-11-02")}
    land_all(
        Lake("lake"),
        {
            day: [
                of("vm", None if n else "web", not n, "s", updated_at=moment),
                of("vm", None if n else "web", not n, "t", family="f" if n else None),
            ]
            for n, (day, moment) in enumerate(times.items())
        },
    )
    assert report("lake", "changes", "change", "image_id", "after", since="2026-11-01") == [
        ("source_gone", "s", None),
        ("source_gone", "t", None),
        ("updated", "t", "family"),
    ]


def test_a_stale_snapshot_names_its_instance_or_what_it_was_last_called() -> None:
    """Of one that is gone the last known name, whichever snapshot told it; where nothing is known, nothing."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [
                of("a", "first", True),
                of("b", "b", True, "t"),
                of("c", None, False, "u"),
                of("d", "d", True, "v"),
            ],
            "2026-11-02": [of("a", "last", True, "x"), of("b", "b", True, "t"), of("c", None, False, "u")],
            "2026-11-03": [of("a", None, None), of("b", None, None, "t")],
            "2026-11-04": [
                of("a", None, False),
                of("b", "new b", True, "t"),
                of("c", None, False, "u"),
                of("d", None, None, "v"),
                of(None, None, None, "w"),
            ],
        },
    )
    columns = ("image_id", "source_instance_id", "source_instance_name", "source_instance_exists")
    assert report("lake", "stale-snapshots", *columns) == [
        ("s", "a", "last", False),
        ("t", "b", "new b", True),
        ("u", "c", None, False),
        ("v", "d", None, None),
        ("w", None, None, None),
    ]
    assert report("lake", "stale-snapshots", *columns[:3], as_of="2026-11-01") == [
        ("s", "a", "first"),
        ("t", "b", "b"),
        ("u", "c", None),
        ("v", "d", "d"),
    ]


def test_accounts_name_their_instances_apart() -> None:
    """The last name of an instance is that of its own account."""
    for account, name in (("one", "web"), ("two", "db")):
        land_all(Lake("lake"), {"2026-11-01": [of("vm", name, True)], "2026-11-02": [of("vm", None, False)]}, account)
    found = report("lake", "stale-snapshots", "account", "source_instance_name")
    assert found == [("one", "web"), ("two", "db")]


def test_an_instance_goes_in_the_sandbox_and_its_snapshots_stay(api: Callable[..., Sandbox], run: Run) -> None:
    """Captured day by day, a simulated account tells of an orphan in the capture after its instance went."""
    sandbox = api(generation="newest")
    gone: set[tuple[str, str]] = set()
    before: dict[str, str] = {}
    known: dict[str, str] = {}
    for day in range(12):
        sandbox.at = at("2026-11-10 12:00") + timedelta(days=day)
        export(settings_for(sandbox))
        now = {item["id"]: item["name"] for item in sandbox.read("instances")}
        listed = {item["id"]: item["source_instance_id"] for item in sandbox.read("snapshots")}
        gone |= {
            (id, before[source])
            for id, source in listed.items()
            if id in known and source in before.keys() - now.keys()
        }
        before, known = now, listed
    assert gone
    found = report("lake", "changes", "change", "image_id", "before", since="2026-11-01")
    assert {(id, name) for change, id, name in found if change == "source_gone"} == gone
