"""Every number of the page is the one that the command beside it prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.decisions import decisions
from genesis_etl.dashboard.figures import collect
from genesis_etl.dashboard.words import month, number, signed
from genesis_etl.opened import OpenLake, open_lake
from tests.conftest import WHOLE
from tests.histories import Row
from tests.pages import Page, Table, busy, page_of

ACCOUNTS = {"prod": list(range(0, 44, 2)), "lab": [5, 6, 7, 12, 13], "new": [43]}
GROWTH = {
    "opening": "opening",
    "created": "created",
    "deleted": "deleted",
    "closing": "closing",
    "GiB": "gib_closing",
    "low": "low",
    "high": "high",
    "GiB low": "gib_low",
    "GiB high": "gib_high",
    "cost a month": "cost_per_month",
}
USAGE = {"GiB-months": "gib_months", "cost": "cost", "snapshots": "snapshots"}
RETENTION = {"freed": "snapshots", "GiB freed": "size_gib", "cost a month": "cost_per_month"}
RETENTION |= {"newest, so kept": "kept_as_newest", "GiB kept": "kept_gib"}
SOURCES = {
    "snapshots": "snapshots",
    "GiB": "size_gib",
    "cost a month": "cost_per_month",
    "hours apart": "cadence_hours",
}
FREED = {"age, days": "age_days", "GiB": "size_gib", "cost a month": "cost_per_month", "copies": "copies"}
COVERAGE = {"images": "images", "of": "of", "%": "coverage_pct", "missing": "missing"}
HEALTH = {name: name for name in ("captures", "requests", "retries", "passes", "seconds", "rows")}
pytestmark = pytest.mark.xdist_group("page numbers")


class Told:
    """A page, the lake that it is of, and what the reports of that lake say."""

    def __init__(self, url: Path, accounts: list[str], price: float | None) -> None:
        self.lake: OpenLake = open_lake(str(url), price=price)
        self.price = price
        self.page: Page = page_of(url, price=price)
        parts = [heading.partition(" ")[2] for heading in self.page.headings if heading.startswith("Account ")]
        self.accounts = parts or accounts
        self.scopes: list[str | None] = [*([None] if parts else []), *self.accounts]

    def rows(self, report: str, account: str | None = None, *, total: bool = False, **options: Any) -> list[Row]:
        """Return a report's rows: of an account, of all together, or of each."""
        return self.lake.report_rows(report, account=account, total=total and account is None, **options).to_pylist()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((list(ACCOUNTS), 0.037), id="three accounts", marks=pytest.mark.slow),
        pytest.param((["prod"], None), id="no price"),
        pytest.param((["new"], 0.037), id="one capture"),
        pytest.param((["prod"], 0.037), id="one account", marks=WHOLE),
        pytest.param((list(ACCOUNTS), None), id="three, no price", marks=WHOLE),
    ],
)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Return the page of a lake of one or three accounts, with and without a price, of many captures or one."""
    names, price = request.param
    url = tmp_path_factory.mktemp("numbers")
    for name in names:
        busy(url, name, ACCOUNTS[name])
    return Told(url, names, price)


def check(cell: tuple[str, str | None], value: Any) -> None:
    """A cell shows a number as people read it and, where that is rounded, carries it whole for the CSV."""
    text, exact = cell
    assert text == number(value)
    if value is not None:
        assert float(exact or text.replace(",", "").replace("\u2212", "-")) == value


def check_rows(table: Table, rows: list[Row], columns: dict[str, str], *, price: float | None) -> None:
    """A table has these rows, and in each of the columns that are named the numbers of these fields."""
    assert len(table.rows) == len(rows)
    found = {head.partition(",")[0] if "cost" in head else head: place for place, head in enumerate(table.heads)}
    assert ("cost" in found or "cost a month" in found) == (
        price is not None and any("cost" in each for each in columns)
    )
    for cells, row in zip(table.rows, rows, strict=True):
        for head, name in columns.items():
            if head in found:
                check(cells[found[head]], row.get(name))


def options_of(command: str) -> tuple[str, dict[str, Any]]:
    """Return the report and the options that a command of the page names."""
    words = iter(shlex.split(command)[2:])
    report, options = next(words), {}
    for word in words:
        name = word.removeprefix("--").replace("-", "_")
        options[name] = True if name in ("total", "per_region") else next(words)
    if "forecast" in options:
        options["forecast"] = int(options["forecast"])
    return report, options


def test_growth_by_day_week_and_month_is_that_of_its_command(told: Told) -> None:
    """Each table of growth, of an account, of all, of a region, has the rows that the command behind it prints."""
    tables = [table for table in told.page.tables if table.file.startswith("snapshot-growth-")]
    assert len(tables) >= 3 * len(told.scopes)
    for table in tables:
        report, options = options_of(table.command)
        rows = told.lake.report_rows(report, **options).to_pylist()[::-1]
        assert [cells[0][0] for cells in table.rows] == [str(row["period"]) for row in rows]
        assert [cells[-1][0] for cells in table.rows] == [row["basis"] for row in rows]
        check_rows(table, rows, GROWTH, price=told.price)


def test_what_was_used_is_that_of_usage(told: Told) -> None:
    """The months of each account, and of all together, are those of `report usage`."""
    for account in told.scopes:
        rows = told.rows("usage", account, total=True)
        check_rows(told.page.table(f"usage-{account or 'all-accounts'}"), rows, USAGE, price=told.price)


def headlines(told: Told) -> Iterator[tuple[str | None, str | None, Row, list[Row]]]:
    """Yield account, region, the last row of growth and the months of usage, in the page's order."""
    accounts = [None] if len(told.accounts) > 1 else []
    places = [(table.command, table.file) for table in told.page.tables if table.file.endswith("-by-day")]
    assert accounts or places
    for command, _ in places:
        _, options = options_of(command)
        options.pop("forecast", None)
        usage = told.lake.report_rows("usage", **options).to_pylist()
        yield (
            options.get("account"),
            options.get("region"),
            told.lake.report_rows("snapshot-growth", **options).to_pylist()[-1],
            usage,
        )


