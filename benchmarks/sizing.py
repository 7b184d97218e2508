"""What accounts × images × hours cost, measured on the sandbox and extrapolated; writes docs/sizing.md.

python benchmarks/sizing.py [--quick]      some minutes; --quick tries it out with small sizes and writes nothing
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from run import COMMAND, HERE, Run, Table, fast_server, markdown, median, run, timed, weight
from year import FIRST, land_many

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import open_lake
from genesis_etl.publish.publish import publish
from genesis_etl.version import __version__

PAGE = HERE.parent / "docs" / "sizing.md"
IMAGES = (100, 1_000, 10_000)
ACCOUNTS = (1, 20, 200, 1_000)
LAKES = ((1, 24), (10, 24), (100, 24), (1_000, 1))  # accounts, captures of each
CORES = 2
REPEATS = 3
LATENCY = 200  # milliseconds, of an API far away
RATE = 10  # requests a second that the API grants an account
YEAR_IN_CAPTURES = 6.8  # a compacted year in bytes of one loose capture: RESULTS.md, 1.51 MB against 1,937 MB in 8,760


@dataclass
class Export:
    """An export that has ended, by what it took and what it left."""

    accounts: int
    images: int
    run: Run
    requests: int
    rows: int
    files: int
    bytes: int
    tables: int  # bytes of the public part


@contextmanager
def sandbox(images: int) -> Iterator[dict[str, str]]:
    """Serve an account of so many entries from a process of its own, without a limit; give what reaches it."""
    command = [*COMMAND, "--quiet", "sandbox", "--images", str(images), "--rate", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield dict(server.stdout.readline().strip().split("=", 1) for _ in range(2))
        finally:
            server.terminate()


def exported(folder: Path, reach: dict[str, str], accounts: int, images: int, workers: int) -> Export:
    """Run `genesis-etl export` once over so many accounts, all of them the sandbox's one, into a new lake."""
    lake = folder / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    toml = folder / "genesis-etl.toml"
    names = "".join(f'[accounts.a{number:05}]\ntoken_env = "GENESISCLOUD_TOKEN"\n' for number in range(accounts))
    toml.write_text(f'endpoint = "{reach["GENESISCLOUD_ENDPOINT"]}"\nrate = 10000\nworkers = {workers}\n{names}')
    command = [*COMMAND, "export", "--config", str(toml), "--lake", str(lake), "--no-compact", "--quiet"]
    environment = {"GENESISCLOUD_TOKEN": reach["GENESISCLOUD_TOKEN"]}
    it = run(command, **environment)
    told = open_lake(str(lake)).sql("select sum(requests)::int as requests, sum(rows)::int as rows from captures")
    files, size = weight(f"{lake}/store")
    tables = weight(f"{lake}/tables")[1]
    return Export(accounts, images, it, int(told["requests"][0]), int(told["rows"][0]), files, size, tables)


def exports(folder: Path, sizes: tuple[int, ...], accounts: tuple[int, ...]) -> tuple[list[Export], list[Export]]:
    """Export one account of each size, and as many accounts of the smallest size."""
    by_size, by_accounts = [], []
    for images in sizes:
        with sandbox(images) as reach:
            runs = [exported(folder, reach, 1, images, 8) for _ in range(REPEATS)]
            by_size.append(replace(runs[-1], run=median([each.run for each in runs])))
    with sandbox(sizes[0]) as reach:
        for count in accounts:
            by_accounts.append(exported(folder, reach, count, sizes[0], 8))
    return by_size, by_accounts


def workers(folder: Path, accounts: int, images: int) -> Table:
    """Export the same accounts with more and more of them side by side, from a server that is slow to answer."""
    rows: Table = [["workers", "wall s", "CPU s"]]
    with fast_server(images, LATENCY) as endpoint:
        reach = {"GENESISCLOUD_ENDPOINT": endpoint, "GENESISCLOUD_TOKEN": "benchmark"}
        for count in (4, 8, 32, 128):
            it = exported(folder, reach, accounts, images, count).run
            rows.append([str(count), f"{it.wall:.1f}", f"{it.cpu:.1f}"])
    return rows


