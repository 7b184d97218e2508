"""Draws rows as SVG to be put into a page: Vega-Lite specifications, rendered offline by vl-convert.

The only importer of `vl_convert`. Colours are CSS variables of the page, so a drawing follows its dark mode;
what a drawing shows stands in the page as a table too, so it carries no text for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import vl_convert

from genesis_etl.text import shown

Spec = dict[str, Any]
Row = dict[str, Any]

_WIDTH: Final = 390
_HEIGHT: Final = 175
_DAY: Final = timedelta(days=1)
_ROOT: Final = re.compile(r'<svg [^>]*viewBox="([^"]+)"[^>]*>')
_FONT: Final = "system-ui, sans-serif"
_AXIS: Final[Spec] = {
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "gridColor": "var(--line)",
    "domainColor": "var(--rule)",
    "labelFontSize": 13,
    "titleFontSize": 13,
    "titleFontWeight": "normal",
    "labelFont": _FONT,
    "titleFont": _FONT,
    "ticks": False,
    "labelPadding": 6,
}
_CONFIG: Final[Spec] = {
    "aria": False,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"grid": False},
    "axisY": {"domain": False, "tickCount": 4},
}

_NAMES: Final[Spec] = {"title": None, "domain": False, "labelLimit": 190, "labelExpr": "slice(datum.label, 4)"}

# The columns between which a forecast of a level lies.
_BAND: Final[dict[str, tuple[str, ...]]] = {"closing": ("low", "high"), "gib_closing": ()}
_FEW: Final = 4


def draw_level(rows: Sequence[Row], field: str, unit: str) -> str:
    """Draw a level of snapshot-growth over time: broken at gaps, dashed before captures, a band for a forecast."""
    points: list[Row] = []
    band: list[Row] = []
    segment, before = 0, None
    for row in rows:
        basis = "observed" if row["basis"] == "partial" else row["basis"]
        if basis == "gap" or row[field] is None:
            before = "gap"
            continue
        if basis != before:
            # What was only reconstructed or foretold leads up to what was seen, so the lines meet.
            if points and before != "gap":
                join = points[-1]
                segment += 1
                points.append({**join, "segment": segment, "is_seen": basis == "observed"})
                if basis == "forecast" and _BAND[field]:
                    band.append({"p": join["p"], "low": join["y"], "high": join["y"]})
            else:
                segment += 1
        point = {"p": _iso(row["period"]), "y": row[field], "segment": segment, "is_seen": basis == "observed"}
        points.append(point)
        if basis == "forecast" and all(row.get(each) is not None for each in _BAND[field]) and _BAND[field]:
            band.append({"p": point["p"], "low": row["low"], "high": row["high"]})
        before = basis
    counts = {point["segment"]: 0 for point in points}
    for point in points:
        counts[point["segment"]] += 1
    alone = [point for point in points if counts[point["segment"]] == 1]
    last = [point for point in points if point["is_seen"]][-1:]
    levels = [row[each] for row in rows for each in (field, *_BAND[field]) if row.get(each) is not None]
    ticks = _counts(min(levels), max(levels)) if field == "closing" else {}
    y = {
        "field": "y",
        "type": "quantitative",
        "scale": {"zero": False, "nice": True},
        "axis": {"title": unit, "format": ",~f", **ticks},
    }
    x = _time_axis(rows)
    layers: list[Spec] = [_gaps(rows, x)]
    if band:
        layers.append(
            {
                "data": {"values": band},
                "mark": {"type": "area", "color": "var(--blue)", "opacity": 0.18},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            }
        )
    layers.append(
        {
            "data": {"values": points},
            "mark": {"type": "line", "color": "var(--blue)", "strokeWidth": 2.25, "strokeJoin": "round"},
            "encoding": {
                "x": x,
                "y": y,
                "detail": {"field": "segment"},
                "strokeDash": {"condition": {"test": "datum.is_seen", "value": [1, 0]}, "value": [4, 4]},
            },
        }
    )
    layers.append(
        {
            "data": {"values": [*alone, *last]},
            "mark": {"type": "point", "filled": True, "color": "var(--blue)", "size": 50, "opacity": 1},
            "encoding": {"x": x, "y": y},
        }
    )
    return _svg({"layer": layers})


def draw_moves(rows: Sequence[Row]) -> str:
    """Draw what was created as bars upwards and what was deleted as bars downwards."""
    shown_rows = [row for row in rows if row["basis"] != "forecast"]
    values = [
        {
            "p": _iso(row["period"]),
            "p2": _iso(row["period"] + _DAY),
            "y": sign * row[field],
            "is_new": field == "created",
        }
        for row in shown_rows
        for field, sign in (("created", 1), ("deleted", -1))
        if row[field]
    ]
    extent = [0, *(value["y"] for value in values)]
    x = _time_axis(rows)
    bars = {
        "data": {"values": values},
        "mark": {"type": "rect"},
        "encoding": {
            "x": x,
            "x2": {"field": "p2"},
            "y": {
                "field": "y",
                "type": "quantitative",
                "stack": None,
                "axis": {
                    "title": "snapshots a day",
                    "labelExpr": "format(abs(datum.value), ',~f')",
                    **_counts(min(extent), max(extent)),
                },
            },
            "y2": {"datum": 0},
            "color": {
                "condition": {"test": "datum.is_new", "value": "var(--blue)"},
                "value": "var(--orange)",
            },
            "stroke": {"value": "var(--paper)"},
            "strokeWidth": {"value": 0.75},
        },
    }
    return _svg({"layer": [_gaps(rows, x), bars]})


def draw_bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a horizontal bar for each (label, value, text behind the bar), in their order."""
    # The number before a name keeps the order, and apart what looks the same when it is shortened.
    values = [{"name": f"{n:03} {shown(name, 26)}", "y": y, "text": text} for n, (name, y, text) in enumerate(rows)]
    most = max([size for _, size, _ in rows], default=0) or 1
    y = {"field": "name", "type": "nominal", "sort": None, "axis": _NAMES}
    x = {
        "field": "y",
        "type": "quantitative",
        "scale": {"domain": [0, most * 1.6], "nice": False},
        "axis": None,
    }
    return _svg(
        {
            "data": {"values": values},
            "height": max(28 * len(values), 56),
            "layer": [
                {"mark": {"type": "bar", "color": "var(--blue)", "height": 16}, "encoding": {"x": x, "y": y}},
                {
                    "mark": {
                        "type": "text",
                        "align": "left",
                        "dx": 6,
                        "fontSize": 13,
                        "color": "var(--ink)",
                        "font": _FONT,
                    },
                    "encoding": {"x": x, "y": y, "text": {"field": "text"}},
                },
            ],
        }
    )


