"""The whole story in one place: read an account, prove it, make rows of it, land them in the lake."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow.compute as pc

from genesis_etl.api import Client, Stop
from genesis_etl.capture import Progress, Reading, read_account
from genesis_etl.commit import Capture
from genesis_etl.compact import compact_when_due
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
from genesis_etl.redact import clean_errors, redact
from genesis_etl.settings import Account, Settings
from genesis_etl.table import Rows, to_rows
from genesis_etl.times import format_time
from genesis_etl.version import __version__

TOLERANCE: Final = timedelta(minutes=5)

Notice = Callable[[str], None]


def export(
    settings: Settings,
    accounts: tuple[str, ...] = (),
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> list[Capture]:
    """Capture every account (or those named) and land it in the lake; return the captures landed.

    Accounts are captured side by side, `settings.workers` at a time, each within its own rate.
    With `compacts`, an account of which many captures lie unfolded has its finished days folded after that.
    Tries every account, then raises ExportFailed with `.landed` and `.failed` if any of them failed.
    """
    chosen = settings.chosen(accounts)
    stop = Stop()

    def one(account: Account) -> Capture | GenesisEtlError:
        whose = "" if len(chosen) == 1 else f" of {account.name}"
        try:
            return export_account(
                settings,
                account,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
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
        raise ExportFailed(landed, failed)
    return landed


@clean_errors()
def export_account(
    settings: Settings,
    account: Account,
    *,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    compacts: bool = True,
    progress: Progress | None = None,
    notice: Notice | None = None,
    stop: Stop | None = None,
) -> Capture:
    """Capture one account and land it; raises whatever made that impossible, and then nothing has changed.

    Where several are captured side by side, `stop` ends what any of them waits for.
    """
    # Arrow imports pandas with its first array; while the first answer is awaited, that costs nothing.
    threading.Thread(target=importlib.import_module, args=("pandas",), daemon=True).start()
    lake = Lake(settings.lake)
    newest = lake.newest(account.name)
    captured_at = _captured_at(settings, account, newest)
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
        try:
            rows = to_rows(reading.images, reading.snapshots)
        except BadPage as error:
            error.where, error.advice = "GET /images and /snapshots", "nothing was written, report what the API sent"
            raise
        if notice is not None:
            for note in _notes(reading, rows, without_snapshots=without_snapshots):
                notice(f"account {account.name}: {redact(note)}")
    capture = lake.land(
        rows.table,
        account=account.name,
        captured_at=captured_at,
        finished_at=captured_at + timedelta(seconds=time.monotonic() - began),
        images=len(reading.images.keys() | (reading.snapshots or {}).keys()),
        snapshots=None if reading.snapshots is None else len(reading.snapshots),
        requests=client.requests,
        retries=client.retries,
        passes=reading.passes,
        endpoint=account.endpoint,
        etl_version=__version__,
        listed_snapshots=reading.listed_snapshots,
    )
    if compacts:
        try:
            compact_when_due(lake, account.name, captured_at)
        except LakeError as error:
            # The capture has landed; what hinders folding hinders no further capture.
            if notice is not None:
                notice(f"account {account.name}: finished days were not folded: {error}")
    return capture


@clean_errors()
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


def _captured_at(settings: Settings, account: Account, newest: Capture | None) -> datetime:
    if settings.now is not None:
        if not account.is_local:
            raise SettingsError(
                "GENESIS_ETL_NOW is for simulations against a sandbox on this machine; unset it to capture "
                + account.endpoint
            )
        return settings.now
    now = datetime.now(UTC)
    if newest is not None and now < newest.captured_at - TOLERANCE:
        raise SettingsError(
            f"the clock says {format_time(now)}, but the newest capture of {account.name} is of "
            f"{format_time(newest.captured_at)}; set the clock right, nothing was written"
        )
    return now


def refuse_clock(settings: Settings, client: Client) -> None:
    """Raise SettingsError where the API's `Date` header is further from our clock than `TOLERANCE`."""
    skew = client.clock_skew
    if settings.now is None and skew is not None and abs(skew) > TOLERANCE.total_seconds():
        raise SettingsError(
            f"the clock of this machine is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the API's; "
            "set it right, nothing was written"
        )


def _refuse_forgetting(lake: Lake, newest: Capture | None, reading: Reading, *, allow_empty: bool) -> None:
    """Refuse an answer that would look like everything deleted at once."""
    if newest is None or allow_empty:
        return
    only_in_snapshots = 0 if newest.snapshots is None else newest.snapshots - newest.listed_snapshots
    listed = newest.images - only_in_snapshots
    if listed and not reading.images:
        raise CaptureError(
            f"/images lists nothing, but in the capture before it listed {listed} images; "
            "if they are really gone, give --allow-empty"
        )
    if reading.snapshots != {}:
        return
    before = newest if newest.snapshots is not None else lake.newest(newest.account, with_snapshots=True)
    if before is not None and before.snapshots and not before.listed_snapshots:
        raise CaptureError(
            f"/snapshots lists nothing, but when it was last captured it listed {before.snapshots} snapshots; "
            "if they are really gone, give --allow-empty"
        )


def _notes(reading: Reading, rows: Rows, *, without_snapshots: bool) -> Iterator[str]:
    yield from rows.notes
    if reading.refusal is not None:
        yield f"captured from /images alone, /snapshots was refused ({reading.refusal})"
    elif without_snapshots:
        yield "captured from /images alone, as asked"
