"""docs/query-anywhere.md and docs/lake.md: every block runs, and tells what the reports tell."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget
from genesis_etl.opened import open_lake
from genesis_etl.publish.against import verify_lake
from genesis_etl.publish.publish import publish
from genesis_etl.render import FORMATS
from tests.apart import Apart
from tests.commands import Run
from tests.conftest import fewer
from tests.histories import at, land, land_all, row, rows

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "query-anywhere.md").read_text(encoding="utf-8")
LAKE_PAGE = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Heading → its blocks, each with its language; a name that stands before a block is that of its file.
SECTIONS = {
    part.partition("\n")[0]: re.findall(r"(?:`([\w./]+)`:\n\n)?```(\w+)\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}
ANSWERS = ("growth", "missing")
pytestmark = pytest.mark.xdist_group("apart")  # one worker makes the environment

Row = Mapping[str, Any]
Growth = dict[tuple[str, str, str], int]
Missing = dict[tuple[str, str, str], list[str]]

_EMIT = """
import json
def plain(frame):
    if hasattr(frame, "collect") and hasattr(frame, "toPandas"):
        return [each.asDict() for each in frame.collect()]
    return frame.rows(named=True) if hasattr(frame, "rows") else frame.to_dict("records")
print("\\n" + json.dumps([plain(growth), plain(missing)], default=str))
"""


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of a section in a language, in order."""
    found = [text for _, kind, text in SECTIONS[heading] if kind == language]
    assert found, (heading, language)
    return found


def growth_of(rows: Iterable[Row]) -> Growth:
    """Return the answer to the first question: (account, day, region) → snapshots."""
    return {(each["account"], str(each["day"])[:10], each["region"]): int(each["snapshots"]) for each in rows}


def missing_of(rows: Iterable[Row]) -> Missing:
    """Return the answer to the second question: (account, type, region) → names, sorted."""
    names = defaultdict(list)
    for each in rows:
        names[each["account"], each["type"], each["region"]].append(each["name"])
    return {place: sorted(of) for place, of in names.items()}


def agrees(url: Path, growth: Iterable[Row], missing: Iterable[Row]) -> None:
    """Hold both answers against the reports over the lake."""
    lake = open_lake(url)
    told = [
        {"account": each["account"], "day": each["period"], "region": each["region"], "snapshots": each["closing"]}
        for each in lake.report_rows("snapshot-growth", per_region=True).to_pylist()
        if each["basis"] != "created_at"
    ]
    found = growth_of(growth)
    # Before it is first seen, a region is 0 in the report and absent from the table.
    assert {key: n for key, n in growth_of(told).items() if n} == {key: n for key, n in found.items() if n}
    assert set(found) <= set(growth_of(told))
    lacking = {
        (each["account"], each["type"], each["region"]): each["missing_names"]
        for each in lake.report_rows("region-coverage").to_pylist()
        if each["missing"]
    }
    assert missing_of(missing) == lacking
    assert found
    assert lacking


