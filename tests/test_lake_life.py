"""The life of a lake: a schema that grows under it, copies made while it lives, and lakes laid into one."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genesis_etl.errors import ExportFailed, LakeError
from genesis_etl.lake.commit import Facts, capture_rows
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.schema import CAPTURES, IMAGES, SCHEMA_VERSION, NewerSchema, upgraded
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget, forgettable
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from tests.commands import ETL, Run, refused
from tests.conftest import WHOLE, fewer, settings_for
from tests.histories import Row, at, commit_files, land, land_all, row, rows, rows_files, snapshot_of

ROOT = Path(__file__).parent.parent
NOW = at("2026-11-23 11:20")
NOTHING = timedelta(0)
SLOW = pytest.mark.slow
TABLES = ("image_history", "image_regions", "images", "captures")
REPORTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("snapshot-growth", {}),
    ("snapshot-growth", {"by": "month", "per_region": True, "since": "2025-12-01"}),
    ("region-coverage", {}),
    ("region-coverage", {"matrix": True}),
    ("changes", {"since": "2025-12-01"}),
    ("stale-snapshots", {"older_than": "1d"}),
    ("capture-health", {"since": "2025-12-01"}),
)
HISTORY: dict[str, list[Row]] = {
    "2025-12-31 12:00": rows("a", "b"),
    "2026-11-01 12:00": [*rows("a", "b", "c"), row("d", None, versions=[]), row("e", "R2", "cloud-image")],
    "2026-11-02 12:00": rows("a", "c"),
    "2026-11-03 12:00": [*rows("a", "b"), row("c", name="renamed")],
    "2026-11-22 12:00": [*rows("a", "b"), row("c", name="renamed")],
    "2026-11-23 11:00": rows("a"),
}
LATER = {"2026-11-23 11:30": rows("a", "b"), "2026-11-24 12:00": rows("a", "b")}


def answers(url: str, *, with_ids: bool = True) -> dict[str, pa.Table]:
    """Return what every table and report tells of a lake."""
    lake = open_lake(url)
    reports = {f"{name} {options}": lake.report_rows(name, **options) for name, options in REPORTS}
    return tables(url, with_ids=with_ids) | reports


def tables(url: str, *, with_ids: bool = True) -> dict[str, pa.Table]:
    """Return what every table tells of a lake; what names its files or, if asked, captures is left out."""
    lake = open_lake(url)
    told = {}
    for table in TABLES:
        found = lake.sql_rows(f"select * from {table}")
        names = {"file", "sha256"} | (set() if with_ids else {"capture_id"})
        found = found.select([name for name in found.column_names if name not in names])
        told[table] = pa.Table.from_pylist(sorted(found.to_pylist(), key=repr), schema=found.schema)
    return told


def observed(url: str) -> list[Row]:
    """Return everything that was ever observed."""
    found: list[Row] = open_lake(url).sql_rows("select * from image_regions order by all").to_pylist()
    return found


def build(kind: str, url: str = "lake") -> None:
    """Make a lake of two accounts and years: loose, compacted with the loose files still there, or compacted alone."""
    land_all(Lake(url), HISTORY)
    land_all(Lake(url), {"2026-11-01": rows("x"), "2026-11-02": rows("x", "y")}, "other")
    if kind != "loose":
        compact(Lake(url), grace=timedelta(days=7) if kind == "both" else NOTHING, now=NOW)


# --- a schema that grows

CHILD = """
import pickle, sys
function, arguments = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function(*arguments)))
"""
# The release after this one, and its schema version.
NEXT = SCHEMA_VERSION + 1
# What it would change: `note` in the rows and `label` in the captures, neither at the end.
EDITS: dict[str, dict[str, str]] = {
    "lake/schema.py": {
        f"SCHEMA_VERSION: Final = {SCHEMA_VERSION}\n": f"SCHEMA_VERSION: Final = {NEXT}\n",
        '        described("endpoint", ': (
            '        described("label", pa.string(), "a label", nullable=True),\n        described("endpoint", '
        ),
    },
    "rows/schema.py": {
        '        described("extra", ': (
            '        described("note", pa.string(), "a note", nullable=True),\n        described("extra", '
        ),
    },
    "rows/table.py": {
        '        "extra": both.extra(),': '        "note": both.text("note", only="images"), "extra": both.extra(),',
    },
    "lake/commit.py": {"    listed_snapshots: int\n": "    listed_snapshots: int\n    label: str | None = None\n"},
}
Newer = Callable[..., Any]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Make a genesis-etl of the next schema version and return an environment that imports it."""
    folder = tmp_path_factory.mktemp("release")
    package = folder / "genesis_etl"
    shutil.copytree(ROOT / "genesis_etl", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, edits in EDITS.items():
        text = (package / name).read_text(encoding="utf-8")
        for old, new in edits.items():
            assert text.count(old) == 1, f"{name} has changed: {old}"
            text = text.replace(old, new)
        (package / name).write_text(text, encoding="utf-8")
    for view in (package / "sql" / "views").glob("*.sql"):
        text = re.sub(r"\b((?:\w\.)?)extra\b", r"\1note, \1extra", view.read_text(encoding="utf-8"))
        view.write_text(text.replace("    endpoint,\n", "    label,\n    endpoint,\n"), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture(scope="module")
def newer(release: dict[str, str]) -> Newer:
    """Call a function of this module with the genesis-etl of the next schema version."""

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CHILD],
            env=release,
            input=pickle.dumps((function, arguments)),
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return pickle.loads(done.stdout)

    return call


@pytest.fixture(scope="module")
def newer_lakes(newer: Newer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make lakes of a capture of this version and later ones of the next: `loose`, and `compacted` into one."""
    folder = tmp_path_factory.mktemp("lakes")
    for kind in ("loose", "compacted"):
        land_all(Lake(str(folder / kind)), {"2026-11-01": rows("a", "b")})
    newer(write_news, str(folder))
    return folder


def write_news(folder: str) -> None:
    for kind in ("loose", "compacted"):
        land_noted(f"{folder}/{kind}", LATER)
    compact_all(f"{folder}/compacted")


def told_verified(url: str) -> tuple[dict[str, pa.Table], bool]:
    """Return what is told of a lake, and whether `verify` finds it whole."""
    return answers(url), not has_failed(verify(url))


def version() -> int:
    return SCHEMA_VERSION


def land_noted(url: str, states: Mapping[str, list[Row]], account: str = "default", note: str | None = None) -> None:
    """Land captures of the next version: a note in the rows of `b`, a label in every capture."""
    for text, state in states.items():
        noted = [{**each, "note": note if each["image_id"] == "b" else None} for each in state]
        land(Lake(url), at(text), noted, account, label="new")


def live_on(url: str, note: str | None) -> dict[str, dict[str, pa.Table]]:
    """Land captures, compact, forget; return what is answered in between."""
    land_noted(url, LATER, note=note)
    told = {"landed": answers(url, with_ids=False)}
    compact_all(url)
    told["compacted"] = tables(url, with_ids=False)
    forget(Lake(url), "default", at("2026-11-03"), now=at("2026-11-26"))
    told["forgotten"] = tables(url, with_ids=False)
    assert not has_failed(verify(url))
    return told


def without_news(told: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Return the answers without the columns of the next version, which must be null."""
    plain = {}
    for name, table in told.items():
        news = [column for column in ("note", "label") if column in table.column_names]
        assert len(news) == (name in TABLES), name
        assert all(table[column].null_count == len(table) for column in news)
        plain[name] = table.drop_columns(news)
    return plain


def versions_of(url: str) -> list[bytes]:
    """Return the schema versions that a lake's files tell, one each."""
    found: list[bytes] = [
        pq.read_schema(f"{url}/{name}").metadata[b"genesis_etl.schema_version"] for name in sorted(snapshot_of(url))
    ]
    return found


def test_the_newer_release_is_one(newer: Newer) -> None:
    """The release that these tests make is of the schema version after that of the one they run in."""
    assert newer(version) == SCHEMA_VERSION + 1


@SLOW
@pytest.mark.parametrize("kind", ["both", "loose", "compacted"])
def test_a_newer_version_tells_of_an_older_lake_what_was_told(kind: str, newer: Newer) -> None:
    """After an upgrade every table and report of a lake of this version is the same, its new columns null."""
    build(kind)
    before, files = answers("lake"), snapshot_of("lake")
    told, is_whole = newer(told_verified, "lake")
    assert without_news(told) == before
    assert is_whole
    assert snapshot_of("lake") == files


@SLOW
@pytest.mark.parametrize(
    ("kind", "note"),
    [("both", "noted"), ("loose", None), ("compacted", "noted")],
)
def test_captures_of_both_versions_answer_together(kind: str, note: str | None, newer: Newer) -> None:
    """Beside each other, compacted and forgotten in part, they tell what a lake of the newer version alone tells."""
    build(kind)
    mixed, pure = newer(lives, note)
    assert mixed == pure
    for told in mixed.values():
        assert set(told["image_history"]["note"].to_pylist()) == {None, note}
    assert set(mixed["landed"]["captures"]["label"].to_pylist()) == {None, "new"}


def write_anew(url: str, to: str) -> None:
    """Write a lake's captures to another one, file by file, in the schema of the version that runs."""
    source = Lake(url)
    for commit in source.commits()[0]:
        assert commit.rows_file is not None
        rows = source.rows(commit.rows_file).replace_schema_metadata(IMAGES.metadata)
        captures = pa.table(commit.captures.to_pydict(), schema=CAPTURES)
        Lake(to).commit(rows, captures, commit.facts, year=commit.file.year, name=commit.file.name)


def lives(note: str | None) -> list[dict[str, dict[str, pa.Table]]]:
    """Return the answers of the lake in `lake`, and of one that was written anew by the version that runs."""
    write_anew("lake", "new")
    assert set(versions_of("new")) == {str(SCHEMA_VERSION).encode()}
    return [live_on(url, note) for url in ("lake", "new")]


def test_not_known_and_null_are_one_run(newer: Newer) -> None:
    """A row whose new column was not known before and is null now goes on; one that has a value now is another run."""
    land_all(Lake("lake"), {"2026-11-01": rows("a", "b"), "2026-11-02": rows("a", "b")})
    for runs in newer(histories, "lake"):
        told = [(each["image_id"], each["note"], each["first_seen"].day, each["last_seen"].day) for each in runs]
        assert told == [("a", None, 1, 4), ("b", None, 1, 2), ("b", "noted", 3, 4)]
    assert versions_of("lake") == [str(NEXT).encode()] * 2


def histories(url: str) -> list[list[Row]]:
    """Land captures with notes and return the runs of the lake, before and after they are compacted."""
    land_noted(url, {"2026-11-03": rows("a", "b"), "2026-11-04": rows("a", "b")}, note="noted")
    told = []
    for _ in range(2):
        found = open_lake(url).sql_rows("select * from image_history order by image_id, first_seen")
        told.append(list(found.to_pylist()))
        compact_all(url)
    return told


def history(url: str) -> list[Row]:
    """Return the runs of a lake."""
    found = open_lake(url).sql_rows("select * from image_history order by image_id, first_seen")
    return list(found.to_pylist())


def compact_all(url: str) -> None:
    compact(Lake(url), grace=NOTHING, now=at("2026-11-26"))


def test_compaction_writes_the_newer_version(newer: Newer) -> None:
    """A compaction of files of both versions is of the newer, and none of the older is left after the grace."""
    build("compacted")
    newer(land_and_compact, "lake")
    files = {name: pq.read_schema(f"lake/{name}") for name in snapshot_of("lake") if "/default/2026/" in name}
    assert len(files) == 2
    for name, schema in files.items():
        assert "-compacted-" in name
        assert schema.metadata[b"genesis_etl.schema_version"] == str(NEXT).encode()
        assert {"note", "label"} & set(schema.names)


def land_and_compact(url: str) -> None:
    land_noted(url, LATER, note="noted")
    compact_all(url)


def test_an_older_file_may_lack_nullable_columns_alone() -> None:
    """What this version's own files must have, an older version's may lack where null is allowed, and nowhere else."""
    table = IMAGES.empty_table()
    old = table.replace_schema_metadata({"genesis_etl.schema_version": str(SCHEMA_VERSION - 1)})
    assert upgraded(old.drop_columns(["extra", "region"]), IMAGES).schema.equals(IMAGES)
    for broken in (old.drop_columns(["name"]), table.drop_columns(["extra"]), pa.table({"x": [1]})):
        with pytest.raises(KeyError):
            upgraded(broken, IMAGES)
    with pytest.raises(NewerSchema, match=f"reads up to {SCHEMA_VERSION}"):
        upgraded(table.replace_schema_metadata({"genesis_etl.schema_version": str(SCHEMA_VERSION + 1)}), IMAGES)


def test_a_rows_file_newer_than_its_commit_is_refused() -> None:
    """Each file tells its own version, whatever the one that names it says."""
    newer = IMAGES.with_metadata({"genesis_etl.schema_version": str(SCHEMA_VERSION + 1)})
    lake = Lake("lake")
    (whole,) = land_all(lake, {"2026-11-01": rows("a")})
    (file,) = rows_files("lake")
    lake.commit(
        lake.rows(file).replace_schema_metadata(newer.metadata),
        capture_rows([replace(whole, account="new", capture_id="20261101T000000000000Z-00000000")]),
        Facts("capture"),
        year=2026,
        name="20261101T000000000000Z-00000000",
    )
    with pytest.raises(
        LakeError, match=rf"written with schema version {NEXT}, .* upgrade it, or ask for another --account"
    ):
        open_lake("lake").sql("select 1")
    assert len(open_lake("lake").report("region-coverage", account="default"))
    assert [row["status"] for row in verify("lake").to_pylist()] == ["ok", "newer"]


REFUSED = f"written with schema version {NEXT}, this genesis-etl reads up to {SCHEMA_VERSION}; upgrade it"


@pytest.mark.parametrize("kind", ["loose", "compacted"])
@pytest.mark.parametrize(
    "command",
    [
        *(["sql", "select 1"], ["compact"]),
        pytest.param(["report", "snapshot-growth"], marks=SLOW),
        pytest.param(["dashboard", "--output", "page.html"], marks=SLOW),
        pytest.param(["report", "region-coverage", "--account", "default"], marks=SLOW),
        pytest.param(["report", "changes", "--as-of", "2030-01-01"], marks=SLOW),
        pytest.param(["forget", "--account", "default", "--yes"], marks=SLOW),
        ["forget", "--account", "default", "--before", "2026-11-02", "--yes"],
    ],
    ids=" ".join,
)
def test_an_older_version_refuses_a_newer_lake(command: list[str], kind: str, newer_lakes: Path, run: Run) -> None:
    """Each command that needs it ends with 6, one line that names the file and says to upgrade, and changes nothing."""
    shutil.copytree(newer_lakes / kind, "lake")
    files = snapshot_of("lake")
    refused(run(*command, "--lake", "lake"), 6, "store/captures/default/2026/2026112", REFUSED)
    assert snapshot_of("lake") == files
    assert not Path("page.html").exists()


def test_verify_tells_newer_files_from_damaged_ones(newer_lakes: Path, run: Run) -> None:
    """The older version calls each newer commit `newer` (exit 1), and none of its rows files an orphan."""
    shutil.copytree(newer_lakes / "loose", "lake")
    for name in snapshot_of("lake"):
        os.utime(f"lake/{name}", (1, 1))
    ended = run("verify", "--lake", "lake", "--format", "json")
    assert ended.code == 1
    assert [(each["status"], each["file"].split("/")[1]) for each in ended.rows] == [
        ("ok", "captures"),
        ("newer", "captures"),
        ("newer", "captures"),
    ]
    assert [each["detail"] for each in ended.rows[1:]] == [REFUSED] * 2


def test_accounts_of_the_older_version_answer(newer_lakes: Path, run: Run) -> None:
    """Where one account is of the newer version, the others' reports, compactions, captures and forgetting go on."""
    shutil.copytree(newer_lakes / "loose", "lake")
    default = snapshot_of("lake")
    land_all(Lake("lake"), {"2026-11-01": rows("x"), "2026-11-02": rows("x", "y")}, "other")
    assert run("report", "snapshot-growth", "--account", "other", "--lake", "lake").code == 0
    refused(run("report", "snapshot-growth", "--lake", "lake"), 6, REFUSED, "--account")
    before = open_lake("lake").report_rows("changes", account="other", since="2026-11-01")
    refused(run("compact", "--lake", "lake"), 6, REFUSED)
    assert [file.is_compacted for file in commit_files("lake", "other")].count(True) == 1
    assert open_lake("lake").report_rows("changes", account="other", since="2026-11-01") == before
    forget(Lake("lake"), "other", at("2026-11-02"))
    assert len(open_lake("lake").report_rows("region-coverage", account="other"))
    assert default == {name: data for name, data in snapshot_of("lake").items() if "/default/" in name}


@pytest.mark.parametrize("is_compacted", fewer([False, True], 1))
def test_an_older_version_does_not_export_into_newer_captures(
    is_compacted: bool, newer: Newer, release: dict[str, str], serve: Callable[..., Sandbox]
) -> None:
    """After a capture by the newer version the older one is refused (6) before any request, and lands nothing."""
    sandbox = serve(images=20)
    assert sandbox.at is not None
    export(settings_for(sandbox))
    sandbox.at += timedelta(hours=1)
    reach = {
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "GENESISCLOUD_TOKEN": sandbox.token,
        "GENESIS_ETL_NOW": sandbox.at.isoformat(),
    }
    subprocess.run([*ETL, "export", "--lake", "lake"], env={**release, **reach}, check=True, capture_output=True)
    if is_compacted:
        newer(compact_all, "lake")
    files = snapshot_of("lake")
    assert {str(NEXT).encode()} <= set(versions_of("lake"))
    sandbox.requests.clear()
    sandbox.at += timedelta(hours=1)
    with pytest.raises(ExportFailed, match=REFUSED) as caught:
        export(settings_for(sandbox))
    assert caught.value.exit_code == 6
    assert sandbox.requests == []
    assert snapshot_of("lake") == files


@SLOW
@pytest.mark.whole
@pytest.mark.xdist_group("spark")
def test_spark_reads_both_versions(newer: Newer) -> None:
    """On Spark, too, a lake of the older version and one of both answer, with the new columns."""
    pytest.importorskip("pyspark", reason="needs the extra [spark]")
    build("both")
    for ours, theirs in newer(told_by_both_engines, "lake"):
        assert ours == theirs


def told_by_both_engines(url: str) -> list[tuple[dict[str, list[Row]], dict[str, list[Row]]]]:
    """Return what the tables and reports tell on DuckDB and on Spark, before and after captures of this version."""
    told = [(told_by("duckdb", url), told_by("spark", url))]
    land_noted(url, LATER, note="noted")
    told.append((told_by("duckdb", url), told_by("spark", url)))
    assert {each["note"] for each in told[1][1]["image_history"]} == {None, "noted"}
    return told


def told_by(engine: str, url: str) -> dict[str, list[Row]]:
    """Return what the tables and a report tell on an engine."""
    lake = open_lake(url, engine=engine)
    rows = {name: sorted(lake.sql_rows(f"select * from {name}").to_pylist(), key=repr) for name in TABLES}
    return {**rows, "growth": lake.report_rows("snapshot-growth", by="month").to_pylist()}


# --- copies

ORDER = ("store/captures", "store/rows")
WORKED_AT = at("2026-11-10 11:00")


def copied(
    source: str, to: str, order: tuple[str, ...] = ORDER, before_file: Callable[[int], None] | None = None
) -> list[str]:
    """Copy a lake's folders one after the other as `cp -r` does; return what was listed, but gone when its turn came.

    `before_file` is called with the number of each file before it is copied.
    """
    gone: list[str] = []
    number = 0

    def copy(path: str) -> None:
        nonlocal number
        if os.path.isdir(f"{source}/{path}"):
            names = sorted(os.listdir(f"{source}/{path}"))
            os.makedirs(f"{to}/{path}", exist_ok=True)
            for name in names:
                copy(f"{path}/{name}")
            return
        number += 1
        if before_file is not None:
            before_file(number)
        try:
            shutil.copyfile(f"{source}/{path}", f"{to}/{path}")
        except FileNotFoundError:
            gone.append(path)

    for dataset in order:
        copy(dataset)
    return gone


def added(source: str, to: str) -> None:
    """Copy what a copy does not have yet, commits first; nothing is replaced and nothing removed."""
    for dataset in ORDER:
        for name, data in snapshot_of(f"{source}/{dataset}").items():
            target = Path(to, dataset, name)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)


COMMANDS = [
    "mkdir -p copy/store && cp -r lake/store/captures copy/store/ && cp -r lake/store/rows copy/store/ && rm -r lake",
    "cp -a lake copy && rm -r lake",
    "mv lake copy",
    "tar -cf lake.tar lake && rm -r lake && mkdir copy && tar -xf lake.tar -C copy --strip-components=1",
]


@SLOW
@pytest.mark.parametrize("command", COMMANDS)
def test_a_lake_that_is_still_may_be_copied_by_anything(command: str) -> None:
    """Copied, moved or packed, it answers every table and report, is whole, and lives on."""
    build("both")
    before = answers("lake")
    subprocess.run(command, shell=True, check=True)
    assert answers("copy") == before
    assert not has_failed(verify("copy"))
    land(Lake("copy"), at("2026-11-24"), rows("new"))
    compact(Lake("copy"), grace=NOTHING, now=at("2026-11-26"))
    assert {each["image_id"] for each in observed("copy") if each["captured_at"] == at("2026-11-24")} == {"new"}


def seen(url: str) -> set[tuple[str, datetime, str]]:
    """Return account, time and image of everything that was ever observed."""
    found = open_lake(url).sql_rows("select account, captured_at, image_id from image_regions").to_pylist()
    return {(each["account"], each["captured_at"], each["image_id"]) for each in found}


def aged(url: str) -> None:
    """Make a lake whose next compaction holds two more captures and sweeps what one replaced more than a week ago."""
    land_all(Lake(url), {f"2026-11-0{day} 12:00": rows("a", f"only{day}") for day in (1, 2)})
    compact(Lake(url), now=at("2026-11-03 12:00"))
    land_all(Lake(url), {f"2026-11-0{day} 12:00": rows("a", f"only{day}") for day in (8, 9)})


def work(url: str, grace: timedelta = timedelta(days=7)) -> None:
    """Land a capture of every account, compact and sweep."""
    for account in Lake(url).accounts():
        land(Lake(url), WORKED_AT, rows("a", "new"), account)
    compact(Lake(url), grace=grace, now=WORKED_AT + timedelta(hours=2))


def at_every_file(
    source: str, act: Callable[[str], Any], order: tuple[str, ...] = ORDER
) -> Iterator[tuple[str, str, list[str]]]:
    """Copy a lake again and again, each time letting `act` happen to it before another file.

    Yields the lake, the copy, and what was gone when its turn came.
    """
    for turn in count(1):
        lake, to = f"{turn}/lake", f"{turn}/copy"
        shutil.copytree(source, lake)
        turned: list[int] = []

        def before_file(number: int, turn: int = turn, lake: str = lake, turned: list[int] = turned) -> None:
            if number == turn:
                turned.append(number)
                act(lake)

        gone = copied(lake, to, order, before_file)
        if not turned:
            return
        yield lake, to, gone


@SLOW
def test_commits_first_a_copy_is_whole_whatever_happens_meanwhile() -> None:
    """A landing, a compaction and a sweep before any file of it: each account is told as before or after, no 6."""
    aged("source")
    land(Lake("source"), at("2026-11-09"), rows("x"), "other")
    before = seen("source")
    after = before | {(account, WORKED_AT, image) for account in ("default", "other") for image in ("a", "new")}
    found = set()
    for _, copy, _ in at_every_file("source", work):
        told = seen(copy)
        for account in ("default", "other"):
            states = [{each for each in state if each[0] == account} for state in (before, after)]
            found.add((account, states.index({each for each in told if each[0] == account})))
    # By name the folder of `other` is listed second, when there is something new in it.
    assert found == {("default", 0), ("other", 0), ("other", 1)}


def test_what_was_swept_during_the_copy_is_cleared_by_compact() -> None:
    """`verify` calls a file missing that a sweep took from under the copy; no table needs it, `compact` clears it."""
    aged("source")
    before = seen("source")
    gone = copied("source", "copy", before_file=lambda number: work("source") if number == 6 else None)
    found = [each for each in verify("copy").to_pylist() if each["status"] != "ok"]
    assert [(each["file"], each["status"]) for each in found] == [(path, "missing") for path in gone]
    assert len(gone) == 2
    assert all("no table needs it" in each["detail"] for each in found)
    assert seen("copy") == before
    compact(Lake("copy"), now=WORKED_AT + timedelta(hours=2))
    assert seen("copy") == before
    assert not has_failed(verify("copy"))


def test_rows_first_a_commit_may_come_without_its_file() -> None:
    """In the other order a capture that lands meanwhile is a commit without a file: 6, until the rest is copied."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("b")})

    def landing(number: int) -> None:
        if number == 2:
            land(Lake("lake"), datetime.now(UTC), rows("c"))

    copied("lake", "copy", ("store/rows", "store/captures"), landing)
    with pytest.raises(LakeError, match=r"store/captures/default/.*is missing") as caught:
        observed("copy")
    assert caught.value.exit_code == 6
    copied("lake", "safe", ORDER, landing)
    assert [each["image_id"] for each in observed("safe")] == ["a", "b", "c"]
    added("lake", "copy")
    assert observed("copy") == observed("lake")


def told_or_missing(url: str) -> set[tuple[str, datetime, str]] | None:
    """Return what a copy tells; None where it says that a file or a commit is missing (6)."""
    try:
        return seen(url)
    except LakeError as error:
        missing = re.search(r"the rows file (\S+) is missing", str(error))
        if "no commit list" not in str(error) and (missing is None or Path(url, missing[1]).exists()):
            raise
        return None


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(ORDER, id="commits first"),
        pytest.param(("store/rows", "store/captures"), id="rows first", marks=SLOW),
    ],
)
def test_an_interrupted_copy_is_seen_if_commits_came_first(order: tuple[str, ...]) -> None:
    """Cut off at any file it answers in full or with 6; rows first, it may tell of fewer captures, silently."""
    aged("source")
    before = seen("source")
    silent = 0

    class Cut(Exception):
        pass

    for turn in range(1, len(snapshot_of("source")) + 1):

        def cut(number: int, turn: int = turn) -> None:
            if number == turn:
                raise Cut

        with pytest.raises(Cut):
            copied("source", f"{turn}", order, cut)
        if Lake(f"{turn}").accounts():
            silent += told_or_missing(f"{turn}") not in (None, before)
        added("source", f"{turn}")
        assert seen(f"{turn}") == before
        assert not has_failed(verify(f"{turn}"))
    assert (silent > 0) == (order != ORDER)


@pytest.mark.parametrize("dataset", fewer(ORDER, 1))
def test_a_file_cut_by_an_interrupted_copy_is_seen_and_copied_again(dataset: str) -> None:
    """`cp` cut off within a file leaves it cut: 6 names it, and copying everything once more mends it."""
    build("loose")
    before = answers("lake")
    copied("lake", "copy")
    cut = max(Path("copy", dataset, "default").rglob("*.parquet"))
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(LakeError, match=str(cut.relative_to("copy"))):
        answers("copy")
    subprocess.run("cp -r lake/store/captures copy/store/ && cp -r lake/store/rows copy/store/", shell=True, check=True)
    assert answers("copy") == before
    assert not has_failed(verify("copy"))


@SLOW
def test_a_sweep_without_grace_during_a_copy_is_seen_and_mended() -> None:
    """Commits that go without grace: the copy answers in full, with 6, or the copying named them; again mends it."""
    aged("source")
    before = seen("source")
    after = before | {("default", WORKED_AT, image) for image in ("a", "new")}
    refusals = 0
    for lake, copy, gone in at_every_file("source", lambda url: work(url, grace=NOTHING)):
        told = told_or_missing(copy)
        refusals += told is None
        assert told in (None, before) or [path for path in gone if path.startswith("store/captures/")]
        added(lake, copy)
        assert seen(copy) == after
    assert refusals > 0


@SLOW
@pytest.mark.parametrize("before", [at("2026-11-02"), None])
def test_what_is_forgotten_during_a_copy_has_to_be_forgotten_there(before: datetime | None) -> None:
    """A copy may hold commits of what went meanwhile, and answers 6; a second pass and `forget` end it."""
    aged("source")
    land(Lake("source"), at("2026-11-01"), rows("x"), "other")
    after = {each for each in seen("source") if each[0] == "other" or (before and each[1] >= before)}
    refusals = 0
    for lake, copy, _ in at_every_file("source", lambda url: forget(Lake(url), "default", before)):
        refusals += told_or_missing(copy) is None
        added(lake, copy)
        if "default" in Lake(copy).accounts():
            forget(Lake(copy), "default", before)
        assert seen(copy) == after
        if refusals == 1:
            assert not has_failed(verify(copy))
    assert refusals > 0


@pytest.mark.parametrize("rounds", [pytest.param(3, marks=SLOW), pytest.param(60, marks=WHOLE)])
def test_copies_beside_exports_and_compactions_are_whole(rounds: int) -> None:
    """`cp -r`, commits first, while two accounts are captured, captures are compacted and a week's files are swept.

    Every copy answers; in each account it is the lake of one moment, and that moment lies within the copying.
    """
    landed = {"one": 0, "two": 0}
    swept = 0

    def export_day(account: str, day: datetime) -> None:
        for _ in range(4):
            number = landed[account]
            land(Lake("lake"), day + timedelta(minutes=number % 4), rows("always", f"{number}"), account)
            landed[account] += 1

    for turn in range(rounds + 3):
        day = at("2026-01-01") + timedelta(days=4 * turn)
        works = [partial(export_day, account, day) for account in landed]
        works.append(partial(compact_days, day))
        if turn < 3:  # until there is something to sweep
            for work in works:
                work()
            continue
        before, files = dict(landed), set(snapshot_of("lake"))
        with ThreadPoolExecutor() as threads:
            futures = [threads.submit(work) for work in works]
            os.makedirs("copy/store")
            for dataset in ORDER:
                done = subprocess.run(["cp", "-r", f"lake/{dataset}", "copy/store/"], capture_output=True, text=True)
                assert all("No such file or directory" in line for line in done.stderr.splitlines()), done.stderr
            for future in futures:
                future.result()
        found = observed("copy")
        for account, after in landed.items():
            ids = [each["image_id"] for each in found if each["account"] == account]
            captures = ids.count("always")
            assert before[account] <= captures <= after
            assert sorted(map(int, (id for id in ids if id != "always"))) == list(range(captures))
        swept += len(files - set(snapshot_of("lake")))
        shutil.rmtree("copy")
    assert swept > 0


def compact_days(day: datetime) -> None:
    """Compact the days before this one, and sweep what was replaced a week before it."""
    compact(Lake("lake"), now=day + timedelta(hours=1))


# --- other readers


def test_plain_sql_reads_a_store_without_us() -> None:
    """The SQL of docs/lake.md tells what every capture held and what is there now, whatever was compacted or late."""
    build("both", "data/lake")
    lake = Lake("data/lake")
    forget(lake, "other", at("2026-11-02"))
    land_all(lake, {"2026-11-02 18:00": rows("late"), "2026-11-24 12:00": rows("a", "new")})
    compact(lake, now=at("2026-11-25"))
    land_all(lake, {"2026-11-25 12:00": rows("a")})
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"(?<=```sql\n).*?(?=```)", text, re.DOTALL)
    with duckdb.connect() as connection:
        counted = connection.execute(sql).fetchall()
        columns = "account, capture_id, captured_at::varchar as at, image_id, name, type, region, versions"
        for theirs, ours in (("observed", "image_regions"), ("now", "images")):
            found = connection.execute(f"select {columns} from {theirs}").fetchall()
            expected = open_lake("data/lake").sql_rows(f"select {columns} from {ours}").to_pylist()
            assert sorted(map(repr, found)) == sorted(repr(tuple(each.values())) for each in expected)
    assert counted == [("default", "snapshot", "R1", 1), ("other", "snapshot", "R1", 2)]


# --- several lakes in one

MINE = {"2026-11-01 12:00": rows("a", "b"), "2026-11-02 12:00": rows("a"), "2026-11-22 12:00": rows("a", "b")}
YOURS = {"2026-11-01 18:00": rows("a", "b"), "2026-11-02 11:00": rows("b"), "2026-11-23 11:00": rows("a", "c")}


def merged(to: str, *lakes: str) -> None:
    """Lay lakes into one folder, as the documentation says."""
    os.makedirs(f"{to}/store")
    for dataset in ORDER:
        for lake in lakes:
            subprocess.run(["cp", "-r", f"{lake}/{dataset}", f"{to}/store/"], check=True)


def compact_lakes(*urls: str) -> None:
    for url in urls:
        compact(Lake(url), grace=NOTHING, now=at("2026-11-26"))


@SLOW
@pytest.mark.parametrize("is_compacted", [True, False])
def test_lakes_of_different_accounts_are_one(is_compacted: bool) -> None:
    """Two lakes laid into one folder tell what one lake of both accounts tells, compacted or not."""
    for url, states, account in (("one", MINE, "mine"), ("two", YOURS, "yours")):
        for lake in (url, "both"):
            land_all(Lake(lake), states, account)
    if is_compacted:
        compact_lakes("one", "two")
    merged("merged", "one", "two")
    assert answers("merged", with_ids=False) == answers("both", with_ids=False)
    assert not has_failed(verify("merged"))


@pytest.mark.parametrize("is_compacted", fewer([True, False], 1))
def test_one_account_captured_on_two_machines_is_one_history(is_compacted: bool) -> None:
    """Captures of the same account from two lakes interleave as if one machine had made them, compacted too."""
    for url, states in (("one", MINE), ("two", YOURS)):
        for lake in (url, "both"):
            land_all(Lake(lake), states)
    if is_compacted:
        compact_lakes("one", "two")
    merged("merged", "one", "two")
    assert answers("merged", with_ids=False) == answers("both", with_ids=False)
    compact_lakes("merged")
    assert tables("merged", with_ids=False) == tables("both", with_ids=False)
    assert len(rows_files("merged")) == 1
    assert not has_failed(verify("merged"))


def test_captures_of_one_instant_from_two_machines_stay_two() -> None:
    """Compactions that hold captures of one microsecond tell, laid together, what the loose captures tell."""
    land_all(Lake("one"), MINE)
    land_all(Lake("two"), {**YOURS, "2026-11-02 12:00": rows("b", "z")})
    merged("loose", "one", "two")
    before = answers("loose")
    compact_lakes("one", "two")
    merged("merged", "one", "two")
    assert answers("merged") == before
    compact_lakes("merged")
    assert tables("merged") == {name: before[name] for name in TABLES}
    assert not has_failed(verify("merged"))


@SLOW
def test_a_copy_that_went_its_own_way_comes_back() -> None:
    """Two copies of a lake, captured and compacted apart, are one history again when they are laid together."""
    build("both", "one")
    shutil.copytree("one", "two")
    shutil.copytree("one", "loose")
    land_all(Lake("one"), {"2026-11-23 12:00": rows("one"), "2026-11-25 12:00": rows("one")})
    land_all(Lake("two"), {"2026-11-23 13:00": rows("two"), "2026-11-24 12:00": rows("one")})
    merged("all", "loose", "one", "two")
    before = answers("all")
    compact_lakes("one", "two")
    merged("merged", "one", "two")
    assert answers("merged") == before
    compact_lakes("merged")
    assert tables("merged") == {name: before[name] for name in TABLES}
    assert not has_failed(verify("merged"))


def test_a_merge_that_is_not_done_hides_nothing() -> None:
    """Commits first, what is laid in is refused by name until its rows are there, and nothing is swept."""
    land_all(Lake("one"), MINE)
    land_all(Lake("two"), YOURS, "other")
    before = open_lake("one").report_rows("snapshot-growth")
    subprocess.run(["cp", "-r", "two/store/captures", "one/store/"], check=True)
    assert open_lake("one").report_rows("snapshot-growth", account="default") == before
    with pytest.raises(LakeError, match="captures/other/"):
        observed("one")
    with pytest.raises(LakeError, match="captures/other/"):
        compact(Lake("one"), grace=NOTHING, now=NOW)
    subprocess.run(["cp", "-r", "two/store/rows", "one/store/"], check=True)
    assert len(observed("one")) == len([each for state in (*MINE.values(), *YOURS.values()) for each in state])
    assert not has_failed(verify("one"))


def test_what_a_copy_still_holds_comes_back_with_it() -> None:
    """What was forgotten here and is laid in again from a copy is there again: forgetting is done in every copy."""
    build("compacted")
    shutil.copytree("lake", "copy")
    before = observed("lake")
    forget(Lake("lake"), "default", at("2026-11-03"))
    for dataset in ORDER:
        subprocess.run(["cp", "-r", f"copy/{dataset}", "lake/store/"], check=True)
    assert observed("lake") == before
    assert sum(each.captures for each in forgettable(Lake("lake"), "default", at("2026-11-03"))) == 3


def test_an_account_cannot_be_renamed_by_its_folder() -> None:
    """A renamed folder is refused by name (6), for its captures say another account; renamed back it answers."""
    build("loose")
    before = observed("lake")
    for dataset in ORDER:
        os.rename(f"lake/{dataset}/other", f"lake/{dataset}/renamed")
    with pytest.raises(LakeError, match=r"captures/renamed/.*holds captures of the account other"):
        observed("lake")
    for dataset in ORDER:
        os.rename(f"lake/{dataset}/renamed", f"lake/{dataset}/other")
    assert observed("lake") == before
