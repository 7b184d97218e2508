"""One answer of the API, read strictly: what would have to be guessed is refused. Pure.

{"images": [{"id": "2c6d…", "name": "Ubuntu 22.04", "type": "base-os",
             "regions": ["ARC-IS-HAF-1", "NORD-NO-KRS-1"],
             "created_at": "2020-03-06T14:07:18.311Z"}],
 "total_count": 1, "page": 1, "per_page": 100}
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from genesis_etl.errors import BadPage
from genesis_etl.text import seen, shown

Item = dict[str, Any]

PER_PAGE: Final = 100  # the most that the API documents
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Page:
    """One answer: its items, and what it says of the collection it is a part of."""

    collection: str
    number: int
    items: Sequence[Item]
    total_count: int
    per_page: int
    digest: bytes = field(repr=False)


def read_page(collection: str, number: int, body: bytes, digest: bytes) -> Page:
    """Read a body strictly; BadPage where anything of it would have to be guessed."""
    answer = _parsed(body)
    if not isinstance(answer, dict):
        raise BadPage(f"expected a JSON object, got {_seen(body)}")
    items, total = answer.get(collection), answer.get("total_count")
    if not isinstance(items, list):
        raise BadPage(f"expected a list under {collection!r}, got {_seen(body)}")
    if type(total) is not int or total < 0:
        raise BadPage(f"expected total_count to count the items, got {seen(total)}")
    if type(answer.get("page")) is not int or answer["page"] != number:
        raise BadPage(f"asked for page {number}, the answer says page {seen(answer.get('page'))}")
    per_page = answer.get("per_page")
    if type(per_page) is not int or not 1 <= per_page <= PER_PAGE:
        raise BadPage(f"asked for per_page {PER_PAGE}, the answer says {seen(per_page)}")
    if number == 1 and total > 0 and not items:
        raise BadPage(f"the first page is empty though total_count is {total}")
    ids = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise BadPage(f"item {index} is no object: {seen(item)}")
        identity = item.get("id")
        if not isinstance(identity, str) or not identity:
            raise BadPage(f"item {index} has the id {seen(identity)}, expected a text")
        if identity in ids:
            raise BadPage(f"item {index} has the id {shown(identity)} of an earlier one")
        ids.add(identity)
    return Page(collection, number, items, total, per_page, digest)


def _seen(body: bytes) -> str:
    # Stripped before it is cut: what is cut short has to show it, or the start of an echoed token would stay.
    return shown(body.strip()[:400].decode("utf-8", "replace")) or "an empty body"


def _parsed(body: bytes) -> Any:
    try:
        answer = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_exact,
            parse_constant=_refused,
        )
        if _SURROGATE.search(body):
            json.dumps(answer, ensure_ascii=False).encode("utf-8")
        return answer
    except UnicodeDecodeError as error:
        raise BadPage(f"the body is not UTF-8: {_seen(body)}") from error
    except UnicodeEncodeError:
        raise BadPage("the body holds half a surrogate pair, which is no text") from None
    except json.JSONDecodeError as error:
        raise BadPage(f"expected JSON, got {_seen(body)}") from error
    except (ValueError, RecursionError) as error:
        raise BadPage(f"the JSON cannot be kept exactly: {shown(str(error))}") from None


def _unique(pairs: list[tuple[str, Any]]) -> Item:
    item = dict(pairs)
    if len(item) != len(pairs):
        raise ValueError("an object has the same key twice")
    return item


def _exact(literal: str) -> float:
    number = float(literal)
    try:
        is_exact = Decimal(literal) == Decimal(repr(number))
    except InvalidOperation:
        is_exact = False
    if not is_exact:
        raise ValueError(f"the number {shown(literal, 40)} has more digits than a double holds")
    return number


def _refused(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")
