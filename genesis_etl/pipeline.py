"""The whole story in one place: read an account, prove it, make rows of it, land them in the lake."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from genesis_etl.api.client import Client
from genesis_etl.api.clock import refuse_clock
from genesis_etl.api.stop import Stop
from genesis_etl.errors import BadPage, CaptureError, ExportFailed, GenesisEtlError, LakeError
from genesis_etl.guards import believed, is_fresh, refuse_forgetting, refuse_future, time_of_capture
from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.storage import Patience, most_landings
from genesis_etl.publish.publish import Published, publish_after
from genesis_etl.reading import NOTHING_READ, Progress, Reading, read_account
from genesis_etl.reading.listeners import Notice, guards_listeners, unheard
from genesis_etl.redact import clean_errors, redact
from genesis_etl.rows import ROW, to_frame, to_rows
from genesis_etl.settings import Account, Settings, duration_of
from genesis_etl.version import __version__

if TYPE_CHECKING:
    import pandas as pd

_MANY_ROWS: Final = 10_000  # what fewer took to read is not worth the time to give it back


@guards_listeners
def export(
    settings: Settings,
    accounts: tuple[str, ...] = (),
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: timedelta | str | None = None,
    publishes: bool = True,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> list[Capture]:
    """Capture every account (or those named) and land it in the lake; return the captures landed.

    Accounts are captured side by side, `settings.workers` at a time, each within its own rate. With `if_older_than`
    (`10m`, or a timedelta) an account whose newest capture is younger is left out: nothing is asked, none returned.
    Then, with `compacts`, an account with more than six loose captures is compacted, and, with `publishes`, its tables
    written; what hinders either is told to `notice`. Tries every account, then raises ExportFailed with `.landed` and
    `.failed` if any failed. `progress` and `notice` are called on the threads that capture; what they raise costs none.
    """
    chosen = settings.chosen(accounts)
    patience = duration_of("if_older_than", if_older_than)
    stop = Stop()
    turn = threading.Semaphore(most_landings(settings.lake))

    def one(account: Account) -> Capture | GenesisEtlError | None:
        whose = "" if len(chosen) == 1 else f" of {account.name}"
        try:
            return export_account(
                settings,
                account,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
                if_older_than=patience,
                publishes=publishes,
                compacts=compacts,
                progress=None if progress is None else lambda name, *pages: progress(name + whose, *pages),
                notice=notice,
                stop=stop,
                turn=turn,
            )
        except GenesisEtlError as error:
            return error
        except Exception as error:  # a bug, or a machine at its limits: no account pays for another's
            if len(chosen) == 1:
                raise
            return CaptureError(
                f"{type(error).__name__}: {error}",
                advice=f"if it stays, report it with what `export --account {account.name}` says",
            )

    if len(chosen) == 1:
        results = list(map(one, chosen))
    else:
        with ThreadPoolExecutor(min(settings.workers, len(chosen)), thread_name_prefix="account") as threads:
            runs = [threads.submit(one, account) for account in chosen]
            try:
                results = [run.result() for run in runs]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                stop.set()
                raise
    named = dict(zip((account.name for account in chosen), results, strict=True))
    landed = [result for result in results if isinstance(result, Capture)]
    failed = {name: result for name, result in named.items() if isinstance(result, GenesisEtlError)}
    if failed:
        fresh = [name for name, result in named.items() if result is None]
        raise ExportFailed(landed, failed, fresh)
    return landed


@dataclass(frozen=True)
class Proven:
    """What `read` has proven of an account, when, and what it took."""

    account: str
    endpoint: str
    captured_at: datetime
    finished_at: datetime
    reading: Reading
    counts: dict[str, int | None]
    requests: int
    retries: int
    ends_at: float  # until when (`time.monotonic()`) it is kept for a lake that cannot take it yet


@dataclass(frozen=True)
class Landed:
    """A capture that has landed, and the files of its tables; none where they could not or need not be written."""

    capture: Capture
    tables: Sequence[Published]


@clean_errors()
def export_account(
    settings: Settings,
    account: Account,
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: timedelta | None = None,
    publishes: bool = True,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
    stop: Stop | None = None,
    turn: AbstractContextManager[object] | None = None,
) -> Capture | None:
    """Read, normalise and land one account; raises whatever made that impossible, and then nothing has changed.

    None where the newest capture is younger than `if_older_than`. `stop` ends what it waits for; it lands in `turn`.
    """
    proven = read(
        settings,
        account,
        allow_empty=allow_empty,
        without_snapshots=without_snapshots,
        if_older_than=if_older_than,
        progress=progress,
        notice=notice,
        stop=stop,
    )
    if proven is None:
        return None
    then: dict[str, Any] = {"publishes": publishes, "compacts": compacts, "notice": notice, "stop": stop}
    with turn or nullcontext():
        rows = rows_of(proven, notice=notice)
        proven = replace(proven, reading=NOTHING_READ)  # while they land, the rows are enough to hold
        if len(rows) > _MANY_ROWS:
            pa.default_memory_pool().release_unused()
        landed = land(settings, proven, rows, if_older_than=if_older_than, **then)
    return None if landed is None else landed.capture


@clean_errors()
@guards_listeners
def read(
    settings: Settings,
    account: Account,
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: timedelta | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
    stop: Stop | None = None,
) -> Proven | None:
    """Read all pages of an account's collections until what they say is proven; nothing is written.

    None where the newest capture is younger than `if_older_than`, and then nothing was asked of the API.
    """
    ends_at = time.monotonic() + settings.capture_deadline
    lake = Lake(settings.lake, _patience(ends_at, stop))
    captured_at = time_of_capture(settings, account)
    newest = lake.newest(account.name, notice=notice or unheard)
    if is_fresh(lake, newest, captured_at, if_older_than):
        return None
    refuse_future(settings, newest, captured_at)
    began = time.monotonic()
    with Client(account, settings, stop) as client:
        reading = read_account(
            client,
            with_snapshots=not without_snapshots,
            must_have_snapshots=newest is not None and newest.snapshots is not None,
            progress=progress,
        )
        refuse_clock(settings, client)
        refuse_forgetting(lake, newest, reading, allow_empty=allow_empty)
        reading = believed(lake, newest, reading, allow_empty=allow_empty)
    for gap in reading.gaps:
        (notice or unheard)(f"account {account.name}: {redact(gap)}")
    return Proven(
        account=account.name,
        endpoint=account.endpoint,
        captured_at=captured_at,
        finished_at=captured_at + timedelta(seconds=time.monotonic() - began),
        reading=reading,
        counts=reading.counts,
        requests=client.requests,
        retries=client.retries,
        ends_at=ends_at,
    )


def normalise(proven: Proven, *, notice: Notice | None = None) -> pd.DataFrame:
    """Return `rows_of` what was proven as a DataFrame, in Arrow's types: for a flow, which hands it to its `land`."""
    return to_frame(rows_of(proven, notice=notice))


