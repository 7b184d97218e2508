"""Thresholds of money, orphans, releases and use: the figure is that of the report, and what nobody knows is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.checks.check import check
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Settings, Thresholds
from tests.commands import Run
from tests.conftest import AT, settings_for
from tests.histories import Row, at, land, land_all, report, row, rows

Told = dict[str, Any]
Tell = Callable[..., Told]


@pytest.fixture
def tell(serve: Callable[..., Sandbox]) -> Tell:
    """Look at a lake with one threshold, and return its row of `check`."""
    sandbox = serve()

    def look(lake: str = "lake", account: str = "default", **given: Any) -> Told:
        changes = {name: given.pop(name) for name in ("price_gib_month", "currency", "regions") if name in given}
        settings: Settings = settings_for(sandbox, lake, thresholds=Thresholds(**given), **changes)
        (threshold,) = given
        (told,) = (
            each for each in check(settings).to_pylist() if (each["check"], each["account"]) == (threshold, account)
        )
        assert (told["advice"] is None) == (told["status"] == "ok")
        return told

    return look


def orphan(id: str, region: str = "R1", **fields: Any) -> Row:
    """Return a snapshot whose instance is gone."""
    return row(id, region, source_instance_id="vm", source_instance_exists=False, **fields)


def release(id: str, *regions: str, **fields: Any) -> list[Row]:
    """Return an image of some regions."""
    return [row(id, region, "cloud-image", **fields) for region in regions]


# orphaned_gib


def test_orphaned_gib_is_that_of_the_sources_that_are_gone(tell: Tell) -> None:
    """Each snapshot once, unknown sizes counted apart; at the threshold all is well, beyond it the row fails."""
    there = row("t", source_instance_id="web", source_instance_exists=True, size_gib=99.0)
    state = [orphan("a", size_gib=0.1), orphan("a", "R2", size_gib=0.1), orphan("b", size_gib=0.2), orphan("c"), there]
    for account in ("default", "other"):
        land(
            Lake("lake"),
            AT,
            [*state, *([orphan("d", size_gib=1.0)] if account == "other" else [])],
            account,
            instances=1,
        )
    gone = {
        each["account"]: each
        for each in open_lake("lake").report("sources").to_dict("records")
        if each["source_instance_exists"] is False
    }
    for account, status, snapshots in (("default", "ok", 3), ("other", "failed", 4)):
        told = tell(account=account, orphaned_gib=0.3)
        figure = f"{gone[account]['size_gib']:.3g} GiB in {snapshots} snapshots, 1 of unknown size"
        assert (told["status"], told["seen"], gone[account]["snapshots"]) == (status, figure, snapshots)


@pytest.mark.parametrize(
    ("evidence", "status", "seen"),
    [
        ({"instances": None}, "failed", "unknown: the newest capture could not read /instances"),
        ({"instances": 0, "snapshots": None}, "failed", "unknown: the newest capture could not read /snapshots"),
        ({"instances": 0}, "skipped", "1 snapshot, none of known size"),
    ],
)
def test_orphans_that_nobody_knows_are_not_none(tell: Tell, evidence: Told, status: str, seen: str) -> None:
    """Where a collection was not read, or no size is known, the row says so, however high the threshold."""
    land(Lake("lake"), AT, [orphan("a")], **evidence)
    told = tell(orphaned_gib=1e6)
    assert (told["status"], told["seen"]) == (status, seen)


# cost_per_month


def test_the_cost_is_that_of_growth_and_of_the_sources(tell: Tell) -> None:
    """What the newest capture's snapshots cost a month; at the threshold all is well, beyond it the row fails."""
    then = rows("a", "b", "gone", size_gib=0.1)
    land_all(Lake("lake"), {"2026-11-22": then, "2026-11-23": [*rows("a", "b", "c", size_gib=0.1), row("d")]})
    lake = open_lake("lake", price=7.0)
    cost = lake.report("snapshot-growth")["cost_per_month"].iloc[-1]
    assert cost == pytest.approx(lake.report("sources")["cost_per_month"].sum()) == pytest.approx(2.1)
    for most, status in ((2.1, "ok"), (2.09, "failed")):
        told = tell(cost_per_month=most, price_gib_month=7.0, currency="EUR")
        assert (told["status"], told["wanted"]) == (status, f"at most {most} EUR a month")
        assert told["seen"] == f"{round(cost, 2)} EUR a month for 0.3 GiB, 1 of unknown size"


