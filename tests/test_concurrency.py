"""Exporters beside exporters, readers beside writers: nothing lost, nothing wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.opened import open_lake
from tests.conftest import WHOLE, figure
from tests.histories import Row, at, commit_files, land, land_compacted, rows, rows_files

EXPORTER = """
import sys
from datetime import timedelta
from tests.histories import at, land, rows
from genesis_etl.lake.lake import Lake
who = int(sys.argv[1])
for count in range(10):
    land(Lake("lake"), at("2026-11-01") + timedelta(minutes=count, microseconds=who), rows(f"{who}-{count}"))
"""

QUICK = """
select (select count(*) from captures) as captures,
    (select max(cast(image_id as integer)) from images) as newest
"""
ALL_OF_IT = """
select (select count(*) from captures) as captures,
    (select max(cast(image_id as integer)) from images) as newest,
    (select count(*) from image_regions) as expanded,
    (select sum(rows) from captures) as rows,
    (select count(distinct image_id) from image_history) as ids
"""
COMPACT_EVERY, READERS = 20, 2


@pytest.mark.slow
def test_five_exporters_at_once_land_every_capture() -> None:
    """5 processes × 10 captures at once: 50 of 50 are visible, with their own rows."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    exporters = [subprocess.Popen([sys.executable, "-c", EXPORTER, str(who)], env=environment) for who in range(5)]
    assert [exporter.wait() for exporter in exporters] == [0] * 5
    found = open_lake("lake").sql("select image_id, count(*) as n from image_regions group by all")
    assert set(found["image_id"]) == {f"{who}-{count}" for who in range(5) for count in range(10)}
    assert set(found["n"]) == {1}
    assert not has_failed(verify("lake"))


@pytest.mark.parametrize(("landings", "queries"), [(12, 40), pytest.param(220, 1_000, marks=WHOLE)])
def test_readers_beside_landings_and_compactions_are_never_wrong(landings: int, queries: int) -> None:
    """Queries during landings, compactions and the sweep of what they replaced (1,000 during 220): 0 failed, 0 wrong.

    Capture n holds the images n - 4 to n, so every answer can be judged alone: its counts must fit each other.
    """
    lake = Lake("lake")
    states: list[tuple[Capture, list[Row]]] = []

    def land_one() -> None:
        state = rows(*(str(n) for n in range(max(0, len(states) - 4), len(states) + 1)))
        states.append((land(lake, at("2026-11-01") + timedelta(minutes=len(states)), state), state))

    land_one()
    done = threading.Event()
    problems: list[str] = []
    answered = [0] * READERS

    def read(index: int) -> None:
        reader = open_lake("lake")
        newest = 0
        while not problems and not (done.is_set() and sum(answered) >= queries):
            least = len(states)
            try:
                is_thorough = answered[index] % 10 == 0
                row = reader.sql_rows(ALL_OF_IT if is_thorough else QUICK).to_pylist()[0]
                n = row["captures"]
                fits = row["newest"] == n - 1
                if is_thorough:
                    fits &= row["expanded"] == row["rows"] and row["ids"] == n
                    found = reader.report_rows("snapshot-growth", since="2026-11-01").to_pylist()
                    fits &= n <= 5 or found[-1]["closing"] == 5
                if not fits or n < max(least, newest):
                    problems.append(f"wrong: {row}, {least} captures had landed")
                newest = n
            except Exception as error:
                problems.append(f"failed: {error!r}")
            answered[index] += 1

    readers = [threading.Thread(target=read, args=(index,)) for index in range(READERS)]
    for reader in readers:
        reader.start()
    replaced: list[LakeFile] = []
    try:
        while len(states) < landings and not problems:
            land_one()
            # Spread the landings over the queries.
            while sum(answered) < queries * len(states) / landings and not problems:
                time.sleep(0.001)
            if len(states) % COMPACT_EVERY == 0:
                # What the compaction before has replaced goes now; its grace is over.
                for file in replaced:
                    lake.remove(file)
                replaced = [*commit_files("lake"), *rows_files("lake")]
                land_compacted(lake, states, at("2026-12-01") + timedelta(minutes=len(states)))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    figure("queries", sum(answered))
    figure("commits", len(states))
    figure("bad queries", len(problems))
    assert problems == []
    assert sum(answered) >= queries
    assert len(states) == landings
    assert not has_failed(verify("lake"))
