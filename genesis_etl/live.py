"""What an account has now, without a lake."""

from __future__ import annotations

import pyarrow.compute as pc

from genesis_etl.api.client import Client
from genesis_etl.listeners import guards_listeners
from genesis_etl.reading import Progress, read_account
from genesis_etl.redact import clean_errors, redact
from genesis_etl.rows import Rows, to_rows
from genesis_etl.settings import Account, Settings


@clean_errors()
@guards_listeners
def live_rows(
    settings: Settings,
    account: Account,
    *,
    type: str | None = None,
    region: str | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Read an account's images (of one type, region, if given) without touching the lake.

    The type is sent to /images as its filter; /snapshots is merged where it can matter.
    """
    with Client(account, settings) as client:
        reading = read_account(client, type=type, with_snapshots=type in (None, "snapshot"), progress=progress)
        rows = to_rows(reading.images, reading.snapshots)
        if reading.refusal:
            rows.notes.append(f"without /snapshots: {reading.refusal}")
        rows.notes[:] = map(redact, rows.notes)
    table = rows.table
    for column, value in (("type", type), ("region", region)):
        if value is not None:
            table = table.filter(pc.equal(table[column], value))
    return Rows(table, rows.notes)