@pytest.mark.parametrize(
    ("size", "snapshots", "price", "status", "seen"),
    [
        (1.0, 1, None, "failed", "unknown: no price of a GiB-month is set"),
        (None, 1, 5.0, "skipped", "the size of no snapshot is known"),
        (None, None, 5.0, "failed", "unknown: the newest capture could not read /snapshots"),
    ],
)
def test_a_cost_that_nobody_knows_is_not_nothing(
    tell: Tell, size: float | None, snapshots: int | None, price: float | None, status: str, seen: str
) -> None:
    """Without a price, a size or snapshots the row says which is missing, however high the threshold."""
    land(Lake("lake"), AT, rows("a", size_gib=size) if snapshots else [], snapshots=snapshots)
    told = tell(cost_per_month=1e6, price_gib_month=price)
    assert (told["status"], told["seen"]) == (status, seen)


# days_to_region


def test_a_release_that_a_region_still_lacks_fails_after_its_days(tell: Tell) -> None:
    """The days count from its first capture; one that came late is told as `releases` has it, and is over."""
    old = release("old", "R1", "R2", "R3")
    lake = Lake("lake")
    land_all(
        lake,
        {
            "2026-11-01": old,
            "2026-11-02": [*old, *release("new", "R1", name="New")],
            "2026-11-06": [*old, *release("new", "R1", "R2", name="New")],
            "2026-11-08": [*old, *release("new", "R1", "R2", name="New")],
        },
    )
    assert max(days for (days,) in report("lake", "releases", "days_to_region") if days is not None) == 4
    told = tell(days_to_region=6)
    assert (told["status"], told["seen"]) == ("ok", "the slowest took 4d, 'New' to R2; 1 still to come, for 6d at most")
    told = tell(days_to_region=5.9)
    assert (told["status"], told["seen"]) == ("failed", "R3 lacks New for 6d")
    land(lake, at("2026-11-20"), [*old, *release("new", "R1", "R2", "R3", name="New")])
    told = tell(days_to_region=5.9)
    assert (told["status"], told["seen"]) == ("ok", "the slowest took 18d, 'New' to R3")


def test_a_region_waits_for_no_release_that_a_newer_one_replaced(tell: Tell) -> None:
    """A newer one of the family excuses an older where the region has it; where it has neither both are late."""
    first = release("base", "R1", "R2", "R3")
    family = [
        *release("v1", "R1", family="f", created_at=at("2026-11-02")),
        *release("v2", "R1", "R2", family="f", created_at=at("2026-11-03")),
    ]
    land_all(Lake("lake"), {"2026-11-01": first, "2026-11-04": [*first, *family], "2026-11-20": [*first, *family]})
    assert tell(days_to_region=7)["seen"] == "R3 lacks v2 for 16d, v1 for 16d"


def test_a_region_has_its_days_from_when_it_opened(tell: Tell) -> None:
    """What had come out before a region opened is not late on its first day; a region without one image yet is."""
    land_all(
        Lake("lake"),
        {
            "2026-10-01": release("base", "R1"),
            "2026-10-02": release("new", "R1"),
            "2026-11-20": [*release("new", "R1"), *release("x", "R1", "R2")],
            "2026-11-22": [*release("new", "R1"), *release("x", "R1", "R2")],
        },
    )
    told = tell(days_to_region=7)
    assert (told["status"], "1 still to come, for 2d at most" in told["seen"]) == ("ok", True)
    told = tell(days_to_region=7, regions=("MOON-1",))
    assert (told["status"], told["seen"]) == ("failed", "MOON-1 lacks new for 51d")


def test_when_an_image_of_the_first_capture_came_out_is_not_known(tell: Tell) -> None:
    """It is late nowhere, and counted where a region lacks it; an account of snapshots alone has no release."""
    state = [*release("a", "R1", "R2"), *release("b", "R1")]
    land_all(Lake("lake"), {"2026-01-01": state, "2026-11-20": state})
    told = tell(days_to_region=0)
    unknown = "no release has come since the first capture; 1 image of before the first capture not everywhere"
    assert (told["status"], told["seen"]) == ("ok", unknown)
    land(Lake("none"), AT, rows("s"))
    assert tell("none", days_to_region=0)["seen"] == "no release has come since the first capture"


# usage_pct_month


def test_a_month_that_is_not_over_is_taken_at_its_mean_so_far(tell: Tell) -> None:
    """10 days of 30 at 150 GiB are 50 GiB-months: 150 if that holds, 50 % more than the 100 of the month before."""
    land_all(
        Lake("lake"),
        {
            "2026-09-16": rows("a", size_gib=100.0),
            "2026-11-01": rows("a", size_gib=100.0) + rows("b", size_gib=50.0),
            "2026-11-11": rows("a", size_gib=100.0),
        },
    )
    months = report("lake", "usage", "period", "gib_months", "is_complete")
    assert months[1:] == [(date(2026, 10, 1), 100.0, True), (date(2026, 11, 1), 50.0, False)]
    seen = "+50.0 %: 50 GiB-months in 2026-11 so far, 150 by its end if their mean holds, against 100 in 2026-10"
    told = tell(usage_pct_month=50)
    assert (told["status"], told["seen"]) == ("ok", f"{seen}, which has no capture and counts at the level before it")
    assert tell(usage_pct_month=49.9)["status"] == "failed"


