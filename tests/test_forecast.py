"""The forecast of snapshot-growth: numbers worked out by hand, laws, and what it refuses."""

from __future__ import annotations

import itertools
import statistics
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_etl.errors import ReportError
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query import forecast
from genesis_etl.query.report import describe, find_report
from tests.conftest import fewer
from tests.histories import at, land, land_all, row, rows

GROWTH = list(find_report("snapshot-growth").columns)
levels = st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=30).filter(
    lambda drawn: sum(level is not None for level in drawn) >= forecast.LEAST
)


def history(*counts: int | None, month: str = "2026-11") -> dict[str, Any]:
    """Return captures of so many snapshots of 2 GiB, one a day; null for a day without a capture."""
    return {
        f"{month}-{day:02} 12:00": [row(f"s{n}", size_gib=2.0) for n in range(count)]
        for day, count in enumerate(counts, 1)
        if count is not None
    }


def test_a_straight_line_goes_straight_on() -> None:
    """Without any stray the forecast is the line, low and high are on it, and every cell is consistent."""
    land_all(Lake("lake"), history(1, 3, 5, 7, None, 11, 13, 15))
    table = OpenLake(Lake("lake"), (), 0.5).report_rows("snapshot-growth", since="2026-11-05", until="2026-11-06")
    assert table.column_names == GROWTH
    table = OpenLake(Lake("lake"), (), 0.5).report_rows("snapshot-growth", since="2026-11-01", forecast=2)
    assert table.column_names == [*GROWTH, "low", "high", "gib_low", "gib_high"]
    assert [tuple(each.values()) for each in table.to_pylist()][4:] == [
        ("default", date(2026, 11, 5), None, 7, 0, 0, 7, 0, 0.0, 14.0, 0.0, 7.0, "gap", True, None, None, None, None),
        (
            "default",
            date(2026, 11, 6),
            None,
            7,
            4,
            0,
            11,
            4,
            400 / 7,
            22.0,
            8.0,
            11.0,
            "observed",
            True,
            None,
            None,
            None,
            None,
        ),
        (
            "default",
            date(2026, 11, 7),
            None,
            11,
            2,
            0,
            13,
            2,
            200 / 11,
            26.0,
            4.0,
            13.0,
            "observed",
            True,
            None,
            None,
            None,
            None,
        ),
        (
            "default",
            date(2026, 11, 8),
            None,
            13,
            2,
            0,
            15,
            2,
            200 / 13,
            30.0,
            4.0,
            15.0,
            "observed",
            False,
            None,
            None,
            None,
            None,
        ),
        (
            "default",
            date(2026, 11, 9),
            None,
            15,
            None,
            None,
            17,
            2,
            200 / 15,
            34.0,
            4.0,
            17.0,
            "forecast",
            False,
            17,
            17,
            34.0,
            34.0,
        ),
        (
            "default",
            date(2026, 11, 10),
            None,
            17,
            None,
            None,
            19,
            2,
            200 / 17,
            38.0,
            4.0,
            19.0,
            "forecast",
            False,
            19,
            19,
            38.0,
            38.0,
        ),
    ]


def test_one_wild_day_does_not_bend_the_line() -> None:
    """The slope is the median of all pairs of observed periods, so a single outlier is passed over."""
    value, low, high = forecast.extrapolate([10, 11, 90, 13, 14, 15, 16, 17], 3)
    assert value.tolist() == [18, 19, 20]
    assert (low <= value).all()
    assert (value <= high).all()


def test_the_interval_by_hand() -> None:
    """It widens by the 80 % quantile of past strays over as many periods, and by Sen's interval of the slopes."""
    value, low, high = forecast.extrapolate([0.0, 1.0, 2.0, 3.0, 9.0], 2)
    # slopes 1 1 1 1 1 1 2.25 2.67 3.5 6; strays over one period 0 0 0 5, over two 0 0 5
    assert value.tolist() == [10, 11]
    reach = 1.2816 * (5 * 4 * 15 / 18) ** 0.5
    slopes = [1, 1, 1, 1, 1, 1, 9 / 4, 8 / 3, 7 / 2, 6]
    top = slopes[int(np.ceil((10 + reach) / 2))]
    one, two = 0.4 * 5, 0.6 * 5
    assert low.tolist() == pytest.approx([10 - one, 11 - two])
    assert high.tolist() == pytest.approx([10 + one + (top - 1), 11 + two + 2 * (top - 1)])


