"""What lies here beside a commit, for whoever changes a hot path: make bench-quick, two minutes.

    python benchmarks/quick.py [COMMIT]      beside the commit before, unless another is named

Both run in turn, on the same lakes and the same server. A ratio below 1 is faster than the commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from run import COMMAND, HERE, Run, Table, fast_server, markdown, median, run
from year import FIRST, HOUR, land_many, land_year

from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact

ROOT = HERE.parent
REPEATS = 3
DAYS = 10


def main() -> None:
    """Measure both and print them side by side."""
    commit = sys.argv[1] if len(sys.argv) > 1 else "HEAD~1"
    with tempfile.TemporaryDirectory(prefix="genesis-etl-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        before = folder / "before"
        archive = subprocess.run(["git", "archive", commit, "genesis_etl"], cwd=ROOT, check=True, capture_output=True)
        before.mkdir()
        subprocess.run(["tar", "-x", "-C", str(before)], input=archive.stdout, check=True)
        print(markdown(compared(folder, {"here": ROOT, commit: before})))


def compared(folder: Path, sides: dict[str, Path]) -> Table:
    """Run each command as often of each side, in turn."""
    many, weeks = str(folder / "many"), str(folder / "weeks")
    last = FIRST + 24 * DAYS * HOUR
    land_many(many, 10, 24, last=datetime.now(UTC))
    land_year(weeks, 24 * DAYS)
    compact(Lake(weeks), grace=timedelta(0), now=last - timedelta(days=1))
    land = "import sys; from genesis_etl.lake.lake import Lake; from genesis_etl.maintenance.compact import compact; "
    again = f"{land} compact(Lake(sys.argv[1]))"
    page = str(folder / "page.html")
    rows: Table = [["command", *(f"{name}: wall s, CPU s, MB" for name in sides), "wall", "CPU"]]
    with fast_server(100, 0) as small, fast_server(20_000, 0) as large:
        commands = {
            "--help": [*COMMAND, "--help"],
            "export of one page": [*COMMAND, "export", "--lake", "{new}", "--quiet"],
            "export of 20,000 images": [*COMMAND, "export", "--lake", "{new}", "--quiet"],
            "growth, 10 accounts × 24 loose": [*COMMAND, "report", "snapshot-growth", "--lake", many],
            "growth by region, 10 days": [*COMMAND, "report", "snapshot-growth", "--per-region", "--lake", weeks],
            "dashboard, 10 days": [*COMMAND, "dashboard", "--lake", weeks, "--output", page],
            "verify, 10 accounts × 24": [*COMMAND, "verify", "--lake", many],
            "compact, 10 accounts × 24": [sys.executable, "-c", again, "{copy}"],
        }
        for name, command in commands.items():
            runs: dict[str, list[Run]] = {side: [] for side in sides}
            for number in range(REPEATS):
                for side, checkout in sides.items():
                    target = folder / f"{side.replace('/', '-')}-{number}"
                    shutil.rmtree(target, ignore_errors=True)
                    if "{copy}" in command:
                        shutil.copytree(many, target, copy_function=os.link)
                    filled = [str(target) if part in ("{new}", "{copy}") else part for part in command]
                    reach = {"GENESISCLOUD_ENDPOINT": large if "20,000" in name else small}
                    reach |= {"GENESISCLOUD_TOKEN": "benchmark", "GENESIS_ETL_RATE": "10000"}
                    # The folder of the side stands first where Python looks for modules.
                    runs[side].append(run(filled, PYTHONPATH=str(checkout), PYTHONSAFEPATH="1", **reach))
            ours, theirs = (median(each) for each in runs.values())
            said = [f"{each.wall:.2f}, {each.cpu:.2f}, {each.peak:.0f}" for each in (ours, theirs)]
            rows.append([name, *said, f"{ours.wall / theirs.wall:.2f} ×", f"{ours.cpu / theirs.cpu:.2f} ×"])
    return rows


if __name__ == "__main__":
    main()
