"""Take the requests of one connection: check method, path, token and rate, answer, write down what came."""

import hmac
import re
from collections.abc import Callable
from datetime import UTC, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, unquote, urlsplit

from genesis_etl.sandbox.answers import Answer, Refused, list_page, page_asked, spoil, through_cache
from genesis_etl.sandbox.faults import COLLECTIONS, Fault
from genesis_etl.sandbox.listener import Request, Server
from genesis_etl.sandbox.wire import Hangup, Wire, transmit

LARGEST_REQUEST_BODY = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The stdlib looks for do_GET, do_POST, ...; every method comes the same way here.
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        """Answer the request that was read."""
        address = urlsplit(self.path)
        path = unquote(address.path)
        folder, _, name = path.rpartition("/")
        collection = name if folder == self.server.service.path and name in COLLECTIONS else None
        fault: Fault | None = None
        try:
            self._skip_body()
            self._check_token()
            if not self.server.bucket.take():
                raise Refused(429, "too many requests", {"Retry-After": "1"})
            page = page_asked(address.query)
            fault = next((one for one in list(self.server.service.faults) if one.takes(collection, page)), None)
            if collection is None:
                raise Refused(404, "there is nothing at this path")
            if self.command != "GET":
                raise Refused(405, "only GET is answered here", {"Allow": "GET"})
            answer = self._listed(collection, address.query, fault)
        except Refused as refused:
            answer = refused.answer
        if fault:
            answer = spoil(answer, fault)
        self._write_down(path, address.query, 0 if fault and fault.is_silent else answer.status)
        self._send(answer, fault)

    def _listed(self, collection: str, query: str, fault: Fault | None) -> Answer:
        def fresh() -> Answer:
            return list_page(collection, query, lambda: self.server.service.read(collection), fault)

        if fault is None or fault.kind != "cache":
            return fresh()
        wants_fresh = "no-cache" in self.headers.get("Cache-Control", "").lower()
        with self.server.lock:
            return through_cache(fault, self.path, fresh, self.server.service.now(), wants_fresh=wants_fresh)

    def _check_token(self) -> None:
        given = [token.strip() for token in self.headers.get_all("X-Auth-Token", [])]
        for value in self.headers.get_all("Authorization", []):
            scheme, _, token = value.strip().partition(" ")
            given.append(token.strip() if scheme.lower() == "bearer" else "")
        mine = self.server.service.token.encode()
        right = [hmac.compare_digest(token.encode("utf-8", "replace"), mine) for token in given]
        if not right or not all(right):
            raise Refused(401, "the token is missing or unknown")

    def _skip_body(self) -> None:
        length = self.headers.get("Content-Length", "0")
        readable = re.fullmatch("[0-9]{1,7}", length) and "Transfer-Encoding" not in self.headers
        if readable and int(length) <= LARGEST_REQUEST_BODY:
            self.rfile.read(int(length))
        else:
            self.close_connection = True

    def _write_down(self, path: str, query: str, status: int) -> None:
        headers = dict(self.headers.items())
        request = Request(self.command, path, dict(parse_qsl(query, keep_blank_values=True)), headers, status)
        with self.server.lock:
            self.server.service.requests.append(request)

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        date = self.server.service.now().astimezone(UTC) + timedelta(seconds=answer.seconds_off)
        bodiless = answer.status in (204, 304) or answer.status < 200

        def head(framing: str) -> bytes:
            try:
                reason = HTTPStatus(answer.status).phrase
            except ValueError:
                reason = "Unknown"
            lines = [f"HTTP/1.1 {answer.status} {reason}", f"Date: {format_datetime(date, usegmt=True)}"]
            lines += [f"{name}: {value}" for name, value in answer.headers.items()]
            lines += [] if bodiless else [framing]
            lines += ["Connection: close"] if self.close_connection else []
            return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

        if self.command == "HEAD":
            self.connection.sendall(head(f"Content-Length: {len(answer.body)}"))
            return
        try:
            wire = Wire(self.connection, self.server.stopped)
            transmit(wire, head, b"" if bodiless else answer.body, fault)
        except Hangup:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what could not even be read as a request; the stdlib would answer HTML."""
        self.close_connection = True
        self.command = self.command or ""
        self._send(Refused(code, message or "the request is unreadable").answer, None)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `requests` is the log."""
