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

import duckdb

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import open_lake
from genesis_etl.publish.publish import publish
from genesis_etl.sandbox import Sandbox

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # a script's own folder, for whoever imports this one
from year import FIRST, HOUR, land_many, land_whole_year, land_worst_hour, land_year  # noqa: E402

COMMAND = [sys.executable, "-m", "genesis_etl"]
IMPORTS = [sys.executable, "-c", "import duckdb, pyarrow.parquet"]
Table = list[list[str]]
# Why the table of goals is not met where it is not; what a change moves belongs here as well.
LIMITS = """\
- 100,000 images: 0.97 to 1.07 × from run to run, of both passes against the loop's one.
- At the API's rate: the floor counts the requests alone. The answer to the last one takes its 200 ms, and the
  second pass over a list, or the next list, begins when the pages before it have come, as nothing else proves
  anything.
- Landing beside 8,760 loose captures: their names are listed, 7 µs each, to know how many captures there were. Only
  `--no-compact` leaves so many; `export` keeps those of a week.
- Compacting one more day: the file of the year is read, merged and written whole, and here of two years, as that
  day ends one. Half of the time is DuckDB's.
- Growth of the year lake: a third is DuckDB's plan of the statement, a quarter reads the 20 loose captures, and the
  rest puts together runs that go on from file to file.
- Dashboard of the year lake: a third is imports and the compiling of templates; eighteen questions take the rest,
  each a tenth of a second or less.
- Many accounts: of each, 8 commits and 8 rows files are opened, the rows once for their hash and once by DuckDB. A
  commit of one row takes Arrow 0.2 ms, and DuckDB no less. The published tables would answer as fast as the glob,
  but commands read the store alone, so that no damaged table makes a report wrong.
- 500 accounts: the sandbox works on the same two cores. What is left is 3 requests, two files of the store and four
  tables for each account, made and synced one after the other; and for the page, 500 newest files that seven of its
  questions read.
"""
GOALS: Table = []  # of the parts that were measured: work, measured, contender in the same run, goal


@dataclass
class Run:
    """A process that ended well: seconds, seconds, megabytes."""

    wall: float
    cpu: float
    peak: float


# A process begins as a copy of the one that starts it, and the kernel counts that one's memory as its own peak. So a
# small one starts it, which says: seconds, seconds, kilobytes, status.
STARTER = """
import json, os, sys, time
began = time.monotonic()
nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=nowhere), 0)
print(json.dumps([time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, status]))
"""