def test_the_headlines_are_those_of_growth_and_usage(told: Told) -> None:
    """What it costs now, this month and the last one, in each account and region, is what the reports say."""
    used = "gib_months" if told.price is None else "cost"
    found = list(headlines(told))
    shown = {name: told.page.named(name) for name in ("cost", "gib", "running", "last", "snapshots")}
    assert len(shown["gib"]) == len(found)
    for place, (_, _, now, months) in enumerate(found):
        assert shown["gib"][place] == number(now["gib_closing"])
        assert shown["snapshots"][place] == number(now["closing"])
        assert shown["running"][place] == number(months[-1][used])
        assert shown["last"][place] == number(months[-2][used] if len(months) > 1 else None)
        if told.price is not None:
            assert shown["cost"][place] == number(now["cost_per_month"])
    assert (told.price is None) == (not shown["cost"])


def test_what_a_retention_frees_is_that_of_retention(told: Told) -> None:
    """The table is the report; the list and the line above all are its row of 30 days."""
    for place, account in enumerate(told.scopes):
        rows = told.rows("retention", account, total=True)
        whose = account or "all-accounts"
        check_rows(told.page.table(f"retention-{whose}"), rows, RETENTION, price=told.price)
        (kept,) = [row for row in rows if row["keep"] == limits.KEEP]
        old = told.rows("stale-snapshots", account, older_than=f"{limits.KEEP}d")
        freed = [row for row in old if row["is_newest_of_source"] is False]
        assert len(freed) == kept["snapshots"] > 0
        assert told.page.named("freed")[place] == number(kept["snapshots"])
        listed = told.page.table(f"can-go-{whose}")
        by_id = {row["image_id"]: row for row in freed}
        check_rows(listed, [by_id[str(each)] for each in listed.ids], FREED, price=told.price)


def test_instances_and_orphans_are_those_of_sources(told: Told) -> None:
    """The largest instances, and those that are gone, carry the numbers of `report sources`."""
    for account in told.scopes:
        whose = account or "all-accounts"
        rows = told.rows("sources", account)
        order = sorted(rows, key=lambda row: (-(row["size_gib"] or -1), row["account"]))
        largest = told.page.table(f"sources-{whose}")
        sizes = {number(row["size_gib"]) for row in order[: limits.LISTED]}
        assert {cells[largest.heads.index("GiB")][0] for cells in largest.rows} == sizes
        check_rows(largest, order[: limits.LISTED], SOURCES, price=told.price)
        moved = largest.heads.index("GiB in 30 days")
        assert [cells[moved][0] for cells in largest.rows] == [
            signed(row["gib_net_30d"]) for row in order[: limits.LISTED]
        ]
        gone = [row for row in order if row["source_instance_exists"] is False]
        if gone:
            check_rows(told.page.table(f"orphans-{whose}"), gone[: limits.LISTED], SOURCES, price=told.price)
        texts = [heading for heading in told.page.headings if "gone" in heading]
        count = sum(row["snapshots"] for row in gone)
        assert any(f"{number(count)} snapshot" in text for text in texts) or not gone


def test_what_is_missing_is_that_of_releases(told: Told) -> None:
    """Each image that lacks a region stands there once, with the regions that `report releases` says it lacks."""
    for account in told.scopes:
        rows = [row for row in told.rows("releases", account) if row["is_missing"]]
        images = {(row["account"], row["image_id"]) for row in rows}
        if not images:
            continue
        table = told.page.table(f"missing-{account or 'all-accounts'}")
        assert len(table.rows) == len(images)
        place = table.heads.index("missing in")
        for cells, image_id in zip(table.rows, table.ids, strict=True):
            assert cells[place][0] == ", ".join(sorted({row["region"] for row in rows if row["image_id"] == image_id}))


def test_coverage_and_health_are_those_of_their_reports(told: Told) -> None:
    """The numbers behind the matrix, and those of the captures, are the rows of their reports."""
    for account in told.accounts:
        rows = told.rows("region-coverage", account)
        check_rows(told.page.table(f"region-coverage-{account}"), rows, COVERAGE, price=None)
        health = [row for row in told.rows("capture-health", account) if row["captures"] or True][::-1]
        table = told.page.table(f"capture-health-{account}")
        check_rows(table, health[: len(table.rows)], HEALTH, price=None)
        assert not any(row["captures"] for row in health[len(table.rows) :])


