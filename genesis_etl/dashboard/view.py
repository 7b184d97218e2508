"""What stands on the page of an account, of a region of it, and of all accounts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.history import History
from genesis_etl.dashboard.listings import Listing, Missing, Row, Sources
from genesis_etl.dashboard.periods import captured


@dataclass
class Money:
    """The rows of usage by month of an account, of all or of a region of these, in their order."""

    months: Sequence[Row] = ()

    @property
    def running(self) -> Row | None:
        """Return the month of the newest capture, as far as it has come."""
        return self.months[-1] if self.months else None

    @property
    def last(self) -> Row | None:
        """Return the month before it; where its basis is `partial` it used more than is known."""
        return self.months[-2] if len(self.months) > 1 else None


@dataclass
class Scope:
    """What the page shows of an account, of all, or of one region of these: figures, money and growth."""

    region: str | None
    images: int = 0
    images_then: int | None = None
    growth: dict[str, list[Row]] = field(default_factory=dict)
    money: Money = field(default_factory=Money)

    @property
    def days(self) -> list[Row]:
        """Return the growth rows by day that are no forecast."""
        return [row for row in self.growth.get("day", []) if row["basis"] != "forecast"]

    @property
    def seen(self) -> list[Row]:
        """Return the growth rows by day from the first capture on: what was before it is no growth that was seen."""
        return captured(self.days)

    @property
    def now(self) -> Row:
        """Return the growth row of the newest capture's day."""
        return self.days[-1] if self.days else {"closing": 0, "gib_closing": None, "cost_per_month": None}

    @property
    def then(self) -> Row | None:
        """Return the growth row of 30 days before the newest capture's, if it was captured then."""
        return next((row for row in self.seen if row["period"] == self.seen[-1]["period"] - limits.BACK), None)

    @property
    def lately(self) -> list[Row]:
        """Return the growth rows of the last 30 days, as far as their days were captured from the beginning."""
        seen = self.seen
        return [row for row in seen if row["period"] > seen[-1]["period"] - limits.BACK and row["basis"] != "partial"]

    @property
    def forecast(self) -> list[Row]:
        """Return the growth rows by day that are a forecast."""
        return [row for row in self.growth.get("day", []) if row["basis"] == "forecast"]


@dataclass
class View:
    """One account on the page, or, where it has no name, all of them together."""

    account: str | None
    first: datetime
    newest: datetime
    is_new: bool  # captured for less time than changes are shown for
    captures: int
    are_snapshots_known: bool
    regions: list[str]
    retired: set[str]
    scopes: list[Scope]
    retention: list[Row]
    freed: Listing
    sources: Sources
    missing: Missing
    made: list[Row]
    changes: Listing
    change_counts: list[tuple[str, int]]
    coverage: list[Row] = field(default_factory=list)
    matrix: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)

    @property
    def kept(self) -> Row:
        """Return the row of the retention that the page lists."""
        return next(row for row in self.retention if row["keep"] == limits.KEEP)


@dataclass
class Figures:
    """Everything on a page."""

    views: list[View]
    overview: list[Row]
    since: str
    price: float | None
    histories: dict[tuple[str, str], History]