def run(command: list[str], *, may_fail: bool = False, **environment: str) -> Run:
    """Run a command once; its output goes nowhere."""
    starter = [sys.executable, "-S", "-c", STARTER, *command]
    done = subprocess.run(starter, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    wall, cpu, peak, status = json.loads(done.stdout)
    if status and not may_fail:
        raise RuntimeError(f"{command} ended with {status}: {done.stderr[-500:]}")
    return Run(wall, cpu, peak / 1024)


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


def goal(work: str, measured: str, contender: str, wanted: str) -> None:
    """Note what a row of the first table says."""
    GOALS.append([work, measured, contender, wanted])


# Images, milliseconds of latency, how often, and whether dlt runs too (at 100,000 and 30 ms it takes a minute).
SIZES = ((100, 0, 5, True), (10_000, 0, 3, True), (10_000, 30, 1, True), (100_000, 0, 3, True), (100_000, 30, 1, False))


def sizes(folder: Path) -> Table:
    """(a) The whole process against a plain loop and dlt."""
    rows: Table = [["images", "latency", "", "wall s", "CPU s", "peak MB", "wall against ours", "CPU against ours"]]
    for images, latency, repeats, has_dlt in SIZES:
        with fast_server(images, latency) as endpoint:

            def contender(name: str, number: int, endpoint: str = endpoint) -> Run:
                target = folder / f"{name}-{number}"
                shutil.rmtree(target, ignore_errors=True)
                if name == "genesis-etl":
                    return export(endpoint, str(target))
                script = "plain_loop.py" if name == "plain loop" else "dlt_pipeline.py"
                return run([sys.executable, str(HERE / script), endpoint, str(target)], DLT_TELEMETRY="false")

            names = ("genesis-etl", "plain loop", "dlt") if has_dlt else ("genesis-etl", "plain loop")
            # In turn, so that a slower machine is slower for all.
            runs = {name: [] for name in names}  # type: dict[str, list[Run]]
            for number in range(repeats):
                for name in names:
                    if name != "dlt" or not number or images < 100_000:
                        runs[name].append(contender(name, number))
        ours, loop = median(runs["genesis-etl"]), median(runs["plain loop"])
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
        if images == 100:
            said = [f"{each.wall:.2f} s, CPU {each.cpu:.2f}" for each in (ours, loop)]
            goal("`export` of one page, published", said[0], f"plain loop: {said[1]}", "not above the loop")
        if (images, latency) == (100_000, 0):
            dlt = median(runs["dlt"])
            against = f"plain loop {loop.cpu:.1f} s ({ours.cpu / loop.cpu:.2f} ×), dlt {dlt.cpu:.1f} s"
            work = "100,000 images, verified twice: CPU"
            goal(work, f"{ours.cpu:.1f} s", f"{against} ({ours.cpu / dlt.cpu:.2f} ×)", "1.0 × the loop, 0.25 × dlt")
            goal("memory at 100,000 images", f"{ours.peak:.0f} MB", f"plain loop {loop.peak:.0f} MB", "250 MB")
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
    said = f"{took / floor:.3f} ×, process {it.wall / floor:.3f} ×"
    goal("at the API's rate (10 a second, 200 ms)", said, f"the floor, {floor} s", "1.02 ×, process 1.05 ×")
    return [
        ["requests", "floor at 10 a second", "", "wall", "wall against the floor"],
        ["203", f"{floor:.1f} s", "the capture", f"{took:.1f} s", f"{took / floor:.3f} ×"],
        [
            "203",
            f"{floor:.1f} s",
            "the whole process, its start included",
            f"{it.wall:.1f} s",
            f"{it.wall / floor:.3f} ×",
        ],
    ]


def start_up(folder: Path) -> Table:
    """(d) What a command costs before it does anything, on a lake of 120 days."""
    lake = str(folder / "start")
    run([*COMMAND, "demo", "--days", "119", "--lake", lake])
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "importing DuckDB and Arrow alone": IMPORTS,
        "genesis-etl --help": [*COMMAND, "--help"],
        "genesis-etl report snapshot-growth": [*COMMAND, "report", "snapshot-growth", "--lake", lake],
    }
    rows: Table = [["command", "wall s", "CPU s", "peak MB"]]
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(7):
        for name, command in commands.items():
            runs[name].append(run(command))
    for name in commands:
        it = median(runs[name])
        rows.append([name, f"{it.wall:.2f}", f"{it.cpu:.2f}", f"{it.peak:.0f}"])
    python, imports, usage, report = (median(runs[name]) for name in commands)
    goal("`--help`", f"{usage.wall:.2f} s", f"Python alone {python.wall:.2f} s", "0.12 s")
    said = [f"{each.wall:.2f} s, CPU {each.cpu:.2f}" for each in (report, imports)]
    goal("a report on the demo lake", said[0], f"importing DuckDB and Arrow: {said[1]}", "0.55 s, CPU 0.6")
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


# The same question over full copies, as one would ask it: of each day the last file by its name.
LAST_OF_DAY = """
    with files as (select file, substr(parse_filename(file), 1, 8) as day from glob('{store}/*/2025/*.parquet')),
         last as (select max(file) as file from files group by day)
    select day, {region} count(*) from read_parquet('{store}/*/2025/*.parquet', filename = true) as row
    join files on files.file = row.filename where filename in (select file from last) and type = 'snapshot' group by all
"""


