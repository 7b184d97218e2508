"""The whole story over a real socket: what lands, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import itertools
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import genesis_etl
from genesis_etl.cli.process import Stopped
from genesis_etl.errors import CaptureError, ExportFailed, LakeError, SettingsError
from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.live import live_rows
from genesis_etl.pipeline import export, export_account, land, normalise, read
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import AT, fewer, files_of, later, listing, refused, settings_for, some_images, some_snapshots

HOUR = timedelta(hours=1)


class Lists:
    """Collections that a test changes between two captures."""

    def __init__(self, images: int = 3, snapshots: int = 2, *, listed: bool = False) -> None:
        self.instances: list[dict[str, Any]] = []
        self.snapshots = some_snapshots(snapshots)
        self.images = some_images(images)
        if listed:
            self.images += [{**item, "type": "snapshot", "regions": [item["region"]]} for item in self.snapshots]

    def __call__(self, name: str, at: datetime) -> list[dict[str, Any]]:
        """Return a collection, as a sandbox asks for it."""
        items: list[dict[str, Any]] = getattr(self, name)
        return items


def sql(statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement over the test's lake."""
    return list(genesis_etl.open_lake("lake").sql(statement).itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("images", "generation"), fewer(itertools.product([0, 1, 100, 101, 250], ["seed", "middle", "newest"]), 4)
)
def test_each_generation(serve: Callable[..., Sandbox], images: int, generation: str) -> None:
    """The lake holds exactly the images that the API holds, and every snapshot's size in GiB."""
    sandbox = serve(generation=generation, images=images)
    (capture,) = export(settings_for(sandbox))
    listed, detailed = (list(sandbox.read(name)) for name in ("images", "snapshots"))
    ids = {item["id"] for item in [*listed, *detailed]}
    assert sql("select count(distinct image_id) from images") == [(len(ids),)] == [(capture.images,)]
    assert {id for (id,) in sql("select image_id from images")} == ids
    gib = {item["id"]: int(item["size"]) / (2**30 if generation == "seed" else 1) for item in detailed}
    assert dict(sql("select distinct image_id, size_gib from images where size_gib is not null")) == gib
    regions = {(item["id"], region) for item in listed for region in item["regions"] or [None]}
    regions |= {(item["id"], item["region"]) for item in detailed}
    assert {(id, region or None) for id, region in sql("select image_id, coalesce(region, '') from images")} == regions
    assert capture.requests == len(sandbox.requests)
    assert (capture.snapshots, capture.retries) == (len(detailed), 0)
    running = {item["id"]: item["name"] for item in sandbox.read("instances")}
    assert capture.instances == len(running)
    columns = "source_instance_id, coalesce(source_instance_name, '(gone)'), source_instance_exists"
    for source, name, exists in sql(f"select {columns} from images where size_gib > 0"):
        assert (name, exists) == (running.get(source, "(gone)"), source in running)


def test_the_row_of_a_capture(serve: Callable[..., Sandbox]) -> None:
    """The evidence of a capture is what was done: when, how much, in how many requests."""
    sandbox = serve(collections=listing(101, 2))
    (capture,) = export(settings_for(sandbox))
    assert (capture.account, capture.captured_at, capture.endpoint) == ("default", AT, sandbox.endpoint)
    assert (capture.images, capture.snapshots, capture.rows) == (103, 2, 204)
    assert (capture.requests, capture.retries, capture.passes) == (6, 0, 2)
    assert AT <= capture.finished_at < AT + timedelta(minutes=1)
    assert sql("select capture_id, images, requests from captures") == [(capture.capture_id, 103, 6)]


# --- an API that forgets ---------------------------------------------------------------------------------------


def test_images_that_are_all_gone(serve: Callable[..., Sandbox]) -> None:
    """An account that had images and lists none is refused, unless it is allowed."""
    lists = Lists()
    sandbox = serve(collections=lists)
    settings = settings_for(sandbox)
    export(settings)
    lists.images = []
    refused(later(settings), sandbox.token, 5, "/images lists nothing", "3 images", "--allow-empty")
    (capture,) = export(later(settings), allow_empty=True)
    assert capture.images == 2
    export(later(settings, 2))


