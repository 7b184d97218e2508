"""The tables of the contract over loose and compacted files, and a connection that lets nothing else in or out."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesis_etl.errors import LakeError, ReportError
from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query.sources import read_sql
from genesis_etl.query.views import VIEWS
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.rows import ROW
from tests import model
from tests.conftest import fewer
from tests.histories import Row, at, land, land_all, land_compacted, row, rows, snapshot_of
from tests.model import Taken

IMAGE_COLUMNS = ROW.names
COLUMNS = {
    "images": ["account", "capture_id", "captured_at", *IMAGE_COLUMNS],
    "image_regions": ["account", "capture_id", "captured_at", *IMAGE_COLUMNS],
    "image_history": ["account", "first_seen", "last_seen", "gone_at", *IMAGE_COLUMNS],
    "captures": [
        "account",
        "capture_id",
        "captured_at",
        "finished_at",
        "images",
        "snapshots",
        "instances",
        "rows",
        "requests",
        "retries",
        "passes",
        "endpoint",
        "etl_version",
        "file",
        "sha256",
    ],
}


def table(name: str, order: str = "all") -> list[Row]:
    """Return a table's rows."""
    found: list[Row] = open_lake("lake").sql_rows(f"select * from {name} order by {order}").to_pylist()
    return found


def texts(found: list[Row]) -> list[str]:
    """Return rows as texts, sorted, instants in one form."""
    return sorted(
        repr({key: value.isoformat() if isinstance(value, datetime) else value for key, value in sorted(each.items())})
        for each in found
    )


@pytest.mark.parametrize("is_empty", [True, False])
def test_tables_have_the_columns_of_the_contract(is_empty: bool) -> None:
    """Every table has exactly its columns in their order and types, in an empty lake too."""
    if not is_empty:
        land_all(Lake("lake"), {"2026-11-01": rows("a")})
    for name, columns in COLUMNS.items():
        schema = open_lake("lake").sql_rows(f"select * from {name}").schema
        assert schema.names == columns
        for field in ROW:
            if name != "captures":
                assert schema.field(field.name).type == field.type


def test_whichever_view_is_asked_for_first_every_other_answers_then() -> None:
    """A view is made when a statement names it, and that of another leaves none out for good."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b")})
    contents = Lake("lake").contents()
    told = []
    for first in VIEWS:
        warehouse = Warehouse(contents)
        told.append({name: len(warehouse.select(f"select * from {name}")) for name in sorted(VIEWS, key=first.__ne__)})
        warehouse.close()
    assert told == told[:1] * len(VIEWS)
    assert told[0]["image_history"] == 2


def test_views_have_their_headers() -> None:
    """Every view's file begins with its name, its grain and what it is made of."""
    for name in VIEWS:
        lines = read_sql("views", name).splitlines()
        assert lines[0].startswith(f"-- {name}: ")
        assert lines[1].startswith("-- grain: one row per ")
        assert lines[2].startswith("-- from: ")


def test_history_breaks_at_a_capture_without_the_row_and_not_at_time_without_captures() -> None:
    """A run ends where a capture lacks the row; days without captures end nothing."""
    land_all(
        Lake("lake"),
        {"2026-11-01": rows("a"), "2026-11-09": rows("a", "b"), "2026-11-10": rows("b"), "2026-11-11": rows("a", "b")},
    )
    found = [
        (each["image_id"], each["first_seen"], each["last_seen"], each["gone_at"]) for each in table("image_history")
    ]
    assert sorted(found, key=str) == [
        ("a", at("2026-11-01"), at("2026-11-09"), at("2026-11-10")),
        ("a", at("2026-11-11"), at("2026-11-11"), None),
        ("b", at("2026-11-09"), at("2026-11-11"), None),
    ]


def test_history_compares_null_as_null_and_an_empty_list_as_itself() -> None:
    """Two nulls are the same row; `[]` is not null; any changed field makes another row."""
    states = [
        rows("a"),
        rows("a"),
        rows("a", versions=[]),
        rows("a", versions=["1", "2"]),
        rows("a", versions=["2", "1"]),
        rows("a", name="renamed"),
    ]
    land_all(Lake("lake"), {f"2026-11-0{n + 1}": state for n, state in enumerate(states)})
    found = [(each["versions"], each["name"], f"{each['first_seen']:%d}") for each in table("image_history", order="2")]
    assert found == [
        (None, "a", "01"),
        ([], "a", "03"),
        (["1", "2"], "a", "04"),
        (["2", "1"], "a", "05"),
        (None, "renamed", "06"),
    ]


