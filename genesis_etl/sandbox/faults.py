"""Script what goes wrong: which answers fail, in which way, how often."""

import json
import re
from collections.abc import Callable
from threading import Lock
from typing import Any
from urllib.parse import unquote

FAULTS = {
    "status": "answers with this status; body, content_type and headers (JSON) as given",
    "retry-after": "answers 429 (or status) with this text, whatever it is, as Retry-After",
    "redirect": "answers with this 3xx status and location",
    "body": "answers with this body in place of the list; status and content_type as given",
    "raw": "sends these bytes in place of an HTTP answer, and closes",
    "close": "closes the connection: at where=start, or after so many bytes of where=headers or where=body",
    "reset": "resets the connection: at where=start, or after so many bytes of where=headers or where=body",
    "short-body": "announces so many bytes more than it sends, and closes",
    "cut-chunks": "sends so many bytes of a chunked body without its end, and closes",
    "hang": "takes the request, says nothing for so many seconds, and closes",
    "delay": "answers as usual, so many seconds late",
    "drip": "sends part=headers, body, or space before the body, so many bytes every interval, for seconds",
    "endless": "sends a body that never ends, of=items or of=space",
    "gzip": "packs the body with gzip, as announced",
    "gzip-invalid": "announces gzip and sends the body as it is",
    "gzip-cut": "packs the body with gzip and cuts it in half",
    "gzip-bomb": "packs the body with so many megabytes of white space",
    "encoding": "announces this Content-Encoding and sends the body as it is",
    "date": "moves the Date header by so many seconds",
    "cap": "serves at most so many items a page and echoes that as per_page; echo=false hides it",
    "capped-total": "says at most so many as total_count, and serves what is behind them on the pages after",
    "past-end": "answers a page past the end with this status, 404 or 400, in place of an empty list",
    "close-after": "answers as usual, and closes so many seconds after the answer, whatever has been asked by then",
    "cache": (
        "is a cache in between: keeps the first answer to each address and gives it again, with an Age of so many "
        "seconds and more; obey=true: not to who asks for no-cache; date=now: with the Date of now, not of the copy; "
        "text: in place of that Age; status: keeps a refusal in place of the answer"
    ),
    "field": "sets the field of this name to value (JSON), or removes it without one; index=N: of item N",
    "patch": "hands the body, a dict, through the function patch; from Python only",
}

_MISSING = object()

# The options of each kind with their defaults; the first may stand behind the kind: `status=503`.
OPTIONS: dict[str, dict[str, Any]] = {
    "status": {"status": 503, "body": None, "content_type": "application/json", "headers": {}},
    "retry-after": {"after": "1", "status": 429},
    "redirect": {"status": 302, "location": "http://127.0.0.1:9/elsewhere"},
    "body": {"body": b"", "status": 200, "content_type": "application/json"},
    "raw": {"body": b""},
    "close": {"where": "start", "bytes": 10},
    "reset": {"where": "start", "bytes": 10},
    "short-body": {"bytes": 10},
    "cut-chunks": {"bytes": 10},
    "hang": {"seconds": 60.0},
    "delay": {"seconds": 1.0},
    "drip": {"part": "body", "bytes": 1, "interval": 0.1, "seconds": 60.0},
    "endless": {"of": "items"},
    "gzip": {},
    "gzip-invalid": {},
    "gzip-cut": {},
    "gzip-bomb": {"megabytes": 300},
    "encoding": {"encoding": "x-unknown"},
    "date": {"seconds": 3600.0},
    "cap": {"cap": 10, "echo": True},
    "capped-total": {"total": 100},
    "past-end": {"status": 404},
    "close-after": {"seconds": 0.12},
    "cache": {"age": 60, "obey": False, "date": "copy", "text": None, "status": 200},
    "field": {"name": "total_count", "value": _MISSING, "index": None},
    "patch": {"patch": None},
}
CHOICES = {
    "where": ("start", "headers", "body"),
    "part": ("headers", "body", "space"),
    "of": ("items", "space"),
    "date": ("copy", "now"),
}

COLLECTIONS = ("images", "snapshots", "instances")
FORM = "[COLLECTION][?page=N]:KIND[=VALUE][,OPTION=VALUE]..."
SCRIPT = (
    r"(?:(?P<collection>images|snapshots|instances)?(?:\?page=(?P<page>[0-9]+))?:)?"
    r"(?P<kind>[a-z-]+)(?:=(?P<value>[^,]*))?(?P<options>(?:,[a-z_]+=[^,]*)*)"
)


