"""Lakes built from rows written in the test: states of an account, landed one by one or compacted by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from genesis_etl.lake.commit import Capture, Facts, capture_rows
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile
from genesis_etl.lake.schema import IMAGES
from genesis_etl.opened import open_lake
from genesis_etl.rows import ROW

Row = dict[str, Any]


def at(text: str) -> datetime:
    """Read `2026-11-20` or `2026-11-20 12:00` as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def row(image_id: str = "a", region: str | None = "R1", type: str = "snapshot", **fields: Any) -> Row:
    """Return one row of image × region; what is not given is null, the name is the id."""
    nothing: Row = dict.fromkeys(ROW.names)
    given: Row = {"image_id": image_id, "region": region, "type": type}
    return nothing | {"name": image_id, "created_at": at("2026-01-01")} | given | fields


def rows(*ids: str, **fields: Any) -> list[Row]:
    """Return one row for every id."""
    return [row(id, **fields) for id in ids]


def land(lake: Lake, captured_at: datetime, state: Iterable[Row], account: str = "default", **evidence: Any) -> Capture:
    """Land one capture that holds these rows."""
    state = list(state)
    facts: dict[str, Any] = {
        "finished_at": captured_at + timedelta(seconds=1),
        "images": len({each["image_id"] for each in state}),
        "snapshots": len({each["image_id"] for each in state if each["type"] == "snapshot"}),
        "requests": 2,
        "retries": 0,
        "passes": 1,
        "endpoint": "https://api.example/compute/v1",
        "etl_version": "0",
        "listed_snapshots": 0,
    }
    table = pa.Table.from_pylist(state, schema=ROW)
    return lake.land(table, account=account, captured_at=captured_at, **{**facts, **evidence})


def land_all(lake: Lake, states: Mapping[str, Iterable[Row]], account: str = "default") -> list[Capture]:
    """Land several captures, `{"2026-11-20 12:00": rows, …}`."""
    return [land(lake, at(text), state, account) for text, state in states.items()]


def report(lake: str, name: str = "snapshot-growth", *columns: str, **options: Any) -> list[tuple[Any, ...]]:
    """Run a report and return its rows as tuples of all columns, or of those named."""
    table = open_lake(lake).report_rows(name, **options)
    return [tuple(each[name] for name in columns or table.column_names) for each in table.to_pylist()]


def land_compacted(
    lake: Lake, states: Sequence[tuple[Capture, list[Row]]], moment: datetime, nonce: str | None = None
) -> list[Capture]:
    """Commit one file whose rows are the runs over these captures (in order, of one account and year)."""
    account, year = states[0][0].account, states[0][0].captured_at.year
    runs: list[Row] = []
    open_runs: dict[str, Row] = {}
    for capture, state in states:
        standing = {repr(sorted(each.items())): each for each in state}
        for key, each in standing.items():
            if key not in open_runs:
                open_runs[key] = {"account": account, "first_seen": capture.captured_at, **each}
                runs.append(open_runs[key])
            open_runs[key]["last_seen"] = capture.captured_at
        open_runs = {key: run for key, run in open_runs.items() if key in standing}
    commit = lake.commit(
        pa.Table.from_pylist(runs, schema=IMAGES),
        capture_rows([capture for capture, _ in states]),
        Facts("compaction", lake.known(account)),
        year=year,
        name=f"{moment:%Y%m%dT%H%M%S%fZ}-compacted-{nonce or os.urandom(4).hex()}",
    )
    return [Capture(**each) for each in commit.captures.to_pylist()]


def rows_files(url: str, account: str | None = None) -> Sequence[LakeFile]:
    """Return the rows files of a lake (of one account), by path."""
    return Lake(url).list("rows", account).files


def commit_files(url: str, account: str | None = None) -> Sequence[LakeFile]:
    """Return the commits of a lake (of one account), by path."""
    return Lake(url).list("captures", account).files


def snapshot_of(folder: Any) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        os.path.relpath(os.path.join(base, name), folder): open(os.path.join(base, name), "rb").read()
        for base, _, names in os.walk(folder)
        for name in names
    }


# A history of two years, and an instant at which all of it but the last capture can be compacted.
HISTORY: dict[str, list[Row]] = {
    "2025-12-31 12:00": rows("a", "b"),
    "2026-11-01 12:00": rows("a", "b", "c"),
    "2026-11-02 12:00": rows("a", "c"),
    "2026-11-03 12:00": [*rows("a", "b"), row("c", name="renamed")],
    "2026-11-22 12:00": [*rows("a", "b"), row("c", name="renamed")],
    "2026-11-23 11:00": rows("a"),
}
NOW = at("2026-11-23 11:20")
NOTHING = timedelta(0)
STATEMENTS = {
    "history": "select * from image_history order by all",
    "regions": "select * from image_regions order by all",
    "images": "select * from images order by all",
    "captures": "select * exclude (file, sha256) from captures order by all",
}
REPORTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("snapshot-growth", {}),
    ("snapshot-growth", {"by": "week", "per_region": True, "since": "2025-12-01"}),
    ("region-coverage", {}),
)


def answers(url: str) -> dict[str, pa.Table]:
    """Return what every table and report tells of a lake."""
    lake = open_lake(url)
    told = {name: lake.sql_rows(statement) for name, statement in STATEMENTS.items()}
    return told | {f"{name} {options}": lake.report_rows(name, **options) for name, options in REPORTS}


# What is loaded before the fork is loaded once for all.
_DEATHS = """
import builtins, os, pathlib, shutil, sys
import genesis_etl.query.warehouse
for step in range(0, 100, STRIDE):
    shutil.copytree("whole", f"lake{step}")
    child = os.fork()
    if child == 0:
        break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        print(step)
    if code != 9:
        sys.exit(code)
else:
    sys.exit("the work never came to its end")
left = step
def mortal(owner, name):
    original = getattr(owner, name)
    def dying(*args, **kwargs):
        global left
        if name != "open" or args[1:2] == ("xb",):
            left -= 1
            if left < 0:
                os._exit(9)
        return original(*args, **kwargs)
    setattr(owner, name, dying)
for owner, name in ((os, "fsync"), (os, "rename"), (pathlib.Path, "unlink"), (builtins, "open")):
    mortal(owner, name)
work(f"lake{step}")
os._exit(0)
"""


def died_at_every_step(work: str, *arguments: str, stride: int = 1) -> int:
    """Run `work(url)` on copies `lake0`, `lake1`, … of the lake `whole`; each dies at a later change of the disk.

    `work` is a script that defines it. With a stride only every so manieth copy is made. Returns the number of the
    last copy, whose run came to its end.
    """
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", f"{work}\nSTRIDE = {stride}{_DEATHS}", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
