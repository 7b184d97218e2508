"""Every report and table over random lives is what plain Python counts: loose, compacted, on every engine."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

import genesis_etl
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import ENGINES, OpenLake
from genesis_etl.query import report, sources
from tests import model
from tests.conftest import WHOLE, fewer, figure
from tests.lives import REGIONS, draw, live
from tests.model import DAY, MOMENT, History, Row

Options = dict[str, Any]
MODELS: dict[str, Callable[..., list[Row]]] = {
    "snapshot-growth": model.growth,
    "usage": model.usage,
    "region-coverage": model.coverage,
    "region-coverage --matrix": model.matrix,
    "coverage-history": model.coverage_history,
    "releases": model.releases,
    "changes": model.changes,
    "stale-snapshots": model.stale,
    "retention": model.retention,
    "sources": model.sources,
    "capture-health": model.health,
}
OF_COVERAGE = (
    "region-coverage",
    "region-coverage --matrix",
    "coverage-history",
    "releases",
)  # know the regions expected
TABLES = {
    "images": model.images,
    "image_regions": model.image_regions,
    "image_history": model.image_history,
    "region_days": model.region_days,
}
SHM = "/dev/shm"
IN_MEMORY = SHM if Path(SHM).is_dir() else None
TEST, ALL = 1, 45  # lakes in a part of make test, of make test-all


def some_options(random: Random, history: History) -> Iterator[tuple[str, Options]]:
    """Draw what a user may ask: every report once, growth twice, with ranges that begin and end anywhere."""
    price = random.choice((None, 0.25))
    for name in ("snapshot-growth", *MODELS):
        if name.endswith("--matrix") and random.random() < 2 / 3:
            continue
        account = random.choice(list(history)) if random.random() < 0.15 else None
        moments = [each.at for every in history.values() for each in every]
        options: Options = {"account": account}
        if name in ("snapshot-growth", "stale-snapshots", "usage", "retention", "sources"):
            options["price"] = price
        if name == "usage":
            options["by"] = random.choice(("day", "week", "month", "month"))
            options |= random.choice(({}, {}, {"per_region": True}, {"region": random.choice((*REGIONS, "(none)"))}))
            options |= random.choice(({}, {}, {"per_source": True}))
            options |= random.choice(({}, {}, {"total": True}))
        if name == "snapshot-growth":
            options["by"] = random.choice(("day", "day", "week", "month"))
            options["type"] = random.choice(("snapshot", "snapshot", "snapshot", "base-os"))
            options |= random.choice(({}, {}, {"total": True}))
            options |= random.choice(({}, {}, {"per_region": True}, {"region": random.choice((*REGIONS, "(none)"))}))
        if name.startswith("region-coverage"):
            options |= random.choice(({}, {"newest_of_family": True}))
        if name == "coverage-history":
            options["by"] = random.choice(("day", "week", "month"))
        if name in ("changes", "stale-snapshots", *OF_COVERAGE):
            options["region"] = random.choice((None, None, None, *REGIONS[:2]))
        if name in ("changes", *OF_COVERAGE):
            options["type"] = random.choice((None, None, "snapshot", "base-os"))
        if name == "retention":
            keeps = ({}, {"keep": (timedelta(), DAY, DAY)}, {"keep": (10 * DAY, 3 * DAY, 400 * DAY)})
            options |= random.choice(keeps) | random.choice(({}, {}, {"total": True}))
        elif name == "sources":
            pass  # it looks back from the newest capture
        elif name == "stale-snapshots":
            options["older_than"] = random.choice((timedelta(), DAY, 3 * DAY, 90 * DAY))
        else:
            options |= _range(random, moments)
            if name == "changes" and random.random() < 0.7:  # all of them, not those of the last day
                options |= {"since": "2020-01-01", "region": None}
        if random.random() < 0.12:
            first = min(history[account or min(history, key=lambda each: history[each][0].at)]).at
            options["as_of"] = _written(random, random.choice([each for each in moments if each >= first]))
        yield name, options


def _range(random: Random, moments: list[Any]) -> Options:
    deltas = (-40 * DAY, -DAY, -MOMENT, 0 * DAY, 0 * DAY, MOMENT, DAY, 40 * DAY)
    since, until = (
        None if random.random() < 0.4 else _written(random, random.choice(moments) + random.choice(deltas))
        for _ in range(2)
    )
    begin, end = model.beginning(since), model.end_of(until)
    return {"since": None if begin and end and begin >= end else since, "until": until}


def _written(random: Random, moment: Any) -> str:
    """Write a time as a day or an instant, as a user would."""
    return str(moment.date()) if random.random() < 0.5 else moment.isoformat()


def rows_of(opened: OpenLake, name: str, options: Options) -> list[Row]:
    """Run a report as a user would."""
    name, _, is_matrix = name.partition(" --")
    opened.price = options.get("price")
    asked = {key: value for key, value in options.items() if key != "price"}
    rows: list[Row] = opened.report_rows(name, matrix=bool(is_matrix), **asked).to_pylist()
    return rows


def bag(rows: Iterable[Row]) -> Counter[str]:
    """Return rows without their order; two are the same when all their cells are."""
    return Counter(repr(sorted(row.items())) for row in rows)


def table_of(opened: OpenLake, name: str) -> list[Row]:
    """Return a table's rows, instants as the model has them."""
    table = opened.sql_rows(f"select * from {name}")
    instants = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    rows = table.to_pylist()
    for row in rows:
        for column in instants:
            row[column] = row[column] and row[column].astimezone(model.UTC)
    return rows


