"""Draws rows as SVG to be put into a page. Every axis begins at zero.

Colours and lines come from the page's style, so a drawing follows its dark mode. What a drawing shows stands in the
page as a table too, whose rows its periods are, so it carries no text for screen readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import ceil, floor, log10
from typing import Any, Final

from markupsafe import Markup

from genesis_etl.dashboard.words import number

Row = dict[str, Any]

WIDTH: Final = 420
LEFT: Final = 50  # of what is drawn, for the axis
INNER: Final = WIDTH - LEFT - 6
_TOP: Final = 10
_HEIGHT: Final = 150
_LABELS: Final = 4  # along the time
_STEPS: Final = (1, 2, 2.5, 5, 10)

# The columns between which a forecast of a level lies.
_BAND: Final = {"closing": ("low", "high"), "gib_closing": ("gib_low", "gib_high")}


class _Plot:
    """A drawing of as many periods as there are, each as wide as any other."""

    def __init__(self, labels: Sequence[str], low: float, high: float, *, counts: bool) -> None:
        self._ticks = ticks(low, high, counts=counts)
        self._low, self._high = self._ticks[0], self._ticks[-1]
        self._width = INNER / len(labels)
        self._parts: list[str] = []
        for tick in self._ticks:
            y = self.y(tick)
            self.add(f'<path class="{"zero" if tick == 0 else "grid"}" d="M{LEFT} {y}H{LEFT + INNER}"/>')
            self.add(f'<text class="end" x="{LEFT - 6}" y="{float(y) + 4:g}">{number(abs(tick))}</text>')
        for place, text in _apart(labels):
            x = LEFT + (place + 0.5) * self._width
            side = "first" if x < LEFT + 24 else "end" if x > LEFT + INNER - 24 else "mid"
            at = LEFT if side == "first" else LEFT + INNER if side == "end" else x
            self.add(f'<text class="{side}" x="{at:.1f}" y="{_TOP + _HEIGHT + 17}">{text}</text>')

    def add(self, part: str) -> None:
        self._parts.append(part)

    def y(self, value: float) -> str:
        return f"{_TOP + _HEIGHT * (self._high - value) / (self._high - self._low):.1f}"

    def x(self, place: int) -> str:
        """Return the middle of a period."""
        return f"{LEFT + (place + 0.5) * self._width:.1f}"

    def spans(self, places: Sequence[int]) -> None:
        """Shade periods."""
        parts = [
            f"M{LEFT + start * self._width:.1f} {_TOP}V{_TOP + _HEIGHT}H{LEFT + end * self._width:.1f}V{_TOP}z"
            for start, end in _stretches(places)
        ]
        if parts:
            self.add(f'<path class="gaps" d="{"".join(parts)}"/>')

    def bars(self, values: Sequence[tuple[int, float]], kind: str) -> None:
        """Draw a bar from zero in each of these periods."""
        zero, wide = self.y(0), min(self._width * 0.84, 36)
        parts = []
        for place, value in values:
            x = LEFT + (place + 0.5) * self._width - wide / 2
            parts.append(f"M{x:.1f} {zero}V{self.y(value)}h{wide:.1f}V{zero}z")
        if parts:
            self.add(f'<path class="{kind}" d="{"".join(parts)}"/>')

    def line(self, points: Sequence[tuple[int, float]], kind: str) -> None:
        """Draw a line through these points, or a dot for a single one."""
        if len(points) == 1:
            self.dot(*points[0])
        elif points:
            self.add(f'<path class="{kind}" d="M{"L".join(f"{self.x(at)} {self.y(value)}" for at, value in points)}"/>')

    def band(self, points: Sequence[tuple[int, float, float]]) -> None:
        """Shade what lies between a low and a high of each of these periods."""
        upper = [f"{self.x(place)} {self.y(high)}" for place, _, high in points]
        lower = [f"{self.x(place)} {self.y(low)}" for place, low, _ in reversed(points)]
        self.add(f'<path class="band" d="M{"L".join([*upper, *lower])}z"/>')

    def dot(self, place: int, value: float) -> None:
        self.add(f'<circle class="dot" cx="{self.x(place)}" cy="{self.y(value)}" r="3.5"/>')

    def svg(self) -> Markup:
        """Return the drawing as an element that takes the width it is given and that assistive technology skips."""
        size = f"0 0 {WIDTH} {_TOP + _HEIGHT + 24}"
        # Only numbers and dates were put into it.
        return Markup(
            f'<svg viewBox="{size}" aria-hidden="true" focusable="false">{"".join(self._parts)}'
            f'<path class="rule" d="M0 {_TOP}V{_TOP + _HEIGHT}"/></svg>'
        )


def draw_level(rows: Sequence[Row], field: str, by: str) -> Markup:
    """Draw a level of snapshot-growth over time: broken at gaps, with the band of a forecast."""
    low, high = _BAND[field]
    levels = [row[each] for row in rows for each in (field, high) if row.get(each) is not None]
    plot = _Plot([_label(row["period"], by) for row in rows], 0, max(levels, default=0), counts=field == "closing")
    plot.spans([place for place, row in enumerate(rows) if row["basis"] == "gap"])
    seen: list[tuple[int, float]] = []
    last: tuple[int, float] | None = None
    for place, row in enumerate(rows):
        if row["basis"] in ("gap", "forecast") or row[field] is None:
            plot.line(seen, "seen")
            seen = []
        else:
            last = (place, row[field])
            seen.append(last)
    plot.line(seen, "seen")
    ahead = [(place, row) for place, row in enumerate(rows) if row["basis"] == "forecast" and row[field] is not None]
    if last is not None:
        if ahead:
            # What is foretold leads on from what was seen, so the lines meet.
            plot.band([(*last, last[1]), *((place, row[low], row[high]) for place, row in ahead)])
            plot.line([last, *((place, row[field]) for place, row in ahead)], "ahead")
        plot.dot(*last)
    return plot.svg()


def draw_moves(rows: Sequence[Row], by: str) -> Markup:
    """Draw what was created as bars upwards and what was deleted as bars downwards."""
    # Of what came and went in the period of the first capture only the part after it is known.
    seen = [(place, row) for place, row in enumerate(rows) if row["basis"] not in ("forecast", "partial")]
    most, least = (max((row[name] for _, row in seen), default=0) for name in ("created", "deleted"))
    plot = _Plot([_label(row["period"], by) for row in rows], -least, most, counts=True)
    plot.spans([place for place, row in seen if row["basis"] == "gap"])
    plot.bars([(place, row["created"]) for place, row in seen if row["created"]], "more")
    plot.bars([(place, -row["deleted"]) for place, row in seen if row["deleted"]], "less")
    return plot.svg()


def draw_months(rows: Sequence[Row], field: str) -> Markup:
    """Draw a bar for each month; a row without a period stands for all before."""
    most = max((row[field] for row in rows if row[field] is not None), default=0)
    labels = ["earlier" if row["period"] is None else _label(row["period"], "month") for row in rows]
    plot = _Plot(labels, 0, most, counts=field == "snapshots")
    plot.bars([(place, row[field]) for place, row in enumerate(rows) if row[field]], "more")
    return plot.svg()


def draw_health(rows: Sequence[Row]) -> Markup:
    """Draw the captures of each day: orange where a request was retried, shaded without any."""
    most = max((row["captures"] for row in rows), default=0)
    plot = _Plot([_label(row["day"], "day") for row in rows], 0, most, counts=True)
    plot.spans([place for place, row in enumerate(rows) if not row["captures"]])
    for kind, is_retried in (("more", False), ("less", True)):
        days = [(place, row["captures"]) for place, row in enumerate(rows) if bool(row["retries"]) is is_retried]
        plot.bars([day for day in days if day[1]], kind)
    return plot.svg()


def ticks(low: float, high: float, *, counts: bool) -> list[float]:
    """Return the values of an axis from 0 (or below it) to what holds the highest; of counts, whole ones."""
    reach = high - low or 1
    power = 10.0 ** floor(log10(reach / 4))
    step = next(each * power for each in _STEPS if each * power * 4.0001 >= reach)
    if counts:
        step = max(1.0, ceil(step))
    first, last = floor(low / step), max(ceil(high / step), floor(low / step) + 1)
    return [round(place * step, 9) for place in range(first, last + 1)]


def _apart(labels: Sequence[str]) -> list[tuple[int, str]]:
    """Return a few labels along the time, those of the ends among them, and where they stand."""
    count = min(_LABELS, len(labels))
    places = sorted({round(each * (len(labels) - 1) / max(count - 1, 1)) for each in range(count)})
    return [(place, labels[place]) for place in places]


def _label(period: date, by: str) -> str:
    return f"{period:%b %Y}" if by == "month" else f"{period.day} {period:%b}"


def _stretches(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the unbroken stretches of places, each with its end."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found
