"""What makes no capture, however well it was read: a clock that is off, an account that suddenly has nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from genesis_etl.api.clock import TOLERANCE
from genesis_etl.errors import CaptureError, SettingsError
from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.reading import Reading
from genesis_etl.reading.listeners import unheard
from genesis_etl.settings import Account, Settings
from genesis_etl.times import format_time


def time_of_capture(settings: Settings, account: Account) -> datetime:
    """Return the time that a capture taken now has; SettingsError where a simulated one meets a real endpoint."""
    if settings.now is None:
        return datetime.now(UTC)
    if not account.is_local:
        raise SettingsError(
            "GENESIS_ETL_NOW is for simulations against a sandbox on this machine",
            advice=f"unset it to capture {account.endpoint}",
        )
    return settings.now


def is_fresh(lake: Lake, newest: Capture | None, at: datetime, if_older_than: timedelta | None) -> bool:
    """Tell whether the newest capture is younger than that, counted from `at`, and its rows can be read.

    One of a later date is younger than anything.
    """
    if newest is None or if_older_than is None or at - newest.captured_at >= if_older_than:
        return False
    return lake.holds(newest)


def refuse_future(settings: Settings, newest: Capture | None, now: datetime) -> None:
    """Raise SettingsError where the clock is further behind the newest capture than `TOLERANCE`."""
    if settings.now is None and newest is not None and now < newest.captured_at - TOLERANCE:
        raise SettingsError(
            f"the clock says {format_time(now)}, but the newest capture of {newest.account} is of "
            f"{format_time(newest.captured_at)}",
            advice="set the clock right, nothing was written",
        )


def refuse_forgetting(lake: Lake, newest: Capture | None, reading: Reading, *, allow_empty: bool) -> None:
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
    if reading.snapshots is None or len(reading.snapshots):
        return
    before = newest if newest.snapshots is not None else lake.newest(newest.account, having="snapshots")
    if before is not None and before.snapshots and not before.listed_snapshots:
        raise CaptureError(
            f"/snapshots lists nothing, but when it was last captured it listed {before.snapshots} snapshots",
            advice="if they are really gone, give --allow-empty",
        )


def believed(lake: Lake, newest: Capture | None, reading: Reading, *, allow_empty: bool) -> Reading:
    """Return what was read, its instances left out where they went from some to none.

    That would look like all of them deleted, and costs less than a capture: they count as not read.
    """
    if newest is None or allow_empty or reading.instances is None or len(reading.instances):
        return reading
    before = newest if newest.instances is not None else lake.newest(newest.account, having="instances", notice=unheard)
    if before is None or not before.instances:
        return reading
    why = (
        f"/instances lists nothing, but when it was last captured it listed {before.instances} instances; "
        "if they are really gone, give --allow-empty"
    )
    return replace(reading, instances=None, refusals={**reading.refusals, "instances": why})
