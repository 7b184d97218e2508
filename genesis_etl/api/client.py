"""One page of one collection, asked for within the API's rate; knows no other page.

    GET /compute/v1/images?page=1&per_page=100    →    page.Page

Retry lives here and nowhere else.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Final
from urllib.parse import urlencode

import requests

from genesis_etl.api.answer import clock_skew, is_believed, is_whole, read_body, refuse_answer, refuse_copy
from genesis_etl.api.failure import FAILED, UNUSABLE, Throttled, TransientFault, Unheard, cause_of, explain_failure
from genesis_etl.api.pacer import Pacer
from genesis_etl.api.page import PER_PAGE, Page, read_page
from genesis_etl.api.session import Session
from genesis_etl.api.stop import Stop
from genesis_etl.api.transport import MAX_WIRE, Addresses, attempt
from genesis_etl.errors import ApiUnavailable, BadPage, SettingsError
from genesis_etl.redact import redact
from genesis_etl.settings import Account, Settings
from genesis_etl.text import shown

MAX_WAIT: Final = 60.0  # of one Retry-After
MAX_BACKOFF: Final = 15.0  # the sum of our own waits for one page


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
            attempt.begin(seconds, MAX_WIRE, self._stopped, self._addresses, wants_new=wants_new)
            try:
                page = self._read(collection, number, query, where, known)
            except Unheard:
                wants_new = True
            except Throttled as throttle:
                throttles += 1
                own = min(2.0 ** min(throttles, 9), MAX_WAIT) * self._settings.backoff * random.uniform(0.5, 1)
                self._pacer.hold(self._allowed(throttle.retry_after, own, where, f"{throttle}"), sent_at)
            except TransientFault as fault:
                failures += 1
                wants_new = wants_new or not attempt.has_heard  # other kept connections may be as dead
                if self._stopped.is_set():
                    raise _stopped(where) from None
                if failures >= self._settings.attempts:
                    again = f"try again later, the endpoint is {self._account.endpoint}"
                    usual = again if fault.kind is ApiUnavailable else UNUSABLE
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
                if is_believed(response.status_code, collection, number):
                    refuse_copy(response)
                if response.status_code != HTTPStatus.OK:
                    refuse_answer(response, collection, number, where, self._account, self._session.proxy)
                self._judge_clock(clock_skew(response))
                body = read_body(response, where)
        except requests.exceptions.ContentDecodingError as error:
            raise TransientFault(f"the body cannot be unpacked: {cause_of(error)}", kind=BadPage) from None
        except FAILED as error:
            raise explain_failure(error, self._session, where) from None
        digest = hashlib.sha256(body).digest()
        if known is not None and known.digest == digest:
            return known
        try:
            return read_page(collection, number, body, digest)
        except BadPage as error:
            cause = redact(error.seen)
            if not is_whole(response) and isinstance(error.__cause__, ValueError):
                raise TransientFault(f"{cause} (the body may be cut)", kind=BadPage) from None
            raise BadPage(cause, where=where, advice=UNUSABLE) from None

    def _judge_clock(self, skew: float | None) -> None:
        """Keep how far the API's clock is ahead, where this answer put it further ahead than those before."""
        with self._count:
            if skew is not None and (self.clock_skew is None or skew > self.clock_skew):
                self.clock_skew = skew