@pytest.fixture(scope="module")
def three_accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a lake of three accounts, forgotten in, compacted in its grace, with captures before and after that."""
    url = tmp_path_factory.mktemp("lake")
    lake = Lake(str(url))
    base = [row("os", r, "base-os") for r in ("R1", "R2")] + [row("gpu, new", "R1", "preconfigured")]
    for name, days in {"one": (1, 9), "two": (5, 28), "three": (2, 27)}.items():
        states = {
            f"2026-{month:02}-{day:02} 10:00": [
                *base[: day % 3 + 1],
                row("nowhere", None, "cloud-image"),
                *rows(*(f"s{n}" for n in range(day)), region=f"R{day % 4}", size_gib=1.5),
                *(row("copied", r) for r in ("R1", "R3", None)[: month % 4]),
            ]
            for month in (8, 10, 11)
            for day in days
        }
        land_all(lake, states, name)
    forget(lake, "two", at("2026-10-01"))
    compact(lake, now=at("2026-11-28 23:40"))
    land(lake, at("2026-11-28 23:45"), [*base, *rows("s1", "s2")], "one")
    land(lake, at("2026-11-03 12:00"), base, "three")
    publish(lake)
    return url


@pytest.fixture(params=fewer(["sample", "three accounts"], 1))
def lake(request: pytest.FixtureRequest, tmp_path: Path, three_accounts: Path) -> Path:
    """Lay a lake where the page has its sample: the sample itself, or three accounts."""
    url = tmp_path / "data" / "sample"
    url.parent.mkdir()
    url.symlink_to(ROOT / "data" / "sample" if request.param == "sample" else three_accounts)
    return url


@pytest.fixture(scope="module")
def apart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Apart:
    """Give the environment apart; it outlives the session where pytest keeps a cache."""
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    return Apart(cache.mkdir("apart") if cache else tmp_path_factory.mktemp("apart"))


@pytest.fixture
def statements() -> None:
    """Save the two statements under their names, as the page says."""
    for name, text in zip(
        ("growth.sql", "missing.sql"), blocks("The same two statements for every engine", "sql"), strict=True
    ):
        Path(name).write_text(text, encoding="utf-8")


def from_python(heading: str, python: Path | str, apart: Apart) -> list[list[Row]]:
    """Run the Python of a section in an interpreter, and return both answers."""
    told = apart.run(str(python), "-c", blocks(heading, "python")[0] + _EMIT)
    answers: list[list[Row]] = json.loads(told.splitlines()[-1])
    return answers


def read_csv(text: str) -> Iterator[Row]:
    return csv.DictReader(text.splitlines())


# --- what is there anyway


@pytest.mark.parametrize("heading", fewer(["DuckDB in Python", "pandas"], 1))
def test_duckdb_and_pandas_tell_what_the_reports_tell(heading: str, lake: Path) -> None:
    """The page's lines for the installed DuckDB and pandas, as they stand, give the numbers of both reports."""
    names: dict[str, Any] = {}
    exec(blocks(heading, "python")[0], names)
    agrees(lake, names["growth"].to_dict("records"), names["missing"].to_dict("records"))


def test_both_statements_tell_what_the_reports_tell(lake: Path, run: Run, statements: None) -> None:
    """growth.sql and missing.sql over the DuckDB file that `publish` writes give the numbers of both reports."""
    assert run("publish", "--lake", str(lake), "--duckdb", "images.duckdb").code == 0
    with duckdb.connect("images.duckdb", read_only=True) as connection:
        growth, missing = (
            connection.execute(Path(name).read_text(encoding="utf-8")).df().to_dict("records")
            for name in ("growth.sql", "missing.sql")
        )
    agrees(lake, growth, missing)


def test_runs_tell_what_was_there_at_a_time(lake: Path) -> None:
    """What the page says of `image_history` gives, at the end of each day, the total that `region_days` has."""
    (condition,) = re.findall(r"`(first_seen <= T [^`]*)`", PAGE)
    found = duckdb.sql(f"""
        with days as (
            select *, timezone('UTC', day + time '23:59:59.999999') as T
            from '{lake}/tables/region_days/*.parquet'
            where type = 'snapshot' and region is null
        )
        select d.account, d.day, d.images, count(distinct h.image_id)
        from days as d
        left join '{lake}/tables/image_history/*.parquet' as h
            on h.account = d.account and h.type = d.type and {condition}
        group by all
    """).fetchall()
    assert found
    assert [each for each in found if each[2] != each[3]] == []


def test_the_sample_has_its_tables() -> None:
    """The tables of data/sample are published, and hold the rows of its store."""
    (told,) = (each for each in verify_lake(str(ROOT / "data" / "sample")).to_pylist() if each["file"] == "tables")
    assert told["status"] == "ok"
    assert sum(path.stat().st_size for path in (ROOT / "data" / "sample" / "tables").rglob("*.parquet")) < 150_000