@pytest.mark.parametrize("column", fewer(ROW.names, 8))
def test_history_compares_every_column(column: str) -> None:
    """Of two rows that differ in one column alone each has its own history, together or in turn."""
    one = row("a", "R1", name="x", type="snapshot")
    other = {
        **one,
        column: {"created_at": at("2026-01-02"), "updated_at": at("2026-01-02"), "size_gib": 7.0}.get(column),
    }
    if other[column] is None:
        other[column] = {"versions": ["v9"], "source_instance_exists": False}.get(column, "other")
    both = [one, other]
    land_all(Lake("lake"), {f"2026-11-0{n + 1}": state for n, state in enumerate([both, [one], [other], [], both, []])})
    found = [
        (str(each[column]), f"{each['first_seen']:%d}", f"{each['last_seen']:%d}") for each in table("image_history")
    ]
    runs = [(one, "01", "02"), (other, "01", "01"), (other, "03", "03"), (one, "05", "05"), (other, "05", "05")]
    assert sorted(found) == sorted((str(each[column]), first, last) for each, first, last in runs)


def test_images_are_those_of_each_accounts_newest_capture() -> None:
    """`images` holds the newest capture of every account, empty where that one is."""
    lake = Lake("lake")
    land(lake, at("2026-11-02"), rows("new"), "one")
    land(lake, at("2026-11-01"), rows("old"), "one")
    land(lake, at("2026-10-01"), rows("other"), "two")
    land(lake, at("2026-10-01"), rows("gone"), "three")
    land(lake, at("2026-10-02"), [], "three")
    assert [(each["account"], each["image_id"]) for each in table("images")] == [("one", "new"), ("two", "other")]


def test_captures_say_what_was_landed() -> None:
    """`captures` returns every landed capture, field by field, after a compaction too."""
    landed = land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": []})
    found = table("captures", order="captured_at")
    assert found == [{name: getattr(each, name) for name in COLUMNS["captures"]} for each in landed]
    compacted = land_compacted(Lake("lake"), [(landed[0], rows("a")), (landed[1], [])], at("2026-11-03"))
    found = table("captures", order="captured_at")
    assert found == [{name: getattr(each, name) for name in COLUMNS["captures"]} for each in compacted]


@st.composite
def compacted_histories(draw: st.DrawFn) -> tuple[list[list[Row]], list[list[int]], list[int]]:
    """Draw states of an account, which of them each compaction takes, and the order in which all are landed."""
    choices = [
        row("a"),
        row("a", "R2"),
        row("a", versions=[]),
        row("a", None, name="other"),
        row("b", size_gib=1.5),
        row("b", extra='{"x":1}'),
    ]
    one = st.lists(st.sampled_from(range(len(choices))), unique=True, max_size=4)
    states = [[choices[n] for n in drawn] for drawn in draw(st.lists(one, min_size=1, max_size=9))]
    index = st.integers(0, len(states) - 1)
    compactions = draw(st.lists(st.lists(index, min_size=1, unique=True).map(sorted), max_size=4))
    late = draw(st.lists(index, unique=True, max_size=2))
    return states, compactions, late