def year(folder: Path) -> Table:
    """(c) A year of hourly captures, as full copies and compacted; 20 more captures lie loose beside it."""
    copies = os.environ.get("YEAR_LAKE") or str(folder / "year")
    started = time.monotonic()
    if not Path(copies).exists():
        land_whole_year(copies)
    made = time.monotonic() - started
    compacted = str(folder / "compacted")
    shutil.copytree(copies, compacted, copy_function=os.link)
    last = FIRST + 8_760 * HOUR

    def landed(url: str, start: int) -> float:
        started = time.monotonic()
        land_year(url, 5, start=start, landed=times)
        return time.monotonic() - started

    times: list[float] = []
    landed(str(folder / "alone"), 8_760)
    alone, times = statistics.median(times), []
    landed(compacted, 8_760)
    crowded = statistics.median(times)
    goal("landing beside 8,760 loose captures", f"{1000 * crowded:.0f} ms", f"alone {1000 * alone:.0f} ms", "15 ms")
    started = time.monotonic()
    compact(Lake(compacted), grace=timedelta(0), now=last - timedelta(hours=23))
    compacting = time.monotonic() - started
    started = time.monotonic()
    compact(Lake(compacted), grace=timedelta(0), now=last + timedelta(hours=1))
    one_more = time.monotonic() - started
    goal("compacting 364 days at once", f"{compacting:.0f} s", "", "40 s")
    goal("compacting one more day", f"{one_more:.2f} s", "", "0.3 s")
    land_year(compacted, 15, start=8_765)
    publish(Lake(compacted))
    before, after = weight(f"{copies}/store"), weight(f"{compacted}/store")
    rows: Table = [
        ["", "full copies", "compacted"],
        ["captures", "8,760", "8,760 compacted, 20 loose"],
        ["files, bytes", f"{before[0]:,}, {before[1] / 1e6:,.0f} MB", f"{after[0]:,}, {after[1] / 1e6:.1f} MB"],
    ]
    history = sum(path.stat().st_size for path in Path(compacted).rglob("*-compacted-*.parquet"))
    tables = weight(f"{compacted}/tables")[1]
    rows += [
        [
            "history alone",
            f"{before[1] / 1e6:,.0f} MB",
            f"{history / 1e6:.2f} MB, {before[1] / history:,.0f} × smaller",
        ],
        ["tables for everybody", "", f"{tables / 1e6:.1f} MB"],
        [
            "made in; 364 days compacted at once in",
            f"{made:.0f} s" if made > 1 else "made before",
            f"{compacting:.0f} s",
        ],
        ["one more day compacted in", "", f"{one_more:.1f} s"],
        ["a capture landed beside them in", f"{1000 * crowded:.0f} ms", f"{1000 * alone:.0f} ms in a lake of its own"],
    ]
    opened = open_lake(compacted)
    opened.sql_rows("select 1")
    rows.append(["opening the lake", "", timed(lambda: open_lake(compacted).sql_rows("select 1"))])
    whole_year = {"since": "2025-01-01", "until": "2026-01-02"}
    for region, words, wanted in (("", "by day", "60 ms"), ("region,", "by day, per region", "60 ms")):
        by_name = LAST_OF_DAY.format(store=f"{copies}/store/rows", region=region)
        plain = timed(lambda by_name=by_name: duckdb.execute(by_name).fetchall(), 3)  # type: ignore[misc]
        ours = timed(
            lambda region=region: opened.report_rows("snapshot-growth", per_region=bool(region), **whole_year)  # type: ignore[misc]
        )
        rows.append([f"snapshot-growth {words}, the year", plain, ours])
        goal(f"the year lake: growth {words}", ours, f"the last file of each day, by name: {plain}", wanted)
    queries: dict[str, Callable[[], object]] = {
        "region-coverage": lambda: opened.report_rows("region-coverage", **whole_year),
        "images": lambda: opened.sql_rows("select * from images"),
        "image_history": lambda: opened.sql_rows("select * from image_history"),
    }
    rows += [[name, "", timed(query)] for name, query in queries.items()]
    report = [*COMMAND, "report", "snapshot-growth", "--lake", compacted, "--since", "2025-01-01"]
    rows.append(["report snapshot-growth as a command", "", f"{median([run(report) for _ in range(5)]).wall:.2f} s"])
    page = median([run([*COMMAND, "dashboard", "--lake", compacted, "--output", str(folder / "page.html")])])
    rows.append(["dashboard as a command", "", f"{page.wall:.1f} s, {page.peak:.0f} MB"])
    goal("dashboard of the year lake", f"{page.wall:.1f} s, {page.peak:.0f} MB", imports_alone(), "1.2 s, 300 MB")
    return rows


def imports_alone() -> str:
    """Say what the imports that every report needs take by themselves."""
    it = run(IMPORTS)
    return f"importing DuckDB and Arrow: {it.wall:.2f} s, {it.peak:.0f} MB"


