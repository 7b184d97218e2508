"""Instants, dates and durations as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_etl.times import end_of, format_time, is_date, parse_duration, parse_time, today

INSTANTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]))


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        (" 90s ", timedelta(seconds=90)),
        ("36525d", timedelta(days=36525)),
    ],
)
def test_durations_are_numbers_with_a_unit(text: str, duration: timedelta) -> None:
    """Seconds, minutes, hours and days are told by one letter."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-1d", "1.5h", "1w", "7 d", "7D", "1h30m", "P7D", "٣d", "36526d", "999999999999d", "7d\n7d"]
)
def test_other_durations_are_refused(text: str) -> None:
    """What is no duration, or one that no date survives, is named in the refusal."""
    with pytest.raises(ValueError, match=r"is not a duration; write it as|is more than a century"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T16:30", datetime(2026, 11, 23, 16, 30, tzinfo=UTC)),
        ("2026-11-23 16:30:15", datetime(2026, 11, 23, 16, 30, 15, tzinfo=UTC)),
        ("2026-11-23T16:30:00Z", datetime(2026, 11, 23, 16, 30, tzinfo=UTC)),
        ("2026-11-23t16:30:00z", datetime(2026, 11, 23, 16, 30, tzinfo=UTC)),
        ("2026-11-23T16:30:00+01:00", datetime(2026, 11, 23, 15, 30, tzinfo=UTC)),
        ("2026-11-23T16", datetime(2026, 11, 23, 16, tzinfo=UTC)),
        ("2026-11-23T16:30:00+02", datetime(2026, 11, 23, 14, 30, tzinfo=UTC)),
        ("2026-11-23T16:30:00-0930", datetime(2026, 11, 24, 2, 0, tzinfo=UTC)),
        ("2026-11-23T16:30:00.1Z", datetime(2026, 11, 23, 16, 30, 0, 100_000, tzinfo=UTC)),
        ("2026-11-23T16:30:00,954Z", datetime(2026, 11, 23, 16, 30, 0, 954_000, tzinfo=UTC)),
        ("2026-11-23T16:30:00.123456789Z", datetime(2026, 11, 23, 16, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_times_are_utc_where_no_zone_stands(text: str, moment: datetime) -> None:
    """ISO 8601 dates and instants are read, with and without fraction, as instants in UTC."""
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026", "2026-11", "20261123", "2026-13-01", "2026-02-30", "2026-W48-1", "23.11.2026"),
        *("2026-11-23T", "2026-11-23T25:00", "2026-11-23T16:30:61Z", "2026-11-23T16:30+25:00", "2026-11-23Z"),
        *("0001-01-01T00:00+05:00", "9999-12-31T23:00-05:00", "２０２６-11-23", "1764000000", "x" * 500),
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """What is no time is refused in one short line that shows how to write one."""
    with pytest.raises(ValueError, match="is not a time; write 2026-11-23 or 2026-11-23T16:30:00Z") as caught:
        parse_time(text)
    assert len(str(caught.value)) < 120


@given(INSTANTS)
def test_a_written_instant_reads_back(moment: datetime) -> None:
    """format_time and parse_time are each other's inverse, and the form ends in Z."""
    try:
        text = format_time(moment)
    except OverflowError:
        return  # no UTC for the first hours of year 1 and the last of 9999
    assert text.endswith("Z")
    assert parse_time(text) == moment


def test_a_date_as_an_end_includes_its_day() -> None:
    """`--until 2026-11-23` ends with that day, `--until 2026-11-23T12:00` at that instant."""
    assert end_of("2026-11-23") == datetime(2026, 11, 24, tzinfo=UTC)
    assert end_of("2026-11-23T12:00") == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert is_date(" 2026-11-23 ")
    assert not is_date("2026-11-23T12:00")


def test_the_last_date_has_no_end() -> None:
    """A date after which the calendar ends is refused instead of overflowing."""
    with pytest.raises(ValueError, match="too late a date"):
        end_of("9999-12-31")


def test_a_day_is_that_of_utc() -> None:
    """Late evening west of Greenwich is the next UTC day."""
    assert today(datetime(2026, 11, 23, 20, tzinfo=timezone(timedelta(hours=-8)))) == date(2026, 11, 24)
