"""What the images that the page lists were before: the newest runs of each, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.listings import Listing
from genesis_etl.dashboard.words import literal
from genesis_etl.opened import OpenLake
from genesis_etl.query.sources import one_line

Row = dict[str, Any]


@dataclass
class History:
    """The newest runs of one image, newest last, and where on the page they stand."""

    place: int
    account: str
    image_id: str
    runs: list[Row]
    total: int


def statement(image_ids: Iterable[str]) -> str:
    """Return the statement that tells the history of these images."""
    return one_line("page", "history").replace("'IMAGE'", ", ".join(map(literal, image_ids)))


def histories_of(lake: OpenLake, listings: Iterable[Listing]) -> dict[tuple[str, str], History]:
    """Return the history of the images that lists of the page name, by account and id; the first lists come first."""
    wanted: dict[tuple[str, str], History] = {}
    for row in (row for listing in listings for row in listing.rows):
        key = (row["account"], row["image_id"])
        if len(wanted) < limits.HISTORIES:
            wanted.setdefault(key, History(len(wanted), *key, [], 0))
    if not wanted:
        return wanted
    rows = lake.sql_rows(statement(sorted({image_id for _, image_id in wanted})))
    # Images that Genesis Cloud makes are in every account, those of hundreds that nobody asked for as well.
    whose = zip(rows["account"].to_pylist(), rows["image_id"].to_pylist(), strict=True)
    for row in rows.take([place for place, key in enumerate(whose) if key in wanted]).to_pylist():
        history = wanted[row["account"], row["image_id"]]
        history.runs = [*history.runs, row][-limits.RUNS :]
        history.total += 1
    return wanted
