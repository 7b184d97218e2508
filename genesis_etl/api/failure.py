"""What it means that no whole answer came: whose failure it is, and whether another attempt may do better.

ConnectionResetError of a new connection        →  TransientFault("Connection reset by peer")
SSLCertVerificationError of the proxy's         →  ApiUnavailable("the proxy …: TLS failed: …"), at once
"""

from __future__ import annotations

import re
import ssl
import time
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from genesis_etl.api.session import Session
from genesis_etl.api.transport import MAX_BODY, TooMuch, attempt
from genesis_etl.errors import ApiError, ApiUnavailable, BadPage, SettingsError
from genesis_etl.redact import redact
from genesis_etl.text import shown

UNUSABLE: Final = "this answer cannot be used, try again later or check the endpoint setting"
# Whatever requests, urllib3 and http.client raise when the other side does not speak HTTP as it should.
FAILED: Final = (requests.exceptions.RequestException, HTTPError, HTTPException, OSError, ValueError)
_CONNECTION = re.compile(r"^(?:<.* object at 0x[0-9a-f]+>|\w+Connection(?:Pool)?\(.*?\)): ")  # urllib3 names itself
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")  # http.client tells the status so alone


class TransientFault(Exception):
    """An attempt failed in a way that another one may not; `kind` and `advice` where the last one does, too."""

    def __init__(
        self,
        cause: str,
        retry_after: float | None = None,
        kind: type[ApiError] = ApiUnavailable,
        advice: str | None = None,
    ):
        super().__init__(cause)
        self.retry_after = retry_after
        self.kind = kind
        self.advice = advice


class Unheard(Exception):
    """A kept connection died before a byte of the answer came; the server may have closed it long ago."""


class Throttled(Exception):
    """The API answered 429."""

    def __init__(self, retry_after: float | None):
        super().__init__("429 Too Many Requests")
        self.retry_after = retry_after


def explain_failure(error: Exception, session: Session, where: str) -> Exception:
    """Return what it means that no whole answer came to the attempt of this thread."""
    inner = innermost(error)
    if isinstance(inner, TooMuch):
        return too_large(where)
    late = time.monotonic() >= attempt.ends_at
    if attempt.is_reused and not attempt.has_heard and not late and _is_hangup(inner):
        return Unheard()
    proxy = session.proxy if attempt.is_at_proxy else None
    hop = f"{proxy}: " if proxy else ""
    if session.is_socks:  # which tells of no failure whose it is
        hop = f"through {session.proxy}: "
    refused = _TUNNEL_REFUSED.match(str(inner)) if proxy else None
    if refused and int(refused[1]) == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return login_wanted(where, refused[1], proxy)
    if isinstance(inner, ssl.SSLError) and not _is_hangup(inner):
        whose = "the proxy" if proxy else "the endpoint"
        trusted = f", trusted are those of {' and '.join(session.trust)}" if session.trust else ""
        return ApiUnavailable(
            f"{hop}TLS failed: {cause_of(error)}",
            where=where,
            advice=f"check {whose} and its certificate{trusted}, verification is never switched off",
        )
    cause = f"no whole answer within {attempt.seconds:g} s" if late else cause_of(error)
    if refused:
        cause = f"it answered {refused[1]} when asked for a way to the API"
    return TransientFault(f"{hop}{cause}", advice="try again later, or check that proxy" if proxy else None)


def cause_of(error: BaseException) -> str:
    """Return the innermost reason that a library wrapped."""
    error = innermost(error)
    if isinstance(error, IncompleteRead):
        return "the body ended before its end"
    if type(error) is BadStatusLine:  # its child is a connection that was closed, and says so
        return "what came is no answer in HTTP"
    text = getattr(error, "strerror", None) or str(error.args[-1] if error.args else error)
    text = _CONNECTION.sub("", text)
    return shown(redact(text) or type(error).__name__, 160)


def innermost(error: BaseException) -> BaseException:
    """Return the error that a library wrapped, as often as it did."""
    for _ in range(10):
        inner = next((e for e in (getattr(error, "reason", None), *error.args) if isinstance(e, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def _is_hangup(error: BaseException) -> bool:
    """Tell whether the other side ended the connection, with or without TLS."""
    return isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)


def login_wanted(where: str, seen: str, proxy: str | None) -> SettingsError:
    """Return the error of a proxy that lets nobody through without a login."""
    return SettingsError(
        f"{proxy or 'a proxy'} wants a login ({seen})",
        where=where,
        advice="write it into the variable of the proxy, as http://USER:PASSWORD@HOST:PORT",
    )


def too_large(where: str) -> BadPage:
    """Return the error of an answer that is larger than any page can be."""
    return BadPage(f"the body is larger than {MAX_BODY >> 20} MiB", where=where, advice=UNUSABLE)
