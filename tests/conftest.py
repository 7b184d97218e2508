"""What most tests need: a sandbox on a real socket, and settings that point to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Account, Secret, Settings

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the environment and the working directory of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("GENESIS_ETL_", "GENESISCLOUD_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes (frozen at `AT`, without a rate limit unless asked) that end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(**{"at": AT, "rate": 0, **options}))

        yield start


def settings_for(sandbox: Sandbox, lake: Path | str = "lake", **changes: Any) -> Settings:
    """Return settings that read the sandbox fast, with short waits, dated at its instant."""
    token = changes.pop("token", sandbox.token)
    account = Account(changes.pop("account", "default"), sandbox.endpoint, "GENESISCLOUD_TOKEN", Secret(token))
    defaults: dict[str, Any] = {"rate": 10_000.0, "backoff": 0.01, "deadline": 5.0, "now": sandbox.at}
    return Settings(accounts=(account,), lake=str(lake), **{**defaults, **changes})
