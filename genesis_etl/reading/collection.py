"""The passes over one collection: all its pages, again until what they say is proven. Knows no other collection.

pass 1: 812 items    pass 2: 1 came, 0 went    pass 3: as before    →    the items by id
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import replace
from queue import SimpleQueue
from typing import Final, Protocol

from genesis_etl.api.page import Item, Page
from genesis_etl.errors import CaptureError, ListMoved, PageMissing
from genesis_etl.reading.packed import Items, Packed
from genesis_etl.text import shown

MAX_PASSES: Final = 5
THREADS: Final = 16  # enough to stand at 10 requests a second with 1.5 s of latency

Progress = Callable[[str, int, int, int], None]  # collection, pages read, pages in this pass, pass


class Pages(Protocol):
    """Whatever hands out pages: the API's client, or a list in a test. PageMissing where there is no such page."""

    def page(self, collection: str, number: int, *, type: str | None = None, known: Page | None = None) -> Page: ...

    def stop(self) -> None: ...


class Collection:
    """One collection and the passes made over it so far."""

    def __init__(
        self,
        pages: Pages,
        name: str,
        threads: Executor,
        progress: Progress | None,
        type: str | None = None,
        fields: Sequence[str] | None = None,  # of an item that are kept and compared; None: all
    ) -> None:
        self.passes = 0
        self.when_long: Callable[[], None] | None = None  # called once the first answer has not been all
        self._pages = pages
        self._name = name
        self._threads = threads
        self._progress = progress
        self._type = type
        self._fields = fields
        self._known: dict[int, Page] = {}
        self._last: Items | None = None
        self._notes: list[str] = []
        self._under_way: set[Future[tuple[Page, Packed]]] = set()

    def note(self, what: str) -> None:
        """Remember what moved, for the error that may come of it."""
        if what not in self._notes:
            self._notes.append(what)

    def read(self) -> Items:
        """Make passes until one answer held everything or two passes in a row agree; ListMoved after five.

        CaptureError where there are more items than `total_count` says.
        """
        while self.passes < MAX_PASSES:
            self.passes += 1
            state, is_whole = self._pass()
            self._end_pass()
            if state is not None and (is_whole or self._agrees(state)):
                if self._ends():
                    self._last = state
                    return state
                state = None  # what moved behind two passes that agreed is not held against one of them
            self._last = state
        raise ListMoved(
            f"/{self._name} did not hold still in {MAX_PASSES} passes: {'; '.join(self._notes)}",
            advice="nothing was written, try again when fewer images come and go",
        )

    def _pass(self) -> tuple[Items | None, bool]:
        """Read all pages once: the state or None where the pages contradict each other; and if one answer was all."""
        known, self._known = self._known, {}
        try:
            return self._read_pages(known)
        except PageMissing:
            # Unless its first page is another by now, the list was not shortened behind our back.
            again = self._pages.page(self._name, 1, type=self._type)
            if not self._contradicts(again, self._known[1]):
                raise
            return None, False

    def _read_pages(self, known: dict[int, Page]) -> tuple[Items | None, bool]:
        items = Items()
        first: Page | None = None
        for page, packed in self._stream(len(known), known):
            self._known[page.number] = page
            if page.number == 1:
                first = page
            if not items.add(packed):
                self.note("an id stood on two pages")
                return None, False
            if page.number == 1 and len(page.items) == page.total_count:
                return items, True
            if page.number == 1 and self.passes == 1 and self.when_long is not None:
                self.when_long()
            if self._contradicts(page, first):
                return None, False
        assert first is not None
        if len(items) != first.total_count:
            self.note(f"{len(items)} ids against a total_count of {first.total_count}")
            return None, False
        return items, False

    def _page(self, number: int, known: Page | None) -> tuple[Page, Packed]:
        """Ask for a page; return it with its items packed."""
        page = self._pages.page(self._name, number, type=self._type, known=known)
        if isinstance(page.items, Packed):  # it is the one that was known
            return page, page.items
        items = page.items
        if self._fields is not None:
            items = [{name: item[name] for name in self._fields if name in item} for item in items]
        packed = Packed(items)
        return replace(page, items=packed), packed

    def _ends(self) -> bool:
        """Ask for the page after a last one that is full: tell whether the list still is what was read of it.

        CaptureError where there are more items than `total_count` says, for then it cannot be believed.
        """
        last = self._known[max(self._known)]
        if len(last.items) != last.per_page:
            return True
        try:
            after = self._pages.page(self._name, last.number + 1, type=self._type)
        except PageMissing:
            return True
        if after.total_count != last.total_count:
            self.note(f"total_count went from {last.total_count} to {after.total_count}")
            return False
        if after.items:
            raise CaptureError(
                f"/{self._name} says that it has {last.total_count:,} items, all of which were read, and holds "
                f"{len(after.items)} more on page {after.number}: its total_count is capped",
                advice="nothing was written, report it to the API's support",
            )
        return True

    def _contradicts(self, page: Page, first: Page | None) -> bool:
        if first is None:
            return False
        if len(first.items) > first.total_count:
            self.note(f"{len(first.items)} items on the first page against a total_count of {first.total_count}")
            return True
        if page.total_count != first.total_count:
            self.note(f"total_count went from {first.total_count} to {page.total_count}")
            return True
        # What the server really returns decides how long a page is, and all but the last are as long as the first.
        left = first.total_count - (page.number - 1) * len(first.items)
        if len(page.items) != min(len(first.items), max(left, 0)):
            self.note(f"page {page.number} held {len(page.items)} items")
            return True
        return False

    def _stream(self, guess: int, known: dict[int, Page]) -> Iterator[tuple[Page, Packed]]:
        """Yield the pages of one pass as they come, the first one first.

        The first page tells how many there are; a guess from the pass before lets the others leave with it.
        """
        ready: SimpleQueue[Future[tuple[Page, Packed]]] = SimpleQueue()

        def fetch(number: int) -> Future[tuple[Page, Packed]]:
            future = self._threads.submit(self._page, number, known.get(number))
            self._under_way.add(future)
            return future

        opening = fetch(1)
        sent = max(1, min(guess, 2 * THREADS))
        guessed = {number: fetch(number) for number in range(2, sent + 1)}
        first, packed = opening.result()
        self._under_way.discard(opening)
        pages = -(-first.total_count // len(first.items)) if first.items else 1
        done = 1
        self._report(done, pages)
        yield first, packed
        # A page that was guessed and is past the end tells nothing, be it empty or missing.
        wanted = [future for number, future in guessed.items() if number <= pages]
        guessed.clear()
        awaited = len(wanted)
        for future in wanted:
            future.add_done_callback(ready.put)
        wanted.clear()
        while sent < pages or awaited:
            while sent < pages and awaited < 2 * THREADS:
                sent += 1
                awaited += 1
                fetch(sent).add_done_callback(ready.put)
            finished = ready.get()
            awaited -= 1
            self._under_way.discard(finished)
            page = finished.result()
            done += 1
            self._report(done, pages)
            yield page

    def _end_pass(self) -> None:
        """Let no request of this pass reach into the next; not called after an error, which waits for nothing."""
        for future in self._under_way:
            future.cancel()
        wait(self._under_way)
        self._under_way = set()

    def _report(self, done: int, pages: int) -> None:
        if self._progress is not None:
            self._progress(self._name, done, pages, self.passes)

    def _agrees(self, state: Items) -> bool:
        last = self._last
        if last is None:
            return False
        came, went = len(state.keys() - last.keys()), len(last.keys() - state.keys())
        changed = sum(not _same(*pair) for pair in state.pairs(last))
        if came or went or changed:
            self.note(f"between two passes {came} came, {went} went, {changed} changed")
        return not (came or went or changed)


def _same(one: Item, other: Item) -> bool:
    """Compare two items by what they say; to Python alone 1, 1.0 and True are the same."""
    try:
        return one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    except RecursionError:
        raise CaptureError(
            f"the item {shown(one['id'])} is nested too deep to be compared",
            advice="nothing was written, report what the API sent",
        ) from None
