"""How snapshot-growth goes on: a robust line through what was observed, and how far the past strayed from one.

closing   observed periods of a series   6 7 9 9 · 12 13    complete ones, and the last
slope     median of the slopes between any two of them (Theil-Sen), so that no single outlier bends it
forecast  the last level and a slope more for every period
low/high  wider by how far four in five past stretches of that length strayed, and by the slopes that fit as well
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from genesis_etl.errors import ReportError
from genesis_etl.text import shown

LEAST: Final = 5  # complete observed periods
MOST: Final = 1000  # periods ahead
METHOD: Final = (
    "Theil-Sen slope (median of all pairwise slopes) over the closings of the complete observed periods shown, "
    "from the last level on, and likewise over their GiB; low and high: 80 % by how far past stretches of that length "
    "strayed, and by Sen's slope interval"
)
OPTION: Final = f"append this many periods with basis forecast; needs {LEAST} complete observed periods"
COLUMNS: Final = {
    "low": "with --forecast: lower end of the closing, 80 %, from past strays off the Theil-Sen slope",
    "high": "with --forecast: upper end of the closing, 80 %, likewise",
    "gib_low": "with --forecast: lower end of gib_closing, likewise",
    "gib_high": "with --forecast: upper end of gib_closing, likewise",
}
_SHARE: Final = 0.8  # of the past that lies within low and high
_NORMAL: Final = 1.2816  # its quantile of the normal distribution
_NOISE: Final = 1e-9  # what floats add to whole numbers
_DIGITS: Final = 3  # of a GiB

Floats = npt.NDArray[np.float64]


def extrapolate(levels: Sequence[float | None], ahead: int) -> tuple[Floats, Floats, Floats]:
    """Return value, low and high of the next periods; `levels` are one a period, null where nothing was observed.

    The last level must be there: it is where the future begins. Nothing is rounded, nor kept from falling below 0.
    """
    y = np.array([np.nan if level is None else level for level in levels], dtype=np.float64)
    (x,) = np.nonzero(~np.isnan(y))
    one, other = np.triu_indices(len(x), 1)
    slopes = np.sort((y[x[other]] - y[x[one]]) / (x[other] - x[one]))
    slope = float(np.median(slopes))
    # Sen's interval: the ranks that Kendall's S, without a trend, leaves between.
    spread = _NORMAL * np.sqrt(len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18)
    lowest = slopes[max(0, int(np.floor((len(slopes) - spread) / 2)))]
    highest = slopes[min(len(slopes) - 1, int(np.ceil((len(slopes) + spread) / 2)))]
    steps = np.arange(1, ahead + 1, dtype=np.float64)
    value = y[-1] + slope * steps
    strayed = _strays(y[x[0] : x[-1] + 1], slope, ahead)
    return value, value - strayed - (slope - lowest) * steps, value + strayed + (highest - slope) * steps


def _strays(y: Floats, slope: float, ahead: int) -> Floats:
    """Return how far the series strayed from the slope over 1, 2, … periods, four times in five.

    Over more than half of its span there is too little to count; from there on it grows with the root of the time.
    """
    half = max(1, (len(y) - 1) // 2)
    found = np.zeros(ahead)
    for step in range(1, ahead + 1):
        over = min(step, half)
        moved = np.abs(y[over:] - y[:-over] - slope * over)
        moved = moved[~np.isnan(moved)]
        if len(moved):
            found[step - 1] = np.quantile(moved, _SHARE) * np.sqrt(step / over)
    return np.maximum.accumulate(found)


def append_forecast(growth: pa.Table, by: str, ahead: int, price: float | None = None) -> pa.Table:
    """Append so many periods to each series of snapshot-growth, and the columns low to gib_high to all rows.

    ReportError where a series has fewer than five complete observed periods, or there is none.
    """
    series: dict[str | None, dict[str | None, list[dict[str, Any]]]] = {}
    for row in growth.to_pylist():
        series.setdefault(row["account"], {}).setdefault(row["region"], []).append(row)
    if not series:
        raise ReportError("there are no periods to forecast from", advice="show more with --since and --until")
    rows: list[dict[str, Any]] = []
    for account, regions in series.items():
        observed = min(sum(map(_is_whole, each)) for each in regions.values())
        if observed < LEAST:
            raise ReportError(
                f"a forecast needs {LEAST} complete observed periods, {_whose(account)} {observed}",
                advice="show more with --since, a shorter --by, or another --account",
            )
        future = [row for region in regions.values() for row in _future(region, by, ahead, price)]
        rows += [row for region in regions.values() for row in region] + future
    rows.sort(key=lambda row: (row["account"] or "", row["period"], row["region"] or ""))
    kinds = (pa.int64(), pa.int64(), pa.float64(), pa.float64())
    fields = [pa.field(name, kind) for name, kind in zip(COLUMNS, kinds, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema([*(field.with_nullable(True) for field in growth.schema), *fields]))


def _future(rows: list[dict[str, Any]], by: str, ahead: int, price: float | None) -> list[dict[str, Any]]:
    last = rows[-1]
    closings, lows, highs = extrapolate(_levels(rows, "closing"), ahead)
    sizes = _levels(rows, "gib_closing")
    gibs: list[tuple[float | None, float | None, float | None]] = [(None, None, None)] * ahead
    if sizes[-1] is not None and sum(size is not None for size in sizes) >= LEAST:
        bands = zip(*extrapolate(sizes, ahead), strict=True)
        gibs = [(_rounded(gib), _rounded(low), _rounded(high)) for gib, low, high in bands]
    found = []
    period, opening, gib_before = last["period"], last["closing"], last["gib_closing"]
    for value, low, high, (gib, gib_low, gib_high) in zip(closings, lows, highs, gibs, strict=True):
        period = next_period(period, by)
        closing = max(0, int(np.floor(value + 0.5)))
        least, most = max(0, int(np.floor(low + _NOISE))), max(0, int(np.ceil(high - _NOISE)))
        # Without a snapshot there are no GiB, whatever their own line says.
        gib, gib_low, gib_high = (
            0.0 if size is not None and count == 0 else size
            for size, count in ((gib, closing), (gib_low, least), (gib_high, most))
        )
        gib_low = gib_low if gib is None or gib_low is None else min(gib, gib_low)
        net = closing - opening
        found.append(
            {
                "account": last["account"],
                "period": period,
                "region": last["region"],
                "opening": opening,
                "closing": closing,
                "net": net,
                "growth_pct": 100.0 * net / opening if opening else None,
                "gib_closing": gib,
                "gib_net": None if gib is None or gib_before is None else round(gib - gib_before, 9),
                "cost_per_month": None if gib is None or price is None else gib * price,
                "basis": "forecast",
                "is_complete": False,
                "low": least,
                "high": most,
                "gib_low": gib_low,
                "gib_high": gib_high,
            }
        )
        opening, gib_before = closing, gib
    return found


def _rounded(gib: float) -> float:
    return round(max(0.0, float(gib)), _DIGITS)


def _whose(account: str | None) -> str:
    return "all accounts together show" if account is None else f"account {shown(account)} shows"


def _levels(rows: list[dict[str, Any]], column: str) -> list[float | None]:
    """Return the levels of the complete observed periods, and that of the last, which stands whatever it is."""
    levels = [row[column] if _is_whole(row) else None for row in rows]
    return [*levels[:-1], rows[-1][column]]


def _is_whole(row: dict[str, Any]) -> bool:
    """Tell whether a period was observed from its beginning to its end."""
    return bool(row["basis"] == "observed" and row["is_complete"])


def next_period(period: date, by: str) -> date:
    """Return the first day of the period after this one; `by` is day, week or month."""
    if by == "month":
        return (period.replace(day=1) + timedelta(days=31)).replace(day=1)
    return period + timedelta(days=7 if by == "week" else 1)
