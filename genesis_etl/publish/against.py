"""Holds the tables of a lake against its store, both ways: what is behind or damaged, and what the store has lost.

file                            account  status   detail
tables                          default  ok       4 tables of 120 captures, 96,113 bytes, hold the rows of the store
tables/images/default.parquet   default  behind   it holds 119 captures and not 120; `genesis-etl publish` writes it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import TABLES, Table, TableFile, is_old, table_folder
from genesis_etl.lake.tables import FoundTable, State, list_tables, published
from genesis_etl.maintenance.verify import FAILURES as OF_STORE
from genesis_etl.maintenance.verify import SCHEMA, Finding, verify
from genesis_etl.publish.made import from_contents
from genesis_etl.publish.publish import lost
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time

# `behind` and `stranger` are failures too: whoever reads the tables gets other numbers than a report.
FAILURES = OF_STORE | {"behind", "stranger"}
_FILES = ["file", "sha256"]  # where the rows of a capture lie, which is all that a compaction changes
_MEND = "`genesis-etl publish` writes it anew"
_LOOKS = 4  # beside neighbours that land, whose tables are newer than the captures that were read before them


def verify_lake(url: str) -> pa.Table:
    """Verify the store of a lake, then its tables: made again, each has to hold the same rows.

    An account that was never published has no row for that. LakeError for a lake that holds nothing.
    """
    lake = Lake(url)
    try:
        rows = verify(url)
    except LakeError:
        if not _has_tables(lake):
            raise
        rows = SCHEMA.empty_table()  # all of the store is lost, and the tables know of it
    is_published = _has_tables(lake)
    found = [*held(lake, lake.contents(), compares=is_published), *strangers(lake)]
    never = {each.account for each in found} - {file.account for file in list_tables(lake.storage).files}
    told = [each for each in found if each.account is None or each.account not in never]
    told = [each._replace(file=shown(each.file, 5_000), detail=shown(each.detail, 5_000)) for each in told]
    return pa.concat_tables([rows, pa.Table.from_pylist([each._asdict() for each in told], schema=SCHEMA)])


def _has_tables(lake: Lake) -> bool:
    """Tell whether anything is published; no where it cannot be told, as the store then says."""
    try:
        return bool(list_tables(lake.storage).files)
    except LakeError:
        return False


def has_failed(rows: pa.Table) -> bool:
    """Tell whether `verify_lake` found a failure rather than notes."""
    return not FAILURES.isdisjoint(rows["status"].to_pylist())


def held(lake: Lake, contents: Contents, *, compares: bool = False) -> list[Finding]:
    """Return the tables that hold other captures than the store, and captures that the store has lost.

    With `compares` the tables are made again as well, and have to hold the same rows. An account that was captured or
    compacted meanwhile is looked at again, by itself.
    """
    found = [*_looked_at(lake, contents, _accounts(lake, contents), compares)]
    for account in sorted({each.account for each in found if each.account and each.status != "ok"}):
        mine = contents
        for _ in range(_LOOKS):
            if not lake.changed_since(mine, account):
                break
            mine = lake.contents(account)
            others = [each for each in found if each.account != account]
            still = [each for each in _accounts(lake, mine) if each == account]  # unless it was forgotten
            found = [*others, *_looked_at(lake, mine, still, compares)]
    return found


def _looked_at(lake: Lake, contents: Contents, accounts: list[str], compares: bool) -> Iterator[Finding]:
    states = dict(_states(contents))
    # Read before they are made again, which takes longer: a neighbour may replace them at any moment.
    there = {account: published(lake.storage, account) for account in accounts}
    made = from_contents(contents) if compares else {}
    damaged = {damage.account for damage in contents.damage}
    for account in accounts:
        bad = [*_held(lake, contents, account, states.get(account), there[account])]
        yield from bad
        if account in made and account not in damaged:
            yield from _compared(account, made[account], there[account], {each.file for each in bad})


def _accounts(lake: Lake, contents: Contents) -> list[str]:
    """Return the accounts that have captures or tables."""
    captured = pc.unique(contents.captures["account"]).to_pylist()
    return sorted({*captured, *(file.account for file in list_tables(lake.storage).files)})


def _held(
    lake: Lake, contents: Contents, account: str, state: State | None, there: Mapping[Table, FoundTable]
) -> Iterator[Finding]:
    path = TableFile("captures", account).path
    if gone := lost(lake, account, contents, there):
        detail = f"it lists {counted(len(gone), 'capture')} up to {format_time(gone[-1])} that the store"
        yield Finding(path, account, "missing", f"{detail} has lost; restore the store from a copy")
    elif any(damage.account == account for damage in contents.damage):
        return  # its captures cannot be told
    elif state is not None:
        yield from _behind(account, state, there)
    else:
        detail = f"the store holds no capture of it; `genesis-etl forget --account {account}` removes its tables"
        yield Finding(path, account, "behind", detail)


def strangers(lake: Lake) -> Iterator[Finding]:
    """Yield what lies below the tables and is none; a Parquet file there is counted by whoever reads the folder."""
    for entry in list_tables(lake.storage).strangers:
        if entry.path.endswith(".parquet") and not entry.is_folder:
            detail = "not a table of the lake, and whoever reads the folder counts it; move it away"
            yield Finding(entry.path, None, "stranger", detail)
        elif not entry.path.endswith(".tmp") or is_old(entry):
            yield Finding(entry.path, None, "stray", "not a table of the lake")


def _states(contents: Contents) -> Iterator[tuple[str, State]]:
    """Yield what the tables of every account have to say they hold."""
    order = [("account", "ascending"), ("captured_at", "ascending"), ("capture_id", "ascending")]
    captures = contents.captures.select(["account", "captured_at", "capture_id"]).sort_by(order)
    for account in pc.unique(captures["account"]).to_pylist():
        mine = captures.filter(pc.equal(captures["account"], account))
        yield account, State(mine["capture_id"][-1].as_py(), len(mine))


def _behind(account: str, wanted: State, there: Mapping[Table, FoundTable]) -> Iterator[Finding]:
    for name in TABLES:
        path = TableFile(name, account).path
        if name not in there:
            yield Finding(path, account, "behind", f"it is not there; {_MEND}")
            continue
        table = there[name]
        if table.is_newer:
            yield Finding(path, account, "newer", "a later version of genesis-etl wrote it; upgrade it")
        elif table.is_older:
            yield Finding(path, account, "behind", f"an earlier version of genesis-etl wrote it; {_MEND}")
        elif (state := table.state) is None:
            yield Finding(path, account, "damaged", f"it cannot be read as a table of this version; {_MEND}")
        elif state != wanted:
            here, all = counted(state.captures, "capture"), f"{wanted.captures:,}"
            what = f"it holds {here} up to {state.newest_capture}, the store {all} up to {wanted.newest_capture}"
            yield Finding(path, account, "behind", f"{what}; {_MEND}")


def _compared(
    account: str, made: Mapping[Table, pa.Table], there: Mapping[Table, FoundTable], bad: set[str]
) -> Iterator[Finding]:
    """Compare the rows of an account's tables with what was made again; those found bad already are left out."""
    whole = 0
    for name in TABLES:
        path = TableFile(name, account).path
        if name not in there or path in bad:
            continue
        try:
            rows = there[name].rows
        except ValueError as error:
            yield Finding(path, account, "damaged", f"{shown(str(error))}; {_MEND}")
            continue
        if rows.equals(made[name]):
            whole += 1
        elif name == "captures" and rows.drop(_FILES).equals(made[name].drop(_FILES)):
            yield Finding(path, account, "behind", f"it names files that a compaction has replaced; {_MEND}")
        else:
            yield Finding(path, account, "damaged", f"it holds other rows than the store; {_MEND}")
    if whole == len(TABLES):
        size = sum(len(table.data) for table in there.values())
        captures = counted(len(made["captures"]), "capture")
        detail = f"{whole} tables of {captures}, {counted(size, 'byte')}, hold the rows of the store"
        yield Finding(table_folder(), account, "ok", detail)
