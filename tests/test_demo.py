"""A lake to look at without a token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from genesis_etl import demo
from genesis_etl.errors import SettingsError
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from tests.commands import Run
from tests.conftest import fewer, files_of, settings_for

# What must not matter to the demo: everything here would make any other command fail.
HOSTILE = {
    "GENESISCLOUD_ENDPOINT": "ftp://nowhere",
    "GENESISCLOUD_TOKEN": "secret-of-the-user",
    "GENESIS_ETL_LAKE": "other",
    "GENESIS_ETL_RATE": "none",
    "GENESIS_ETL_NOW": "never",
    "GENESIS_ETL_AUTH": "wrong",
}


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "genesis_etl", "demo", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env={**os.environ, **HOSTILE}
    )


@pytest.mark.slow
def test_the_demo_needs_nothing_and_is_done_once() -> None:
    """Without a terminal, a token or sane settings it fills the lake and shows both reports; again it captures none."""
    Path("genesis-etl.toml").write_text("nonsense = 1")
    first = run_demo("--days", "12", "--lake", "L")
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith("12 days captured into L, 0 were there already\n")
    assert "Growth of the snapshots" in first.stdout
    assert "Which region has which images" in first.stdout
    assert "NORD-NO-KRS-1" in first.stdout
    before = files_of("L")
    second = run_demo("--days", "12", "--lake", "L", "--quiet")
    assert (second.returncode, second.stderr, second.stdout) == (0, "", first.stdout)
    assert files_of("L") == before
    assert sorted(os.listdir()) == ["L", "L.html", "genesis-etl.toml"]
    assert "secret-of-the-user" not in first.stdout + first.stderr + str(before)


def test_days_that_have_none_are_captured() -> None:
    """A longer demo adds the earlier days, one that lost a day adds that day, and each is captured at noon."""
    told: list[tuple[int, int]] = []
    assert demo.run_demo("L", 2, lambda done, missing: told.append((done, missing))) == demo.DemoResult(2, 0)
    assert told == [(1, 2), (2, 2)]
    assert demo.run_demo("L", 3) == demo.DemoResult(1, 2)
    assert demo.run_demo("L", 3) == demo.DemoResult(0, 3)
    times = open_lake("L").sql_rows("select captured_at from captures order by all")["captured_at"].to_pylist()
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    assert times == [noon - timedelta(days=back) for back in (3, 2, 1)]


def test_the_account_evolves_from_day_to_day() -> None:
    """The demo's days differ, and the account of one day is the same whenever it is captured."""
    demo.run_demo("L", 10)
    demo.run_demo("M", 10)
    rows = "select * exclude (capture_id) from image_regions order by all"
    assert open_lake("L").sql_rows(rows).equals(open_lake("M").sql_rows(rows))
    counts = open_lake("L").sql_rows("select distinct snapshots from captures")
    assert len(counts) > 1


@pytest.mark.parametrize("url", ["", "  "])
def test_a_lake_without_a_name_is_refused(url: str) -> None:
    """An empty --lake does not mean the working directory."""
    with pytest.raises(SettingsError, match="--lake is empty"):
        demo.run_demo(url, 1)
    assert os.listdir() == []


def test_the_demo_wants_a_folder() -> None:
    """The page lies beside the lake, so anything else is refused before the first capture."""
    ended = run_demo("--days", "1", "--lake", "s3://bucket/demo")
    assert (ended.returncode, ended.stdout) == (2, "")
    said = "the demo's lake is a folder, with its page beside it; name a folder with --lake"
    assert ended.stderr == f"error: --lake s3://bucket/demo: {said}\n"


def test_a_real_lake_is_left_alone(serve: Callable[..., Sandbox]) -> None:
    """A lake with captures of another endpoint is refused, untouched, with 2 and the way out."""
    sandbox = serve()
    export(settings_for(sandbox, "real"))
    before = files_of("real")
    ended = run_demo("--days", "1", "--lake", "real")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: real holds captures of {sandbox.endpoint}; give the demo a lake of its own with --lake\n"
    )
    assert files_of("real") == before


@pytest.mark.parametrize("dataset", fewer(["rows", "captures"], 1))
def test_a_real_lake_that_is_damaged_is_left_alone(serve: Callable[..., Sandbox], dataset: str) -> None:
    """What cannot be read may be another API's, so nothing is added to it."""
    sandbox = serve()
    export(settings_for(sandbox, "real"))
    (file,) = Path("real/store", dataset).rglob("*.parquet")
    file.write_bytes(b"")
    before = files_of("real")
    ended = run_demo("--days", "1", "--lake", "real")
    assert ended.returncode == (2 if dataset == "rows" else 6)
    assert files_of("real") == before


def test_what_to_try_next_can_be_pasted() -> None:
    """The commands that the demo ends with name its lake, quoted for the shell."""
    assert all("--lake 'my lake'" in line for line in demo.next_commands("my lake"))


@pytest.mark.parametrize("lake", fewer(["L", 'it\'s 100 % "my" [new] lake*'], 1))
def test_the_line_of_plain_duckdb_can_be_pasted(lake: str, run: Run) -> None:
    """What the demo ends with runs in a shell, without genesis-etl, and counts what the table `images` holds."""
    demo.run_demo(lake, 2)
    written = (Path(lake) / "tables" / "images" / "default.parquet").stat().st_mtime_ns
    ended = run("demo", "--days", "2", "--lake", lake)
    assert ended.code == 0
    python, _, duckdb = (line.strip() for line in ended.out.decode().splitlines()[-3:])
    assert told_by(python) == counted(lake)
    assert duckdb.startswith("duckdb -c ")
    assert python.endswith(duckdb.removeprefix("duckdb -c "))
    assert (Path(lake) / "tables" / "images" / "default.parquet").stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.parametrize("lake", ["L", 'it\'s 100 % "my" [new] lake*'])
def test_the_line_of_plain_duckdb_is_one_for_its_own_command_line(lake: str) -> None:
    """The last line does the same in DuckDB's own command line, an older one than ours included."""
    if shutil.which("duckdb") is None:
        pytest.skip("needs DuckDB's command line, as pip's duckdb-cli has it, on the PATH")
    demo.run_demo(lake, 2)
    _, duckdb = demo.plain_sql(lake)
    assert told_by(duckdb) == counted(lake)


def test_tables_that_an_earlier_demo_did_not_write_are_written() -> None:
    """A demo that has no day to capture still leaves the tables, for the line that it ends with."""
    demo.run_demo("L", 2)
    shutil.rmtree("L/tables")
    assert demo.run_demo("L", 2) == demo.DemoResult(0, 2)
    assert told_by(demo.plain_sql("L")[0]) == counted("L")


def told_by(line: str) -> list[list[str]]:
    """Run a line in a shell, and return the regions and numbers in the table that it prints."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [words for row in done.stdout.splitlines() if len(words := re.findall(r"[A-Z0-9-]+", row)) == 2]


def counted(lake: str) -> list[list[str]]:
    """Return the same as the lake tells it."""
    rows = open_lake(lake).sql("select region, count(*) as images from images group by all order by all")
    return [[region, str(images)] for region, images in rows.itertuples(index=False)]