def test_every_accounts_use_is_that_of_its_own_months(tell: Tell) -> None:
    """The figures are the last two of `usage` in each account, whenever its newest capture was."""
    for account, month, size in (("default", 11, 10.0), ("old", 8, 3.0)):
        for day, grown in ((f"{month - 2:02}-01", 1), (f"{month - 1:02}-07", 2), (f"{month:02}-16", 5)):
            land(Lake("lake"), at(f"2026-{day}"), rows(*"abcde"[:grown], size_gib=size), account)
    for account in ("default", "old"):
        before, this = report("lake", "usage", "gib_months", account=account)[-2:]
        told = tell(account=account, usage_pct_month=10)
        so_far, _, last = (float(each) for each in re.findall(r"([\d.]+) (?:GiB-months|by its|in 2026)", told["seen"]))
        assert (told["status"], (so_far, last)) == ("failed", (round(this[0], 2), round(before[0], 2)))


LONG: dict[str, list[Row]] = {
    "2026-09-01": rows("a", size_gib=1.0),
    "2026-10-15": rows("a", size_gib=1.0),
    "2026-11-15": rows("a", "b", "c", size_gib=1.0),
}


@pytest.mark.parametrize(
    ("states", "blind", "status", "seen"),
    [
        ({"2026-11-05": rows("a", size_gib=1.0), "2026-11-15": []}, (), "skipped", "the first capture lies in 2026-11"),
        ({"2026-10-05": rows("a", size_gib=1.0), "2026-11-15": []}, (), "skipped", "of which only a part is known"),
        ({**LONG, "2026-12-01 23:00": []}, (), "skipped", "less than a day of 2026-12"),
        (
            {"2026-09-01": [], "2026-10-31 23:59": [], "2026-11-15": []},
            (),
            "skipped",
            "0 GiB-months in 2026-11 so far, none",
        ),
        ({"2026-09-01": rows("a"), "2026-11-15": rows("a")}, (), "skipped", "no snapshot of 2026-11 is known"),
        (LONG, ("2026-11-15",), "failed", "the newest capture could not read /snapshots"),
        (LONG, ("2026-10-15",), "skipped", "1 capture that these months count could not read /snapshots"),
        (LONG, ("2026-09-01",), "skipped", "the newest of 2026-09-01T00:00:00Z"),
        ({"2026-08-01": [], **LONG}, ("2026-08-01",), "ok", "+0.0 %"),
    ],
)
def test_a_use_that_nobody_knows_passes_nothing(
    tell: Tell, states: dict[str, list[Row]], blind: tuple[str, ...], status: str, seen: str
) -> None:
    """Without a whole month before, a day of this one, sizes, or snapshots in every capture that counts, it is told."""
    for text, state in states.items():
        land(Lake("lake"), at(text), state, **({"snapshots": None} if text in blind else {}))
    told = tell(usage_pct_month=1)
    assert (told["status"], seen in told["seen"]) == (status, True), told["seen"]


# from the command


def test_what_people_act_on_reaches_the_command(api: Callable[..., Sandbox], run: Run) -> None:
    """Set in the toml and captured over HTTP, each threshold is a row, and fails with its figure where it is beyond."""
    sandbox = api(images=200)
    assert run("export").code == 0
    limits = "[thresholds]\norphaned_gib = 0\ncost_per_month = 0\ndays_to_region = 0\nusage_pct_month = 0\n"
    Path("genesis-etl.toml").write_text(f"price_gib_month = 0.05\n{limits}")
    ended = run("check", "--format", "json")
    told = {each["check"]: each for each in ended.rows}
    statuses = {name: told[name]["status"] for name in re.findall(r"^(\w+) = 0$", limits, re.MULTILINE)}
    assert ended.code == 1
    assert statuses == {
        "orphaned_gib": "failed",
        "cost_per_month": "failed",
        "days_to_region": "ok",
        "usage_pct_month": "skipped",
    }
    gone = [
        each for each in run("report", "sources", "--format", "json").rows if each["source_instance_exists"] is False
    ]
    assert told["orphaned_gib"]["seen"].startswith(f"{sum(each['size_gib'] for each in gone):,.15g} GiB in ")
    sandbox.faults.append(Fault("status", "instances", times=0, status=403))
    Path("genesis-etl.toml").write_text("[thresholds]\norphaned_gib = 1000000\n")
    assert run("export", "--lake", "other").code == 0
    ended = run("check", "--lake", "other", "--quiet")
    (line,) = ended.out.decode().splitlines()[2:]
    assert (ended.code, "could not read /instances; wanted: at most 1,000,000 GiB" in line) == (1, True)
