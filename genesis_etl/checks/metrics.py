"""The newest levels and the checks as OpenMetrics text, for Prometheus' textfile collector.

The only importer of `prometheus_client`. Levels are those of each account's newest capture; what cannot be known (a
size, a cost without a price) has no sample, which is not 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from genesis_etl.checks.check import check_lake
from genesis_etl.checks.rows import Row
from genesis_etl.errors import GenesisEtlError
from genesis_etl.lake.lake import Lake
from genesis_etl.query.sources import read_sql
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.redact import clean_errors
from genesis_etl.settings import Settings

_SNAPSHOT: Final = "snapshot"
_PREFIX: Final = "genesis_etl_"


@clean_errors()
def metrics(settings: Settings) -> bytes:
    """Return the levels, the ages and the checks that need no request as OpenMetrics text, as they are now.

    A lake that cannot be read has no levels, and its check is 0.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(settings))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


class _Families:
    """What Prometheus' client asks for the metrics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        yield from _checks(check_lake(replace(self._settings, now=None), now))
        try:
            levels, captures, orphans = _read(self._settings.lake)
        except GenesisEtlError:
            return  # the check of the lake says what is wrong
        yield from _levels(levels, self._settings.price_gib_month)
        yield from _captures(captures, now)
        orphaned = _gauge("orphaned_gib", "GiB of snapshots whose instance is gone", ["account"])
        for row in orphans:
            if row["gib"] is not None:
                orphaned.add_metric([row["account"]], row["gib"])
        yield orphaned


def _read(url: str) -> list[list[dict[str, Any]]]:
    warehouse = Warehouse(Lake(url).contents())
    try:
        names = ("levels", "captures", "orphans")
        return [warehouse.select(read_sql("metrics", name)).to_pylist() for name in names]
    finally:
        warehouse.close()


def _checks(rows: Sequence[Row]) -> Iterator[Metric]:
    family = _gauge("check_ok", "whether a row of genesis-etl check is ok (1) or failed (0)", ["check", "account"])
    told: dict[tuple[str, str], bool] = {}
    for row in rows:
        if row.status != "skipped":
            key = row.check, row.account or ""
            told[key] = told.get(key, True) and row.status == "ok"
    for (check, account), is_ok in told.items():
        family.add_metric([check, account], float(is_ok))
    yield family


def _levels(levels: list[dict[str, Any]], price: float | None) -> Iterator[Metric]:
    images = _gauge("images", "images in a region, of a type", ["account", "type", "region"])
    snapshots = _gauge("snapshots", "snapshots in a region", ["account", "region"])
    gib = _gauge("snapshots_gib", "GiB of the snapshots in a region whose size is known", ["account", "region"])
    cost = _gauge("snapshots_cost_per_month", "what these GiB cost a month", ["account", "region"])
    all_images = _gauge("account_images", "images of a type, each once", ["account", "type"])
    all_snapshots = _gauge("account_snapshots", "snapshots, each once", ["account"])
    all_gib = _gauge("account_snapshots_gib", "GiB of the snapshots whose size is known, each once", ["account"])
    all_cost = _gauge("account_snapshots_cost_per_month", "what these GiB cost a month", ["account"])
    for row in levels:
        account, type, region = row["account"], row["type"], row["region"]
        place = [] if region is None else [region]
        (all_images if region is None else images).add_metric([account, type, *place], row["images"])
        if type != _SNAPSHOT:
            continue
        (all_snapshots if region is None else snapshots).add_metric([account, *place], row["images"])
        if row["size_gib"] is not None:
            (all_gib if region is None else gib).add_metric([account, *place], row["size_gib"])
            if price is not None:
                (all_cost if region is None else cost).add_metric([account, *place], row["size_gib"] * price)
    yield from (images, snapshots, gib, cost, all_images, all_snapshots, all_gib, all_cost)


def _captures(captures: list[dict[str, Any]], now: datetime) -> Iterator[Metric]:
    age = _gauge("capture_age_seconds", "seconds since the newest capture began", ["account"])
    took = _gauge("capture_duration_seconds", "seconds that the newest capture took", ["account"])
    for row in captures:
        age.add_metric([row["account"]], max(0.0, (now - row["captured_at"]).total_seconds()))
        took.add_metric([row["account"]], row["seconds"])
    yield from (age, took)


def _gauge(name: str, about: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, about, labels=labels)