@given(drawn=levels, ahead=st.integers(1, 40))
def test_the_slope_is_the_median_of_all_pairs(drawn: list[int | None], ahead: int) -> None:
    """It is what plain Python finds, low and high enclose it, and they never come nearer with time."""
    if drawn[-1] is None:
        drawn.append(7)
    value, low, high = forecast.extrapolate(drawn, ahead)
    known = [(place, level) for place, level in enumerate(drawn) if level is not None]
    slope = statistics.median((v - u) / (y - x) for (x, u), (y, v) in itertools.combinations(known, 2))
    assert value.tolist() == pytest.approx([drawn[-1] + slope * step for step in range(1, ahead + 1)], abs=1e-6)
    for width in (value - low, high - value):
        assert width[0] >= 0
        assert (np.diff(width) >= -1e-9).all()


@given(drawn=levels, shift=st.integers(0, 1000), ahead=st.integers(1, 5))
def test_a_forecast_moves_with_its_series(drawn: list[int | None], shift: int, ahead: int) -> None:
    """Adding a number to all levels adds it to the forecast; doubling them doubles it."""
    if drawn[-1] is None:
        drawn.append(7)
    plain = np.array(forecast.extrapolate(drawn, ahead))
    moved = np.array(forecast.extrapolate([None if level is None else level + shift for level in drawn], ahead))
    doubled = np.array(forecast.extrapolate([None if level is None else level * 2 for level in drawn], ahead))
    assert moved == pytest.approx(plain + shift, abs=1e-6)
    assert doubled == pytest.approx(plain * 2, abs=1e-6)


@pytest.mark.parametrize("count", [13, 90])
def test_four_in_five_future_levels_lie_within(count: int) -> None:
    """Over simulated accounts, a third as far ahead as was seen, low and high hold between 65 and 95 % of them."""
    random, held = np.random.default_rng(7), []
    for _ in range(200):
        ahead = count // 3
        steps = random.poisson(2.0, count + ahead) - random.poisson(1.7, count + ahead)
        walk = 50.0 + np.cumsum(steps)
        _, low, high = forecast.extrapolate(walk[:count].tolist(), ahead)
        held.append((low <= walk[count:]) & (walk[count:] <= high))
    assert 0.65 <= np.mean(held) <= 0.95


def test_nothing_falls_below_zero() -> None:
    """A shrinking account ends at 0 snapshots and 0 GiB, whatever the slope."""
    land_all(Lake("lake"), history(13, 11, 9, 7, 5, 3, 1))
    found = open_lake("lake").report_rows("snapshot-growth", since="2026-11-01", forecast=3).to_pylist()[-3:]
    columns = ("opening", "closing", "net", "growth_pct", "gib_closing", "low", "gib_low")
    cells = [tuple(r[column] for column in columns) for r in found]
    assert cells == [(1, 0, -1, -100.0, 0.0, 0, 0.0), (0, 0, 0, None, 0.0, 0, 0.0), (0, 0, 0, None, 0.0, 0, 0.0)]


def test_gib_have_a_band_of_their_own() -> None:
    """gib_low and gib_high come from the GiB of the periods as low and high do from the counts."""
    sizes = [1.0, 2.0, 4.0, 3.5, 9.0, 6.0, 8.0, 7.5]
    states = {f"2026-11-{day:02}": rows("s", size_gib=size) for day, size in enumerate(sizes, 1)}
    land_all(Lake("lake"), states)
    found = open_lake("lake").report_rows("snapshot-growth", since="2026-11-01", forecast=3).to_pylist()
    value, low, high = forecast.extrapolate([None, *sizes[1:]], 3)
    assert [each["gib_low"] for each in found[-3:]] == pytest.approx(low.clip(0), abs=5e-4)
    assert [each["gib_closing"] for each in found[-3:]] == pytest.approx(value, abs=5e-4)
    assert [each["gib_high"] for each in found[-3:]] == pytest.approx(high, abs=5e-4)
    assert all(each["gib_low"] < each["gib_closing"] < each["gib_high"] for each in found[-3:])
    assert {each["gib_low"] for each in found[:-3]} == {None}


def test_all_accounts_together_have_a_forecast() -> None:
    """With `total` it goes on from the sum, and needs five complete observed periods of it."""
    for account in ("one", "two"):
        land_all(Lake("lake"), history(1, 2, 3, 4, 5, 6, 7), account)
    options: dict[str, Any] = {"since": "2026-11-01", "total": True}
    last = open_lake("lake").report_rows("snapshot-growth", forecast=1, **options).to_pylist()[-1]
    assert (last["account"], last["closing"], last["gib_closing"], last["basis"]) == (None, 16, 32.0, "forecast")
    with pytest.raises(ReportError, match="all accounts together show 4") as caught:
        open_lake("lake").report_rows("snapshot-growth", forecast=1, as_of="2026-11-06", **options)
    assert caught.value.exit_code == 2


