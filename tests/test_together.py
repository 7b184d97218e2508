"""Exporters, compactions and readers at once, each a process of its own, as on a busy server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genesis_etl import open_lake
from genesis_etl.maintenance.verify import has_failed, verify
from tests.conftest import figure

# Every capture holds five images that stay and one of its own, so each answer can be judged alone.
EXPORTER = """
import sys, time
from datetime import timedelta
from genesis_etl.lake.lake import Lake
from tests.histories import at, land, rows
who, ends_at, count = int(sys.argv[1]), time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < ends_at:
    moment = at("2026-01-01") + timedelta(minutes=count, seconds=who)
    land(Lake("lake"), moment, rows(*"abcde", f"{who}-{count}"), account=f"account-{who % 2}")
    count += 1
    time.sleep(0.05)
print(count)
"""
COMPACTOR = """
import sys, time
from datetime import timedelta
from genesis_etl.maintenance.compact import compact
from genesis_etl.lake.lake import Lake
ends_at, count = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < ends_at:
    compact(Lake("lake"), grace=timedelta(seconds=5))
    count += 1
print(count)
"""
READER = """
import sys, time
from genesis_etl import open_lake
ends_at, count, before, lake = time.monotonic() + float(sys.argv[2]), 0, 0, open_lake("lake")
QUERY = '''
select
    (select count(*) from captures) as captures,
    (select sum(rows) from captures) as rows,
    (select count(*) from image_regions) as expanded,
    (select count(distinct image_id) from image_regions where image_id like '%-%') as own
'''
while time.monotonic() < ends_at:
    (row,) = lake.sql_rows(QUERY).to_pylist()
    assert row["rows"] == row["expanded"] == 6 * row["captures"], row
    assert row["own"] == row["captures"] >= before, (row, before)
    found = lake.report_rows("snapshot-growth", by="month", since="2026-01-01").to_pylist()
    assert all(each["closing"] == each["opening"] + each["created"] - each["deleted"] for each in found), found
    before = row["captures"]
    count += 2
print(count)
"""


def run(seconds: float) -> tuple[int, int, int]:
    """Run three exporters, two compactions and four readers; return what they did."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}

    def start(code: str, who: int, length: float = seconds) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(who), str(length)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = [start(EXPORTER, who, 0.2) for who in range(2)]
    assert [each.wait(60) for each in first] == [0, 0]
    landed = sum(int(each.communicate()[0]) for each in first)
    kinds = {"exporters": (EXPORTER, range(2, 5)), "compactions": (COMPACTOR, range(2)), "readers": (READER, range(4))}
    running = {kind: [start(code, who) for who in whos] for kind, (code, whos) in kinds.items()}
    done = {
        kind: [each.communicate(timeout=seconds + 120) for each in each_kind] for kind, each_kind in running.items()
    }
    for kind, outcomes in done.items():
        for process, (_, said) in zip(running[kind], outcomes, strict=True):
            assert process.returncode == 0, f"{kind}: {said[-1000:]}"
    counts = {kind: sum(int(out) for out, _ in outcomes) for kind, outcomes in done.items()}
    return landed + counts["exporters"], counts["compactions"], counts["readers"]


@pytest.mark.slow
def test_nobody_is_in_anybodys_way() -> None:
    """Three exporters, two compactions and four readers at once: no failure, no wrong answer, every commit visible."""
    landed, compacted, queries = run(60)
    figure("commits", landed)
    figure("queries", queries)
    assert compacted >= 2
    assert queries >= 8
    assert len(open_lake("lake").sql_rows("select * from captures")) == landed
    assert not has_failed(verify("lake"))
