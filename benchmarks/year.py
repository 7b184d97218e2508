"""A year of hourly captures, as full copies: 5,000 images in 12,800 rows, 40 snapshots made and 35 deleted a day.

python benchmarks/year.py LAKE [CAPTURES]      lands them through the package; some minutes for 8,760
"""

from __future__ import annotations

import random
import shutil
import sys
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import LOOSE_CAPTURES, compact_account
from genesis_etl.rows import ROW

ACCOUNT = "default"
FIRST = datetime(2025, 1, 1, 0, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
REGIONS = ("EUC-DE-MUC-1", "EUW-GB-MNC-1", "EUW-NL-AMS-1", "NA-CA-FTS-1", "NA-CA-MNZ-1", "NORD-NO-KRS-1")
SHARED_IMAGES = 1_560  # each in every region; with the snapshots, one region each, about 12,800 rows
SNAPSHOTS = 3_440
MADE, DELETED = 40, 35  # a day


def identity(name: str) -> str:
    """Return the UUID of a thing, as hard to compress as the API's."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def row(number: int, kind: str, region: str, created_at: datetime) -> dict[str, Any]:
    """Return a row with the columns of the lake."""
    is_snapshot = kind == "snapshot"
    return {
        "image_id": identity(f"image {number}"),
        "name": f"nightly-web-{number % 60:02}-{created_at:%Y-%m-%d}" if is_snapshot else f"Ubuntu build {number}",
        "type": kind,
        "region": region,
        "created_at": created_at,
        "updated_at": created_at,
        "os_type": "linux",
        "family": None if is_snapshot else "ubuntu",
        "slug": None if is_snapshot else "ubuntu-22.04",
        "versions": None if is_snapshot else ["v1"],
        "size_gib": float(20 + number % 400) if is_snapshot else None,
        "status": "created" if is_snapshot else None,
        "source_instance_id": identity(f"instance {number % 60}") if is_snapshot else None,
        "source_snapshot_id": None,
        "extra": None,
    }


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as the columns of a capture."""
    return pa.Table.from_pylist(rows, schema=ROW)


def land_year(url: str, captures: int = 8_760, start: int = 0, landed: list[float] | None = None) -> None:
    """Land hourly captures of an account that makes and deletes snapshots every hour, from hour `start` on.

    The account is the same whatever is landed of it; what lies before `start` is lived through, not landed. How many
    seconds each landing took is added to `landed`.
    """
    chance = random.Random(1)
    lake = Lake(url)
    before = FIRST - timedelta(days=30)
    shared = table([row(n, "cloud-image", region, before) for n in range(SHARED_IMAGES) for region in REGIONS])
    living = [
        row(n, "snapshot", chance.choice(REGIONS), before) for n in range(SHARED_IMAGES, SHARED_IMAGES + SNAPSHOTS)
    ]
    made = SHARED_IMAGES + SNAPSHOTS
    moving, is_changed = table(living), False
    for hour in range(start + captures):
        at = FIRST + hour * HOUR
        births = [*range(made, made + sum(chance.random() < MADE / 48 for _ in range(2)))]
        made += len(births)
        deaths = sum(chance.random() < DELETED / 48 for _ in range(2))
        if births or deaths:
            for _ in range(deaths):
                del living[chance.randrange(len(living))]
            living += [row(n, "snapshot", chance.choice(REGIONS), at - timedelta(minutes=11)) for n in births]
            is_changed = True
        if hour < start:
            continue
        if is_changed:
            moving, is_changed = table(living), False
        rows = pa.concat_tables([shared, moving]).combine_chunks()
        count = SHARED_IMAGES + len(living)
        began = time.monotonic()
        lake.land(
            rows,
            account=ACCOUNT,
            captured_at=at,
            finished_at=at + timedelta(seconds=11),
            images=count,
            snapshots=len(living),
            requests=101,
            retries=0,
            passes=2,
            endpoint="https://api.genesiscloud.com/compute/v1",
            etl_version="benchmark",
            listed_snapshots=0,
        )
        if landed is not None:
            landed.append(time.monotonic() - began)


def land_whole_year(url: str) -> None:
    """Land the whole year, in parts side by side that are put together then: a landing lists what is there."""
    parts = [f"{url}-{number}" for number in range(12)]
    with ProcessPoolExecutor(2) as processes:
        list(processes.map(land_year, parts, repeat(730), range(0, 8_760, 730)))
    for part in parts:
        for path in Path(part).rglob("*.parquet"):
            target = Path(url, path.relative_to(part))
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        shutil.rmtree(part)


def land_many(url: str, accounts: int, captures: int, last: datetime, loose: int | None = None, first: int = 0) -> None:
    """Land hourly captures up to `last` of so many accounts, each of 100 images in 300 rows that stand still.

    All but the last `loose` ones are compacted; `first` is the number of the first account.
    """
    lake = Lake(url)
    before = last - timedelta(days=30)
    state = [row(n, "cloud-image", region, before) for n in range(40) for region in REGIONS]
    state += [row(n, "snapshot", REGIONS[n % 6], before) for n in range(40, 100)]
    rows = table(state)
    facts: dict[str, Any] = {"images": 100, "snapshots": 60, "requests": 2, "retries": 0, "passes": 1}
    facts |= {"endpoint": "https://api.genesiscloud.com/compute/v1", "etl_version": "benchmark", "listed_snapshots": 0}
    for number in range(first, first + accounts):
        account = f"a{number:05}"
        for hour in reversed(range(captures)):
            at = last - hour * HOUR
            lake.land(rows, account=account, captured_at=at, finished_at=at, **facts)
            if hour == loose:
                compact_account(lake, account, now=at, end=at)


def land_worst_hour(url: str, accounts: int, last: datetime) -> None:
    """Land a day of so many accounts as `export` leaves it at its worst hour: one more, and it compacts again."""
    half = accounts // 2
    shares = [(half, 0), (accounts - half, half)]
    with ProcessPoolExecutor(2) as processes:
        done = [processes.submit(land_many, url, count, 24, last, LOOSE_CAPTURES + 1, first) for count, first in shares]
        for each in done:
            each.result()


if __name__ == "__main__":
    land_year(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8_760)
