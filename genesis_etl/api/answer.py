"""What an answer means by its status and its headers: a page, a refusal, a wait, a copy out of a cache.

429, Retry-After: 3                   →  Throttled(3.0)
503                                   →  TransientFault("503 Service Unavailable")
401                                   →  AuthError
200, Age: 17                          →  TransientFault("out of a cache 17 s old")
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import urlsplit

import requests

from genesis_etl.api.failure import FAILED, UNUSABLE, Throttled, TransientFault, login_wanted, too_large
from genesis_etl.api.transport import CHUNK, MAX_BODY, attempt
from genesis_etl.errors import AuthError, BadPage, CollectionRefused, PageMissing
from genesis_etl.redact import redact
from genesis_etl.settings import Account
from genesis_etl.text import shown

_NO_CACHE: Final = "take the API out of the proxy's cache"
_PLAIN: Final = ("", "identity")
_BEFORE: Final = "a page before could be read, try again later"
_MISSING: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)  # of a page after the first
_NEVER_RETRIED: Final = (501, 505)
_TRANSIENT: Final = (408, 425)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_AGE = re.compile(r"[0-9]+")
_HIT = re.compile(r"\bhit\b", re.IGNORECASE)
_TELL_OF_HITS: Final = ("X-Cache", "Cache-Status", "CF-Cache-Status", "X-Cache-Status", "X-Cache-Lookup")


def refuse_answer(
    response: requests.Response, collection: str, number: int, where: str, account: Account, proxy: str | None
) -> NoReturn:
    """Raise what an answer other than 200 to page `number` of a collection means.

    Raises Throttled and TransientFault, which another attempt may mend, and SettingsError, AuthError,
    CollectionRefused, PageMissing and BadPage, which none does.
    """
    status = response.status_code
    seen = f"{status} {response.reason or ''}".strip()
    seen = shown(redact(seen), 60)
    if 300 <= status < 400:
        raise BadPage(
            f"{seen} points to {_target(response)}",
            where=where,
            advice="redirects are never followed, set the endpoint to the API itself",
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Throttled(_retry_after(response))
    seen += _said(response)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise login_wanted(where, seen, proxy)
    if status in _TRANSIENT or (status >= 500 and status not in _NEVER_RETRIED):
        raise TransientFault(seen, _retry_after(response))
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and collection == "images"):
        raise AuthError(seen, where=where, advice=f"the token in {account.token_source} was refused, check it")
    if number > 1 and status in _MISSING:
        raise PageMissing(seen, status=status, where=where, advice=_BEFORE)
    # What /instances refuses, wherever it begins, costs names alone.
    if number > 1 and status == HTTPStatus.FORBIDDEN and collection != "instances":
        raise AuthError(seen, where=where, advice=_BEFORE)
    if status == HTTPStatus.FORBIDDEN:
        raise CollectionRefused(seen, status=status, exit_code=3, where=where)
    if status == HTTPStatus.NOT_FOUND and collection == "images":
        raise CollectionRefused(
            seen,
            status=status,
            exit_code=2,
            where=where,
            advice=f"check the endpoint setting, it is {account.endpoint}",
        )
    if status == HTTPStatus.NOT_FOUND:
        raise CollectionRefused(seen, status=status, exit_code=5, where=where)
    raise BadPage(seen, where=where, advice=UNUSABLE)


def is_believed(status: int, collection: str, number: int) -> bool:
    """Tell whether something is concluded from an answer with this status about what is there now."""
    refusals = () if collection == "images" else (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    return status in (HTTPStatus.OK, *refusals, *(_MISSING if number > 1 else ()))


def refuse_copy(response: requests.Response) -> None:
    """Raise where an answer says that it comes out of a cache, or where its `Age` cannot be read as one number."""
    text = response.headers.get("Age")
    if text is None:
        return
    age = text.strip()
    if _AGE.fullmatch(age) is None:
        seen = f"out of a cache for an unknown time (Age: {shown(age, 40) or 'empty'})"
        raise TransientFault(seen, kind=BadPage, advice=_NO_CACHE)
    seconds = age.lstrip("0")
    if seconds:
        raise TransientFault(f"out of a cache {shown(seconds, 20)} s old", kind=BadPage, advice=_NO_CACHE)


def read_body(response: requests.Response, where: str) -> bytes:
    """Read and unpack a body; BadPage where it is too large, TransientFault where it is packed in an unknown way."""
    encoding = _encoding(response)
    if encoding not in (*_PLAIN, "gzip", "x-gzip", "deflate"):
        raise TransientFault(f"unknown Content-Encoding {shown(encoding, 40)}", kind=BadPage)
    return b"".join(_chunks(response, where))


def _chunks(response: requests.Response, where: str) -> Iterator[bytes]:
    size = 0
    for chunk in response.iter_content(CHUNK):
        size += len(chunk)
        if size > MAX_BODY:
            raise too_large(where)
        attempt.time_left()
        yield chunk


def is_whole(response: requests.Response) -> bool:
    """Tell whether all of a body is known to have come: a length or chunks tell it, but nothing of what is packed."""
    is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
    return is_framed and _encoding(response) in _PLAIN


def _encoding(response: requests.Response) -> str:
    return response.headers.get("Content-Encoding", "").strip().lower()


def _said(response: requests.Response) -> str:
    """Return `: 02035 the message` of an error body, or the start of any other body."""
    try:
        start = next(response.iter_content(CHUNK), b"")
    except FAILED:
        return ""
    text = start.decode("utf-8", "replace").strip() + ("…" if len(start) >= CHUNK else "")
    is_error = False
    try:
        error = json.loads(text)
        text = " ".join(str(error[key]) for key in ("code", "message") if error.get(key) is not None)
        is_error = True
    except (ValueError, AttributeError, RecursionError):
        pass
    text = shown(redact(text), 200 if is_error else 80)
    return f": {text}" if text else ""


def _target(response: requests.Response) -> str:
    location = redact(response.headers.get("Location", ""))
    try:
        return shown(urlsplit(location).hostname or location or "nowhere")
    except ValueError:
        return shown(location)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that `Retry-After` asks for; None where it is missing or unreadable."""
    text = response.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(response.headers.get("Date")) or datetime.now(UTC)
    return max((until - now).total_seconds(), 0.0)


def clock_skew(response: requests.Response) -> float | None:
    """Return how far the API's clock is ahead of ours, in seconds; None where a cache answered or no `Date` tells."""
    if any(_HIT.search(response.headers.get(name, "")) for name in _TELL_OF_HITS):
        return None
    served_at = _http_date(response.headers.get("Date"))
    return None if served_at is None else (served_at - datetime.now(UTC)).total_seconds()


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
