"""Writes the tables of a lake as files: after a landing those of its account, on demand all that lag behind.

The store is what counts; a table can be made again at any time. Where the files that are there hold all captures but
the newest ones, they are taken on by these (`taken_on`); otherwise the tables are made of the whole store. `captures`
is written last and keeps the sha256 of the others, so what a killed publisher left mixed is not taken on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import GenesisEtlError, LakeError, SettingsError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.known import forgotten_until
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.lake.layout import TABLES, LakeFile, Table, TableFile, is_old
from genesis_etl.lake.tables import (
    FoundTable,
    State,
    digest_of,
    list_tables,
    listed_captures,
    published,
    remove_tables,
    sha256_of,
    table_bytes,
)
from genesis_etl.outfile import refuse_unwritable
from genesis_etl.publish.made import Tables, from_contents, together
from genesis_etl.publish.taken_on import by_contents, by_new_commits
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time

Notice = Callable[[str], None]

_ROUNDS: Final = 5  # of a publisher whose neighbours land one capture after the other
_COLUMNS: Final = pa.schema(
    [(name, pa.string()) for name in ("account", "table", "status", "file")]
    + [(name, pa.int64()) for name in ("rows", "captures", "bytes")]
    + [("newest_capture", pa.string())]
)


@dataclass(frozen=True)
class Published:
    """One table of one account: `written`, or `whole` where it was right already; its file, rows and captures."""

    account: str
    table: Table
    status: str
    file: str
    rows: int
    captures: int
    bytes: int
    newest_capture: str


def publications(done: Sequence[Published]) -> pa.Table:
    """Return what was published as a table, one row per account and table."""
    return pa.Table.from_pylist([asdict(each) for each in done], schema=_COLUMNS)


def publish(
    lake: Lake, accounts: Iterable[str] | None = None, *, notice: Notice = lambda text: None
) -> list[Published]:
    """Make the tables of every account (or of those named) of the store, and write those that are not so.

    LakeError for an empty lake, SettingsError for an account that it does not hold; where one account's captures are
    damaged or lost, the others' tables are written before it is raised.
    """
    there = [*lake.accounts()]
    if not there:
        lake.refuse_earlier_layout()
        raise no_capture(lake.url)
    chosen = sorted(there if accounts is None else accounts)
    for account in chosen:
        if account not in there:
            raise SettingsError(
                f"no account {shown(account)!r} in the lake", advice=f"name one that it holds: {', '.join(there)}"
            )
    done: list[Published] = []
    errors: list[LakeError] = []
    sweep(lake, notice)
    for account in chosen:
        try:
            done += publish_account(lake, account, is_anew=True)
        except LakeError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return done


def publish_everywhere(
    lake: Lake,
    account: str | None = None,
    duckdb: str | os.PathLike[str] | None = None,
    delta: str | None = None,
    notice: Notice = lambda text: None,
) -> list[Published]:
    """Publish, and write the tables into a DuckDB file, or as Delta tables below a folder or URL, where one is named.

    SettingsError, before anything is written, for a place that cannot be written to.
    """
    if duckdb is not None:
        refuse_unwritable(os.fspath(duckdb))
    if delta is not None:
        from genesis_etl.publish.delta import delta_url, write_delta

        delta = delta_url(delta, lake.url)
    done = publish(lake, None if account is None else [account], notice=notice)
    if duckdb is None and delta is None:
        return done
    contents = lake.contents(account)
    tables = together(contents)
    if duckdb is not None:
        from genesis_etl.publish.database import write_database

        write_database(contents, tables, duckdb)
    if delta is not None:
        write_delta(tables, delta)
    return done


def publish_after(lake: Lake, accounts: Iterable[str], notice: Notice) -> list[Published]:
    """Publish what a landing, a compaction or a `forget` has changed; what hinders it is told, and costs nothing.

    Return the tables of the accounts where nothing did.
    """
    done: list[Published] = []
    for account in accounts:
        try:
            done += publish_account(lake, account)
        except GenesisEtlError as error:
            notice(f"account {account}: the tables were not published: {error}")
        except Exception as error:  # a bug of ours is no reason to call a capture failed that has landed
            notice(f"account {account}: the tables were not published: {type(error).__name__}: {error}")
    return done


def publish_account(lake: Lake, account: str, *, is_anew: bool = False) -> list[Published]:
    """Bring the tables of one account to what the store holds; with `is_anew`, make them of the whole store.

    Then the store is listed again, and if it has grown meanwhile, all is done again: the last of several publishers
    to end has seen what all of them landed. LakeError where captures are damaged, or lost although a table lists them.
    """
    done: list[Published] = []
    for _ in range(_ROUNDS):
        there = published(lake.storage, account)
        if not is_anew and (step := by_new_commits(lake, account, there)) is not None:
            done = _write(lake, account, step.tables, there, step.commit_files)
            if step.commit_files == set(lake.list("captures", account).files):
                break
            continue
        contents = lake.contents(account, opens_rows=is_anew)
        if not len(contents.captures) and not contents.damage:
            if done:  # forgotten while its tables were written
                remove_tables(lake.storage, account)
            elif there:
                _refuse_lost(lake, account, contents, there)
                remove_tables(lake.storage, account)
            return []
        contents.refuse_damage(account)
        _refuse_newer(account, there)
        _refuse_lost(lake, account, contents, there)
        tables = from_contents(contents)[account] if is_anew else by_contents(lake, account, contents, there)
        if tables is None:
            return publish_account(lake, account, is_anew=True)
        done = _write(lake, account, tables, there, contents.commit_files)
        if not lake.changed_since(contents, account):
            break
    return done


def lost(lake: Lake, account: str, contents: Contents, there: Mapping[Table, FoundTable]) -> Sequence[datetime]:
    """Return the times of captures that a table lists, the store has lost and no `forget` covers, in order.

    Not those that damage in the store may hold, which is told as such.
    """
    listed = listed_captures(there)
    gone = listed.filter(pc.invert(pc.is_in(listed["capture_id"], contents.captures["capture_id"].combine_chunks())))
    forgotten = forgotten_until(lake, account) if len(gone) else None
    return [
        at
        for at in sorted(gone["captured_at"].to_pylist())
        if (forgotten is None or at >= forgotten)
        and not any(damage.account == account and damage.since <= at <= damage.until for damage in contents.damage)
    ]


def sweep(lake: Lake, notice: Notice) -> None:
    """Remove what killed publishers left half-written more than an hour ago; what hinders it is told."""
    for entry, _ in list_tables(lake.storage).temporary:
        if is_old(entry):
            try:
                lake.storage.delete(entry.path)
            except LakeError as error:
                notice(f"could not be removed: {error}")


def _refuse_newer(account: str, there: Mapping[Table, FoundTable]) -> None:
    for table in there.values():
        if table.is_newer:
            where = TableFile(table.name, account).path
            raise LakeError("a later version of genesis-etl wrote this table", where=where, advice="upgrade it")


def _refuse_lost(lake: Lake, account: str, contents: Contents, there: Mapping[Table, FoundTable]) -> None:
    gone = lost(lake, account, contents, there)
    if not gone:
        return
    path = TableFile("captures", account).path
    raise LakeError(
        f"it lists {counted(len(gone), 'capture')} of {account}, the newest of {format_time(gone[-1])}, "
        "which the store has lost",
        where=path,
        advice=f"restore the store from a copy, or remove {path} and publish again to go on without",
    )


def _write(
    lake: Lake, account: str, tables: Tables, there: Mapping[Table, FoundTable], commit_files: frozenset[LakeFile]
) -> list[Published]:
    """Write the tables, `captures` last; those that are the same to the byte stay as they are."""
    newest = tables["captures"]["capture_id"][-1].as_py()
    state = State(newest, len(tables["captures"]))
    hashes: dict[Table, str] = {}
    done = []
    for name in sorted(TABLES, key=lambda name: name == "captures"):
        made_of = (hashes, digest_of(commit_files)) if name == "captures" else None
        data = table_bytes(name, tables[name], state, made_of)
        hashes[name] = sha256_of(data)
        file = TableFile(name, account)
        is_there = name in there and there[name].data == data
        if not is_there:
            lake.storage.replace(file.path, data)
        status = "whole" if is_there else "written"
        rows = len(tables[name])
        done.append(Published(account, name, status, file.path, rows, state.captures, len(data), newest))
    return sorted(done, key=lambda each: TABLES.index(each.table))
