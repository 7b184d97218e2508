"""What is measured still does its work: the benchmarks' own server, and the loop that everybody writes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from genesis_etl import Settings, export, open_lake

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_ours_and_a_plain_loop_read_the_same_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 images on three pages, each in two or three regions, of a list that stands still."""
    command = [sys.executable, str(BENCHMARKS / "fast_server.py"), "250"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            monkeypatch.setattr(sys, "argv", ["plain_loop.py", endpoint, "loop.parquet"])
            exec((BENCHMARKS / "plain_loop.py").read_text(encoding="utf-8"), {})
            monkeypatch.setenv("GENESISCLOUD_ENDPOINT", endpoint)
            monkeypatch.setenv("GENESISCLOUD_TOKEN", "benchmark")
            export(Settings.load())
        finally:
            server.terminate()
    loop = pd.read_parquet("loop.parquet")
    ours = open_lake("data/lake").sql("select image_id, region from images")
    assert len(loop) == 625
    assert sorted(zip(ours["image_id"], ours["region"], strict=True)) == sorted(
        zip(loop["id"], loop["regions"], strict=True)
    )
