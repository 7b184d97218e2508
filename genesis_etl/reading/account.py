"""The collections of an account, as they stood together; knows no single page."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from genesis_etl.errors import CollectionRefused, PageMissing
from genesis_etl.reading.collection import THREADS, Collection, Pages, Progress
from genesis_etl.reading.packed import Items


@dataclass(frozen=True)
class Reading:
    """The items of the collections by id, as they stood together, and what it took to know it.

    `snapshots` and `instances` are None where they were not read; `refusals` says of a collection why, unless nobody
    asked for it. Of an instance there are only `id` and `name`. `passes` is the largest of the numbers of passes.
    """

    images: Items
    snapshots: Items | None
    passes: int
    instances: Items | None = None
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def gaps(self) -> list[str]:
        """Say what was not read, and why; nothing where all was."""
        if self.snapshots is None:
            why = f"/snapshots was refused ({self.refusals['snapshots']})" if self.refusals else "as asked"
            return [f"captured from /images alone, {why}"]
        if self.instances is None:
            return [f"nothing is known of the instances of snapshots: {self.refusals['instances']}"]
        return []

    @property
    def counts(self) -> dict[str, int | None]:
        """Return what a capture keeps of it: how many of each there are (None: not read), and the passes."""
        return {
            "images": len(self.images.keys() | (self.snapshots or {}).keys()),
            "snapshots": None if self.snapshots is None else len(self.snapshots),
            "instances": None if self.instances is None else len(self.instances),
            "passes": self.passes,
            "listed_snapshots": self.listed_snapshots,
        }

    @property
    def listed_snapshots(self) -> int:
        """Return how many snapshots `/images` lists, under whatever type; the newest generation lists none there."""
        return len(self.images.snapshots | (self.images.keys() & (self.snapshots or {}).keys()))


_LOSS: Final = (
    "the capture before could read /snapshots, so this one would look like every snapshot deleted: "
    "mend the access, or give --without-snapshots"
)
NOTHING_READ: Final = Reading(Items(), None, 0)


def read_account(
    pages: Pages,
    *,
    with_snapshots: bool = True,
    must_have_snapshots: bool = False,
    type: str | None = None,
    progress: Progress | None = None,
) -> Reading:
    """Read `/images` (of one type, if given) and `/snapshots` until both are proven, then `/instances`.

    A 403 or 404 for `/snapshots` raises CollectionRefused if they must be had, else leaves them None; for `/instances`
    it always does. Without snapshots nothing names an instance, and `/instances` is not asked for.
    ListMoved after five passes over a collection without agreement.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="page") as threads:
        images = Collection(pages, "images", threads, progress, type)
        snapshots = Collection(pages, "snapshots", threads, progress)
        beside: list[Future[Items]] = []
        if with_snapshots:
            # While a long list is read, the other one fills the waits between its passes.
            images.when_long = lambda: beside.append(threads.submit(snapshots.read))
        try:
            listed = images.read()
            if not with_snapshots:
                return Reading(listed, None, images.passes)
            try:
                detailed = beside[0].result() if beside else snapshots.read()
            except CollectionRefused as refusal:
                # What could be read a moment ago is not something this account may not see.
                if snapshots.passes > 1:
                    refusal.advice = "it could be read a moment ago, try again later"
                if must_have_snapshots:
                    refusal.advice = "; ".join(filter(None, (refusal.advice, _LOSS)))
                if must_have_snapshots or snapshots.passes > 1:
                    raise
                return Reading(listed, None, images.passes, refusals={"snapshots": str(refusal)})
            while _differ(listed, detailed):
                strangers = listed.snapshots ^ detailed.keys()
                images.note(f"/images and /snapshots differed by {len(strangers)} snapshots")
                listed, detailed = images.read(), snapshots.read()
            instances = Collection(pages, "instances", threads, progress, fields=("id", "name"))
            running, refusals = _read_instances(instances)
            if refusals:
                pages.stop()  # other pages of what is refused may be under way, and nothing else is asked for
        except BaseException:
            # Pages under way have nothing to wait for; without this an interrupt would sit out their deadline.
            pages.stop()
            raise
        passes = max(images.passes, snapshots.passes, instances.passes)
        return Reading(listed, detailed, passes, running, refusals)


def _read_instances(instances: Collection) -> tuple[Items | None, dict[str, str]]:
    """Return the instances, or None and why the API refused them."""
    try:
        return instances.read(), {}
    except CollectionRefused as refusal:
        return None, {"instances": str(refusal)}
    except PageMissing as missing:
        if missing.status != HTTPStatus.NOT_FOUND:
            raise
        return None, {"instances": str(missing)}


def _differ(images: Items, snapshots: Items) -> bool:
    """Tell whether `/images` lists snapshots, and others than `/snapshots`."""
    listed = images.snapshots
    return bool(listed) and listed != snapshots.keys()