def draw_health(days: Sequence[tuple[date, int, int]]) -> str:
    """Draw the captures of each (day, captures, retries): orange where a request was retried, shaded without any."""
    rows = [{"period": day, "basis": "observed" if captures else "gap"} for day, captures, _ in days]
    values = [
        {"p": _iso(day), "p2": _iso(day + _DAY), "y": captures, "is_calm": not retries}
        for day, captures, retries in days
        if captures
    ]
    most = max((captures for _, captures, _ in days), default=0)
    x = _time_axis(rows)
    bars = {
        "data": {"values": values},
        "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 0.75},
        "encoding": {
            "x": x,
            "x2": {"field": "p2"},
            "y": {
                "field": "y",
                "type": "quantitative",
                "axis": {"title": "captures", "tickCount": 3, "format": "d", **_counts(0, most)},
            },
            "y2": {"datum": 0},
            "color": {"condition": {"test": "datum.is_calm", "value": "var(--blue)"}, "value": "var(--orange)"},
        },
    }
    return _svg({"height": 90, "layer": [_gaps(rows, x), bars]})


def _time_axis(rows: Sequence[Row]) -> Spec:
    first, last = rows[0]["period"], rows[-1]["period"]
    # Vega would put hours between few days.
    ticks = {"interval": "day", "step": 1} if (last - first).days < _FEW else 4
    return {
        "field": "p",
        "type": "temporal",
        "scale": {"type": "utc", "domain": [_iso(first), _iso(last + _DAY)], "nice": False},
        "axis": {"title": None, "format": "%-d %b", "tickCount": ticks, "labelOverlap": True, "labelFlush": True},
    }


def _gaps(rows: Sequence[Row], x: Spec) -> Spec:
    """Shade the periods without a capture."""
    spans: list[Row] = []
    for row in rows:
        if row["basis"] != "gap":
            continue
        start, end = _iso(row["period"]), _iso(row["period"] + _DAY)
        if spans and spans[-1]["p2"] == start:
            spans[-1]["p2"] = end
        else:
            spans.append({"p": start, "p2": end})
    return {
        "data": {"values": spans},
        "mark": {"type": "rect", "color": "var(--gap)"},
        "encoding": {"x": x, "x2": {"field": "p2"}},
    }


def _counts(low: float, high: float) -> Spec:
    """Return the ticks of an axis that counts, for between few numbers Vega puts halves."""
    return {"values": list(range(int(low), int(high) + 1))} if high - low <= _FEW else {}


def _iso(day: date) -> str:
    return day.isoformat()


def _svg(spec: Spec) -> str:
    """Return the drawing as an element that takes the width it is given and that assistive technology skips."""
    size = {"width": _WIDTH, "height": _HEIGHT, "background": None, "padding": 8, "config": _CONFIG}
    svg: str = vl_convert.vegalite_to_svg({**size, **spec})
    return _ROOT.sub(r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1)
