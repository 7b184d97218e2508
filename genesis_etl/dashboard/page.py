"""The page: one HTML file that shows what the reports say, with the command that prints each number.

    page = make_page(open_lake("data/lake"))

Everything is drawn and laid out here, once for every account and region; the page's script only shows and hides.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from genesis_etl.dashboard import charts, limits
from genesis_etl.dashboard.figures import Figures, Scope, View, collect
from genesis_etl.dashboard.listings import Row
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.outfile import replace_file
from genesis_etl.query.sources import one_line
from genesis_etl.settings import Settings
from genesis_etl.text import shown
from genesis_etl.version import __version__

_TEMPLATES: Final = files("genesis_etl").joinpath("templates")
PLACES: Final = 8  # regions in the picture of where snapshots lie
_MINUS: Final = "\u2212"


def make_page(lake: OpenLake, *, currency: str | None = None, made_at: datetime | None = None) -> str:
    """Return the page of a lake as HTML, all of it from one state of the lake; it may be empty.

    `made_at` is when it is made (now), from which the newest capture's age counts. LakeError for a damaged lake.
    """
    made_at = datetime.now(UTC) if made_at is None else made_at
    for _ in range(3):
        contents = lake.contents()
        contents.refuse_damage()
        collected = collect(lake) if len(contents.captures) else None
        if lake.contents().commit_files == contents.commit_files:
            break
    style, script = (_TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            style=Markup(style),
            script=Markup(script),
            policy="; ".join(
                [
                    "default-src 'none'",
                    f"style-src {_hash(style)}",
                    f"script-src {_hash(script)}",
                    "base-uri 'none'",
                    "form-action 'none'",
                ]
            ),
            version=__version__,
            made_at=made_at,
            currency=currency or "",
            figures=collected,
            drawings=_drawings(collected) if collected else {},
            limits=limits,
        )
    )


def write_page(settings: Settings) -> Path:
    """Write the page of the settings' lake to their `page`, whole or not at all, and return where it is.

    LakeError for a damaged lake, SettingsError where the file cannot be written.
    """
    lake = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month)
    page = make_page(lake, currency=settings.currency)
    path = Path(settings.page)
    replace_file(path, page.encode("utf-8"))
    return path


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(lambda name: _TEMPLATES.joinpath(name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        signed=signed,
        instant=instant,
        minute=minute,
        day=day,
        ago=ago,
        clock=clock,
        name=name,
        span=span,
        argument=argument,
    )
    environment.globals.update(coverage_level=coverage_level, statement=partial(one_line, "page"))
    return environment


def _drawings(collected: Figures) -> dict[tuple[str, str | None, str], Markup]:
    """Draw every account first, then its regions, as far as the page has room for; keys are account, region, what."""
    drawn: dict[tuple[str, str | None, str], Markup] = {}
    for view in collected.views:
        for scope in view.scopes[:1]:
            _draw_scope(drawn, view, scope)
        places = [scope for scope in view.scopes[1:] if scope.now["closing"]]
        if places:
            places.sort(key=lambda scope: -scope.now["closing"])
            bars = [
                (str(scope.region), scope.now["closing"], number(scope.now["closing"])) for scope in places[:PLACES]
            ]
            drawn[view.account, None, "places"] = Markup(charts.draw_bars(bars))
        if view.health:
            days = [(each["day"], each["captures"], each["retries"] or 0) for each in view.health]
            drawn[view.account, None, "health"] = Markup(charts.draw_health(days))
        if view.stale.total:
            bars = [
                (age_label(each), each["gib"] or 0, f"{number(each['gib'])} GiB, {number(each['snapshots'])} snapshots")
                for each in view.stale_ages
            ]
            drawn[view.account, None, "stale"] = Markup(charts.draw_bars(bars))
    for view in collected.views:
        for scope in view.scopes[1:]:
            if len(drawn) + 3 <= limits.CHARTS:
                _draw_scope(drawn, view, scope)
    return drawn


def _draw_scope(drawn: dict[tuple[str, str | None, str], Markup], view: View, scope: Scope) -> None:
    if not scope.growth:
        return
    key = (view.account, scope.region)
    drawn[*key, "closing"] = Markup(charts.draw_level(scope.growth, "closing", "snapshots"))
    if any(row["gib_closing"] is not None for row in scope.growth if row["basis"] in ("observed", "partial")):
        drawn[*key, "gib"] = Markup(charts.draw_level(scope.growth, "gib_closing", "GiB"))
    drawn[*key, "moves"] = Markup(charts.draw_moves(scope.growth))


def age_label(age: Row) -> str:
    """Name a span of ages."""
    return f"{age['least']} to {age['end']} days" if age["end"] else f"over {age['least']} days"


def number(value: Any) -> str:
    """Write a number for people: thousands apart, two digits at most; `unknown` for null is a dash."""
    if value is None:
        return "–"
    text = f"{value:,.2f}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", _MINUS)


def signed(value: Any) -> str:
    """Write a change with its sign."""
    if value is None:
        return "–"
    return f"+{number(value)}" if value > 0 else "±0" if value == 0 else number(value)


def instant(moment: datetime | None) -> str:
    """Write an instant for people, to the minute, in UTC."""
    return "–" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def minute(moment: datetime) -> str:
    """Write an instant of these days as `22 Nov 12:00`."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %H:%M}"


def day(value: date | datetime | str) -> str:
    """Write a day as `22 Nov 2026`."""
    value = date.fromisoformat(value) if isinstance(value, str) else value
    return f"{value.day} {value:%b %Y}"


def clock(moment: datetime) -> str:
    """Write an instant's time of day as `12:00 UTC`."""
    return f"{moment.astimezone(UTC):%H:%M} UTC"


def ago(moment: datetime, made_at: datetime) -> str:
    """Write how long before an instant another was: `35 minutes`, `2 hours`, `3 days`."""
    return span(max(made_at - moment, timedelta(0)))


def span(value: Any) -> str:
    """Write a duration (a timedelta, or seconds) in the largest unit that it fills."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float):
        return shown(str(value), 30)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"


def name(text: Any, limit: int = 60) -> str:
    """Shorten a name and show what does not print."""
    return "–" if text is None else shown(str(text), limit)


def argument(text: str) -> str:
    """Write a text as a word of a shell command, what does not print escaped as bash and zsh read it."""
    if text.isprintable():
        return shlex.quote(shown(text, 300))
    return "$'" + shown(text.replace("\\", "\\\\").replace("'", "\\'"), 300) + "'"


def coverage_level(images: int, of: int) -> int:
    """Return how much of something a region has, from 0, nothing, to 4, all."""
    if not of or images >= of:
        return 4
    return 0 if not images else 1 + min(int(3 * images / of), 2)
