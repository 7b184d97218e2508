"""A lake to look at without a token."""

from __future__ import annotations

import os
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
from tests.conftest import files_of, settings_for

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


@pytest.mark.parametrize("dataset", ["rows", "captures"])
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