def lakes(folder: Path, sizes: tuple[tuple[int, int], ...]) -> Table:
    """Time what reads a lake of many accounts, loose and after a compaction."""
    rows: Table = [
        [
            *("accounts × captures", "", "files", "MB", "open", "snapshot-growth", "region-coverage"),
            *("verify", "compact", "tables from nothing"),
        ]
    ]
    for accounts, captures in sizes:
        url = str(folder / "many")
        shutil.rmtree(url, ignore_errors=True)
        land_many(url, accounts, captures, FIRST)
        repeats = 3 if accounts < 1_000 else 1
        rows.append([f"{accounts:,} × {captures}", "loose", *reading(url, repeats)])
        if captures > 1:
            rows[-1] += [timed(partial(compact, Lake(url)), 1), timed(partial(publish, Lake(url)), 1)]
            rows.append(["", "compacted", *reading(url, repeats), "", ""])
            compact(Lake(url), grace=timedelta(0))
            rows.append(["", "after the grace", *reading(url, repeats), "", ""])
        else:
            rows[-1] += ["", timed(partial(publish, Lake(url)), 1)]
    return rows


def raws(table: Table) -> Table:
    """Return the rows of lakes that are not compacted."""
    return [row for row in table[1:] if row[1] == "loose"]


def reading(url: str, repeats: int) -> list[str]:
    """Return the files and megabytes of a lake, and how long it takes to open, report on and verify it."""
    files, size = weight(f"{url}/store")
    actions = (
        lambda: Lake(url).contents(),
        lambda: open_lake(url).report_rows("snapshot-growth"),
        lambda: open_lake(url).report_rows("region-coverage"),
        lambda: run([*COMMAND, "verify", "--lake", url]),
    )
    return [f"{files:,}", f"{size / 1e6:.1f}", *(timed(action, repeats) for action in actions)]


def measured(done: list[Export]) -> Table:
    """Lay out exports."""
    rows: Table = [
        ["accounts", "images each", "requests", "wall s", "CPU s", "peak MB", "rows", "files", "MB", "MB of tables"]
    ]
    for each in done:
        rows.append(
            [
                *(f"{each.accounts:,}", f"{each.images:,}", f"{each.requests:,}"),
                *(f"{each.run.wall:.1f}", f"{each.run.cpu:.1f}", f"{each.run.peak:.0f}"),
                *(f"{each.rows:,}", f"{each.files:,}", f"{each.bytes / 1e6:.2f}", f"{each.tables / 1e6:.2f}"),
            ]
        )
    return rows


def extrapolated(by_size: list[Export], by_accounts: list[Export]) -> Table:
    """Reckon an hour, a day and a year for more accounts and images than were measured."""
    one, many, small = by_accounts[0], by_accounts[-1], by_size[0]
    each = (many.run.cpu - one.run.cpu) / (many.accounts - one.accounts)  # CPU of one more small account
    start = one.run.cpu - each
    rows: Table = [
        [
            *("accounts", "images each", "requests an hour", "s an account at the API's rate", "CPU s an hour"),
            *(f"of {CORES} cores' hour", "loose files a day", "loose MB a day", "compacted MB a year"),
        ]
    ]
    for accounts in (1, 10, 100, 1_000, 10_000):
        for size in by_size:
            more = max(size.run.cpu - small.run.cpu, 0) + each
            cpu = start + accounts * more
            rows.append(
                [
                    *(f"{accounts:,}", f"{size.images:,}", f"{accounts * size.requests:,}"),
                    *(f"{size.requests / RATE:.1f}", f"{cpu:,.0f}", f"{100 * cpu / (CORES * 3600):,.1f} %"),
                    *(f"{accounts * 48:,}", f"{accounts * 24 * size.bytes / 1e6:,.1f}"),
                    f"{accounts * YEAR_IN_CAPTURES * size.bytes / 1e6:,.1f}",
                ]
            )
    return rows


