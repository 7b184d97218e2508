"""`metrics`: what Prometheus reads, held against its own parser and against the reports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from genesis_etl.publish.publish import publish
from genesis_etl.sandbox import Sandbox
from tests.commands import Run
from tests.conftest import files_of
from tests.histories import land, row

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    """Read the text as Prometheus' own parser does; each sample stands once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name.removeprefix("genesis_etl_"), tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_levels_are_those_of_the_reports(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, GiB and cost, in total and by region, with 0 where none are left, equal what the reports tell."""
    monkeypatch.setenv("GENESIS_ETL_PRICE_GIB_MONTH", "0.5")
    now = datetime.now(UTC)
    lake = Lake("lake")
    for account, extra in (("one", 0), ("two", 1)):
        both = [row("s1", region, type="snapshot", size_gib=10.0) for region in ("R1", "R2")]
        more = [row(f"x{n}", "R1", type="snapshot", size_gib=2.5) for n in range(extra)]
        land(lake, now - timedelta(hours=2), [*both, row("s2", "R3", type="snapshot", size_gib=1.0)], account)
        land(
            lake,
            now - timedelta(hours=1),
            [*both, *more, row("b", "R1", type="base-os"), row("n", None, type="snapshot")],
            account,
        )
    found = samples(run("metrics", "--lake", "lake").out)
    opened = open_lake("lake", price=0.5)
    for per_region in (False, True):
        rows = opened.report_rows("snapshot-growth", per_region=per_region).to_pylist()
        for (account, region), level in {(each["account"], each["region"]): each for each in rows}.items():
            labels = (("account", account), *((("region", region),) if per_region else ()))
            start = "" if per_region else "account_"
            assert found.pop((f"{start}snapshots", labels)) == level["closing"]
            if level["gib_closing"] is not None:
                assert found.pop((f"{start}snapshots_gib", labels)) == level["gib_closing"]
                assert found.pop((f"{start}snapshots_cost_per_month", labels)) == level["cost_per_month"]
    assert not [key for key in found if "snapshots" in key[0]]
    assert found["images", (("account", "one"), ("region", "R1"), ("type", "base-os"))] == 1
    assert found["account_images", (("account", "two"), ("type", "snapshot"))] == 3
    assert 3600 <= found["capture_age_seconds", (("account", "one"),)] < 7200
    assert found["capture_duration_seconds", (("account", "one"),)] == 1


def test_checks_are_looked_at_now_and_nothing_is_asked(
    api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of `check` that needs no request is 1 or 0: here the tables are behind, and no request is sent."""
    sandbox = api(generation="seed", images=10)
    assert run("export", "--no-publish", "--lake", "lake").code == 0
    monkeypatch.delenv("GENESIS_ETL_NOW")
    asked = len(sandbox.requests)
    before = files_of("lake")
    rows = run("check", "--lake", "lake", "--format", "json").rows
    asked_by_check = len(sandbox.requests) - asked
    found = samples(run("metrics", "--lake", "lake").out)
    assert len(sandbox.requests) == asked + asked_by_check
    assert files_of("lake") == before
    looked_at = [each for each in rows if each["check"] != "token" and each["status"] != "skipped"]
    told = {(each["check"], each["account"] or ""): each["status"] == "ok" for each in looked_at}
    checks = {
        (dict(labels)["check"], dict(labels)["account"]): value == 1
        for (name, labels), value in found.items()
        if name == "check_ok"
    }
    assert checks == told
    assert checks["tables", "default"] is False
    publish(Lake("lake"))
    assert samples(run("metrics", "--lake", "lake").out)["check_ok", (("account", "default"), ("check", "tables"))] == 1


def test_strangers_make_one_sample_and_no_names_break_the_text(run: Run) -> None:
    """Two strangers among the tables are one failed check; quotes, newlines and backslashes come back as they are."""
    kind = 'a "b" \\n c\nd'
    land(Lake("lake"), datetime.now(UTC), [row("x", kind, type=kind)])
    publish(Lake("lake"))
    for name in ("p.parquet", "q.parquet"):
        Path("lake/tables", name).write_bytes(b"")
    found = samples(run("metrics", "--lake", "lake").out)
    assert found["check_ok", (("account", ""), ("check", "tables"))] == 0
    assert found["images", (("account", "default"), ("region", kind), ("type", kind))] == 1


def test_a_lake_that_holds_nothing_has_checks_and_no_levels(run: Run) -> None:
    """The check of the lake is 0 and the command ends with 0, for what it says is what an alarm reads."""
    ended = run("metrics", "--lake", "lake", "--output", "m.prom")
    assert (ended.code, ended.out) == (0, b"")
    text = Path("m.prom").read_bytes()
    assert text.endswith(b"# EOF\n")
    found = samples(text)
    assert found["check_ok", (("account", ""), ("check", "lake"))] == 0
    assert {name for name, _ in found} == {"check_ok"}


def test_orphans_are_the_snapshots_whose_instance_is_gone(run: Run) -> None:
    """Their GiB, each once; 0 where none is, and no sample where no size is known or /instances could not be read."""
    gone = [
        row("s1", region, type="snapshot", size_gib=10.5, source_instance_id="i", source_instance_exists=False)
        for region in ("R1", "R2")
    ]
    there = row("s2", "R1", type="snapshot", size_gib=7.0, source_instance_id="j", source_instance_exists=True)
    unsized = row("s1", type="snapshot", source_instance_id="i", source_instance_exists=False)
    states = (("some", [*gone, there], 1), ("none", [there], 1), ("unsized", [unsized], 1), ("unread", [], None))
    for account, state, instances in states:
        land(Lake("lake"), datetime.now(UTC), state, account, instances=instances)
    found = samples(run("metrics", "--lake", "lake").out)
    told = {dict(labels)["account"]: value for (name, labels), value in found.items() if name == "orphaned_gib"}
    assert told == {"some": 10.5, "none": 0}