def test_sizes_that_are_not_known_are_not_forecast() -> None:
    """GiB stay null where the last size, or five of them, are not known; counts are forecast all the same."""
    lake = Lake("lake")
    for day in range(1, 8):
        sizes = {"a": 1.0 if day > 3 else None, "b": None if day == 7 else 1.0, "c": 1.0 * day}
        for account, size in sizes.items():
            land(lake, at(f"2026-11-{day:02}"), rows("s", size_gib=size), account)
    found = open_lake("lake").report_rows("snapshot-growth", since="2026-11-01", forecast=1).to_pylist()
    cells = [
        (r["closing"], r["gib_closing"], r["gib_net"], r["cost_per_month"], r["gib_low"], r["gib_high"])
        for r in found
        if r["basis"] == "forecast"
    ]
    assert cells == [(1, *[None] * 5), (1, *[None] * 5), (1, 8.0, 1.0, None, 8.0, 8.0)]


@pytest.mark.parametrize(
    ("by", "periods"),
    fewer(
        [
            ("day", [date(2026, 7, 6), date(2026, 7, 7)]),
            ("week", [date(2026, 7, 6), date(2026, 7, 13)]),
            ("month", [date(2026, 8, 1), date(2026, 9, 1)]),
        ],
        1,
    ),
)
def test_periods_go_on_as_they_are(by: str, periods: list[date]) -> None:
    """Days, weeks and months follow the last that is shown, for every account and region, in the report's order."""
    lake = Lake("lake")
    for month in range(1, 8):
        for day in range(1, 6):
            for account in ("one", "two"):
                land(lake, at(f"2026-{month:02}-{day:02}"), [row("a", "R1"), row("b", "R2")], account)
    table = open_lake("lake").report_rows("snapshot-growth", by=by, since="2026-01-01", per_region=True, forecast=2)
    found = [(r["account"], r["period"], r["region"]) for r in table.to_pylist()]
    assert found == sorted(found)
    ahead = [(r["account"], r["period"], r["region"]) for r in table.to_pylist() if r["basis"] == "forecast"]
    assert ahead == [(a, period, region) for a in ("one", "two") for period in periods for region in ("R1", "R2")]


def test_a_forecast_goes_on_from_the_end_that_is_shown() -> None:
    """With --until or --as-of it begins there, from what was known or shown by then."""
    land_all(Lake("lake"), history(0, 1, 2, 3, 4, 5, 6, 50, 60))
    for option in ({"until": "2026-11-07"}, {"as_of": "2026-11-07"}):
        last = (
            open_lake("lake").report_rows("snapshot-growth", since="2026-11-01", forecast=1, **option).to_pylist()[-1]
        )
        assert (last["period"], last["closing"]) == (date(2026, 11, 8), 7)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "snapshot-growth",
            {"forecast": 3},
            "needs 5 complete observed periods, account default shows 4",
        ),
        ("snapshot-growth", {"forecast": 3, "since": "2026-11-03"}, "account default shows 3"),
        ("snapshot-growth", {"forecast": 3, "by": "month"}, "account default shows 0"),
        ("snapshot-growth", {"forecast": 3, "region": "R9"}, "there are no periods to forecast from"),
        ("snapshot-growth", {"forecast": 0}, "--forecast 0: expected a number of periods from 1 to 1000"),
        ("snapshot-growth", {"forecast": 1001}, "--forecast 1001: expected"),
        ("snapshot-growth", {"forecast": "x"}, "--forecast x: expected"),
        ("snapshot-growth", {"forecast": True}, "--forecast True: expected"),
        ("region-coverage", {"forecast": 3}, "region-coverage has no --forecast; it has --account"),
    ],
)
def test_what_a_forecast_refuses(name: str, options: Any, message: str) -> None:
    """Under five complete observed periods there is no forecast; gaps, the first day and the newest do not count."""
    land_all(Lake("lake"), history(1, 2, None, 3, 4, 5, 6))
    with pytest.raises(ReportError, match=message) as caught:
        open_lake("lake").report_rows(name, **options)
    assert caught.value.exit_code == 2


def test_the_method_is_named_where_the_columns_are() -> None:
    """`--describe` says how low and high came to be."""
    meanings = {each["name"]: each["meaning"] for each in describe("snapshot-growth").to_pylist()}
    assert "Theil-Sen" in meanings["low"]
    assert "forecast" in meanings["--forecast"]