@clean_errors()
@guards_listeners
def rows_of(proven: Proven, *, notice: Notice | None = None) -> pa.Table:
    """Return the images as a table, one row per image × region: the columns of `ROW`.

    BadPage where an item cannot be such a row. What is noteworthy about the items goes to `notice`.
    """
    try:
        rows = to_rows(proven.reading.images, proven.reading.snapshots, proven.reading.instances)
    except BadPage as error:
        error.where = "GET /images, /snapshots and /instances"
        error.advice = "nothing was written, report what the API sent"
        raise
    if notice is not None:
        for note in rows.notes:
            notice(f"account {proven.account}: {redact(note)}")
    return rows.table


@clean_errors()
@guards_listeners
def land(
    settings: Settings,
    proven: Proven,
    rows: pa.Table | pd.DataFrame,
    *,
    if_older_than: timedelta | None = None,
    publishes: bool = True,
    compacts: bool = True,
    notice: Notice | None = None,
    stop: Stop | None = None,
) -> Landed | None:
    """Land the rows of what was proven in the lake, then publish; LakeError, and then nothing has changed.

    What is proven waits for a store that cannot answer as long as the capture has time.
    None where another run has landed a capture meanwhile that makes the newest younger than `if_older_than`.
    """
    lake, tell = Lake(settings.lake, _patience(proven.ends_at, stop)), notice or unheard
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, schema=ROW, preserve_index=False)
    if if_older_than is not None:
        try:
            newest = lake.newest(proven.account)
        except LakeError:  # what cannot be read is not fresh, and a proven capture is worth landing
            newest = None
        if is_fresh(lake, newest, proven.captured_at, if_older_than):
            return None
    capture = lake.land(
        table,
        account=proven.account,
        captured_at=proven.captured_at,
        finished_at=proven.finished_at,
        **proven.counts,
        requests=proven.requests,
        retries=proven.retries,
        endpoint=proven.endpoint,
        etl_version=__version__,
    )
    if compacts:
        # Comes with libraries that a capture does without.
        from genesis_etl.maintenance.compact import compact_when_due

        try:
            compact_when_due(lake, proven.account, proven.captured_at, tell)
        except LakeError as error:  # the capture has landed; what hinders compaction hinders no further capture
            tell(f"account {proven.account}: not compacted: {error}")
    return Landed(capture, publish_after(lake, (proven.account,), tell) if publishes else ())


def _patience(ends_at: float, stop: Stop | None) -> Patience:
    """Return how long a lake is waited for: as long as the capture has time, and nobody stops it."""
    return Patience(until=ends_at, wait=(stop or Stop()).event().wait)
