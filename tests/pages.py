"""Lakes whose page is looked at, as its HTML and in a browser, and names that would like to be elements."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from genesis_etl.lake.lake import Lake
from tests.histories import at, land, row

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</script>", "{{7*7}}"]


def grown(url: Path, days: int = 40, account: str = "default") -> Lake:
    """Fill a lake with an account that has one snapshot more every day, and base images in one or two regions."""
    lake = Lake(str(url))
    start = at("2026-10-01 12:00")
    for day in range(days):
        state = [
            row(f"s{n}", ["R1", "R2"][n % 2], size_gib=1.5 * n, created_at=start + timedelta(days=n - 150))
            for n in range(3 + day)
        ]
        state += [
            row(f"b{n}", region, "base-os", family=f"f{n % 2}")
            for n in range(4)
            for region in ["R1", "R2"][: n % 2 + 1]
        ]
        land(lake, start + timedelta(days=day), state, account)
    return lake