TEXT = """# How large a machine, how large a lake

Written by `python benchmarks/sizing.py` on {date}: genesis-etl {version}, Python {python}, {cores} cores that the
sandbox shares with what is measured. Trust ratios more than seconds.

## In short

- **Requests**: an account whose images fit one page costs 2 an hour, one of 10,000 images about 200. The API grants
  {rate} a second *per account*, so accounts do not wait for each other: set `workers` to as many as should.
- **Time** of one capture is its requests divided by {rate}, 20 seconds for 10,000 images. Accounts side by side wait at
  once, so with enough `workers` many accounts take little longer than one, until the CPU is busy.
- **CPU** is {each:.0f} ms for one more small account: see the share of {cores} cores below. Past half of them, use
  two machines.
- **Disk**: loose captures grow by the day and are compacted by `export`; what a compaction replaced stays for the
  7 days of `--grace`. So a lake weighs its compacted years and 8 days of loose captures.
- **Tables** for everybody are four files an account, kept up to date by each export; their CPU is in the figures. They
  weigh about as much as the compacted history that they tell.
- **Files** are what breaks first: 48 a day and account, until the grace is over. A reader opens the captures that no
  compaction holds yet, {opening:.1f} ms for each. So a lake of 100 accounts opens in {evening:.0f} s before and at
  once after a compaction, one of 1,000 accounts in {evening_10:.0f} s (extrapolated); `--account` opens that
  account's captures alone. Give every few hundred accounts a lake of their own.

## Measured: one export, by images and by accounts

The whole process `genesis-etl export`, with `workers = 8` and the API's rate out of the way. Files and MB are those of
the store.

{exports}

{workers_of} accounts of {workers_images} images, by `workers`, from a server that answers after {latency} ms:

{workers}

## Measured: a lake of many accounts

Accounts of 100 images in 300 rows; times in milliseconds. `loose` is before a compaction, `compacted` after it, with
what it replaced still there. `verify` is the whole process, which is most of what `check` does. `tables from nothing`
is `publish` where there are none; after an export they are taken on from the commits that came.

{lakes}

## Extrapolated: an hour, a day, a year

From the measured exports: the CPU of one more account is that of the last row against the first, and that of more
images the difference of one account's exports. Raw megabytes are those of the measured captures. A compacted year is
{year} times one loose capture, as in [benchmarks/RESULTS.md](../benchmarks/RESULTS.md) for an account that makes 40
snapshots a day and deletes 35; a busier one has more. Nothing beyond {most:,} accounts in one run was measured.

{extrapolated}

## When one machine is too small

1. Raise `workers` first, as far as the table above still gains: accounts wait for answers most of the time.
2. Split the accounts between two machines, each with its own toml, and let both write into one lake: a folder that both
   can reach, or a bucket. Every capture is files of its own, so there is nothing to coordinate.
3. Or let Prefect hand the accounts to a Dask cluster: `dask = "tcp://scheduler:8786"`, extra `[dask]`.
4. When reports over everything become slow, give groups of accounts lakes of their own, or run them on Spark.
"""


def main() -> None:
    """Measure, reckon, and write the page."""
    is_quick = "--quick" in sys.argv[1:]
    sizes = IMAGES[:2] if is_quick else IMAGES
    accounts = ACCOUNTS[:2] if is_quick else ACCOUNTS
    side = 20 if is_quick else 200
    with tempfile.TemporaryDirectory(prefix="genesis-etl-sizing-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        by_size, by_accounts = exports(folder, sizes, accounts)
        one, many = by_accounts[0], by_accounts[-1]
        chosen = LAKES[:2] if is_quick else LAKES
        read = lakes(folder, chosen)
        loose = {
            count * captures: float(row[4].split()[0])
            for (count, captures), row in zip(chosen, raws(read), strict=True)
        }
        opening = loose[max(loose)] / max(loose)
        text = TEXT.format(
            latency=LATENCY,
            each=1000 * (many.run.cpu - one.run.cpu) / (many.accounts - one.accounts),
            opening=opening,
            evening=2.4 * opening,
            evening_10=24 * opening,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            version=__version__,
            python=platform.python_version(),
            cores=CORES,
            rate=RATE,
            exports=markdown(measured([*by_size, *by_accounts[1:]])),
            workers_of=side,
            workers_images=sizes[0],
            workers=markdown(workers(folder, side, sizes[0])),
            lakes=markdown(read),
            year=YEAR_IN_CAPTURES,
            most=accounts[-1],
            extrapolated=markdown(extrapolated(by_size, by_accounts)),
        )
    print(text)
    if not is_quick:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
