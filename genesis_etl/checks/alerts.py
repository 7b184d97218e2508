"""Tells those who asked to be told: the webhook of what failed, the heartbeat of a good run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from genesis_etl.api import hooks
from genesis_etl.checks.rows import failures
from genesis_etl.errors import ApiError
from genesis_etl.settings import Hook, Settings
from genesis_etl.text import counted, shown

_SUMMARY: Final = 1000  # characters of the line that the webhook gets
# What chat services would make a link or a call to everyone of; names come from whoever made a snapshot.
_IN_CHAT: Final = str.maketrans("<>@", "‹›＠")


def post_webhook(webhook: Hook | None, rows: pa.Table, notice: Callable[[str], None]) -> None:
    """Post the failed rows, if any, to the webhook, if any; one that does not answer is a notice, no error.

    The body is `{"text": one line, "checks": [failed rows]}`: chat services show the text, programs read the rows.
    """
    failed = failures(rows).to_pylist()
    if webhook is not None and failed:
        try:
            hooks.post_webhook(webhook, json.dumps({"text": _summary(failed, len(rows)), "checks": failed}).encode())
        except ApiError as error:
            notice(f"the webhook does not know of it: {error}")


def ping_heartbeat(settings: Settings, notice: Callable[[str], None]) -> None:
    """Ask for the heartbeat URL, if there is one, after a good run; its failure is a notice, no error."""
    if settings.heartbeat is not None:
        try:
            hooks.ping_heartbeat(settings.heartbeat)
        except ApiError as error:
            notice(f"the heartbeat did not arrive: {error}")


def _summary(failed: list[dict[str, str]], count: int) -> str:
    """Return one line on the failed of so many checks, which no chat service takes for more than a text."""
    parts = [
        f"{row['check']}{' of ' + row['account'] if row['account'] else ''}: "
        f"{row['where'] + ': ' if row['where'] else ''}{row['seen']}"
        for row in failed
    ]
    line = f"genesis-etl: {len(failed)} of {counted(count, 'check')} failed: {'; '.join(parts)}"
    return shown(line.translate(_IN_CHAT), _SUMMARY)
