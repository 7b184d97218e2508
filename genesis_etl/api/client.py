"""One page of one collection, asked for within the API's rate; knows no other page.

    GET /compute/v1/images?page=1&per_page=100    →    page.Page

Retry lives here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from typing import Final, NoReturn
from urllib.parse import urlencode, urlsplit

import requests
from urllib3.exceptions import HTTPError

from genesis_etl.api.pacer import Pacer
from genesis_etl.api.page import PER_PAGE, Page, read_page
from genesis_etl.api.session import Session
from genesis_etl.api.transport import CHUNK, Addresses, TooMuch, attempt
from genesis_etl.errors import (
    ApiError,
    ApiUnavailable,
    AuthError,
    BadPage,
    CollectionRefused,
    PageMissing,
    SettingsError,
)
from genesis_etl.redact import redact
from genesis_etl.settings import Account, Hook, Settings
from genesis_etl.text import shown

MAX_BODY: Final = 32 * 2**20
_MAX_WIRE: Final = 2 * MAX_BODY  # headers, and chunks so small that their frames weigh as much as they hold
MAX_WAIT: Final = 60.0  # of one Retry-After
NOTICE_SECONDS: Final = 10.0
MAX_BACKOFF: Final = 15.0  # the sum of our own waits for one page
_UNUSABLE: Final = "this answer cannot be used, try again later or check the endpoint setting"
_NO_CACHE: Final = "take the API out of the proxy's cache"
_PLAIN: Final = ("", "identity")
_BEFORE: Final = "a page before could be read, try again later"
_MISSING: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)  # of a page after the first
_NEVER_RETRIED: Final = (501, 505)
_TRANSIENT: Final = (408, 425)
_CONNECTION = re.compile(r"^(?:<.* object at 0x[0-9a-f]+>|\w+Connection(?:Pool)?\(.*?\)): ")  # urllib3 names itself
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_AGE = re.compile(r"[0-9]+")
_HIT = re.compile(r"\bhit\b", re.IGNORECASE)
_TELL_OF_HITS: Final = ("X-Cache", "Cache-Status", "CF-Cache-Status", "X-Cache-Status", "X-Cache-Lookup")
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")  # http.client tells the status so alone
# Whatever requests, urllib3 and http.client raise when the other side does not speak HTTP as it should.
_FAILED: Final = (requests.exceptions.RequestException, HTTPError, HTTPException, OSError, ValueError)


class _Transient(Exception):
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


class _Unheard(Exception):
    """A kept connection died before a byte of the answer came; the server may have closed it long ago."""


class _Throttled(Exception):
    """The API answered 429."""

    def __init__(self, retry_after: float | None):
        super().__init__("429 Too Many Requests")
        self.retry_after = retry_after


class _Headers(requests.auth.AuthBase):
    """Puts the token into a request; being an `auth`, it keeps requests from asking ~/.netrc."""

    def __init__(self, account: Account, auth: str) -> None:
        self._secret = account.token
        self._auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._secret.reveal()
        if self._auth in ("both", "x-auth-token"):
            request.headers["X-Auth-Token"] = token
        if self._auth in ("both", "bearer"):
            request.headers["Authorization"] = f"Bearer {token}"
        return request


class Stop:
    """Ends whatever the clients made with it wait for, those of now and those that are made later."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come while its own thread makes a client
        self._is_set = False
        self._events: list[threading.Event] = []

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        # On a cluster each process has its own clients to stop.
        return Stop, ()

    def event(self) -> threading.Event:
        """Return an event of one client's own, which is set with all others."""
        event = threading.Event()
        with self._lock:
            self._events.append(event)
            if self._is_set:
                event.set()
        return event

    def set(self) -> None:
        """Stop them all."""
        with self._lock:
            self._is_set = True
            for event in self._events:
                event.set()


def _stopped(where: str) -> ApiUnavailable:
    return ApiUnavailable("stopped", where=where, advice="run it again")


def _after(throttles: int) -> str:
    return f", after {throttles} answers of 429" if throttles else ""