@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_every_table_is_right_however_captures_are_compacted(examples: int) -> None:
    """Whatever compactions hold, overlap or lack, late captures inside: all tables are those of the landed rows."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn=compacted_histories(), is_swept=st.booleans())
    def law(drawn: Any, is_swept: bool) -> None:
        hold(*drawn, is_swept=is_swept)

    law()


def hold(states: list[list[Row]], compactions: list[list[int]], late: list[int], *, is_swept: bool) -> None:
    """Land and compact an account, and hold every table against the states that it was landed from."""
    with tempfile.TemporaryDirectory(dir=".") as url:
        lake = Lake(url)
        captures: dict[int, Capture] = {}
        for n, state in enumerate(states):
            if n not in late:
                captures[n] = land(lake, at(f"2026-11-{n + 1:02}"), state)
        raw = snapshot_of(url)
        replaced: set[str] = set()
        for number, wanted in enumerate(compactions):
            held = [n for n in wanted if n in captures]
            if held:
                land_compacted(lake, [(captures[n], states[n]) for n in held], at(f"2026-12-{number + 1:02}"))
                replaced |= {captures[n].capture_id for n in held}
        for n in late:
            captures[n] = land(lake, at(f"2026-11-{n + 1:02}"), states[n])
        if is_swept:
            for path in sorted(raw):  # commits first
                if any(id in path for id in replaced):
                    Path(url, path).unlink()
        opened = open_lake(url)
        found = {name: opened.sql_rows(f"select * from {name}").to_pylist() for name in COLUMNS}
    history = {
        "default": [
            Taken(captures[n].captured_at, captures[n].capture_id, state, captures[n].finished_at, 0, 0, 0)
            for n, state in enumerate(states)
        ]
    }
    assert texts(found["image_regions"]) == texts(model.image_regions(history))
    assert texts(found["images"]) == texts(model.images(history))
    assert {each["capture_id"] for each in found["captures"]} == {each.capture_id for each in captures.values()}
    assert texts(found["image_history"]) == texts(model.image_history(history))


# --- one read-only statement


@pytest.mark.parametrize(
    "statement",
    fewer(
        [
            "select count(*) as n from images",
            "SELECT 1;",
            "with x as (select 1 as a) select a from x",
            "values (1), (2)",
            "from images select count(*)",
            "table captures",
            "(select 1)",
            "explain select 1",
            "EXPLAIN ANALYZE select count(*) from image_history",
            "explain /* why */ analyze -- so\n select 1",
            "/* a */ explain (format json) select 1",
            "explain (analyze, format json) select 1",
            "describe images",
            "summarize images",
            "show tables",
            "-- a comment\nselect 1",
            "select 'copy; drop' as text",
        ],
        8,
    ),
)
def test_selects_run(statement: str) -> None:
    """SELECT in all its forms, and EXPLAIN of one, answer."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    assert len(open_lake("lake").sql_rows(statement))


REFUSED = [
    "copy images to 'out.csv'",
    "COPY (select 1) TO 'out.parquet' (format parquet)",
    "cOpY/**/images/**/tO 'out.csv'",
    "/* select */ copy images to 'out.csv'",
    "-- select\ncopy images to 'out.csv'",
    "explain analyze copy images to 'out.csv'",
    "explain /**/ analyze /**/ copy images to 'out.csv'",
    "explain -- x\n analyze copy images to 'out.csv'",
    "explain (analyze) copy images to 'out.csv'",
    "explain analyze /* /* */ select 1; */ copy images to 'out.csv'",
    "explain copy images to 'out.csv'",
    "explain analyze create table t as select 1",
    "explain analyze delete from lake_captures",
    "attach 'out.duckdb' as other",
    "detach memory",
    "install httpfs",
    "load httpfs",
    "load 'out.duckdb_extension'",
    "set memory_limit = '1GB'",
    "reset timezone",
    "set variable x = 1",
    "pragma database_list",
    "pragma enable_profiling",
    "pragma/**/database_list",
    "call pragma_version()",
    "checkpoint",
    "use memory",
    "create table t as select 1",
    "create view v as select 1",
    "create macro m() as 1",
    "create secret (type s3)",
    "drop view images",
    "alter view images rename to x",
    "comment on view images is 'x'",
    "insert into lake_captures select * from lake_captures",
    "delete from lake_captures",
    "update lake_captures set rows = 0",
    "truncate lake_captures",
    "merge into lake_captures using captures on false when matched then delete",
    "with x as (delete from lake_captures returning *) select * from x",
    "with x as (insert into lake_captures select * from lake_captures returning *) select * from x",
    "with x as (update lake_captures set rows = 0 returning *) select * from x",
    "explain analyze with x as (delete from lake_captures returning *) select * from x",
    "export database 'out'",
    "import database 'out'",
    "prepare p as select 1",
    "execute p",
    "begin",
    "commit",
    "vacuum",
    "update extensions",
    "select 1; select 2",
    "select 1; copy images to 'out.csv'",
    "",
    ";",
    "-- nothing",
    "selec 1",
    "select * from nothing",
    "select $x",
    "select ?",
    "select * from secret_rows",
    "select * from read_csv('secret.csv')",
    "select * from 'secret.csv'",
    'select * from "secret.csv"',
    "select * from read_text('secret.csv')",
    "select * from read_blob('secret.csv')",
    "select * from read_json('secret.csv')",
    "select * from read_parquet('other.parquet')",
    "select * from read_parquet(['other.parquet'])",
    "select * from read_parquet('lake/images/**/*.parquet')",
    "select * from parquet_metadata('other.parquet')",
    "select * from sniff_csv('secret.csv')",
    "select * from glob('*')",
    "select * from query('copy images to ''out.csv''')",
    "select * from query_table('secret.csv')",
    "select * from read_csv('/dev/stdin')",
    "select * from 'https://example.org/x.parquet'",
    "select * from read_parquet('s3://bucket/x.parquet')",
    "select getenv('HOME')",
]


