"""One page of one collection, asked for within the API's rate; knows no other page.

    GET /compute/v1/images?page=1&per_page=100    →    page.Page

Retry lives here and nowhere else. The only importer of `requests`.
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
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from genesis_etl.errors import ApiError, ApiUnavailable, AuthError, BadPage, CollectionRefused, SettingsError
from genesis_etl.pacer import Pacer
from genesis_etl.page import PER_PAGE, Page, read_page
from genesis_etl.redact import redact
from genesis_etl.settings import Account, Hook, Settings
from genesis_etl.text import shown
from genesis_etl.transport import CHUNK, TimedHTTPPool, TimedHTTPSPool, TooMuch, attempt

_CONNECTIONS: Final = 16  # kept open; more threads than that only open more
MAX_BODY: Final = 32 * 2**20
_MAX_WIRE: Final = 2 * MAX_BODY  # headers, and chunks so small that their frames weigh as much as they hold
MAX_WAIT: Final = 60.0  # of one Retry-After
NOTICE_SECONDS: Final = 10.0
MAX_BACKOFF: Final = 15.0  # the sum of our own waits for one page
_UNUSABLE: Final = "this answer cannot be used, try again later or check the endpoint setting"
_PLAIN: Final = ("", "identity")
_NEVER_RETRIED: Final = (501, 505)
_TRANSIENT: Final = (408, 425)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# Whatever requests, urllib3 and http.client raise when the other side does not speak HTTP as it should.
_FAILED: Final = (requests.exceptions.RequestException, HTTPError, HTTPException, OSError, ValueError)


class _Transient(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, cause: str, retry_after: float | None = None, kind: type[ApiError] = ApiUnavailable):
        super().__init__(cause)
        self.retry_after = retry_after
        self.kind = kind


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


class _TimedAdapter(HTTPAdapter):
    def _use_timed_pools(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {"http": TimedHTTPPool, "https": TimedHTTPSPool}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        # A SOCKS proxy needs connections of its own kind; they keep to the deadline of each read alone.
        if manager.__class__.__name__ != "SOCKSProxyManager":
            self._use_timed_pools(manager)
        return manager


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Know of no redirect: even one that is not followed requests would parse, and read its body into memory."""


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


def _after(throttles: int) -> str:
    return f", after {throttles} answers of 429" if throttles else ""