class Told(NamedTuple):
    """What the model tells of a life: the regions that settings expect, reports with their options, and the tables."""

    expected: tuple[str, ...]
    reports: list[tuple[str, Options, list[Row]]]
    tables: dict[str, Counter[str]]


def told(random: Random, history: History) -> Told:
    """Draw what is asked of a life, and let the model answer."""
    expected = random.choice(((), ("R1", "R9")))
    reports = []
    for name, options in some_options(random, history):
        settings = {"expected": expected} if name in OF_COVERAGE else {}
        reports.append((name, options, MODELS[name](history, **options, **settings)))
    return Told(expected, reports, {name: bag(calculate(history)) for name, calculate in TABLES.items()})


def differences(url: str, told: Told, engine: str = "duckdb") -> Iterator[str]:
    """Yield every report and table of a lake that is another than the model's, and why."""
    opened = OpenLake(Lake(url), told.expected, None, engine)
    for name, options, ours in told.reports:
        figure("reports")
        theirs = rows_of(opened, name, options)
        if ours != theirs:
            yield f"{engine}: {name} {options}: {_first(ours, theirs)}"
    for name, rows in told.tables.items():
        figure("reports")
        found = bag(table_of(opened, name))
        if found != rows:
            lost, more = list(rows - found)[:1], list(found - rows)[:1]
            yield f"{engine}: {name}: lacks {lost}, has {more}"


def disagreements(seed: int, engines: tuple[str, ...] = ("duckdb",)) -> Iterator[str]:
    """Land a lake drawn from the seed; yield what it tells otherwise than the model, as landed and compacted."""
    lives = draw(seed)
    figure("histories", len(lives))
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as url:
        answers: Told | None = None
        for form, history in zip(("as landed", "compacted"), live(url, lives, seed), strict=True):
            answers = answers or told(Random(seed), history)
            for engine in engines:
                yield from (f"seed {seed}, {form}, {each}" for each in differences(url, answers, engine))


def _first(ours: list[Row], theirs: list[Row]) -> str:
    """Return the first rows that differ, the model's first."""
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return f"{one} and not {other}"
    return f"{len(ours)} rows and not {len(theirs)}"


def agree(seeds: Iterable[int], engines: tuple[str, ...] = ("duckdb",)) -> None:
    """Fail with everything that the model tells otherwise."""
    found = [each for seed in seeds for each in disagreements(seed, engines)]
    figure("disagreements", len(found))
    assert found == []