def test_accounts_and_regions_are_those_of_growth_and_usage(told: Told) -> None:
    """The tables of accounts and of regions tell what each costs now, this month and the last."""
    used = "gib_months" if told.price is None else "cost"
    for account in told.scopes:
        months = told.rows("usage", account, total=True, per_region=True)
        growth = told.rows("snapshot-growth", account, total=True, per_region=True)
        table = told.page.table(f"usage-by-region-{account or 'all-accounts'}")
        for cells in table.rows:
            region = cells[0][0]
            now = [row for row in growth if row["region"] == region][-1]
            mine = [row for row in months if row["region"] == region]
            values = [now["closing"], now["gib_closing"], *([now["cost_per_month"]] if told.price else [])]
            values += [mine[-1][used], mine[-2][used] if len(mine) > 1 else None]
            for cell, value in zip(cells[1:], values, strict=True):
                check(cell, value)
    if len(told.accounts) > 1:
        table = told.page.table("accounts")
        assert {cells[0][0] for cells in table.rows} == set(told.accounts)
        for cells in table.rows:
            now, usage = told.rows("snapshot-growth", cells[0][0])[-1], told.rows("usage", cells[0][0])
            values = [now["cost_per_month"]] if told.price else []
            values += [usage[-1][used], usage[-2][used] if len(usage) > 1 else None, now["gib_closing"], now["closing"]]
            for cell, value in zip(cells[1:], values, strict=False):
                check(cell, value)


def test_ages_and_histories_are_those_of_their_sql(told: Told) -> None:
    """When what stands today was made, and what each listed image was before, is what the SQL on the page says."""
    for account in told.scopes:
        table = told.page.table(f"made-{account or 'all-accounts'}")
        rows = told.lake.sql_rows(shlex.split(table.command)[2]).to_pylist()
        mine = {month(row["period"]): row for row in rows if row["account"] == account}
        assert sum(int(cells[1][0]) for cells in table.rows) == sum(row["snapshots"] for row in mine.values())
        for cells in table.rows:
            row = mine.get(cells[0][0], {"snapshots": 0, "gib": 0.0})
            check(cells[1], row["snapshots"])
            check(cells[2], row["gib"])
    histories = [table for table in told.page.tables if table.file.startswith("history-")]
    assert histories
    for table in histories[:10]:
        runs = told.lake.sql_rows(shlex.split(table.command)[2]).to_pylist()
        ends = [f"{run['last_seen']:%Y-%m-%d %H:%M} UTC" for run in runs]
        assert [cells[2][0] for cells in table.rows] == ends[-limits.RUNS :]


def test_what_prefect_shows_is_what_the_page_shows(told: Told) -> None:
    """The tables that publish-page leaves in Prefect have the first figures of the page, and as many rows to act on."""
    tables = {key: table for key, (_, table) in decisions(told.lake).items()}
    figures = tables["figures"].to_pylist()
    assert [row["account"] for row in figures[-len(told.accounts) :]] == told.accounts
    of_all = [place for place, (_, region, _, _) in enumerate(headlines(told)) if region is None]
    for row, place in zip(figures, of_all, strict=True):
        assert told.page.named("gib")[place] == number(row["gib"])
        assert told.page.named("snapshots")[place] == number(row["snapshots"])
        if told.price is not None:
            assert told.page.named("cost")[place] == number(row["cost_per_month"])
            assert told.page.named("running")[place] == number(row["this_month_cost"])
            assert told.page.named("last")[place] == number(row["last_month_cost"])
    assert told.page.named("freed")[0] == number(len(tables["can-go"]))
    assert tables["retention"]["keep"].to_pylist()[:7] == [7, 14, 30, 60, 90, 180, 365]
    listed = told.page.table(f"retention-{told.scopes[0] or 'all-accounts'}")
    check_rows(listed, tables["retention"].to_pylist()[:7], RETENTION, price=told.price)
    orphaned = sum(tables["orphans"]["snapshots"].to_pylist())
    assert told.page.named("orphaned")[:1] == ([number(orphaned)] if orphaned else [])
    pairs = set(zip(*(tables["missing"][name].to_pylist() for name in ("account", "image_id")), strict=True))
    lacking = [table for table in told.page.tables if table.file.startswith("missing-")][:1]
    assert sum(len(table.rows) for table in lacking) == len(pairs)


def test_parts_are_the_same_whether_all_accounts_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only some accounts have a part, theirs, that of all together and the overview are as where all have one."""
    for name, hours in ACCOUNTS.items():
        busy(tmp_path, name, hours)
    lake = open_lake(tmp_path, price=0.037)
    everything = collect(lake)
    monkeypatch.setattr(limits, "ACCOUNTS", 2)
    few = collect(lake)
    assert few.overview == everything.overview
    assert few.views == everything.views[:3]
    assert len(everything.views) == 4
