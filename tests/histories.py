"""Lakes built from rows written in the test: states of an account, landed one by one or folded by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from genesis_etl.commit import Capture, capture_rows
from genesis_etl.lake import Lake
from genesis_etl.query.open_lake import open_lake
from genesis_etl.rows import IMAGES, ROW

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


def fold(
    lake: Lake, states: Sequence[tuple[Capture, list[Row]]], folded_at: datetime, nonce: str | None = None
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
    captures = [capture for capture, _ in states]
    return lake.commit(
        pa.Table.from_pylist(runs, schema=IMAGES),
        lambda file, sha256: capture_rows([replace(capture, file=file, sha256=sha256) for capture in captures]),
        account=account,
        year=year,
        name=f"{folded_at:%Y%m%dT%H%M%S%fZ}-fold-{nonce or os.urandom(4).hex()}",
    )


def snapshot_of(folder: Any) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        os.path.relpath(os.path.join(base, name), folder): open(os.path.join(base, name), "rb").read()
        for base, _, names in os.walk(folder)
        for name in names
    }


# What is loaded before the fork is loaded once for all.
_DEATHS = """
import builtins, os, pathlib, shutil, sys
for step in range(100):
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


def died_at_every_step(work: str, *arguments: str) -> int:
    """Run `work(url)` on copies `lake0`, `lake1`, … of the lake `whole`; each dies at a later change of the disk.

    `work` is a script that defines it. Returns the number of the last copy, whose run came to its end.
    """
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", work + _DEATHS, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
