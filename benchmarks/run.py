"""Runs every measurement in one go, each beside its baseline, and writes RESULTS.md: make bench

Whole processes are measured by what the kernel says of them when they end: wall, CPU (user and system), peak memory.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import open_lake
from genesis_etl.sandbox import Sandbox

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # a script's own folder, for whoever imports this one
from year import FIRST, HOUR, land_year  # noqa: E402

COMMAND = [sys.executable, "-m", "genesis_etl"]
REPEATS = 2
Table = list[list[str]]


@dataclass
class Run:
    """A process that ended well: seconds, seconds, megabytes."""

    wall: float
    cpu: float
    peak: float


def run(command: list[str], **environment: str) -> Run:
    """Run a command once; its output goes nowhere."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        raise RuntimeError(f"{command} ended with {status}: {said.decode()[-500:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: list[Run]) -> Run:
    """Return the medians of several runs."""
    return Run(*(statistics.median(getattr(each, name) for each in runs) for name in ("wall", "cpu", "peak")))


@contextmanager
def fast_server(images: int, latency: int) -> Iterator[str]:
    """Serve so many images from a process of its own; the endpoint."""
    command = [sys.executable, str(HERE / "fast_server.py"), str(images), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def export(endpoint: str, lake: str, rate: str = "10000") -> Run:
    """Run `genesis-etl export` once."""
    reach = {"GENESISCLOUD_ENDPOINT": endpoint, "GENESISCLOUD_TOKEN": "benchmark", "GENESIS_ETL_RATE": rate}
    return run([*COMMAND, "export", "--no-compact", "--quiet", "--lake", lake], **reach)


def sizes(folder: Path) -> Table:
    """(a) The whole process against a plain loop and dlt."""
    rows: Table = [["images", "latency", "", "wall s", "CPU s", "peak MB", "wall against ours", "CPU against ours"]]
    for images in (100, 10_000, 100_000):
        for latency in (0, 30):
            repeats = REPEATS if images < 100_000 or latency == 0 else 1
            with fast_server(images, latency) as endpoint:

                def contender(name: str, number: int, endpoint: str = endpoint) -> Run:
                    target = folder / f"{name}-{number}"
                    shutil.rmtree(target, ignore_errors=True)
                    if name == "genesis-etl":
                        return export(endpoint, str(target))
                    script = "plain_loop.py" if name == "plain loop" else "dlt_pipeline.py"
                    return run([sys.executable, str(HERE / script), endpoint, str(target)], DLT_TELEMETRY="false")

                names = ("genesis-etl", "plain loop", "dlt")
                # In turn, so that a slower machine is slower for all.
                runs = {name: [] for name in names}  # type: dict[str, list[Run]]
                for number in range(repeats):
                    for name in names:
                        runs[name].append(contender(name, number))
            ours = median(runs["genesis-etl"])
            for name in names:
                it = median(runs[name])
                label = "genesis-etl, two passes" if name == "genesis-etl" else f"{name}, one pass"
                rows.append(
                    [
                        *(f"{images:,}", f"{latency} ms", label),
                        *(f"{it.wall:.1f}", f"{it.cpu:.1f}", f"{it.peak:.0f}"),
                        *(f"{it.wall / ours.wall:.2f} ×", f"{it.cpu / ours.cpu:.2f} ×"),
                    ]
                )
    return rows


def limit(folder: Path) -> Table:
    """(b) At the API's rate: 10,000 images, 10 requests a second, answers after 200 ms."""
    with fast_server(10_000, 200) as endpoint:
        floor = 203 / 10  # two passes of 100 pages and the page after them, /snapshots and /instances
        it = export(endpoint, str(folder / "limit"), rate="10")
    (row,) = (
        open_lake(str(folder / "limit"))
        .sql_rows("select epoch(finished_at) - epoch(captured_at) as took from captures")
        .to_pylist()
    )
    took = row["took"]
    return [
        ["requests", "floor at 10 a second", "", "wall", "wall against the floor"],
        ["201", f"{floor:.1f} s", "the capture", f"{took:.1f} s", f"{took / floor:.3f} ×"],
        [
            "201",
            f"{floor:.1f} s",
            "the whole process, its start included",
            f"{it.wall:.1f} s",
            f"{it.wall / floor:.3f} ×",
        ],
    ]


def start_up(folder: Path) -> Table:
    """(d) What a command costs before it does anything."""
    with Sandbox(rate=0, images=80) as sandbox:
        reach = {"GENESISCLOUD_ENDPOINT": sandbox.endpoint, "GENESISCLOUD_TOKEN": sandbox.token}
        lake = str(folder / "start")
        commands = {
            "python -c pass": ([sys.executable, "-c", "pass"], {}),
            "genesis-etl --help": ([*COMMAND, "--help"], {}),
            "genesis-etl export, one page": ([*COMMAND, "export", "--lake", lake], reach),
            "genesis-etl report snapshot-growth": ([*COMMAND, "report", "snapshot-growth", "--lake", lake], {}),
        }
        rows: Table = [["command", "wall s", "CPU s", "peak MB"]]
        for name in ("python -c pass", "genesis-etl --help", "genesis-etl export, one page", *list(commands)[3:]):
            command, environment = commands[name]
            it = median([run(command, **environment) for _ in range(5)])
            rows.append([name, f"{it.wall:.2f}", f"{it.cpu:.2f}", f"{it.peak:.0f}"])
    return rows


def timed(action: Callable[[], object], repeats: int = 7) -> str:
    """Return the median milliseconds of an action."""
    taken = []
    for _ in range(repeats):
        started = time.monotonic()
        action()
        taken.append(time.monotonic() - started)
    return f"{statistics.median(taken) * 1000:.0f} ms"


def weight(lake: str) -> tuple[int, int]:
    """Return the files of a lake and their bytes."""
    files = list(Path(lake).rglob("*.parquet"))
    return len(files), sum(path.stat().st_size for path in files)


def year(folder: Path) -> Table:
    """(c) A year of hourly captures, as full copies and compacted."""
    copies = os.environ.get("YEAR_LAKE") or str(folder / "year")
    started = time.monotonic()
    if not Path(copies).exists():
        land_year(copies)
    made = time.monotonic() - started
    compacted = str(folder / "compacted")
    shutil.copytree(copies, compacted, copy_function=os.link)
    last = FIRST + 8_760 * HOUR
    started = time.monotonic()
    compact(Lake(compacted), grace=timedelta(0), now=last - timedelta(hours=23))
    compacting = time.monotonic() - started
    started = time.monotonic()
    compact(Lake(compacted), grace=timedelta(0), now=last + timedelta(hours=1))
    one_more = time.monotonic() - started
    land_year(compacted, 20, start=8_760)
    before, after = weight(copies), weight(compacted)
    rows: Table = [
        ["", "full copies", "compacted"],
        ["captures", "8,760", "8,760 compacted, 20 loose"],
        ["files, bytes", f"{before[0]:,}, {before[1] / 1e6:,.0f} MB", f"{after[0]:,}, {after[1] / 1e6:.1f} MB"],
    ]
    history = sum(path.stat().st_size for path in Path(compacted).rglob("*-compacted-*.parquet"))
    rows += [
        [
            "history alone",
            f"{before[1] / 1e6:,.0f} MB",
            f"{history / 1e6:.2f} MB, {before[1] / history:,.0f} × smaller",
        ],
        [
            "made in; 364 days compacted at once in",
            f"{made:.0f} s" if made > 1 else "made before",
            f"{compacting:.0f} s",
        ],
        ["one more day compacted in", "", f"{one_more:.1f} s"],
    ]
    opened = open_lake(compacted)
    opened.sql_rows("select 1")
    rows.append(["opening the lake", "", timed(lambda: open_lake(compacted).sql_rows("select 1"))])
    whole_year = {"since": "2025-01-01", "until": "2026-01-02"}
    queries: dict[str, Callable[[], object]] = {
        "snapshot-growth by day, the year": lambda: opened.report_rows("snapshot-growth", **whole_year),
        "snapshot-growth by day per region": lambda: opened.report_rows(
            "snapshot-growth", per_region=True, **whole_year
        ),
        "region-coverage": lambda: opened.report_rows("region-coverage", **whole_year),
        "images": lambda: opened.sql_rows("select * from images"),
        "image_history": lambda: opened.sql_rows("select * from image_history"),
    }
    rows += [[name, "", timed(query)] for name, query in queries.items()]
    report = [*COMMAND, "report", "snapshot-growth", "--lake", compacted, "--since", "2025-01-01"]
    rows.append(["report snapshot-growth as a command", "", f"{median([run(report) for _ in range(5)]).wall:.2f} s"])
    return rows


def growing(folder: Path) -> Table:
    """(e) What an export costs as history grows."""
    rows: Table = [["history beside it", "wall s", "CPU s", "against an empty lake"]]
    month = str(folder / "month")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    lakes = {"none": str(folder / "none"), "a month, compacted": month, "a year, compacted": str(folder / "compacted")}
    land_year(month, 720)
    compact(Lake(month), grace=timedelta(0), now=now)
    with Sandbox(rate=0, images=3_000) as sandbox:
        runs: dict[str, list[Run]] = {name: [] for name in lakes}
        for _ in range(5):
            for name, lake in lakes.items():
                if name == "none":
                    shutil.rmtree(lake, ignore_errors=True)
                runs[name].append(
                    run(
                        [*COMMAND, "export", "--lake", lake, "--quiet"],
                        GENESISCLOUD_ENDPOINT=sandbox.endpoint,
                        GENESISCLOUD_TOKEN=sandbox.token,
                        GENESIS_ETL_RATE="10000",
                    )
                )
    base = median(runs["none"])
    for name in lakes:
        it = median(runs[name])
        rows.append([name, f"{it.wall:.2f}", f"{it.cpu:.2f}", f"{it.wall / base.wall:.2f} ×"])
    return rows


def moving(folder: Path) -> Table:
    """What is lost when the list moves while it is read."""
    done = subprocess.run(
        [sys.executable, str(HERE / "moving_list.py"), "200"], capture_output=True, text=True, check=True
    )
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    return [lines[0], *lines[2:]]


PARTS: dict[str, Callable[[Path], Table]] = {
    "Whole process, by number of images": sizes,
    "At the API's rate": limit,
    "A year of hourly captures": year,
    "An export beside its history": growing,
    "Start": start_up,
    "A list that moves while it is read": moving,
}


def markdown(table: Table) -> str:
    head, *rows = table
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main() -> None:
    """Measure everything (or the parts whose titles begin as named) and write RESULTS.md."""
    chosen = [title for title in PARTS if not sys.argv[1:] or any(title.startswith(name) for name in sys.argv[1:])]
    kept = HERE / ".results.json"
    results: dict[str, list[list[str]]] = json.loads(kept.read_text()) if kept.exists() and sys.argv[1:] else {}
    with tempfile.TemporaryDirectory(prefix="genesis-etl-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        for title in chosen:
            print(title, flush=True)
            results[title] = PARTS[title](Path(folder))
            print(markdown(results[title]), flush=True)
    kept.write_text(json.dumps(results))
    packages = ("genesis-etl", "duckdb", "pyarrow", "pandas", "requests", "dlt")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    parts = [
        f"## {title}\n\n{PARTS[title].__doc__}\n\n{markdown(results[title])}" for title in PARTS if title in results
    ]
    text = [
        "# Results",
        "Written by `make bench`; every table is one run, medians, the contenders in turn. Trust ratios more than "
        "seconds: the machine has 2 cores that others use too.",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}.",
        *parts,
    ]
    (HERE / "RESULTS.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
