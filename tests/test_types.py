"""The types of the library, as a program of a user sees them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parent.parent

RIGHT = """
    from datetime import datetime
    from pathlib import Path

    import genesis_etl

    settings = genesis_etl.Settings.load()
    live = genesis_etl.images(settings, type="snapshot")
    lake = genesis_etl.open_lake(Path("data/lake"), price=0.05)
    growth = lake.report("snapshot-growth", by="week")
    now, captures = lake.images, lake.captures
    published = lake.publish(duckdb=Path("lake.duckdb"))
    print(len(live), len(growth), len(now), len(captures), len(published))

    codes: dict[str, int] = {}
    try:
        landed = genesis_etl.export(settings, if_older_than="10m", notice=print)
    except genesis_etl.ExportFailed as failed:
        landed = failed.landed
        codes = {name: error.exit_code for name, error in failed.failed.items()}
    times: list[datetime] = [capture.captured_at for capture in landed]
"""
WRONG = """
    import genesis_etl

    genesis_etl.image()
    genesis_etl.open_lake(5)
    genesis_etl.images(typ="snapshot")
    genesis_etl.open_lake().report(1)
    times: list[str] = [capture.captured_at for capture in genesis_etl.export(genesis_etl.Settings())]
    genesis_etl.open_lake().image_histories
"""


@pytest.mark.slow
def test_a_program_is_checked_against_the_types_of_the_library() -> None:
    """As an installed package, by mypy in strict mode: a right program is accepted, each wrong line of another told."""
    Path("right.py").write_text(dedent(RIGHT))
    Path("wrong.py").write_text(dedent(WRONG).lstrip())
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.mypy", "right.py", "wrong.py"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    told = re.findall(r"^(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    kinds = ["attr-defined", "arg-type", "call-arg", "arg-type", "misc", "attr-defined"]
    assert told == [("wrong.py", str(line), kind) for line, kind in enumerate(kinds, 3)], done.stdout + done.stderr