class Client:
    """Reads single pages for one account; threads share it and its rate.

    `requests` counts what was sent, `retries` those of them that repeated an earlier one.
    `clock_skew` is how far the API's clock is ahead of ours, in seconds, by the answer that put it furthest ahead,
    for a copy out of a cache lags; None while no answer told.
    Raises SettingsError where the endpoint, a proxy or the certificates cannot be used as they are set.
    """

    def __init__(self, account: Account, settings: Settings, stop: Stop | None = None) -> None:
        self.requests = 0
        self.retries = 0
        self.clock_skew: float | None = None
        self._account = account
        self._settings = settings
        self._ends_at = time.monotonic() + settings.capture_deadline
        self._stopped = threading.Event() if stop is None else stop.event()
        self._pacer = Pacer(settings.rate, self._stopped)
        self._count = threading.Lock()
        self._addresses = Addresses()
        self._auth = _Headers(account, settings.auth)
        self._session = Session(account.endpoint, is_local=account.is_local)
        self._session.auth = self._auth
        self._session.headers.update(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "Cache-Control": "no-cache"}
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

        # Requests differ in their URL alone; preparing each anew would cost as much as parsing a page.
        try:
            self._request = self._session.prepare_request(requests.Request("GET", account.endpoint))
        except requests.exceptions.RequestException:  # as for https://*.example.com
            raise SettingsError(
                f"the endpoint of account {account.name}, {shown(account.endpoint)}, names no host that can be asked",
                advice="mend the endpoint setting",
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Let every thread that waits or reads end soon, with an error."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and drop the connections."""
        self.stop()
        self._session.close()

    def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page:
        """Read page `number` (from 1) of a collection.

        `known` is an earlier answer for the same page: where the bytes are the same, its items are handed out
        again instead of being parsed once more. A kept connection that dies before a byte of the answer came costs
        no attempt: the request leaves once more, on a new one.
        Raises AuthError, ApiUnavailable, CollectionRefused, BadPage (PageMissing), SettingsError.
        """
        query: dict[str, str | int] = {"page": number, "per_page": PER_PAGE}
        if type is not None:
            query["type"] = type
        failures, throttles, waited, wants_new = 0, 0, 0.0, False
        while True:
            where = f"GET /{collection} page {number}, attempt {failures + 1} of {self._settings.attempts}"
            try:
                sent_at = self._pacer.wait(self._ends_at)
            except ApiUnavailable as error:
                raise ApiUnavailable(f"{error.seen}{_after(throttles)}", where=where, advice=error.advice) from None
            with self._count:
                self.requests += 1
                self.retries += bool(failures or throttles or wants_new)
            seconds = min(self._settings.deadline, max(self._ends_at - time.monotonic(), 0.001))
            attempt.begin(seconds, _MAX_WIRE, self._stopped, self._addresses, wants_new=wants_new)
            try:
                page = self._read(collection, number, query, where, known)
            except _Unheard:
                wants_new = True
            except _Throttled as throttle:
                throttles += 1
                own = min(2.0 ** min(throttles, 9), MAX_WAIT) * self._settings.backoff * random.uniform(0.5, 1)
                self._pacer.hold(self._allowed(throttle.retry_after, own, where, f"{throttle}"), sent_at)
            except _Transient as fault:
                failures += 1
                wants_new = wants_new or not attempt.has_heard  # other kept connections may be as dead
                if self._stopped.is_set():
                    raise _stopped(where) from None
                if failures >= self._settings.attempts:
                    again = f"try again later, the endpoint is {self._account.endpoint}"
                    usual = again if fault.kind is ApiUnavailable else _UNUSABLE
                    raise fault.kind(str(fault), where=where, advice=fault.advice or usual) from None
                own = 2.0 ** (failures - 1) * self._settings.backoff * random.uniform(0.5, 1)
                own = min(own, MAX_BACKOFF - waited)
                wait = self._allowed(fault.retry_after, own, where, f"{fault}{_after(throttles)}")
                waited += 0.0 if fault.retry_after is not None else wait
                if self._stopped.wait(wait):
                    raise _stopped(where) from None
            else:
                self._pacer.narrow()
                return page

    def _allowed(self, asked: float | None, own: float, where: str, cause: str) -> float:
        """Return how long to wait: as asked, at most a minute; an error where that cannot end in time."""
        left = self._ends_at - time.monotonic()
        wait = own if asked is None else asked
        if wait > left:
            said = f"the API asks to wait {asked:.0f} s" if asked is not None else "no time is left"
            raise ApiUnavailable(
                f"{cause}; {said}, this capture has {max(left, 0):.0f} s left", where=where, advice="try again later"
            )
        return min(wait, MAX_WAIT)

    def _read(self, collection: str, number: int, query: dict[str, str | int], where: str, known: Page | None) -> Page:
        try:
            request = self._request.copy()
            request.url = f"{self._account.endpoint}/{collection}?{urlencode(query)}"
            with self._session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=attempt.time_left(),
                proxies=self._session.proxies,
            ) as response:
                if _is_believed(response.status_code, collection, number):
                    _refuse_copy(response)
                if response.status_code != HTTPStatus.OK:
                    self._refuse(response, collection, number, where)
                self._judge_clock(response)
                body = _body(response, where)
        except requests.exceptions.ContentDecodingError as error:
            raise _Transient(f"the body cannot be unpacked: {self._cause(error)}", kind=BadPage) from None
        except _FAILED as error:
            raise self._failure(error, where) from None
        digest = hashlib.sha256(body).digest()
        if known is not None and known.digest == digest:
            return known
        try:
            return read_page(collection, number, body, digest)
        except BadPage as error:
            cause = redact(error.seen)
            # Only a length or chunks tell that all of a body came, and not what was packed inside.
            is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
            is_whole = is_framed and _encoding(response) in _PLAIN
            if not is_whole and isinstance(error.__cause__, ValueError):
                raise _Transient(f"{cause} (the body may be cut)", kind=BadPage) from None
            raise BadPage(cause, where=where, advice=_UNUSABLE) from None

    def _failure(self, error: Exception, where: str) -> Exception:
        """Return what it means that no whole answer came."""
        inner = _innermost(error)
        if isinstance(inner, TooMuch):
            return _too_large(where)
        late = time.monotonic() >= attempt.ends_at
        if attempt.is_reused and not attempt.has_heard and not late and _is_hangup(inner):
            return _Unheard()
        proxy = self._session.proxy if attempt.is_at_proxy else None
        hop = f"{proxy}: " if proxy else ""
        if self._session.is_socks:  # which tells of no failure whose it is
            hop = f"through {self._session.proxy}: "
        refused = _TUNNEL_REFUSED.match(str(inner)) if proxy else None
        if refused and int(refused[1]) == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return _login_wanted(where, refused[1], proxy)
        if isinstance(inner, ssl.SSLError) and not _is_hangup(inner):
            whose = "the proxy" if proxy else "the endpoint"
            trusted = f", trusted are those of {' and '.join(self._session.trust)}" if self._session.trust else ""
            return ApiUnavailable(
                f"{hop}TLS failed: {self._cause(error)}",
                where=where,
                advice=f"check {whose} and its certificate{trusted}, verification is never switched off",
            )
        cause = f"no whole answer within {attempt.seconds:g} s" if late else self._cause(error)
        if refused:
            cause = f"it answered {refused[1]} when asked for a way to the API"
        return _Transient(f"{hop}{cause}", advice="try again later, or check that proxy" if proxy else None)

    def _refuse(self, response: requests.Response, collection: str, number: int, where: str) -> NoReturn:
        """Raise what an answer other than 200 means."""
        status = response.status_code
        seen = f"{status} {response.reason or ''}".strip()
        seen = shown(redact(seen), 60)
        if 300 <= status < 400:
            raise BadPage(
                f"{seen} points to {self._target(response)}",
                where=where,
                advice="redirects are never followed, set the endpoint to the API itself",
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _Throttled(_retry_after(response))
        seen += self._said(response)
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise _login_wanted(where, seen, self._session.proxy)
        if status in _TRANSIENT or (status >= 500 and status not in _NEVER_RETRIED):
            raise _Transient(seen, _retry_after(response))
        if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and collection == "images"):
            raise AuthError(
                seen, where=where, advice=f"the token in {self._account.token_source} was refused, check it"
            )
        if number > 1 and status in _MISSING:
            raise PageMissing(seen, where=where, advice=_BEFORE)
        if number > 1 and status == HTTPStatus.FORBIDDEN:
            raise AuthError(seen, where=where, advice=_BEFORE)
        if status == HTTPStatus.FORBIDDEN:
            raise CollectionRefused(seen, status=status, exit_code=3, where=where)
        if status == HTTPStatus.NOT_FOUND and collection == "images":
            raise CollectionRefused(
                seen,
                status=status,
                exit_code=2,
                where=where,
                advice=f"check the endpoint setting, it is {self._account.endpoint}",
            )
        if status == HTTPStatus.NOT_FOUND:
            raise CollectionRefused(seen, status=status, exit_code=5, where=where)
        raise BadPage(seen, where=where, advice=_UNUSABLE)

    def _judge_clock(self, response: requests.Response) -> None:
        """Compare the clocks by an answer that no cache has touched."""
        if any(_HIT.search(response.headers.get(name, "")) for name in _TELL_OF_HITS):
            return
        skew = _skew(response)
        with self._count:
            if skew is not None and (self.clock_skew is None or skew > self.clock_skew):
                self.clock_skew = skew

    def _said(self, response: requests.Response) -> str:
        """Return `: 02035 the message` of an error body, or the start of any other body."""
        try:
            start = next(response.iter_content(CHUNK), b"")
        except _FAILED:
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

    def _target(self, response: requests.Response) -> str:
        location = redact(response.headers.get("Location", ""))
        try:
            return shown(urlsplit(location).hostname or location or "nowhere")
        except ValueError:
            return shown(location)

    def _cause(self, error: BaseException) -> str:
        """Return the innermost reason that a library wrapped."""
        error = _innermost(error)
        if isinstance(error, IncompleteRead):
            return "the body ended before its end"
        if type(error) is BadStatusLine:  # its child is a connection that was closed, and says so
            return "what came is no answer in HTTP"
        text = getattr(error, "strerror", None) or str(error.args[-1] if error.args else error)
        text = _CONNECTION.sub("", text)
        return shown(redact(text) or type(error).__name__, 160)


