"""The rows of every report that the page shows: of all accounts, or of those alone that have a part of their own."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.listings import Row, freed, regions_of_changes
from genesis_etl.dashboard.periods import first_day
from genesis_etl.opened import OpenLake
from genesis_etl.query.sources import one_line


class Reports:
    """The rows of every report that the page shows.

    Of reports with a row a day, where only some accounts are shown, those of these alone are asked for: of hundreds of
    accounts with a dozen regions each they take longer than all the rest of the page.
    """

    def __init__(self, lake: OpenLake, overview: list[Row]) -> None:
        self._lake = lake
        self._is_one = len(overview) == 1
        oldest = min(row["newest"] for row in overview).date()
        self._since = first_day(oldest).isoformat()
        self._are_all_shown = len(overview) <= limits.ACCOUNTS
        self.price = lake.price
        self.changes_since = (max(row["newest"] for row in overview) - limits.LATELY).date().isoformat()
        self.images = per_scope(lake.sql_rows(one_line("page", "images_now")))
        if self._are_all_shown:
            self._read_parts(lake)
            growth, usage = self.growth[0], self.usage[0]
        else:
            growth, usage = lake.report_rows("snapshot-growth", since=oldest.isoformat()), lake.report_rows("usage")
        self.newest_growth = last_rows(growth)
        self.newest_usage = grouped(usage.to_pylist())
        self.retention = [lake.report_rows("retention")]
        if not self._is_one:
            self.retention.append(lake.report_rows("retention", total=True))
        self.sources = lake.report_rows("sources")
        self.releases = lake.report_rows("releases")
        self.freed = freed(lake.report_rows("stale-snapshots", older_than=f"{limits.KEEP}d"))
        self.coverage = grouped(_coverage(lake))
        self.families = grouped(lake.sql_rows(one_line("page", "family_coverage")).to_pylist())
        self.changes = lake.report_rows("changes", since=self.changes_since)
        self.regions_of = regions_of_changes(lake, self.changes)
        self.made = grouped(lake.sql_rows(one_line("page", "made")).to_pylist())

    def read_parts(self, accounts: list[str]) -> None:
        """Read what the parts of these accounts alone show, and that of all accounts together."""
        if not self._are_all_shown:
            self._read_parts(self._lake.part(accounts))

    def _read_parts(self, lake: OpenLake) -> None:
        self.growth = self._of_scopes(lake, "snapshot-growth", since=self._since)
        self.usage = self._of_scopes(lake, "usage")
        self.health = grouped(lake.report_rows("capture-health").to_pylist())

    def _of_scopes(self, lake: OpenLake, name: str, **options: Any) -> list[pa.Table]:
        """Return a report's rows of each account, of each region of one, and of all accounts together."""
        read = [lake.report_rows(name, per_region=per_region, **options) for per_region in (False, True)]
        if not self._is_one:
            read += [
                self._lake.report_rows(name, per_region=per_region, total=True, **options)
                for per_region in (False, True)
            ]
        return read


def _coverage(lake: OpenLake) -> list[Row]:
    """Return region-coverage without all but the first names of what is missing."""
    rows = lake.report_rows("region-coverage")
    index = rows.column_names.index("missing_names")
    short = pc.list_slice(rows["missing_names"], 0, limits.NAMES)
    coverage: list[Row] = rows.set_column(index, "missing_names", short).to_pylist()
    return coverage


def named(rows: pa.Table, account: str | None) -> pa.Table:
    """Return the rows of an account, without a name those of all accounts together."""
    column = rows["account"]
    return rows.filter(pc.is_null(column) if account is None else pc.equal(column, account))


def of_account(rows: pa.Table, account: str | None) -> pa.Table:
    """Return the rows of an account, without a name all rows."""
    return rows if account is None else named(rows, account)


def last_rows(growth: pa.Table) -> dict[str | None, Row]:
    """Return the last row of each account of a report that is in their order."""
    names = growth["account"].to_pylist()
    places = [place for place, name in enumerate(names) if names[place + 1 : place + 2] != [name]]
    return {row["account"]: row for row in growth.take(places).to_pylist()}


def grouped(rows: list[Row]) -> dict[str | None, list[Row]]:
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["account"]].append(row)
    return groups


def per_scope(rows: pa.Table) -> dict[tuple[str | None, str | None], int]:
    return {(row["account"], row["region"]): row["images"] for row in rows.to_pylist()}
