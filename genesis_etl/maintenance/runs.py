"""The arithmetic of runs: how many rows they tell of each capture, and what is left of them for fewer captures. Pure.

A run (a row of a rows file, schema `IMAGES`) stood in every capture of its file from `first_seen` to `last_seen`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from genesis_etl.lake.schema import IMAGES

Instants = np.ndarray[tuple[int], np.dtype[np.int64]]


def instants(column: pa.ChunkedArray) -> Instants:
    """Return a column of timestamps as microseconds since 1970."""
    micros: Instants = column.cast(pa.int64()).to_numpy()
    return micros


def count(runs: pa.Table, captures: pa.Table) -> Instants:
    """Return how many rows the runs tell of each capture (schema `CAPTURES`, in any order)."""
    first, last = (np.sort(instants(runs[name])) for name in ("first_seen", "last_seen"))
    at = instants(captures["captured_at"])
    return np.searchsorted(first, at, "right") - np.searchsorted(last, at, "left")


def add_up(runs: pa.Table, captures: pa.Table) -> bool:
    """Tell whether the runs tell of every capture as many rows as it had when it was taken."""
    return bool(np.array_equal(count(runs, captures), captures["rows"].to_numpy()))


def clip(runs: pa.Table, captures: pa.Table) -> pa.Table:
    """Shorten every run to those captures (in order) that it stood in; runs that stood in none are left out."""
    times = np.unique(instants(captures["captured_at"]))
    first = np.searchsorted(times, instants(runs["first_seen"]), "left")
    last = np.searchsorted(times, instants(runs["last_seen"]), "right") - 1
    stands = first <= last
    clipped: dict[str, Any] = dict(zip(IMAGES.names, runs.filter(pa.array(stands)).columns, strict=True))
    for name, places in (("first_seen", first[stands]), ("last_seen", last[stands])):
        clipped[name] = pa.array(times[places], pa.int64()).cast(IMAGES.field(name).type)
    return pa.table(clipped, schema=IMAGES)
