"""What the page shows first and what it says to do, as tables for whoever shows them elsewhere."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.listings import LARGEST, NEWEST, SOURCES, freed
from genesis_etl.dashboard.reports import last_rows
from genesis_etl.opened import OpenLake

Row = dict[str, Any]

_TOGETHER: Final = "all together"
_FIGURES: Final = pa.schema(
    [
        ("account", pa.string()),
        ("cost_per_month", pa.float64()),
        ("this_month_cost", pa.float64()),
        ("last_month_cost", pa.float64()),
        ("gib", pa.float64()),
        ("this_month_gib_months", pa.float64()),
        ("last_month_gib_months", pa.float64()),
        ("snapshots", pa.int64()),
    ]
)


def decisions(lake: OpenLake) -> dict[str, tuple[str, pa.Table]]:
    """Return, by a name each, the command whose rows a table shows and the table, what matters most first.

    LakeError for a damaged or empty lake.
    """
    with lake.held():
        old = lake.report_rows("stale-snapshots", older_than=f"{limits.KEEP}d")
        sources, releases = lake.report_rows("sources"), lake.report_rows("releases")
        gone = sources.filter(pc.equal(sources["source_instance_exists"], pa.scalar(False)))
        lacking = releases.filter(pc.equal(releases["is_missing"], pa.scalar(True)))
        return {
            "figures": ("genesis-etl report snapshot-growth; genesis-etl report usage", _figures(lake)),
            "retention": ("genesis-etl report retention", _retention(lake)),
            "can-go": (
                f"genesis-etl report stale-snapshots --older-than {limits.KEEP}d, is_newest_of_source false",
                freed(old).sort_by(LARGEST),
            ),
            "orphans": ("genesis-etl report sources, source_instance_exists false", gone.sort_by(SOURCES)),
            "missing": (
                "genesis-etl report releases, is_missing true",
                lacking.sort_by([*NEWEST, ("region", "ascending")]),
            ),
        }


def _retention(lake: OpenLake) -> pa.Table:
    """Return what retentions free in each account, after what they free in all together where there are several."""
    rows = lake.report_rows("retention")
    if pc.count_distinct(rows["account"]).as_py() == 1:
        return rows
    total = lake.report_rows("retention", total=True)
    names = pa.array([_TOGETHER] * len(total), pa.string())
    return pa.concat_tables([total.set_column(0, rows.schema.field("account"), names), rows])


def _figures(lake: OpenLake) -> pa.Table:
    """Return a row per account, after one of all together where there are several."""
    rows = _figures_of(lake, total=False)
    rows.sort(key=lambda row: (-(row["gib"] or 0.0), row["account"]))
    return pa.Table.from_pylist([*(_figures_of(lake, total=True) if len(rows) > 1 else []), *rows], _FIGURES)


def _figures_of(lake: OpenLake, *, total: bool) -> list[Row]:
    growth = last_rows(lake.report_rows("snapshot-growth", total=total))
    months: dict[str | None, list[Row]] = {}
    for row in lake.report_rows("usage", total=total).to_pylist():
        months.setdefault(row["account"], []).append(row)
    found = []
    for account, used in months.items():
        now, running, last = growth.get(account, {}), used[-1], used[-2] if len(used) > 1 else {}
        found.append(
            {
                "account": _TOGETHER if account is None else account,
                "cost_per_month": now.get("cost_per_month"),
                "this_month_cost": running["cost"],
                "last_month_cost": last.get("cost"),
                "gib": now.get("gib_closing"),
                "this_month_gib_months": running["gib_months"],
                "last_month_gib_months": last.get("gib_months"),
                "snapshots": now.get("closing"),
            }
        )
    return found