def many(folder: Path) -> Table:
    """(e) Many accounts: a day at its worst hour, one before `export` compacts, or all loose; whole processes."""
    rows: Table = [["accounts × captures", "command", "wall s", "CPU s", "peak MB"]]

    def measure(words: str, lake: str, commands: dict[str, list[str]], token: str = "") -> dict[str, float]:
        walls = {}
        for name, command in commands.items():
            it = run([*command, "--lake", lake], may_fail=name == "check", GENESISCLOUD_TOKEN=token)
            rows.append([words, name, f"{it.wall:.1f}", f"{it.cpu:.1f}", f"{it.peak:.0f}"])
            walls[name] = it.wall
        return walls

    names = ("snapshot-growth", "region-coverage", "usage")
    reports = {f"report {name}": [*COMMAND, "report", name] for name in names}
    page = {"dashboard": [*COMMAND, "dashboard", "--output", str(folder / "many.html")]}
    now = datetime.now(UTC)
    for accounts, wanted in ((100, "0.7 s"), (1_000, "6 s")):
        lake = str(folder / f"worst-{accounts}")
        land_worst_hour(lake, accounts, now)
        walls = measure(f"{accounts:,} × 24, worst hour", lake, reports | page)
        worst = max(walls[name] for name in reports)
        began = time.monotonic()
        files = f"{lake}/store/rows/*/*/*.parquet"
        duckdb.execute(f"select account, type, count(*) from '{files}' group by all").fetchall()
        glob = f"a wrong count of the same files by a glob: {time.monotonic() - began:.1f} s"
        goal(f"{accounts:,} accounts × 24, the worst hour: the slowest report", f"{worst:.1f} s", glob, wanted)
    lake = str(folder / "loose")
    land_many(lake, 100, 24, now)
    measure("100 × 24, all loose", lake, reports)
    toml, lake = folder / "many.toml", str(folder / "many")
    configured = ["--config", str(toml)]
    with Sandbox(rate=0, images=100) as sandbox:
        tokens = "".join(f'[accounts.a{number:05}]\ntoken_env = "GENESISCLOUD_TOKEN"\n' for number in range(500))
        toml.write_text(f'endpoint = "{sandbox.endpoint}"\nrate = 10000\nworkers = 8\n{tokens}')
        exporting = {"export, 8 workers": [*COMMAND, "export", *configured, "--quiet"]}
        commands = {**exporting, **reports, "check": [*COMMAND, "check", *configured], **page}
        walls = measure("500 × 1", lake, commands, sandbox.token)
    said = " / ".join(f"{walls[name]:.1f}" for name in ("export, 8 workers", "check", "dashboard"))
    goal("500 accounts: `export`, `check`, dashboard", f"{said} s", imports_alone(), "8 / 4 / 3 s")
    return rows


def large(folder: Path) -> Table:
    """(f) The page of a lake of 100,000 images."""
    lake = str(folder / "large")
    with fast_server(100_000, 0) as endpoint:
        export(endpoint, lake)
    page = run([*COMMAND, "dashboard", "--lake", lake, "--output", str(folder / "large.html")])
    size = (folder / "large.html").stat().st_size / 1e6
    goal("page of 100,000 images", f"{page.wall:.1f} s, {page.peak:.0f} MB", imports_alone(), "2 s")
    rows = [["", "wall s", "CPU s", "peak MB", "MB of page"]]
    return [*rows, ["dashboard", f"{page.wall:.1f}", f"{page.cpu:.1f}", f"{page.peak:.0f}", f"{size:.1f}"]]


def growing(folder: Path) -> Table:
    """(g) What an export costs as history grows."""
    rows: Table = [["history beside it", "wall s", "CPU s", "against an empty lake"]]
    month = str(folder / "month")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    lakes = {"none": str(folder / "none"), "a month, compacted": month, "a year, compacted": str(folder / "compacted")}
    land_year(month, 720)
    compact(Lake(month), grace=timedelta(0), now=now)
    with Sandbox(rate=0, images=3_000) as sandbox:
        runs: dict[str, list[Run]] = {name: [] for name in lakes}
        for _ in range(3):
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
        [sys.executable, str(HERE / "moving_list.py"), "100"], capture_output=True, text=True, check=True
    )
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    return [lines[0], *lines[2:]]


PARTS: dict[str, Callable[[Path], Table]] = {
    "Whole process, by number of images": sizes,
    "At the API's rate": limit,
    "A year of hourly captures": year,
    "Many accounts": many,
    "The page of a large account": large,
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
    results: dict[str, list[Table]] = json.loads(kept.read_text()) if kept.exists() and sys.argv[1:] else {}
    with tempfile.TemporaryDirectory(prefix="genesis-etl-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        for title in chosen:
            began = time.monotonic()
            GOALS.clear()
            table = PARTS[title](Path(folder))
            results[title] = [table, list(GOALS)]
            print(f"{title}, {time.monotonic() - began:.0f} s\n{markdown(table)}", flush=True)
            kept.write_text(json.dumps(results))
    packages = ("genesis-etl", "duckdb", "pyarrow", "pandas", "requests", "dlt")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    goals = [row for title in PARTS if title in results for row in results[title][1]]
    parts = [
        f"## {title}\n\n{PARTS[title].__doc__}\n\n{markdown(results[title][0])}" for title in PARTS if title in results
    ]
    text = [
        "# Results",
        "Written by `make bench`; every table is one run, medians, the contenders in turn. Trust ratios more than "
        "seconds: the machine has 2 cores that others use too.",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, Python {platform.python_version()}, {versions}.",
        "## What was to be reached",
        markdown([["work", "measured", "beside it", "to reach"], *goals]),
        "What stands in the way of the rest:",
        LIMITS.rstrip(),
        *parts,
    ]
    (HERE / "RESULTS.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def machine() -> str:
    """Name the processor, how many there are, and the memory."""
    named = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {named[0] if named else platform.machine()}, {memory:.0f} GiB"


if __name__ == "__main__":
    main()