class Client:
    """Reads single pages for one account; threads share it and its rate.

    `requests` counts what was sent, `retries` those of them that repeated an earlier one.
    `clock_skew` is how far the API's clock is ahead of ours, in seconds; None while no answer told.
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
        self._auth = _Headers(account, settings.auth)
        self._session = _Session()
        self._session.auth = self._auth
        self._session.headers.update({"Accept": "application/json", "Accept-Encoding": "gzip"})
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Proxies and CA bundles of the environment are the user's choice, but what stays on this machine needs none.
        self._session.trust_env = not account.is_local
        adapter = _TimedAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

        # Requests differ in their URL alone; preparing each anew would cost as much as parsing a page.
        try:
            self._request = self._session.prepare_request(requests.Request("GET", account.endpoint))
        except requests.exceptions.RequestException:  # as for https://*.example.com
            raise SettingsError(
                f"the endpoint of account {account.name}, {shown(account.endpoint)}, names no host that can be "
                "asked; mend the endpoint setting"
            ) from None
        ways = self._session.merge_environment_settings(account.endpoint, {}, None, None, None)
        self._sending: dict[str, Any] = {name: ways[name] for name in ("proxies", "verify", "cert")}

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
        """Read page `number` (from 1) of `images` or `snapshots`.

        `known` is an earlier answer for the same page: where the bytes are the same, its items are handed out
        again instead of being parsed once more. Raises AuthError, ApiUnavailable, CollectionRefused, BadPage.
        """
        query: dict[str, str | int] = {"page": number, "per_page": PER_PAGE}
        if type is not None:
            query["type"] = type
        failures, throttles, waited = 0, 0, 0.0
        while True:
            where = f"GET /{collection} page {number}, attempt {failures + 1} of {self._settings.attempts}"
            try:
                sent_at = self._pacer.wait(self._ends_at)
            except ApiUnavailable as error:
                raise ApiUnavailable(f"{where}: {error}{_after(throttles)}; try again later") from None
            with self._count:
                self.requests += 1
                self.retries += bool(failures or throttles)
            try:
                page = self._read(collection, number, query, where, known)
            except _Throttled as throttle:
                throttles += 1
                own = min(2.0 ** min(throttles, 9), MAX_WAIT) * self._settings.backoff * random.uniform(0.5, 1)
                self._pacer.hold(self._allowed(throttle.retry_after, own, where, f"{throttle}"), sent_at)
            except _Transient as fault:
                failures += 1
                if self._stopped.is_set():
                    raise ApiUnavailable(f"{where}: stopped") from None
                if failures >= self._settings.attempts:
                    again = f"try again later, the endpoint is {self._account.endpoint}"
                    advice = again if fault.kind is ApiUnavailable else _UNUSABLE
                    raise fault.kind(f"{where}: {fault}; {advice}") from None
                own = 2.0 ** (failures - 1) * self._settings.backoff * random.uniform(0.5, 1)
                own = min(own, MAX_BACKOFF - waited)
                wait = self._allowed(fault.retry_after, own, where, f"{fault}{_after(throttles)}")
                waited += 0.0 if fault.retry_after is not None else wait
                if self._stopped.wait(wait):
                    raise ApiUnavailable(f"{where}: stopped") from None
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
                f"{where}: {cause}; {said}, this capture has {max(left, 0):.0f} s left; try again later"
            )
        return min(wait, MAX_WAIT)

    def _read(self, collection: str, number: int, query: dict[str, str | int], where: str, known: Page | None) -> Page:
        seconds = min(self._settings.deadline, max(self._ends_at - time.monotonic(), 0.001))
        attempt.begin(seconds, _MAX_WIRE, self._stopped)
        try:
            request = self._request.copy()
            request.url = f"{self._account.endpoint}/{collection}?{urlencode(query)}"
            with self._session.send(
                request, stream=True, allow_redirects=False, timeout=seconds, **self._sending
            ) as response:
                if self.clock_skew is None:
                    self.clock_skew = _skew(response)
                if response.status_code != HTTPStatus.OK:
                    self._refuse(response, collection, number, where)
                body = _body(response, where)
        except requests.exceptions.ContentDecodingError as error:
            raise _Transient(f"the body cannot be unpacked: {self._cause(error)}", kind=BadPage) from None
        except _FAILED as error:
            inner = _innermost(error)
            if isinstance(inner, TooMuch):
                raise _too_large(where) from None
            if isinstance(error, requests.exceptions.SSLError) and not isinstance(inner, ssl.SSLEOFError):
                raise ApiUnavailable(
                    f"{where}: TLS failed: {self._cause(error)}; check the endpoint and its certificate, "
                    "verification is never switched off"
                ) from None
            late = time.monotonic() >= attempt.ends_at
            cause = f"no whole answer within {seconds:g} s" if late else self._cause(error)
            raise _Transient(cause) from None
        digest = hashlib.sha256(body).digest()
        if known is not None and known.digest == digest:
            return known
        try:
            return read_page(collection, number, body, digest)
        except BadPage as error:
            cause = redact(str(error))
            # Only a length or chunks tell that all of a body came, and not what was packed inside.
            is_framed = "content-length" in response.headers or "transfer-encoding" in response.headers
            is_whole = is_framed and _encoding(response) in _PLAIN
            if not is_whole and isinstance(error.__cause__, ValueError):
                raise _Transient(f"{cause} (the body may be cut)", kind=BadPage) from None
            raise BadPage(f"{where}: {cause}; {_UNUSABLE}") from None

    def _refuse(self, response: requests.Response, collection: str, number: int, where: str) -> NoReturn:
        """Raise what an answer other than 200 means."""
        status = response.status_code
        seen = f"{status} {response.reason or ''}".strip()
        seen = shown(redact(seen), 60)
        if 300 <= status < 400:
            raise BadPage(
                f"{where}: {seen} points to {self._target(response)}; redirects are never followed, "
                "set the endpoint to the API itself"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _Throttled(_retry_after(response))
        said = self._said(response)
        if status in _TRANSIENT or (status >= 500 and status not in _NEVER_RETRIED):
            raise _Transient(f"{seen}{said}", _retry_after(response))
        if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and collection == "images"):
            raise AuthError(f"{where}: {seen}{said}; the token in {self._account.token_source} was refused, check it")
        if number > 1 and status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            kind = AuthError if status == HTTPStatus.FORBIDDEN else BadPage
            raise kind(f"{where}: {seen}{said}; a page before could be read, try again later")
        if status == HTTPStatus.FORBIDDEN:
            raise CollectionRefused(f"{where}: {seen}{said}", status=status, exit_code=3)
        if status == HTTPStatus.NOT_FOUND and collection == "images":
            raise CollectionRefused(
                f"{where}: {seen}{said}; check the endpoint setting, it is {self._account.endpoint}",
                status=status,
                exit_code=2,
            )
        if status == HTTPStatus.NOT_FOUND:
            raise CollectionRefused(f"{where}: {seen}{said}", status=status, exit_code=5)
        raise BadPage(f"{where}: {seen}{said}; {_UNUSABLE}")

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
        text = text.split("object at 0x")[-1].split(">: ", 1)[-1]
        return shown(redact(text) or type(error).__name__, 160)


def notify(hook: Hook, body: bytes | None = None) -> None:
    """POST a JSON text to a URL, or GET it without one; ApiUnavailable unless it answers 2xx within ten seconds.

    One attempt, no redirect, no header of ours. The message names the host alone, for the rest is a secret.
    """
    attempt.begin(NOTICE_SECONDS, _MAX_WIRE, threading.Event())
    with _Session() as session:
        session.auth = lambda request: request  # or requests would ask ~/.netrc
        session.trust_env = not hook.is_local
        session.mount("http://", _TimedAdapter())
        session.mount("https://", _TimedAdapter())
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
            raise ApiUnavailable(f"{shown(hook.host)}: {cause or type(inner).__name__}") from None
    if not 200 <= status < 300:
        raise ApiUnavailable(f"{shown(hook.host)} answered {status}")


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
    return BadPage(f"{where}: the body is larger than {MAX_BODY >> 20} MiB; {_UNUSABLE}")
