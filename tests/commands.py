"""Commands as a user runs them, and what each of them leaves behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

ETL = (sys.executable, "-m", "genesis_etl")
ERROR = re.compile(r"error: [^\n]+\n")


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the objects of a JSON answer."""
        rows: list[dict[str, Any]] = json.loads(self.out)
        return rows


Run = Callable[..., Ended]


def etl(*arguments: str, **options: Any) -> Ended:
    """Run a command as a process of its own."""
    done = subprocess.run([*ETL, *arguments], capture_output=True, timeout=60, **options)
    return Ended(done.returncode, done.stdout, done.stderr.decode("utf-8"))


def refused(ended: Ended, code: int, *words: str) -> None:
    """Hold a failure against what all have in common: one line on stderr, nothing on stdout, this code."""
    assert ended.code == code, ended
    assert ended.out == b""
    assert ERROR.fullmatch(ended.err), ended.err
    for word in words:
        assert word in ended.err
