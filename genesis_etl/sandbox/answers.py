"""Answer one request from the lists, as the API documents it."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from genesis_etl.sandbox.faults import Fault

LARGEST_PAGE = 100
USUAL_PAGE = 50

Read = Callable[[], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, before it is sent."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    seconds_off: float = 0.0  # of the Date header

    def but(
        self, status: int | None = None, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> "Answer":
        """Return this answer with another status, another body, further headers."""
        return replace(
            self,
            status=self.status if status is None else status,
            body=self.body if body is None else body,
            headers=self.headers | (headers or {}),
        )


class Refused(Exception):
    """A request that the API refuses, with the status and the message to answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = Answer(status, error_body(status, message)).but(headers=headers)


def error_body(status: int, message: str) -> bytes:
    """Write the documented error body."""
    # Of the real codes only 02035 is known; these are made of the status.
    return write({"code": f"{status:05}", "message": message})


def write(document: object) -> bytes:
    """Write JSON as UTF-8; escaped where the text holds what UTF-8 cannot (a lone surrogate)."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


def page_asked(query: str) -> int | None:
    """Return the page that a query asks for, None where it is unreadable."""
    try:
        return _integer(parse_qs(query, keep_blank_values=True), "page", 1, None)
    except Refused:
        return None


def list_page(collection: str, query: str, read: Read, fault: Fault | None) -> Answer:
    """Answer a page of a collection."""
    asked = parse_qs(query, keep_blank_values=True)
    page = _integer(asked, "page", 1, None)
    per_page = _integer(asked, "per_page", USUAL_PAGE, LARGEST_PAGE)
    wanted = _single(asked, "type") if collection == "images" else None
    echoed = per_page
    if fault and fault.kind == "cap":
        per_page = min(per_page, fault.options["cap"])
        echoed = per_page if fault.options["echo"] else echoed
    items = read()
    total_of = fault.options["total"] if fault and fault.kind == "capped-total" else None
    if wanted is not None:
        items = [item for item in items if item.get("type") == wanted]
    first = (page - 1) * per_page
    if fault and fault.kind == "past-end" and page > 1 and first >= len(items):
        raise Refused(fault.options["status"], f"there is no page {page}")
    document: dict[str, Any] = {
        collection: list(items[first : first + per_page]),
        "total_count": len(items) if total_of is None else min(len(items), total_of),
        "page": page,
        "per_page": echoed,
    }
    if fault and fault.change:
        document = fault.change(document)
    return Answer(200, write(document))


def through_cache(
    fault: Fault, address: str, answer: Callable[[], Answer], now: datetime, *, wants_fresh: bool
) -> Answer:
    """Answer out of the cache in between where it has a copy, else from the API, and keep that."""
    options = fault.options
    kept: tuple[Answer, datetime] | None = fault.copies.get(address)
    if kept is None or (options["obey"] and wants_fresh):
        fresh = answer()
        if options["status"] != 200:
            fresh = fresh.but(options["status"], error_body(options["status"], "as scripted"))
        fault.copies[address] = fresh, now
        return fresh
    copy, kept_at = kept
    age = options["age"] + int((now - kept_at).total_seconds())
    off = -age if options["date"] == "copy" else 0
    return replace(copy.but(headers={"Age": str(age) if options["text"] is None else options["text"]}), seconds_off=off)


def spoil(answer: Answer, fault: Fault) -> Answer:
    """Change a whole answer in the way of the fault."""
    options = fault.options
    status = options.get("status", answer.status)
    match fault.kind:
        case "status":
            body = error_body(status, "as scripted") if options["body"] is None else options["body"]
            headers = {"Content-Type": options["content_type"]} | options["headers"]
            return answer.but(status, _bytes(body), headers)
        case "retry-after":
            return answer.but(status, error_body(status, "too many requests"), {"Retry-After": options["after"]})
        case "redirect":
            return answer.but(status, error_body(status, "elsewhere"), {"Location": options["location"]})
        case "body":
            return answer.but(status, _bytes(options["body"]), {"Content-Type": options["content_type"]})
        case "gzip":
            return answer.but(body=gzip.compress(answer.body), headers={"Content-Encoding": "gzip"})
        case "gzip-invalid":
            return answer.but(headers={"Content-Encoding": "gzip"})
        case "gzip-cut":
            packed = gzip.compress(answer.body)
            return answer.but(body=packed[: len(packed) // 2], headers={"Content-Encoding": "gzip"})
        case "encoding":
            return answer.but(headers={"Content-Encoding": options["encoding"]})
        case "date":
            return replace(answer, seconds_off=options["seconds"])
    return answer


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _single(asked: dict[str, list[str]], name: str) -> str | None:
    values = asked.get(name, [])
    if len(values) > 1:
        raise Refused(400, f"{name} is given {len(values)} times")
    return values[0] if values else None


def _integer(asked: dict[str, list[str]], name: str, default: int, most: int | None) -> int:
    text = _single(asked, name)
    if text is None:
        return default
    # Twenty digits are a page past any end; far more than that and int() itself refuses.
    readable = text.isascii() and text.isdigit() and len(text) <= 20
    value = int(text) if readable else 0
    if value < 1 or (most is not None and value > most):
        raise Refused(400, f"{name} is a positive integer" + (f" up to {most}" if most else ""))
    return value
