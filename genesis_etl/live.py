"""What an account has now, without a lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.api.client import Client
from genesis_etl.reading import Progress, read_account
from genesis_etl.reading.listeners import Notice, guards_listeners, unheard
from genesis_etl.redact import clean_errors, redact
from genesis_etl.rows import Rows, to_frame, to_rows
from genesis_etl.settings import Account, Settings

if TYPE_CHECKING:
    import pandas as pd


@clean_errors()
@guards_listeners
def images(
    settings: Settings | None = None,
    accounts: Sequence[str] = (),
    *,
    type: str | None = None,
    region: str | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> pd.DataFrame:
    """Return what the accounts (all of the settings, or those named) have now, one row per image × region.

    The columns are those of the table `images` without the capture; the types are Arrow's. Nothing is stored.
    Without `settings` they come from the environment and `genesis-etl.toml`. Raises what made the first account fail.
    """
    settings = settings or Settings.load()
    tables = []
    for account in settings.chosen(tuple(accounts)):
        rows = live_rows(settings, account, type=type, region=region, progress=progress)
        for note in rows.notes:
            (notice or unheard)(f"account {account.name}: {note}")
        tables.append(named(account.name, rows.table))
    return to_frame(pa.concat_tables(tables))


def named(account: str, rows: pa.Table) -> pa.Table:
    """Return rows with the account they are of as their first column."""
    return rows.add_column(0, "account", pa.repeat(pa.scalar(account, pa.string()), len(rows)))


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
        rows = to_rows(reading.images, reading.snapshots, reading.instances)
        rows.notes += [f"without /{name}: {why}" for name, why in reading.refusals.items()]
        rows.notes[:] = map(redact, rows.notes)
    table = rows.table
    for column, value in (("type", type), ("region", region)):
        if value is not None:
            table = table.filter(pc.equal(table[column], value))
    return Rows(table, rows.notes)
