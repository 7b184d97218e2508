"""An environment apart: what reads the tables of a lake without genesis-etl, and with an older DuckDB."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Package by package as its users have it: none of these belongs into requirements-all.txt.
PACKAGES = {
    "duckdb": ("duckdb==1.5.5", "pandas>=3,<4"),
    "duckdb-cli": ("duckdb-cli==1.5.5",),
    "polars": ("polars>=2,<3", "deltalake>=1.6,<2"),
    "dbt": ("dbt-duckdb>=1.11,<2", "dbt-core<1.12", "duckdb==1.5.5", "duckdb-cli==1.5.5"),  # 1.12 builds from the net
    "sqlalchemy": ("duckdb-engine>=0.17,<1", "sqlalchemy>=2,<2.1", "duckdb==1.5.5", "pandas>=3,<4"),
    "iceberg": ("pyiceberg[sql-sqlite,pyarrow]>=0.12,<1", "sqlalchemy>=2,<2.1", "duckdb==1.5.5", "pandas>=3,<4"),
    "ducklake": ("duckdb-extension-ducklake==1.5.5", "duckdb==1.5.5", "duckdb-cli==1.5.5"),
    "excel": ("openpyxl>=3.1,<4", "pandas>=3,<4"),
}


class Apart:
    """A virtual environment that packages come into when a test asks for them."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._folder = folder
        self._failed: dict[str, str] = {}

    def need(self, name: str) -> None:
        """Install what a tool needs; where that cannot be had, skip the test with the reason."""
        wanted = PACKAGES[name]
        ready = self._folder / f".{name}-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:8]}"
        if not ready.exists() and name not in self._failed:
            if not self.bin.exists():
                subprocess.run([sys.executable, "-m", "venv", self._folder], check=True)
            command = [self.bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode == 0:
                ready.touch()
            else:
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
                self._failed[name] = (errors or ["pip failed"])[-1]
        if name in self._failed:
            pytest.skip(f"{', '.join(wanted)} cannot be installed: {self._failed[name]}")

    def run(self, *command: str) -> str:
        """Run a command of the environment and return what it printed; an error of it fails the test."""
        environment = {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "HOME": os.getcwd()}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