def test_the_readme_reads_the_tables_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's lines for plain pandas and DuckDB count what the report has, and its Python runs."""
    monkeypatch.chdir(ROOT)
    section = README.split("\n## SQL and Python\n")[1].split("\n## ")[0]
    (line,), (expression,) = (re.findall(each, section) for each in (r'duckdb -c "(.*)"', r"`(pd\.[^`]+)`"))
    counted = eval(expression, {"pd": pandas}).groupby("region").size().to_dict()
    assert dict(duckdb.sql(line).fetchall()) == counted
    (ours,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(ours, {})
    coverage = open_lake("data/sample").report("region-coverage").groupby("region")["images"].sum()
    assert {region: n for region, n in coverage.items() if n} == counted


# --- what comes with the environment apart


@pytest.mark.slow
def test_the_command_line_tells_what_the_reports_tell(lake: Path, apart: Apart) -> None:
    """DuckDB 1.5's own program answers both questions in one statement each."""
    apart.need("duckdb-cli")
    assert apart.run("duckdb", "--version").startswith("v1.5")
    growth, missing = (read_csv(apart.run("sh", "-c", text)) for text in blocks("DuckDB's command line", "sh"))
    agrees(lake, growth, missing)


@pytest.mark.slow
def test_a_store_is_read_by_plain_sql_in_an_older_duckdb(lake: Path, apart: Apart) -> None:
    """The SQL of docs/lake.md, in DuckDB 1.5, tells row by row what every capture held and what is there now."""
    apart.need("duckdb-cli")
    Path("data/lake").symlink_to(lake.resolve())
    (sql,) = re.findall(r"```sql\n(.*?)```", LAKE_PAGE, re.DOTALL)
    columns = "account, capture_id, cast(captured_at as varchar) as at, image_id, name, type, region, size_gib"
    for theirs, ours in (("observed", "image_regions"), ("now", "images")):
        told = apart.run("duckdb", "-json", "-c", sql, "-c", f"select {columns} from {theirs}")
        _, counted = json.JSONDecoder().raw_decode(told)
        found = json.loads(told[counted:])
        expected = open_lake(lake).sql_rows(f"select {columns} from {ours}").to_pylist()
        assert sorted(repr(sorted(each.items())) for each in found) == sorted(
            repr(sorted(each.items())) for each in expected
        )


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "tool"), [("DuckDB in Python", "duckdb"), ("polars", "polars")])
def test_a_library_tells_what_the_reports_tell(heading: str, tool: str, lake: Path, apart: Apart) -> None:
    """DuckDB 1.5 and polars give the numbers of both reports."""
    apart.need(tool)
    agrees(lake, *from_python(heading, "python", apart))


@pytest.mark.slow
def test_spark_tells_what_the_reports_tell(lake: Path, apart: Apart, statements: None) -> None:
    """Spark reads the folders, and both statements give the numbers of both reports."""
    pytest.importorskip("pyspark", reason="needs the extra [spark]")
    agrees(lake, *from_python("Spark", sys.executable, apart))