def notify(hook: Hook, body: bytes | None = None) -> None:
    """POST a JSON text to a URL, or GET it without one; ApiUnavailable unless it answers 2xx within ten seconds.

    One attempt, no redirect, no header of ours. The message names the host alone, for the rest is a secret.
    """
    attempt.begin(NOTICE_SECONDS, _MAX_WIRE, threading.Event(), Addresses(), wants_new=False)
    try:
        session = Session(hook.reveal(), is_local=hook.is_local)
    except SettingsError as error:
        raise ApiUnavailable(error.seen, where=shown(hook.host), advice=error.advice) from None
    with session:
        try:
            with session.request(
                "GET" if body is None else "POST",
                hook.reveal(),
                data=body,
                headers=None if body is None else {"Content-Type": "application/json"},
                stream=True,
                allow_redirects=False,
                timeout=NOTICE_SECONDS,
            ) as response:
                status = response.status_code
        except _FAILED as error:
            inner = _innermost(error)
            late = time.monotonic() >= attempt.ends_at
            cause = f"no answer within {NOTICE_SECONDS:g} s" if late else getattr(inner, "strerror", None)
            hop = f"{session.proxy}: " if session.proxy and attempt.is_at_proxy else ""
            raise ApiUnavailable(f"{hop}{cause or type(inner).__name__}", where=shown(hook.host)) from None
    if not 200 <= status < 300:
        raise ApiUnavailable(f"{shown(hook.host)} answered {status}")


