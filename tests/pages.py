"""Lakes whose page is looked at, as its HTML and in a browser, the page as a parser sees it, and names of elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from genesis_etl.dashboard.page import make_page
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from tests.histories import Row, at, land, row

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</script>", "{{7*7}}"]


def grown(url: Path, days: int = 40, account: str = "default") -> Lake:
    """Fill a lake with an account that has one snapshot more every day, and base images in one or two regions."""
    lake = Lake(str(url))
    start = at("2026-10-01 12:00")
    for day in range(days):
        state = [
            row(f"s{n}", ["R1", "R2"][n % 2], size_gib=1.5 * n, created_at=start + timedelta(days=n - 150))
            for n in range(3 + day)
        ]
        state += [
            row(f"b{n}", region, "base-os", family=f"f{n % 2}")
            for n in range(4)
            for region in ["R1", "R2"][: n % 2 + 1]
        ]
        land(lake, start + timedelta(days=day), state, account)
    return lake


def busy(url: Path, account: str, days: list[int], *, first: str = "2026-09-25 12:00") -> None:
    """Capture an account on these days: snapshots of instances that come, grow and go, and releases on their way."""
    start = at(first)
    for day in days:
        state: list[Row] = []
        for n in range(day // 3, 9 + day):
            source = f"{account}-i{n % 4}" if n % 5 else None
            state.append(
                row(
                    f"{account}-s{n}",
                    ["R1", "R2", None][n % 3],
                    size_gib=None if n == 10 else 10.1 + n,
                    created_at=start + timedelta(days=n - 60, hours=n % 7),
                    source_instance_id=source,
                    source_instance_name=None if source is None or (n % 4 == 3 and day > 9) else f"web-{n % 4}",
                    source_instance_exists=None if source is None else not (n % 4 == 3 and day > 9),
                )
            )
        for n in range(4):
            for region in ["R1", "R2"] if n % 2 or day > 20 + n else ["R1"]:
                made = start + timedelta(days=n)
                state.append(
                    row(f"b{n}", region, "cloud-image", family=f"f{n // 3}", created_at=made, name=f"base {n}")
                )
        land(Lake(str(url)), start + timedelta(days=day), state, account)


@dataclass
class Table:
    """A table of the page: its headings, and its rows as cells of (text, exact value or None)."""

    file: str
    heads: list[str] = field(default_factory=list)
    rows: list[list[tuple[str, str | None]]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    command: str = ""  # what stands behind it


class Page(HTMLParser):
    """A parsed page: its elements, what stands in them, its figures, tables and commands."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.figures: list[tuple[str, str]] = []
        self.commands: list[str] = []
        self.headings: list[str] = []
        self.tables: list[Table] = []
        self._open = ""
        self._figure: str | None = None
        self._is_head = False
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._open = tag
        self._figure = attributes.get("data-figure")
        if tag in ("thead", "tbody", "tr"):
            self._in_cell = False
        if tag == "pre":
            self.commands.append("")
        elif tag == "table":
            self.tables.append(Table(attributes["data-file"] or ""))
        elif tag in ("thead", "tbody"):
            self._is_head = tag == "thead"
        elif tag == "tr" and not self._is_head:
            self.tables[-1].rows.append([])
            self.tables[-1].ids.append(attributes.get("data-id"))
        elif tag in ("td", "th"):
            self._in_cell = True
            if self._is_head:
                self.tables[-1].heads.append("")
            else:
                self.tables[-1].rows[-1].append(("", attributes.get("data-v")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._in_cell = False
        self._open, self._figure = "", None

    def handle_data(self, data: str) -> None:
        if self._figure is not None:
            self.figures.append((self._figure, data.strip()))
        if self._open == "pre":
            self.commands[-1] += data
            if self.tables:
                self.tables[-1].command = self.tables[-1].command or data
        if self._open == "h2":
            self.headings.append(data.strip())
        if self._in_cell and self._is_head:
            self.tables[-1].heads[-1] = " ".join((self.tables[-1].heads[-1] + data).split())
        elif self._in_cell:
            text, exact = self.tables[-1].rows[-1][-1]
            self.tables[-1].rows[-1][-1] = (" ".join((text + data).split()), exact)
        if self._open not in ("style", "script"):
            self.texts.append(data)

    def named(self, name: str) -> list[str]:
        """Return the figures of a name: of all regions first, then of each region."""
        return [text for figure, text in self.figures if figure == name]

    def table(self, file: str) -> Table:
        """Return the first table that is saved under a name."""
        return next(table for table in self.tables if table.file == file)

    @property
    def text(self) -> str:
        """Return all text on one line."""
        return " ".join(" ".join(self.texts).split())


def page_of(url: Any, *, currency: str | None = None, **options: Any) -> Page:
    """Return the page of a lake, parsed."""
    return Page(make_page(open_lake(str(url), **options), currency=currency))
