"""The lines that a user sees in the four commonest failures are those of docs/promises.md, from real failures."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from genesis_etl.sandbox import Fault, Sandbox
from tests.conftest import some_images

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "promises.md").read_text(encoding="utf-8")
SANDBOX = (DOCS / "sandbox.md").read_text(encoding="utf-8")
(SHOWN,) = re.findall(r"<!-- four lines -->\n\n```text\n(.*?)```", PAGE, re.DOTALL)
LINES = dict(re.findall(r"# (.*?)\n(error: .*)\n", SHOWN))


def export(environment: dict[str, str], limit: int | None = None) -> tuple[int, str]:
    """Run `genesis-etl export`, if asked on a disk that takes so many bytes a file; return code and stderr."""

    def full() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "genesis_etl", "export"],
        env={**os.environ, "GENESIS_ETL_BACKOFF": "0.01", "GENESIS_ETL_RATE": "1000", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=full,
    )
    return done.returncode, done.stderr


def reach(sandbox: Sandbox, token: str | None = None) -> dict[str, str]:
    return {"GENESISCLOUD_ENDPOINT": sandbox.endpoint, "GENESISCLOUD_TOKEN": token or sandbox.token}


def test_token_refused(serve: Callable[..., Sandbox]) -> None:
    """The line names the variable that held the token."""
    assert export(reach(serve(at=None), "not-the-token")) == (3, LINES["token refused"] + "\n")


def test_api_down(serve: Callable[..., Sandbox]) -> None:
    """The line says what was tried how often."""
    sandbox = serve(at=None)
    reached = reach(sandbox)
    sandbox.stop()
    code, line = export(reached)
    assert (code, line.replace(sandbox.endpoint, "https://api.genesiscloud.com/compute/v1")) == (
        4,
        LINES["API down"] + "\n",
    )


def test_list_never_still(serve: Callable[..., Sandbox]) -> None:
    """The line says what kept moving."""
    chance = random.Random(1)
    images: list[dict[str, Any]] = some_images(250)

    def moving(name: str, at: datetime) -> list[dict[str, Any]]:
        if name == "images":
            images[0] = {**images[0], "name": f"renamed {chance.random()}"}
        return images if name == "images" else []

    assert export(reach(serve(at=None, collections=moving))) == (5, LINES["list never still"] + "\n")


def test_disk_full(serve: Callable[..., Sandbox]) -> None:
    """The line names the file and the reason."""
    code, line = export(reach(serve(at=None)), limit=100)
    stems = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{8}-[0-9a-f]{16}|[0-9]{4}(?=/)")
    # A limit of the process stands in for the disk's end; the kernel only words it differently.
    line = line.replace("File too large", "No space left on device")
    assert code == 6
    assert stems.sub("…", line) == stems.sub("…", LINES["disk full"]) + "\n"


def test_a_fault_that_passes_is_no_failure(serve: Callable[..., Sandbox]) -> None:
    """The sandbox page's example of a scripted fault ends in a capture all the same."""
    (script,) = re.findall(r'--fault "(images.*?)"', SANDBOX)
    assert export(reach(serve(at=None, images=250, faults=[Fault.parse(script)])))[0] == 0