def _login_wanted(where: str, seen: str, proxy: str | None) -> SettingsError:
    return SettingsError(
        f"{proxy or 'a proxy'} wants a login ({seen})",
        where=where,
        advice="write it into the variable of the proxy, as http://USER:PASSWORD@HOST:PORT",
    )


def _is_hangup(error: BaseException) -> bool:
    """Tell whether the other side ended the connection, with or without TLS."""
    return isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _is_believed(status: int, collection: str, number: int) -> bool:
    """Tell whether something is concluded from an answer with this status about what is there now."""
    refusals = () if collection == "images" else (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    return status in (HTTPStatus.OK, *refusals, *(_MISSING if number > 1 else ()))


def _refuse_copy(response: requests.Response) -> None:
    """Raise where an answer says that it comes out of a cache, or where its `Age` cannot be read as one number."""
    text = response.headers.get("Age")
    if text is None:
        return
    age = text.strip()
    if _AGE.fullmatch(age) is None:
        seen = f"out of a cache for an unknown time (Age: {shown(age, 40) or 'empty'})"
        raise _Transient(seen, kind=BadPage, advice=_NO_CACHE)
    seconds = age.lstrip("0")
    if seconds:
        raise _Transient(f"out of a cache {shown(seconds, 20)} s old", kind=BadPage, advice=_NO_CACHE)


def _innermost(error: BaseException) -> BaseException:
    """Return the error that a library wrapped, as often as it did."""
    for _ in range(10):
        inner = next((e for e in (getattr(error, "reason", None), *error.args) if isinstance(e, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def _skew(response: requests.Response) -> float | None:
    served_at = _http_date(response.headers.get("Date"))
    return None if served_at is None else (served_at - datetime.now(UTC)).total_seconds()


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


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


def _encoding(response: requests.Response) -> str:
    return response.headers.get("Content-Encoding", "").strip().lower()


def _body(response: requests.Response, where: str) -> bytes:
    encoding = _encoding(response)
    if encoding not in (*_PLAIN, "gzip", "x-gzip", "deflate"):
        raise _Transient(f"unknown Content-Encoding {shown(encoding, 40)}", kind=BadPage)
    return b"".join(_chunks(response, where))


def _chunks(response: requests.Response, where: str) -> Iterator[bytes]:
    size = 0
    for chunk in response.iter_content(CHUNK):
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large(where)
        attempt.time_left()
        yield chunk


def _too_large(where: str) -> BadPage:
    return BadPage(f"the body is larger than {MAX_BODY >> 20} MiB", where=where, advice=_UNUSABLE)
