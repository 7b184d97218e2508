"""A report's file: what its header says, which there are, and how they describe themselves.

A report is one file in `sql/reports/`; its header names its parameters (with defaults) and columns, and how far it
looks back where no --since is given. That window is bound to $window:

-- window: 24 hours                    what fell into them
-- window: 90 days                     and what stood at their end
-- window: 90 whole days, 13 whole weeks  periods, of the length that --by names; those at the ends are shown whole
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa

from genesis_etl.errors import ReportError
from genesis_etl.query import forecast
from genesis_etl.query.sources import read_sql, sql_names
from genesis_etl.text import shown

_HEADER = re.compile(r"-- (title|grain|window|parameter|column)(?: (\w+)(?: = ([\w,]+))?)?: (.+)")
_WINDOW = re.compile(r"(\d+) (whole )?(hour|day|week|month)s?")
_PARAMETER = re.compile(r"\$(\w+)")
_VARIANT: Final = "."
# What a report takes and gives beside its SQL: options and columns that the package adds.
_ALL_TAKE: Final = {"as_of": "as it was then: captures up to this time only"}
_ALSO_TAKES: Final = {
    "region-coverage": {"matrix": "one row per image and one column per region instead"},
    "snapshot-growth": {"forecast": forecast.OPTION},
}
_ALSO_GIVES: Final = {"snapshot-growth": forecast.COLUMNS}
# Comes from the settings, not from an option.
SETTING: Final = "price"


@dataclass(frozen=True)
class Report:
    """A report's file, with what its header says."""

    name: str
    title: str
    grain: str
    window: dict[str, int]  # unit → how many of it; without one, all that there is
    is_whole: bool
    parameters: dict[str, str]
    defaults: dict[str, str]
    columns: dict[str, str]
    sql: str

    @property
    def summary(self) -> str:
        """What the report shows, and what its rows are."""
        return f"{self.title}: {_PARAMETER.sub(lambda match: option_of(match[1]), self.grain)}"

    @property
    def options(self) -> dict[str, str]:
        """What a user may give, with its meaning."""
        of_sql = {name: text for name, text in self.parameters.items() if name != SETTING}
        found = {**of_sql, **_ALSO_TAKES.get(self.name, {})}
        return {**found, **{name: text for name, text in _ALL_TAKE.items() if name not in found}}


def report_names() -> list[str]:
    """Return the names of all reports, sorted."""
    stems = sql_names("reports")
    return [stem.replace("_", "-") for stem in stems if _VARIANT not in stem]


@cache
def find_report(name: str) -> Report:
    """Return a report by its name; ReportError names those that there are."""
    if name not in report_names():
        raise ReportError(f"no report {shown(name)!r}", advice=f"there are {', '.join(report_names())}")
    return _parsed(name, report_sql(name))


def report_sql(name: str) -> str:
    """Return the statement of a report, or of a variant of it, `name.variant`."""
    return read_sql("reports", name.replace("-", "_"))


def describe(name: str) -> pa.Table:
    """Return what a report takes and gives, one row per option, setting and column."""
    report = find_report(name)
    given = {**report.columns, **_ALSO_GIVES.get(name, {})}
    rows = [("option", option_of(key), report.defaults.get(key), text) for key, text in report.options.items()]
    rows += [("setting", key, None, text) for key, text in report.parameters.items() if key == SETTING]
    rows += [("column", key, None, text) for key, text in given.items()]
    names = ("kind", "name", "default", "meaning")
    return pa.table([pa.array(values, pa.string()) for values in zip(*rows, strict=True)], names=names)


def option_of(name: str) -> str:
    """Return an option as the command takes it."""
    return "--" + name.replace("_", "-")


def _parsed(name: str, sql: str) -> Report:
    facts: dict[str, dict[str, str]] = {kind: {} for kind in ("title", "grain", "window", "parameter", "column")}
    defaults: dict[str, str] = {}
    for line in sql.splitlines():
        match = _HEADER.fullmatch(line)
        if match is None:
            break
        kind, key, default, text = match.groups()
        facts[kind][key or ""] = text
        if default is not None:
            defaults[key] = default
    windows = _WINDOW.findall(facts["window"].get("", ""))
    span = " or ".join(f"{count} {unit}s" for count, _, unit in windows)
    return Report(
        name,
        facts["title"][""],
        facts["grain"][""],
        {unit: int(count) for count, _, unit in windows},
        any(whole for _, whole, _ in windows),
        {key: text.replace("$window", span) for key, text in facts["parameter"].items()},
        defaults,
        facts["column"],
        sql,
    )