class Fault:
    """A failure of the requests that match: `skip` of them pass, then `times` fail (0: all that follow).

    `collection` and `page` narrow what matches (a request without `page` asks for page 1). Of several
    faults, the first in the list that has something to say answers.
    """

    def __init__(
        self,
        kind: str,
        collection: str | None = None,
        page: int | None = None,
        times: int = 1,
        skip: int = 0,
        **options: Any,
    ) -> None:
        if kind not in FAULTS:
            raise ValueError(f"no fault is called {kind!r}; there are {', '.join(FAULTS)}")
        if collection not in (None, *COLLECTIONS):
            raise ValueError(f"a fault is of {', '.join(COLLECTIONS)}, not of {collection!r}")
        for name, value in options.items():
            if name not in OPTIONS[kind]:
                known = ", ".join(OPTIONS[kind]) or "none"
                raise ValueError(f"the fault {kind!r} has no option {name!r}; its options: {known}")
            if value not in CHOICES.get(name, (value,)):
                raise ValueError(f"{name} of the fault {kind!r} is one of {', '.join(CHOICES[name])}, not {value!r}")
        if kind == "patch" and not callable(options.get("patch")):
            raise ValueError("the fault 'patch' takes a function, patch=..., from Python only")
        self.kind = kind
        self.collection = collection
        self.page = page
        self.times = times
        self.skip = skip
        self.options = OPTIONS[kind] | options
        self.seen = 0  # matching requests so far
        self.copies: dict[str, Any] = {}  # what a cache holds, by address
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Fault({self.kind!r}, {self.collection!r}, {self.page!r}, times={self.times}, skip={self.skip})"

    def takes(self, collection: str | None, page: int | None) -> bool:
        """Say whether this request fails, and count it."""
        if self.collection not in (None, collection) or self.page not in (None, page):
            return False
        with self._lock:
            self.seen += 1
            return self.seen > self.skip and (self.times == 0 or self.seen <= self.skip + self.times)

    @property
    def is_silent(self) -> bool:
        """Say whether the fault sends no status."""
        return self.kind in ("raw", "hang") or self.options.get("where") == "start"

    @property
    def change(self) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        """Return what the fault does to the JSON body, or None if it leaves the body alone."""
        if self.kind == "patch":
            function: Callable[[dict[str, Any]], dict[str, Any]] = self.options["patch"]
            return function
        return self._set_field if self.kind == "field" else None

    def _set_field(self, document: dict[str, Any]) -> dict[str, Any]:
        name, value, index = (self.options[key] for key in ("name", "value", "index"))
        if index is not None:
            collection = next(name for name in COLLECTIONS if name in document)
            items = [dict(item) for item in document[collection]]
            if index < len(items):
                _set(items[index], name, value)
            return document | {collection: items}
        return _set(dict(document), name, value)

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read `[COLLECTION][?page=N]:KIND[=VALUE][,OPTION=VALUE]…`, like `images?page=2:status=503,times=3`.

        Without collection and page it is `KIND…` alone. `times` and `skip` go with every kind. In a value
        `%2C` is a comma and `%25` a percent sign, as in an address.
        """
        match = re.fullmatch(SCRIPT, text, re.DOTALL)
        if not match:
            raise ValueError(f"the fault {text!r} is not of the form {FORM}")
        kind = match["kind"]
        if kind not in FAULTS:
            raise ValueError(f"in the fault {text!r}: no kind {kind!r}; there are {', '.join(FAULTS)}")
        known = OPTIONS[kind] | {"times": 1, "skip": 0}
        options = {}
        for part in match["options"].split(",")[1:]:
            name, _, value = part.partition("=")
            options[name] = _read(text, name, value, known)
        if match["value"] is not None:
            name = next(iter(OPTIONS[kind]), kind)
            options[name] = _read(text, name, match["value"], known)
        page = int(match["page"]) if match["page"] else None
        return cls(kind, match["collection"], page, **options)


def _set(target: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    if value is _MISSING:
        target.pop(name, None)
    else:
        target[name] = value
    return target


def _read(text: str, name: str, value: str, known: dict[str, Any]) -> Any:
    """Read the value of an option in the kind of its default."""
    if name not in known:
        raise ValueError(f"in the fault {text!r}: no option {name!r}; there are {', '.join(known)}")
    value = unquote(value)
    default = known[name]
    try:
        if name == "headers":
            headers = json.loads(value)
            if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
                raise ValueError
            return headers
        if name == "index":
            return int(value)
        if name == "value":
            return json.loads(value)
        if isinstance(default, bool):
            return {"true": True, "false": False}[value]
        return type(default)(value) if isinstance(default, int | float) else value
    except (ValueError, KeyError):
        raise ValueError(f"in the fault {text!r}: {value!r} is no value for {name}") from None
