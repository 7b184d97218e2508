"""Every picture of the page: accounts first, then their regions, as far as the page has room for."""

from __future__ import annotations

from markupsafe import Markup

from genesis_etl.dashboard import charts, limits
from genesis_etl.dashboard.listings import Row
from genesis_etl.dashboard.periods import captured
from genesis_etl.dashboard.view import Figures, Scope, View

# Which view, which region (None: all), what, and by which period.
Key = tuple[int, str | None, str, str]
_LEAST = 2  # periods that make a picture


def draw(figures: Figures, unit: str) -> dict[Key, Markup]:
    """Return the pictures of a page; `unit` is the column of usage that months are drawn in, gib_months or cost."""
    drawn: dict[Key, Markup] = {}
    room = with_room(figures)
    for index, view in enumerate(figures.views):
        _draw_view(drawn, index, view, unit)
        for scope in view.scopes:
            if (index, scope.region) in room:
                _draw_scope(drawn, index, scope)
    return drawn


def with_room(figures: Figures) -> set[tuple[int, str | None]]:
    """Return the accounts, and then the regions of them, whose growth the page has room for."""
    regions = [
        (index, scope.region) for index, view in enumerate(figures.views) for scope in view.scopes[1:] if scope.growth
    ]
    accounts = [(index, None) for index in range(len(figures.views))]
    return {*accounts, *regions[: max(limits.SCOPES - len(accounts), 0)]}


def offset(rows: list[Row]) -> int:
    """Return how many rows of growth stand before those that are drawn."""
    return len(rows) - len(captured(rows))


def _draw_scope(drawn: dict[Key, Markup], index: int, scope: Scope) -> None:
    for by, rows in scope.growth.items():
        shown = captured(rows)
        if sum(row["basis"] != "forecast" for row in shown) < _LEAST:
            continue
        drawn[index, scope.region, "closing", by] = charts.draw_level(shown, "closing", by)
        if any(row["gib_closing"] is not None for row in shown):
            drawn[index, scope.region, "gib", by] = charts.draw_level(shown, "gib_closing", by)
        drawn[index, scope.region, "moves", by] = charts.draw_moves(shown, by)


def _draw_view(drawn: dict[Key, Markup], index: int, view: View, unit: str) -> None:
    months = view.scopes[0].money.months
    if any(row[unit] for row in months):
        drawn[index, None, "usage", "month"] = charts.draw_months(months, unit)
    if view.made:
        sized = any(row["gib"] for row in view.made)
        drawn[index, None, "made", "month"] = charts.draw_months(view.made, "gib" if sized else "snapshots")
    if view.health:
        drawn[index, None, "health", "day"] = charts.draw_health(view.health)