@pytest.mark.parametrize("step", [read, export_account])
def test_each_way_of_reading_refuses_an_account_that_is_empty_now(serve: Callable[..., Sandbox], step: Any) -> None:
    """Whoever calls a part of the story instead of `export` is guarded too, without asking for it."""
    lists = Lists()
    settings = settings_for(serve(collections=lists))
    export(settings)
    lists.images = []
    with pytest.raises(CaptureError, match="/images lists nothing"):
        step(later(settings), settings.accounts[0])


def landed_alone(settings: Settings) -> None:
    """Capture an account step by step."""
    proven = read(settings, settings.accounts[0])
    assert proven is not None
    land(settings, proven, normalise(proven))


@pytest.mark.parametrize(
    "capture",
    [export, lambda settings: export_account(settings, settings.accounts[0]), landed_alone],
    ids=["export", "export_account", "land"],
)
def test_each_way_of_landing_compacts_and_publishes(serve: Callable[..., Sandbox], capture: Any) -> None:
    """A capture publishes the tables, and compacts once seven settled captures are loose, unless it is told not to."""
    settings = settings_for(serve(collections=listing(1, 0)))
    for hours in range(7):
        export(later(settings, hours), compacts=False, publishes=False)
    assert not [path for path in files_of("lake") if path.startswith("tables") or "-compacted-" in path]
    capture(later(settings, 7))
    assert len([path for path in files_of("lake/store") if "-compacted-" in path]) == 2
    assert len(files_of("lake/tables")) == 4


@pytest.mark.parametrize(
    ("images", "snapshots", "listed", "of_images"),
    [(3, 2, False, 3), (3, 2, True, 5), (1, 4, False, 1), (1, 4, True, 5), (0, 2, True, 2)],
)
def test_how_many_images_are_said_to_be_gone(
    serve: Callable[..., Sandbox], images: int, snapshots: int, listed: bool, of_images: int
) -> None:
    """The guard counts what /images listed: snapshots that it listed are part of it, those of /snapshots alone not."""
    lists = Lists(images, snapshots, listed=listed)
    sandbox = serve(collections=lists)
    export(settings_for(sandbox))
    lists.images = []
    words = f"/images lists nothing, but in the capture before it listed {of_images} images"
    refused(later(settings_for(sandbox)), sandbox.token, 5, words)


def test_images_that_were_counted_without_snapshots(serve: Callable[..., Sandbox]) -> None:
    """A capture --without-snapshots has listed all of its images, and they cannot all be gone."""
    lists = Lists(3, 2)
    sandbox = serve(collections=lists)
    export(settings_for(sandbox), without_snapshots=True)
    lists.images = []
    refused(later(settings_for(sandbox)), sandbox.token, 5, "before it listed 3 images")


@pytest.mark.parametrize("listed", [True, False])
def test_snapshots_that_are_all_gone(serve: Callable[..., Sandbox], listed: bool) -> None:
    """/snapshots gone to nothing is refused where only it lists them; where /images agrees it is believed."""
    lists = Lists(listed=listed)
    sandbox = serve(collections=lists)
    settings = settings_for(sandbox)
    export(settings)
    lists.snapshots = []
    lists.images = some_images(3)
    if not listed:
        refused(later(settings), sandbox.token, 5, "/snapshots lists nothing", "2 snapshots", "--allow-empty")
    (capture,) = export(later(settings), allow_empty=not listed)
    assert (capture.images, capture.snapshots) == (3, 0)