@pytest.mark.parametrize("part", fewer(range(4), 1))
def test_the_model_agrees(part: int) -> None:
    """Two dozen random lives: every report and table is the one counted in plain Python, compacted or not."""
    agree(range(part * TEST, (part + 1) * TEST))


@pytest.mark.slow
@pytest.mark.parametrize("part", fewer(range(8), 1, WHOLE))
def test_the_model_agrees_over_thousands_of_lives(part: int) -> None:
    """The same over thousands."""
    agree(range(1000 + part * ALL, 1000 + (part + 1) * ALL))


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.xdist_group("spark")
@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="needs the extra [spark]")
def test_the_model_agrees_with_every_engine() -> None:
    """DuckDB and Spark tell of a life what the model tells."""
    agree((5000,), ENGINES)


# What a slip of the pen would do to the SQL: a file below sql/, what stands there, and what would.
SLIPS = {
    "ties in a window": (
        "reports/snapshot_growth.sql",
        "image_id, size_gib, first_n, last_n\n",
        "image_id, size_gib, first_n, last_n, region\n",
    ),
    "a return that is no new presence": ("reports/snapshot_growth.sql", "first_n <= reach + 1", "first_n <= reach + 2"),
    "a gap filled with what came after": (
        "reports/snapshot_growth.sql",
        "select account, region, last_n + 1 as n, 1",
        "select account, region, last_n as n, 1",
    ),
    "a total that is whole when its first account is": (
        "reports/snapshot_growth.sql",
        "max(first_at)) as date) as all_period",
        "min(first_at)) as date) as all_period",
    ),
    "nothing before the first capture": ("reports/snapshot_growth.sql", "when e.n = 1 then", "when e.n = 0 then"),
    "a month of thirty days": ("reports/usage.sql", "count(*) * 86400 as seconds", "30 * 86400 as seconds"),
    "use while it was away": ("reports/usage.sql", "where e.depth > 0", "where e.depth >= 0"),
    "a state that ends with its last capture": (
        "reports/usage.sql",
        "and g.n = e.end_n",
        "and g.n = e.end_n - 1",
    ),
    "an end that is included": (
        "reports/region_coverage.sql",
        "or c.captured_at < cast($until",
        "or c.captured_at <= cast($until",
    ),
    "a region of one type alone": (
        "reports/region_coverage.sql",
        "not bool_or(is_at_end) as is_retired",
        "not bool_and(is_at_end) as is_retired",
    ),
    "a family of two types": (
        "reports/region_coverage.sql",
        "partition by account, type, family order",
        "partition by account, family order",
    ),
    "a period that shows its first day": (
        "reports/coverage_history.sql",
        "least(p.last_day, a.newest_day)",
        "greatest(p.first_day, a.newest_day)",
    ),
    "types of the end alone": (
        "reports/coverage_history.sql",
        "and r.last_n >= i.first_n",
        "and r.last_n >= i.last_n",
    ),
    "a gap that was seen": ("reports/coverage_history.sql", "s.first_n is null then", "s.last_n is null then"),
    "a release of the first capture": ("reports/releases.sql", "and s.first_n > 1", "and s.first_n > 0"),
    "a first capture that saw it arrive": ("reports/releases.sql", "and p.reached_n > 1", "and p.reached_n > 0"),
    "the oldest of a family": (
        "reports/releases.sql",
        "order by created_at desc, image_id",
        "order by created_at, image_id",
    ),
    "a region that is left for ever": (
        "reports/releases.sql",
        "bool_or(is_at_end) as is_here",
        "bool_and(is_at_end) as is_here",
    ),
    "changes of the first capture": ("reports/changes.sql", "r.last_n >= c.n - 1", "r.last_n >= c.n"),
    "a source that goes again and again": (
        "reports/changes.sql",
        "bool_or(source_instance_exists) filter (where is_before)\n            and not",
        "true\n            and not",
    ),
    "a name of the first capture": ("views/lake_source_names.sql", "arg_max(source_i", "arg_min(source_i"),
    "null that is not null": (
        "reports/changes.sql",
        "and size_before is distinct from size_after\n    union",
        "and size_before <> size_after\n    union",
    ),
    "copies of others": ("reports/stale_snapshots.sql", "on c.account = r.account\n    and", "on true\n    and"),
    "a newest that is not the newest of its instance": (
        "reports/retention.sql",
        "on n.account = s.account\n        and n.source_instance_id = s.source_instance_id",
        "on n.account = s.account",
    ),
    "one of several newest that goes": (
        "reports/retention.sql",
        "max(created_at) as created_at\n    from living",
        "max(created_at) + interval 1 microsecond as created_at\n    from living",
    ),
    "a capture less than thirty days ago": ("reports/sources.sql", "interval 30 day", "interval 3 day"),
    "neighbours of any instance": (
        "reports/sources.sql",
        "partition by account, source_instance_id order by created_at",
        "partition by account order by created_at",
    ),
    "what is as old as it may be": ("reports/retention.sql", "g.age > k.keep", "g.age >= k.keep"),
    "gaps of one day": (
        "reports/capture_health.sql",
        "between g.first_day and g.last_day",
        "between g.last_day and g.last_day",
    ),
    "a capture that is not the newest": ("views/images.sql", "and c.is_newest", "and c.n = 1"),
    "a day that shows its first capture": (
        "views/region_days.sql",
        "and c.n = r.first_n\n",
        "and c.n = r.first_n + 1\n",
    ),
    "an image counted in each of its regions": (
        "views/region_days.sql",
        "where (depth = 0) <> (depth = turn)",
        "where turn <> 0",
    ),
    "runs cut short": ("views/image_regions.sql", "and r.last_seen", "and r.first_seen"),
}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[tuple[str, Told]]]:
    """Return lakes of a seed, as landed and compacted, with what the model tells; each is made once and only read."""
    made: dict[int, list[tuple[str, Told]]] = {}

    def find(seed: int) -> list[tuple[str, Told]]:
        if seed not in made:
            folder = tmp_path_factory.mktemp(f"life{seed}")
            turns = live(str(folder / "compacted"), draw(seed), seed)
            answers = told(Random(seed), next(turns))
            shutil.copytree(folder / "compacted", folder / "landed")
            next(turns)
            made[seed] = [(str(folder / form), answers) for form in ("landed", "compacted")]
        return made[seed]

    return find


