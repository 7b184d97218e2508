"""The whole story in one place: read an account, prove it, make rows of it, land them in the lake."""

from __future__ import annotations

import hashlib
import importlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.api.client import Client, Stop
from genesis_etl.commit import Capture
from genesis_etl.errors import (
    BadPage,
    CaptureError,
    CollectionRefused,
    ExportFailed,
    GenesisEtlError,
    LakeError,
    SettingsError,
)
from genesis_etl.lake import Lake
from genesis_etl.listeners import guards_listeners
from genesis_etl.reading import Progress, Reading, read_account
from genesis_etl.redact import clean_errors, redact
from genesis_etl.rows import ROW, Rows, to_rows
from genesis_etl.settings import Account, Settings
from genesis_etl.times import format_time, parse_duration
from genesis_etl.version import __version__

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE: Final = timedelta(minutes=5)

Notice = Callable[[str], None]


@guards_listeners
def export(
    settings: Settings,
    accounts: tuple[str, ...] = (),
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: timedelta | str | None = None,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> list[Capture]:
    """Capture every account (or those named) and land it in the lake; return the captures landed.

    Accounts are captured side by side, `settings.workers` at a time, each within its own rate. With `if_older_than`
    (`10m`, or a timedelta) an account whose newest capture is younger is left out: nothing is asked, none returned.
    With `compacts`, an account of which many captures lie unfolded has its finished days folded after that.
    Tries every account, then raises ExportFailed with `.landed` and `.failed` if any of them failed.
    `progress` and `notice` are called on the threads that capture, and what they raise costs no capture.
    """
    chosen = settings.chosen(accounts)
    patience = duration_of("if_older_than", if_older_than)
    stop = Stop()

    def one(account: Account) -> Capture | GenesisEtlError | None:
        whose = "" if len(chosen) == 1 else f" of {account.name}"
        try:
            return export_account(
                settings,
                account,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
                if_older_than=patience,
                compacts=compacts,
                progress=None if progress is None else lambda name, *pages: progress(name + whose, *pages),
                notice=notice,
                stop=stop,
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
        results = [one(chosen[0])]
    else:
        with ThreadPoolExecutor(min(settings.workers, len(chosen)), thread_name_prefix="account") as threads:
            runs = [threads.submit(one, account) for account in chosen]
            try:
                results = [run.result() for run in runs]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                stop.set()
                raise
    landed = [result for result in results if isinstance(result, Capture)]
    failed = {
        account.name: result
        for account, result in zip(chosen, results, strict=True)
        if isinstance(result, GenesisEtlError)
    }
    if failed:
        fresh = [account.name for account, result in zip(chosen, results, strict=True) if result is None]
        raise ExportFailed(landed, failed, fresh)
    return landed


def duration_of(where: str, duration: timedelta | str | None) -> timedelta | None:
    """Return a duration given as a timedelta or as `10m`; SettingsError, which says where, if it is not one."""
    if not isinstance(duration, str):
        return duration
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise SettingsError(str(error), where=where) from None


@dataclass(frozen=True)
class Proven:
    """What `read` has proven of an account, when, and what it took."""

    account: str
    endpoint: str
    captured_at: datetime
    finished_at: datetime
    reading: Reading
    requests: int
    retries: int


@clean_errors()
def export_account(
    settings: Settings,
    account: Account,
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: timedelta | None = None,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
    stop: Stop | None = None,
) -> Capture | None:
    """Read, normalise and land one account; raises whatever made that impossible, and then nothing has changed.

    None where the newest capture is younger than `if_older_than`.
    Where several are captured side by side, `stop` ends what any of them waits for.
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
    rows = normalise(proven, notice=notice)
    return land(settings, proven, rows, if_older_than=if_older_than, compacts=compacts, notice=notice)


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
    lake = Lake(settings.lake)
    captured_at = _captured_at(settings, account)
    newest = lake.newest(account.name)
    if _is_fresh(lake, newest, captured_at, if_older_than):
        return None
    _refuse_future(settings, newest, captured_at)
    # Arrow imports pandas with its first array; while the first answer is awaited, that costs nothing.
    threading.Thread(target=importlib.import_module, args=("pandas",), daemon=True).start()
    began = time.monotonic()
    with Client(account, settings, stop) as client:
        try:
            reading = read_account(
                client,
                with_snapshots=not without_snapshots,
                must_have_snapshots=newest is not None and newest.snapshots is not None,
                progress=progress,
            )
        except CollectionRefused as refusal:
            if newest is not None and newest.snapshots is not None and refusal.exit_code != 2:
                loss = (
                    "the capture before could read /snapshots, so this one would look like every snapshot deleted: "
                    "mend the access, or give --without-snapshots"
                )
                refusal.advice = "; ".join(filter(None, (refusal.advice, loss)))
            raise
        refuse_clock(settings, client)
        _refuse_forgetting(lake, newest, reading, allow_empty=allow_empty)
    if notice is not None and reading.snapshots is None:
        why = "as asked" if reading.refusal is None else f"/snapshots was refused ({redact(reading.refusal)})"
        notice(f"account {account.name}: captured from /images alone, {why}")
    return Proven(
        account=account.name,
        endpoint=account.endpoint,
        captured_at=captured_at,
        finished_at=captured_at + timedelta(seconds=time.monotonic() - began),
        reading=reading,
        requests=client.requests,
        retries=client.retries,
    )


@clean_errors()
@guards_listeners
def normalise(proven: Proven, *, notice: Notice | None = None) -> pd.DataFrame:
    """Return the images as a DataFrame, one row per image × region: the columns of `ROW`, in Arrow's types.

    BadPage where an item cannot be such a row. What is noteworthy about the items goes to `notice`.
    """
    import pandas as pd

    try:
        rows = to_rows(proven.reading.images, proven.reading.snapshots)
    except BadPage as error:
        error.where, error.advice = "GET /images and /snapshots", "nothing was written, report what the API sent"
        raise
    if notice is not None:
        for note in rows.notes:
            notice(f"account {proven.account}: {redact(note)}")
    # With pandas' own types null integers would become floats, and the way back would guess.
    return rows.table.to_pandas(types_mapper=pd.ArrowDtype)


@clean_errors()
@guards_listeners
def land(
    settings: Settings,
    proven: Proven,
    rows: pd.DataFrame,
    *,
    if_older_than: timedelta | None = None,
    compacts: bool = True,
    notice: Notice | None = None,
) -> Capture | None:
    """Land the rows of what was proven in the lake and return the capture; LakeError, and then nothing has changed.

    None where another run has landed a capture meanwhile that makes the newest younger than `if_older_than`.
    """
    lake = Lake(settings.lake)
    table = pa.Table.from_pandas(rows, schema=ROW, preserve_index=False)
    if if_older_than is not None:
        try:
            newest = lake.newest(proven.account)
        except LakeError:  # what cannot be read is not fresh, and a proven capture is worth landing
            newest = None
        if _is_fresh(lake, newest, proven.captured_at, if_older_than):
            return None
    reading = proven.reading
    capture = lake.land(
        table,
        account=proven.account,
        captured_at=proven.captured_at,
        finished_at=proven.finished_at,
        images=len(reading.images.keys() | (reading.snapshots or {}).keys()),
        snapshots=None if reading.snapshots is None else len(reading.snapshots),
        requests=proven.requests,
        retries=proven.retries,
        passes=reading.passes,
        endpoint=proven.endpoint,
        etl_version=__version__,
        listed_snapshots=reading.listed_snapshots,
    )
    if compacts:
        from genesis_etl.compact import compact_when_due  # and with it libraries that a capture does without

        try:
            compact_when_due(lake, proven.account, proven.captured_at)
        except LakeError as error:
            # The capture has landed; what hinders folding hinders no further capture.
            if notice is not None:
                notice(f"account {proven.account}: finished days were not folded: {error}")
    return capture


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


def _captured_at(settings: Settings, account: Account) -> datetime:
    """Return the time that a capture taken now has; SettingsError where a simulated one meets a real endpoint."""
    if settings.now is None:
        return datetime.now(UTC)
    if not account.is_local:
        raise SettingsError(
            "GENESIS_ETL_NOW is for simulations against a sandbox on this machine",
            advice=f"unset it to capture {account.endpoint}",
        )
    return settings.now


def _is_fresh(lake: Lake, newest: Capture | None, at: datetime, if_older_than: timedelta | None) -> bool:
    """Tell whether the newest capture is younger than that, counted from `at`, and its rows can be read.

    One of a later date is younger than anything.
    """
    if newest is None or if_older_than is None or at - newest.captured_at >= if_older_than:
        return False
    try:
        return hashlib.sha256(lake.read(newest.file)).hexdigest() == newest.sha256
    except (FileNotFoundError, LakeError):
        return False


def _refuse_future(settings: Settings, newest: Capture | None, now: datetime) -> None:
    """Raise SettingsError where the clock is further behind the newest capture than `TOLERANCE`."""
    if settings.now is None and newest is not None and now < newest.captured_at - TOLERANCE:
        raise SettingsError(
            f"the clock says {format_time(now)}, but the newest capture of {newest.account} is of "
            f"{format_time(newest.captured_at)}",
            advice="set the clock right, nothing was written",
        )


def refuse_clock(settings: Settings, client: Client) -> None:
    """Raise SettingsError where the API's `Date` header is further from our clock than `TOLERANCE`."""
    skew = client.clock_skew
    if settings.now is None and skew is not None and abs(skew) > TOLERANCE.total_seconds():
        raise SettingsError(
            f"the clock of this machine is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the API's",
            # An old Date may also be that of a copy which does not say so; one ahead of ours cannot.
            advice=f"set it right{'' if skew > 0 else ', or take the API out of a cache'}, nothing was written",
        )


def _refuse_forgetting(lake: Lake, newest: Capture | None, reading: Reading, *, allow_empty: bool) -> None:
    """Refuse an answer that would look like everything deleted at once."""
    if newest is None or allow_empty:
        return
    only_in_snapshots = 0 if newest.snapshots is None else newest.snapshots - newest.listed_snapshots
    listed = newest.images - only_in_snapshots
    if listed and not reading.images:
        raise CaptureError(
            f"/images lists nothing, but in the capture before it listed {listed} images",
            advice="if they are really gone, give --allow-empty",
        )
    if reading.snapshots != {}:
        return
    before = newest if newest.snapshots is not None else lake.newest(newest.account, with_snapshots=True)
    if before is not None and before.snapshots and not before.listed_snapshots:
        raise CaptureError(
            f"/snapshots lists nothing, but when it was last captured it listed {before.snapshots} snapshots",
            advice="if they are really gone, give --allow-empty",
        )
