"""Items as bytes until somebody looks at them, for as Python's objects they take five times the memory. Pure.

A pass over 100,000 images is 26 MB of pages, and the collector of garbage has nothing to walk through.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, KeysView, Mapping, Sequence
from typing import Any

from genesis_etl.api.page import Item


class Packed(Sequence[Item]):
    """The items of one page; whoever looks at them gets them anew, as they were.

    `ids` are theirs, in order; `snapshots` of those whose type is `snapshot`.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.ids: tuple[str, ...] = tuple(item["id"] for item in items)
        self.snapshots = frozenset(item["id"] for item in items if item.get("type") == "snapshot")
        self._bytes = b""
        self._loose: list[Item] = []
        try:
            self._bytes = marshal.dumps([*items])
        except ValueError:  # an item is nested too deep to be packed
            self._loose = [*items]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._unpacked())

    def __getitem__(self, index: Any) -> Any:
        return self._unpacked()[index]

    def _unpacked(self) -> list[Item]:
        return marshal.loads(self._bytes) if self._bytes else self._loose


class Items(Mapping[str, Item]):
    """The items of a collection by id, page after page; one page is unpacked at a time."""

    def __init__(self) -> None:
        self._pages: dict[str, Packed] = {}
        self._open: Packed | None = None
        self._unpacked: dict[str, Item] = {}

    def add(self, page: Packed) -> bool:
        """Add the items of a page; tell whether all their ids are new."""
        count = len(self._pages) + len(page)
        self._pages.update(dict.fromkeys(page.ids, page))
        return len(self._pages) == count

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pages)

    def __contains__(self, id: object) -> bool:
        return id in self._pages

    def __getitem__(self, id: str) -> Item:
        page = self._pages[id]
        if page is not self._open:
            self._open, self._unpacked = page, {item["id"]: item for item in page}
        return self._unpacked[id]

    def keys(self) -> KeysView[str]:
        """Return the ids, as those of a dict."""
        return self._pages.keys()

    @property
    def snapshots(self) -> set[str]:
        """The ids of the items whose type is `snapshot`."""
        return {id for page in set(self._pages.values()) for id in page.snapshots}

    def pairs(self, other: Items) -> Iterator[tuple[Item, Item]]:
        """Yield each item that both have with that of the other, those on a page that both share left out."""
        apart = {id: page for id, page in self._pages.items() if other._pages.get(id, page) is not page}
        theirs = {item["id"]: item for page in {other._pages[id] for id in apart} for item in page}
        for id in apart:
            yield self[id], theirs[id]