def of_file(told: Told, file: str) -> Told:
    """Leave what a file below sql/ makes: a report's own answers; a view's are all."""
    if not file.startswith("reports/"):
        return told
    report = Path(file).stem.replace("_", "-")
    return Told(told.expected, [each for each in told.reports if each[0].split(" --")[0] == report], {})


@pytest.mark.slow
@pytest.mark.xdist_group("slips")
@pytest.mark.parametrize("slip", SLIPS)
def test_the_model_finds_a_slip(
    slip: str, lives: Callable[[int], list[tuple[str, Told]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small mistake in the SQL, one at a time, is told within forty lakes."""
    file, right, wrong = SLIPS[slip]
    shutil.copytree(Path(genesis_etl.__file__).with_name("sql"), tmp_path / "sql")
    path = tmp_path / "sql" / file
    sql = path.read_text(encoding="utf-8")
    assert right in sql
    path.write_text(sql.replace(right, wrong), encoding="utf-8")
    monkeypatch.setattr(sources, "files", lambda package: tmp_path)
    for cached in (report.find_report, sources.read_sql):
        cached.cache_clear()
    try:
        assert any(
            True for seed in range(40) for url, told in lives(seed) for _ in differences(url, of_file(told, file))
        )
    finally:
        for cached in (report.find_report, sources.read_sql):
            cached.cache_clear()