def test_what_nobody_thought_of_fails_its_own_account_alone(
    serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine at its limits, or a bug, in one of several accounts is that account's failure, without its token."""
    one = settings_for(serve(collections=listing(3, 0)))
    (account,) = one.accounts
    both = replace(one, accounts=(replace(account, name="bad"), account))
    newest = Lake.newest

    def fails(self: Lake, name: str, **options: Any) -> Capture | None:
        if name == "bad":
            raise RuntimeError(f"can't start new thread for {account.token.reveal()}")
        return newest(self, name, **options)

    monkeypatch.setattr(Lake, "newest", fails)
    with pytest.raises(ExportFailed, match="RuntimeError: can't start new thread for \\*\\*\\*; if it stays") as caught:
        export(both)
    assert [capture.account for capture in caught.value.landed] == ["default"]


def test_snapshots_that_went_while_they_were_not_read(serve: Callable[..., Sandbox]) -> None:
    """A capture --without-snapshots between them does not make the guard forget how many there were."""
    lists = Lists(listed=False)
    sandbox = serve(collections=lists)
    settings = settings_for(sandbox)
    export(settings)
    export(later(settings), without_snapshots=True)
    lists.snapshots = []
    lists.images = some_images(3)
    refused(later(settings, 2), sandbox.token, 5, "/snapshots lists nothing", "2 snapshots", "--allow-empty")
    export(later(settings, 2), allow_empty=True)


def test_the_last_images_of_an_account_that_had_none(serve: Callable[..., Sandbox]) -> None:
    """An account that has always been empty is captured again without a word, and so are snapshots alone."""
    lists = Lists(0, 0)
    sandbox = serve(collections=lists)
    settings = settings_for(sandbox)
    export(settings)
    export(later(settings))
    lists.snapshots = some_snapshots(2)
    export(later(settings, 2))
    assert export(later(settings, 3))[0].images == 2


@pytest.mark.parametrize(("status", "exit_code"), [(403, 3), (404, 5)])
def test_snapshots_that_could_be_read_before(serve: Callable[..., Sandbox], status: int, exit_code: int) -> None:
    """What the newest capture had read must be read again, unless the user does without it."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)
    export(settings)
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=status))
    words = ("GET /snapshots page 1", str(status), "--without-snapshots")
    refused(later(settings), sandbox.token, exit_code, *words)
    (capture,) = export(later(settings), without_snapshots=True)
    assert (capture.images, capture.snapshots) == (3, None)
    assert export(later(settings, 2))[0].snapshots is None  # the newest capture did not read them
    sandbox.faults.clear()
    assert export(later(settings, 3))[0].snapshots == 2
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=status))
    refused(later(settings, 4), sandbox.token, exit_code, *words)


@pytest.mark.parametrize("status", [403, 404])
def test_snapshots_that_could_never_be_read(serve: Callable[..., Sandbox], status: int) -> None:
    """Where /snapshots was always refused, captures are made from /images alone, and say so."""
    sandbox = serve(collections=listing(3, 2))
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=status))
    for hours in range(3):
        said: list[str] = []
        (capture,) = export(later(settings_for(sandbox), hours), notice=said.append)
        assert (capture.images, capture.snapshots, capture.requests) == (3, None, 2)
        (line,) = said
        assert line.startswith("account default: captured from /images alone, /snapshots was refused (GET /snapshots")
        assert str(status) in line


@pytest.mark.parametrize(("status", "exit_code"), [(401, 3), (500, 4), (400, 5), (302, 5)])
def test_snapshots_that_fail_are_no_refusal(serve: Callable[..., Sandbox], status: int, exit_code: int) -> None:
    """Any other failure of /snapshots fails the capture, also the first one."""
    sandbox = serve(collections=listing(3, 2))
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=status))
    refused(settings_for(sandbox), sandbox.token, exit_code, "GET /snapshots page 1")
    export(settings_for(sandbox), without_snapshots=True)


def test_what_is_noteworthy_is_told(serve: Callable[..., Sandbox]) -> None:
    """Unknown types and fields, null and repeated regions are told once each, by account."""
    lists = Lists(3, 0)
    lists.images = [
        {**lists.images[0], "zone": 1, "type": "new"},
        {**lists.images[1], "regions": None},
        {**lists.images[2], "regions": ["A", "A"]},
    ]
    said: list[str] = []
    export(settings_for(serve(collections=lists)), notice=said.append)
    assert said == [
        "account default: 1 images have null for regions; kept with region null",
        "account default: 1 images list a region twice; kept once",
        "account default: /images has fields not known yet, kept in extra: zone",
        "account default: type not known yet, kept as it is: new",
    ]


# --- the clock -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-86400, -400, 400, 86400])
def test_a_clock_off_the_api(serve: Callable[..., Sandbox], seconds: float) -> None:
    """More than five minutes off the API's Date is refused with 2."""
    sandbox = serve(collections=listing(3, 2), at=None)
    sandbox.faults.append(Fault("date", times=0, seconds=seconds))
    word = "behind" if seconds > 0 else "ahead of"
    refused(settings_for(sandbox, now=None), sandbox.token, 2, "the clock of this machine is", word, "nothing was")


@pytest.mark.parametrize("seconds", [-200, 200])
def test_a_clock_that_is_near_enough(serve: Callable[..., Sandbox], seconds: float) -> None:
    """Up to five minutes off are no reason to refuse."""
    sandbox = serve(collections=listing(3, 2), at=None)
    sandbox.faults.append(Fault("date", times=0, seconds=seconds))
    (capture,) = export(settings_for(sandbox, now=None))
    assert abs(capture.captured_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(("ahead", "is_refused"), [(timedelta(minutes=4), False), (timedelta(minutes=6), True)])
def test_a_clock_behind_the_newest_capture(serve: Callable[..., Sandbox], ahead: timedelta, is_refused: bool) -> None:
    """A capture dated more than five minutes before the newest one is refused with 2, before any request."""
    sandbox = serve(collections=listing(3, 2), at=None)
    export(settings_for(sandbox, now=datetime.now(UTC) + ahead))
    sandbox.requests.clear()
    if is_refused:
        refused(settings_for(sandbox, now=None), sandbox.token, 2, "the clock says", "newest capture of default")
        assert sandbox.requests == []
    else:
        export(settings_for(sandbox, now=None))


def test_a_simulated_time_is_free(serve: Callable[..., Sandbox]) -> None:
    """Under GENESIS_ETL_NOW captures may go back in time, however far off the API's clock."""
    sandbox = serve(collections=listing(3, 2))
    for year in (2026, 2024, 2030):
        export(settings_for(sandbox, now=datetime(year, 1, 1, tzinfo=UTC)))
    assert sql("select count(*) from captures") == [(3,)]


def test_a_simulated_time_is_for_this_machine_alone() -> None:
    """GENESIS_ETL_NOW with any other endpoint is refused with 2, before any request."""
    account = Account("default", "https://api.example.com/v1", secret=Secret("token-of-the-test"))
    refused(Settings((account,), now=AT), "token-of-the-test", 2, "GENESIS_ETL_NOW", "unset it")


# --- several accounts ------------------------------------------------------------------------------------------


def several(sandbox: Sandbox, **tokens: str | None) -> Settings:
    """Return settings of several accounts on one sandbox; None is a token that is not set."""
    accounts = tuple(
        Account(name, sandbox.endpoint, f"TOKEN_{name.upper()}", None if token is None else Secret(token))
        for name, token in tokens.items()
    )
    return replace(settings_for(sandbox), accounts=accounts)


def test_all_accounts_are_tried(serve: Callable[..., Sandbox]) -> None:
    """One account's failure keeps no other from landing; the code is that of the first in the settings' order."""
    sandbox = serve(collections=listing(3, 2))
    right = sandbox.token
    settings = several(sandbox, a=right, b="wrong-token-1", c=right, d=None, e=right)
    with pytest.raises(ExportFailed) as caught:
        export(settings)
    error = caught.value
    assert [capture.account for capture in error.landed] == ["a", "c", "e"]
    assert [(name, failure.exit_code) for name, failure in error.failed.items()] == [("b", 3), ("d", 2)]
    assert error.exit_code == 3
    assert str(error).startswith("account b: GET /images page 1")
    assert "account d: no token for account d; set the variable TOKEN_D" in str(error)
    assert "wrong-token-1" not in str(error)
    assert sql("select account, count(*) from captures group by account order by account") == [
        ("a", 1),
        ("c", 1),
        ("e", 1),
    ]
    assert not [path for path in files_of("lake") if "/b/" in path or "/d/" in path]


def test_the_order_is_that_of_the_settings(serve: Callable[..., Sandbox]) -> None:
    """However accounts are named, they are tried in the order of the settings."""
    sandbox = serve(collections=listing(3, 2))
    settings = several(sandbox, z=None, a="wrong-token-1", m=sandbox.token)
    with pytest.raises(ExportFailed) as caught:
        export(settings, ("m", "a", "z"))
    assert list(caught.value.failed) == ["z", "a"]
    assert caught.value.exit_code == 2
    with pytest.raises(ExportFailed) as caught:
        export(settings, ("m", "a"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("names", [("x",), ("a", "a"), ("a", "b")])
def test_accounts_that_are_not_there(serve: Callable[..., Sandbox], names: tuple[str, ...]) -> None:
    """A name that the settings do not know, or one named twice, ends with 2 before any request."""
    sandbox = serve(collections=listing(3, 2))
    with pytest.raises(SettingsError):
        export(several(sandbox, a=sandbox.token), names)
    assert sandbox.requests == []


def test_accounts_do_not_mix(serve: Callable[..., Sandbox]) -> None:
    """The guards of one account do not look at another's captures."""
    full, empty = serve(collections=listing(3, 2)), serve(collections=listing(0, 0))
    export(settings_for(full, account="full"))
    export(settings_for(empty, account="empty"))
    assert sql("select account, images from captures order by account") == [("empty", 0), ("full", 5)]


# --- live --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "asked", "types"),
    [
        (None, ["images", "snapshots", "instances"], {"base-os", "snapshot"}),
        ("snapshot", ["images", "snapshots", "instances"], {"snapshot"}),
        ("base-os", ["images"], {"base-os"}),
        ("nonesuch", ["images"], set()),
    ],
)
def test_live_rows(serve: Callable[..., Sandbox], type: str | None, asked: list[str], types: set[str]) -> None:
    """`images` sends the type to /images, merges the others where they can matter, and touches no lake."""
    sandbox = serve(collections=Lists(listed=True))
    settings = settings_for(sandbox)
    rows = live_rows(settings, settings.accounts[0], type=type)
    assert set(rows.table["type"].to_pylist()) == types
    assert [request.path.rsplit("/", 1)[1] for request in sandbox.requests] == asked
    assert sandbox.requests[0].query.get("type") == type
    assert files_of("lake") == {}
    in_region = live_rows(settings, settings.accounts[0], type=type, region="ARC-IS-HAF-1").table
    assert set(in_region["region"].to_pylist()) <= {"ARC-IS-HAF-1"}


def test_live_rows_without_snapshots(serve: Callable[..., Sandbox]) -> None:
    """A /snapshots that may not be read is told, and the rest is shown."""
    sandbox = serve(collections=listing(3, 2))
    sandbox.faults.append(Fault("status", "snapshots", times=0, status=403))
    rows = live_rows(settings_for(sandbox), settings_for(sandbox).accounts[0])
    assert (len(rows.table), rows.notes[0][:19]) == (6, "without /snapshots:")


def test_accounts_are_captured_side_by_side_in_the_order_of_the_settings(serve: Callable[..., Sandbox]) -> None:
    """Three accounts whose APIs answer only once all three are being read are captured, and told in their order."""
    meeting = threading.Barrier(3, timeout=20)
    accounts = []
    for name in ("zoe", "adam", "mia"):
        together = Fault("patch", collection="images", patch=lambda body: (meeting.wait(), body)[1])
        sandbox = serve(faults=[together])
        accounts.append(Account(name, sandbox.endpoint, "A_TOKEN", Secret(sandbox.token)))
    settings = replace(settings_for(sandbox), accounts=tuple(accounts), deadline=30.0)
    assert [capture.account for capture in export(settings)] == ["zoe", "adam", "mia"]


def test_no_more_accounts_are_read_at_once_than_there_are_workers(serve: Callable[..., Sandbox]) -> None:
    """With two workers, the most of six accounts whose first page is being answered at one time is two."""
    lock = threading.Lock()
    now, most = 0, 0

    def count(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return body

    sandbox = serve(faults=[Fault("patch", collection="images", page=1, times=0, patch=count)])
    names = [f"account-{number}" for number in range(6)]
    accounts = tuple(Account(name, sandbox.endpoint, "A_TOKEN", Secret(sandbox.token)) for name in names)
    settings = replace(settings_for(sandbox), accounts=accounts, workers=2)
    assert len(export(settings)) == 6
    assert most == 2


# --- those who listen ------------------------------------------------------------------------------------------


class Deaf:
    """A listener that raises at its first calls, and remembers what it heard after that."""

    def __init__(self, error: BaseException, times: int = 1_000_000) -> None:
        self.error = error
        self.left = times
        self.heard: list[str] = []

    def __call__(self, *what: object) -> None:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        self.heard.append(" ".join(map(str, what)))


@pytest.mark.parametrize("accounts", ["a", "abc"])
@pytest.mark.parametrize("error", [RuntimeError("no context"), OSError(28, "full"), StopIteration(), MemoryError()])
def test_a_progress_that_raises_costs_no_capture(
    serve: Callable[..., Sandbox], accounts: str, error: Exception
) -> None:
    """Whatever it raises, on every thread that calls it, all accounts land, and it is told once in the end."""
    sandbox = serve(collections=listing(250, 120))
    said: list[str] = []
    settings = several(sandbox, **dict.fromkeys(accounts, sandbox.token))
    assert len(export(settings, progress=Deaf(error), notice=said.append)) == len(accounts)
    (line,) = said
    assert line.startswith("the listener `progress` failed ")
    assert type(error).__name__ in line


def test_a_notice_that_raises_at_first_is_told_so_in_the_end(serve: Callable[..., Sandbox]) -> None:
    """Notes that it could not take are lost, the captures are not, and what is said last reaches it."""
    sandbox = serve(collections=lambda name, at: some_images(2, zone=1) if name == "images" else [])
    notice = Deaf(RuntimeError("There is no active click context."), times=3)
    assert len(export(several(sandbox, **dict.fromkeys("abc", sandbox.token)), notice=notice)) == 3
    assert notice.heard == [
        "the listener `notice` failed 3 times, which cost no capture: RuntimeError: There is no active click context."
    ]


def test_a_notice_that_always_raises_is_a_warning(serve: Callable[..., Sandbox]) -> None:
    """Where nobody can be told, Python's own way to be told is left, and the capture has landed."""
    sandbox = serve(collections=lambda name, at: some_images(2, zone=1) if name == "images" else [])
    with pytest.warns(RuntimeWarning, match="`notice` failed once, which cost no capture: ValueError: deaf") as told:
        assert len(export(settings_for(sandbox), notice=Deaf(ValueError("deaf")))) == 1
    assert told[0].filename == __file__


def test_a_notice_that_raises_costs_no_step(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, normalise and land, each called alone, do their work all the same and tell it in the end."""

    def fails(*_: object) -> bool:
        raise LakeError("no room")

    monkeypatch.setattr("genesis_etl.maintenance.compact.compact_when_due", fails)
    settings = settings_for(serve(collections=lambda name, at: some_images(2, zone=1) if name == "images" else []))
    notices = [Deaf(ValueError("deaf"), times=1) for _ in range(3)]
    proven = read(settings, settings.accounts[0], without_snapshots=True, notice=notices[0])
    assert proven is not None
    assert land(settings, proven, normalise(proven, notice=notices[1]), notice=notices[2]) is not None
    words = "the listener `notice` failed once, which cost no capture: ValueError: deaf"
    assert [notice.heard for notice in notices] == [[words]] * 3


def test_a_warning_that_is_an_error_costs_no_capture(serve: Callable[..., Sandbox]) -> None:
    """Under `python -W error` the captures are returned all the same."""
    sandbox = serve(collections=lambda name, at: some_images(2, zone=1) if name == "images" else [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(export(settings_for(sandbox), notice=Deaf(ValueError("deaf")))) == 1


def test_progress_tells_the_account_where_there_are_several(serve: Callable[..., Sandbox]) -> None:
    """Of a single account the name of the collection says enough."""
    sandbox = serve(collections=listing(3, 1))
    for names, told in (("a", {"images", "snapshots"}), ("ab", {"images of a", "snapshots of b", "images of b"})):
        heard: set[str] = set()
        settings = later(several(sandbox, **dict.fromkeys(names, sandbox.token)), len(names))
        export(settings, progress=lambda name, *pages, heard=heard: heard.add(name))
        assert told <= heard
        assert all((" of " in name) == (len(names) > 1) for name in heard)


def test_a_failure_is_the_accounts_own_where_a_listener_fails_too(serve: Callable[..., Sandbox]) -> None:
    """What a listener raises hides no error of an account's."""
    sandbox = serve(collections=listing(3, 0))
    said: list[str] = []
    with pytest.raises(ExportFailed) as caught:
        export(several(sandbox, a="wrong-token", b=sandbox.token), progress=Deaf(KeyError("x")), notice=said.append)
    assert (list(caught.value.failed), caught.value.exit_code, len(said)) == (["a"], 3, 1)


def test_a_live_list_survives_its_progress(serve: Callable[..., Sandbox]) -> None:
    """The images are shown, whatever showing their progress comes to."""
    settings = settings_for(serve(collections=listing(3, 0)))
    with pytest.warns(RuntimeWarning, match="`progress` failed"):
        assert len(live_rows(settings, settings.accounts[0], progress=Deaf(RuntimeError())).table) == 6


@pytest.mark.parametrize("accounts", ["a", "abc"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped(signal.SIGTERM)])
def test_a_listener_may_still_stop_everything(
    serve: Callable[..., Sandbox], accounts: str, error: BaseException
) -> None:
    """What is no Exception asks to stop: it goes through, and nothing lands."""
    sandbox = serve(collections=listing(250, 0))
    with pytest.raises(type(error)):
        export(several(sandbox, **dict.fromkeys(accounts, sandbox.token)), progress=Deaf(error))
    assert files_of("lake") == {}


def test_an_interrupt_leaves_accounts_that_wait_their_turn_alone(
    serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is looked up in the lake for an account whose turn would have come after it."""
    sandbox = serve(faults=[Fault("hang", times=0)])
    begun: list[str] = []
    newest = Lake.newest
    monkeypatch.setattr(
        Lake, "newest", lambda self, name, **options: (begun.append(name), newest(self, name, **options))[1]
    )
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident or 0, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        export(replace(several(sandbox, **dict.fromkeys("abc", sandbox.token)), workers=1))
    for thread in threading.enumerate():
        if thread.name.startswith("account"):
            thread.join(30)
    assert begun == ["a"]


def test_two_captures_at_a_time_land_on_a_disk(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many accounts are read side by side, each lands, and no third one beside two."""
    sandbox = serve(collections=listing(3, 0))
    landing = 0
    most: list[int] = []
    land_one = Lake.land

    def counting(lake: Lake, *args: Any, **options: Any) -> Capture:
        nonlocal landing
        landing += 1
        most.append(landing)
        time.sleep(0.05)
        capture = land_one(lake, *args, **options)
        landing -= 1
        return capture

    monkeypatch.setattr(Lake, "land", counting)
    assert len(export(replace(several(sandbox, **dict.fromkeys("abcdef", sandbox.token)), workers=6))) == 6
    assert max(most) == 2
