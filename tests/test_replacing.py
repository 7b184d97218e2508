"""What readers see of files that are replaced while they read: whole ones, where this is promised."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.publish.publish import publish_account
from tests.commands import Run
from tests.histories import Row, at, land, row

pytestmark = pytest.mark.slow

PUBLICATIONS, READS = 200, 1_000
LAKES = 6  # that are published in turn into one DuckDB file
# Capture n holds so many images, all of size n: whatever is read can be judged alone.
READER = """
import json, sys
from collections import Counter
from pathlib import Path
import duckdb, pandas as pd

how, size, reads = sys.argv[1], eval(sys.argv[2]), int(sys.argv[3])
TOLD = "select size_gib, capture_id, image_id from 'lake/tables/images/*.parquet'"

def file():
    with duckdb.connect("images.duckdb", read_only=True) as connection:
        captures = connection.execute("select count(*) from captures").fetchone()[0]
        frame = connection.execute("select size_gib, capture_id, image_id from images").df()
    return frame if captures == frame["size_gib"].iloc[0] + 1 else frame.head(0)

read = {
    "pandas": lambda: pd.read_parquet("lake/tables/images"),
    "pandas, one file": lambda: pd.read_parquet("lake/tables/images/default.parquet"),
    "DuckDB": lambda: duckdb.sql(TOLD).df(),
    "DuckDB, its own file": file,
}[how]
told, seen = Counter(), set()
while told.total() < reads or not Path("done").exists():
    try:
        frame = read()
    except Exception as error:
        told["failed"] += 1
    else:
        numbers = set(frame["size_gib"].fillna(-1))
        n = int(max(numbers, default=-1))
        is_whole = (
            numbers == {n}
            and len(frame) == size(n)
            and frame["capture_id"].unique().size == 1
            and frame["image_id"].nunique() == size(n)
        )
        told["whole" if is_whole else "mixed"] += 1
        seen.add(n)
    if told.total() == reads:
        Path(f"{how} has enough").touch()
print(json.dumps({**told, "states": len(seen)}))
"""


def state(n: int, size: int) -> list[Row]:
    return [row(f"image {place}", type="base-os", size_gib=float(n)) for place in range(size)]


def beside(publish: Callable[[int], object], size: str, *readers: str) -> dict[str, Counter[str]]:
    """Publish again and again beside these readers, until all have read enough; return what each of them saw."""
    publish(0)
    processes = {
        how: subprocess.Popen(
            [sys.executable, "-c", READER, how, f"lambda n: {size}", str(READS)], stdout=subprocess.PIPE
        )
        for how in readers
    }
    published = 1
    try:
        while published < PUBLICATIONS or not all(Path(f"{how} has enough").exists() for how in readers):
            publish(published)
            published += 1
            assert all(process.poll() is None for process in processes.values())
    finally:
        Path("done").touch()
    told = {how: Counter(json.loads(process.communicate()[0])) for how, process in processes.items()}
    print(f"{published} publications:", {how: dict(counts) for how, counts in told.items()})  # shown by -s
    return told


def all_whole(told: Counter[str], states: int) -> None:
    """Hold what a reader saw against: enough reads, of at least so many states, each of them whole."""
    assert told["whole"] >= READS
    assert not told["failed"]
    assert not told["mixed"]
    assert told["states"] >= states


def test_pandas_reads_whole_tables_while_they_are_replaced() -> None:
    """1,000 reads of a table's folder by pandas beside 200 publications: each whole, old or new.

    DuckDB, and pandas that is given one file, open a Parquet file more than once to read it. What that comes to is
    counted, and told in docs/query-anywhere.md; nothing is promised of it.
    """
    lake = Lake("lake")

    def publish(n: int) -> None:
        land(lake, at("2026-11-01") + n * timedelta(minutes=1), state(n, 150 + 37 * n % 200))
        publish_account(lake, "default")

    told = beside(publish, "150 + 37 * n % 200", "pandas", "pandas, one file", "DuckDB")
    all_whole(told["pandas"], PUBLICATIONS // 10)
    assert all(told[how]["whole"] for how in told)


def test_a_duckdb_file_is_read_whole_while_it_is_replaced(run: Run) -> None:
    """1,000 times opened and asked for two tables beside 200 `publish --duckdb`: each whole, old or new."""
    for n in range(LAKES):
        for capture in range(n + 1):
            land(Lake(f"lake{n}"), at("2026-11-01") + capture * timedelta(minutes=1), state(n, 40 + 7 * n % 30))

    def publish(n: int) -> None:
        assert run("publish", "--lake", f"lake{n % LAKES}", "--duckdb", "images.duckdb").code == 0

    told = beside(publish, "40 + 7 * n % 30", "DuckDB, its own file")["DuckDB, its own file"]
    all_whole(told, LAKES)