@pytest.mark.slow
def test_dbt_tells_what_the_reports_tell(lake: Path, apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project of the page builds its models, and they give the numbers of both reports."""
    apart.need("dbt")
    monkeypatch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
    for name, _, text in SECTIONS["dbt"]:
        if name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
    apart.run("sh", "-c", blocks("dbt", "sh")[0])
    told = (apart.run("sh", "-c", f"cd snapshots && duckdb -csv answers.duckdb 'from {name}'") for name in ANSWERS)
    agrees(lake, *map(read_csv, told))


@pytest.mark.slow
def test_sqlalchemy_tells_what_the_reports_tell(lake: Path, apart: Apart, run: Run, statements: None) -> None:
    """Over the DuckDB file, as BI tools have it, SQLAlchemy gives the numbers of both reports and lists the tables."""
    apart.need("sqlalchemy")
    published(run, "BI tools, by SQLAlchemy")
    agrees(lake, *from_python("BI tools, by SQLAlchemy", "python", apart))
    script = "from sqlalchemy import create_engine, inspect; i = inspect(create_engine('duckdb:///images.duckdb'))"
    told = apart.run("python", "-c", f"{script}; print(i.get_table_names(), i.get_view_names())")
    assert all(f"'{name}'" in told for name in ("images", "image_history", "captures", "region_days", "image_regions"))


@pytest.mark.slow
def test_a_delta_reader_tells_what_the_reports_tell(lake: Path, apart: Apart, run: Run) -> None:
    """polars over the Delta tables that `publish` writes gives the numbers of both reports."""
    pytest.importorskip("deltalake", reason="needs the extra [delta]")
    apart.need("polars")
    published(run, "Delta")
    agrees(lake, *from_python("Delta", "python", apart))


@pytest.mark.slow
def test_iceberg_tells_what_the_reports_tell(lake: Path, apart: Apart, statements: None) -> None:
    """The recipe for Iceberg, run twice as after a second publication, gives the numbers of both reports."""
    apart.need("iceberg")
    from_python("Iceberg", "python", apart)
    agrees(lake, *from_python("Iceberg", "python", apart))


@pytest.mark.slow
def test_ducklake_tells_what_the_reports_tell(lake: Path, apart: Apart, statements: None) -> None:
    """The recipe for DuckLake, run twice as after a second publication, gives the numbers of both reports."""
    apart.need("ducklake")
    # In place of the download.
    (extension,) = apart.bin.parent.glob("lib/*/site-packages/duckdb_extension_ducklake/extensions/*/*")
    apart.run("duckdb", "-c", f"install '{extension}'")
    Path("ducklake.sql").write_text(blocks("DuckLake", "sql")[0], encoding="utf-8")
    write, *ask = blocks("DuckLake", "sh")[0].splitlines()
    apart.run("sh", "-c", write)
    apart.run("sh", "-c", write)
    agrees(lake, *(read_csv(apart.run("sh", "-c", command)) for command in ask))


@pytest.mark.slow
@pytest.mark.skipif("xlsx" not in FORMATS, reason="there is no --format xlsx yet")
def test_excel_tells_what_the_reports_tell(lake: Path, apart: Apart, run: Run) -> None:
    """The sheets of the page hold, read back, what the reports tell."""
    apart.need("excel")
    for command in blocks("Excel", "sh")[0].splitlines():
        assert run(*command.split()[1:]).code == 0
    script = "import sys, pandas as pd; print(pd.read_excel(sys.argv[1]).to_json(orient='records', date_format='iso'))"
    growth, coverage = (json.loads(apart.run("python", "-c", script, f"{n}.xlsx")) for n in ("growth", "coverage"))
    told = open_lake(lake)
    expected = told.report_rows("snapshot-growth", per_region=True).to_pylist()
    assert [each["closing"] for each in growth] == [each["closing"] for each in expected]
    assert [each["period"][:10] for each in growth] == [str(each["period"]) for each in expected]
    expected = told.report_rows("region-coverage").to_pylist()
    assert [each["missing"] for each in coverage] == [each["missing"] for each in expected]
    names = [", ".join(each["missing_names"] or []) for each in expected]
    assert [each["missing_names"] or "" for each in coverage] == names


def published(run: Run, heading: str) -> None:
    """Run the one command of a section within this process."""
    (command,) = blocks(heading, "sh")
    assert run(*command.split()[1:]).code == 0


def test_every_block_of_the_page_is_run() -> None:
    """No section of the page has a block that none of these tests runs."""
    sections = {heading for heading, found in SECTIONS.items() if found}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {heading for heading in sections if f'"{heading}"' not in text} == set()