@pytest.mark.parametrize("statement", fewer(REFUSED, 30))
def test_everything_else_is_refused(statement: str) -> None:
    """What is not one SELECT or reaches outside is a ReportError (exit 2), and nothing was written or changed."""
    secret_rows = [1]
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    Path("secret.csv").write_text("token\nsecret\n")
    (file,) = Path("lake/store/rows").rglob("*.parquet")
    Path("other.parquet").write_bytes(file.read_bytes())
    before = snapshot_of(".")
    opened = open_lake("lake")
    with pytest.raises(ReportError) as caught:
        opened.sql_rows(statement)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert snapshot_of(".") == before
    assert secret_rows == [1]
    found = opened.sql_rows(
        "select count(*) as n, sum(rows) as rows, 'UTC' = current_setting('timezone') as utc from captures"
    )
    assert found.to_pylist() == [{"n": 1, "rows": 1, "utc": True}]


def test_committed_files_cannot_be_overwritten() -> None:
    """The files that the connection may read, it may not write."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    (file,) = (str(path.resolve()) for path in Path("lake/store/rows").rglob("*.parquet"))
    before = snapshot_of("lake")
    for statement in (f"copy (select 1) to '{file}'", f"explain analyze copy (select 1) to '{file}'"):
        with pytest.raises(ReportError, match="is refused"):
            open_lake("lake").sql(statement)
    assert snapshot_of("lake") == before


def test_a_file_that_goes_bad_while_open_is_a_lake_error() -> None:
    """When a rows file vanishes under an open connection and no commit has come or gone, it is named (exit 6)."""
    (landed,) = land_all(Lake("lake"), {"2026-11-01": rows("a")})
    opened = OpenLake(Lake("lake"), (), None)
    assert len(opened.sql("select * from images")) == 1
    Path("lake", landed.file).unlink()
    with pytest.raises(ReportError):
        opened.sql("select * from nothing")
    with pytest.raises(LakeError, match=r"cannot read the lake: .*\.parquet is gone") as caught:
        opened.sql("select * from images")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "statement",
    ["select * from read_text('.tmp/a.txt')", "select * from glob('.tmp/*')", "select * from '.tmp/a.csv'"],
)
def test_no_folder_of_duckdbs_own_can_be_read(statement: str) -> None:
    """What lies in `.tmp` where we stand, which DuckDB would take for its own, is as closed as any other file."""
    land(Lake("lake"), at("2026-11-20"), rows("a"))
    Path(".tmp").mkdir()
    for name in ("a.txt", "a.csv"):
        Path(".tmp", name).write_text("a,b\n1,2\n")
    with pytest.raises(ReportError):
        open_lake("lake").sql(statement)


def test_no_proxy_of_the_environment_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in a proxy variable is in no setting that a statement can read."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://user:a-password@proxy.example:3128")
    land(Lake("lake"), at("2026-11-20"), rows("a"))
    told = open_lake("lake").sql(
        "select string_agg(value, ' ') as told, current_setting('http_proxy') as p from duckdb_settings()"
    )
    assert "a-password" not in str(told.to_dict())


@pytest.mark.parametrize("explain", ["explain", "explain analyze", "explain (analyze)", "explain (format json)"])
def test_a_select_in_brackets_is_explained(explain: str) -> None:
    """Brackets behind EXPLAIN are its options only where options stand in them."""
    land(Lake("lake"), at("2026-11-20"), rows("a"))
    for statement in ("(select region from images)", "select region from images"):
        assert len(open_lake("lake").sql(f"{explain} {statement}"))
