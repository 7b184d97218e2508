"""The page: one HTML file that shows what the reports say, with the command that prints each number.

    page = make_page(open_lake("data/lake"))

Everything is drawn and laid out here, once for every account and region; the page's script only shows and hides.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from genesis_etl.dashboard import charts, drawings, history, limits, words
from genesis_etl.dashboard.figures import collect
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.outfile import replace_file
from genesis_etl.query.sources import one_line
from genesis_etl.settings import Settings
from genesis_etl.version import __version__

_TEMPLATES: Final = files("genesis_etl").joinpath("templates")


def make_page(lake: OpenLake, *, currency: str | None = None, made_at: datetime | None = None) -> str:
    """Return the page of a lake as HTML, all of it from one state of the lake; it may be empty.

    `made_at` is when it is made (now), from which the newest capture's age counts. LakeError for a damaged lake.
    """
    made_at = datetime.now(UTC) if made_at is None else made_at
    for _ in range(3):
        contents = lake.contents()
        contents.refuse_damage()
        with lake.held():
            collected = collect(lake) if len(contents.captures) else None
        if lake.contents().commit_files == contents.commit_files:
            break
    unit = "gib_months" if lake.price is None else "cost"
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
            drawings=drawings.draw(collected, unit) if collected else {},
            room=drawings.with_room(collected) if collected else set(),
            unit=unit,
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
    environment.filters.update(words.FILTERS)
    environment.globals.update(
        coverage_level=words.coverage_level,
        plural=words.plural,
        offset=drawings.offset,
        plot={"left": charts.LEFT, "width": charts.INNER, "whole": charts.WIDTH},
        statement=partial(one_line, "page"),
        history_statement=history.statement,
    )
    return environment
