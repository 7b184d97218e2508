"""What is told to the URLs of the user: a webhook hears what failed, a heartbeat that all is well."""

from __future__ import annotations

import threading
import time
from typing import Final

from genesis_etl.api.failure import FAILED, innermost
from genesis_etl.api.session import Session
from genesis_etl.api.transport import MAX_WIRE, Addresses, attempt
from genesis_etl.errors import ApiUnavailable, SettingsError
from genesis_etl.settings import Hook
from genesis_etl.text import shown

NOTICE_SECONDS: Final = 10.0


def post_webhook(hook: Hook, body: bytes) -> None:
    """POST a JSON text to a URL; ApiUnavailable unless it answers 2xx within ten seconds."""
    _send("POST", hook, body)


def ping_heartbeat(hook: Hook) -> None:
    """GET a URL; ApiUnavailable unless it answers 2xx within ten seconds."""
    _send("GET", hook)


def _send(method: str, hook: Hook, body: bytes | None = None) -> None:
    """Make one attempt, no redirect, no header of ours. The error names the host alone, for the rest is a secret."""
    attempt.begin(NOTICE_SECONDS, MAX_WIRE, threading.Event(), Addresses(), wants_new=False)
    try:
        session = Session(hook.reveal(), is_local=hook.is_local)
    except SettingsError as error:
        raise ApiUnavailable(error.seen, where=shown(hook.host), advice=error.advice) from None
    with session:
        try:
            with session.request(
                method,
                hook.reveal(),
                data=body,
                headers=None if body is None else {"Content-Type": "application/json"},
                stream=True,
                allow_redirects=False,
                timeout=NOTICE_SECONDS,
            ) as response:
                status = response.status_code
        except FAILED as error:
            inner = innermost(error)
            late = time.monotonic() >= attempt.ends_at
            cause = f"no answer within {NOTICE_SECONDS:g} s" if late else getattr(inner, "strerror", None)
            hop = f"{session.proxy}: " if session.proxy and attempt.is_at_proxy else ""
            raise ApiUnavailable(f"{hop}{cause or type(inner).__name__}", where=shown(hook.host)) from None
    if not 200 <= status < 300:
        raise ApiUnavailable(f"{shown(hook.host)} answered {status}")
