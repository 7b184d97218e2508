"""List an account that evolves day by day: a pure function of seed, generation, size and instant."""

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Any

from genesis_etl.sandbox.clock import DAY, draw, draw_id, minute_of, stamp
from genesis_etl.sandbox.instances import Instance, instances, status_of, updated_at
from genesis_etl.sandbox.regions import PERMANENT
from genesis_etl.sandbox.releases import Release, releases
from genesis_etl.sandbox.snapshots import Snapshot, snapshots

GENERATIONS = ("seed", "middle", "newest")
TYPES = {
    "seed": ("base-os", "preconfigured"),
    "middle": ("base-os", "preconfigured", "cloud-image"),
    "newest": ("cloud-image",),
}
LISTED = ("images", "snapshots")  # what `--images N` counts
REMEMBERED = 8  # instants whose lists are kept, so that the pages of one list are cut from one list
ARCHIVED_AT = minute_of(datetime(2018, 3, 1))

Item = dict[str, Any]


class Account:
    """One token's view of the API, for ever or (with `images`) with exactly that many entries at `start`.

    Entries come newest first (`created_at`, then `id`, descending). The API promises no order; this is the
    sandbox's choice.
    """

    def __init__(self, seed: int, generation: str, images: int | None = None, start: datetime | None = None) -> None:
        if generation not in GENERATIONS:
            raise ValueError(f"generation is one of {', '.join(GENERATIONS)}, not {generation!r}")
        if images is not None and (images < 0 or start is None):
            raise ValueError("images is a number from 0, and comes with the instant at which it holds")
        self.seed = seed
        self.generation = generation
        self._lists: OrderedDict[int, dict[str, Sequence[Item]]] = OrderedDict()
        self._lock = Lock()
        # A small account keeps the entries with the smallest ids: ids are evenly spread, so it is a fair
        # sample that evolves like the whole. A large one has an archive of old snapshots that stands still.
        self._last_id = "~"
        self._archive: dict[str, Sequence[Item]] = dict.fromkeys(LISTED, ())
        if images is not None and start is not None:
            minute = lived_minute(start)
            lists = self._read(minute)
            ids = {item["id"] for name in LISTED for item in lists[name]}
            self._last_id = "" if images == 0 else heapq.nsmallest(images, ids)[-1] if ids else "~"
            self._archive = self._shelve(max(0, images - len(ids)))

    def images(self, at: datetime) -> list[Item]:
        """Return what `/images` lists at that instant."""
        return [dict(item) for item in self.collection("images", at)]

    def snapshots(self, at: datetime) -> list[Item]:
        """Return what `/snapshots` lists at that instant."""
        return [dict(item) for item in self.collection("snapshots", at)]

    def instances(self, at: datetime) -> list[Item]:
        """Return what `/instances` lists at that instant."""
        return [dict(item) for item in self.collection("instances", at)]

    def collection(self, name: str, at: datetime) -> Sequence[Item]:
        """Return a collection at that instant, shared between callers: not to be changed."""
        minute = lived_minute(at)  # everything happens on whole minutes
        with self._lock:
            if minute not in self._lists:
                self._lists[minute] = self._read(minute)
                while len(self._lists) > REMEMBERED:
                    self._lists.popitem(last=False)
            self._lists.move_to_end(minute)
            return self._lists[minute][name]

    def _read(self, minute: int) -> dict[str, Sequence[Item]]:
        public = [
            self._show_release(one)
            for one in releases(self.seed, TYPES[self.generation], minute)
            if one.id <= self._last_id
        ]
        taken = [one for one in snapshots(self.seed, minute) if one.id <= self._last_id]
        # All of them, also of a small account: what its snapshots were taken from is gone only when it is deleted.
        running = [self._show_instance(one, minute) for one in instances(self.seed, minute, minute)]
        return self._collect(public, taken) | {"instances": sorted(running, key=_age, reverse=True)}

    def _collect(self, public: Sequence[Item], taken: Sequence[Snapshot]) -> dict[str, Sequence[Item]]:
        images = [*public, *self._archive["images"]]
        if self.generation != "newest":
            images += [self._show_image(one) for one in taken]
        return {
            "images": sorted(images, key=_age, reverse=True),
            "snapshots": sorted(
                [*map(self._show_snapshot, taken), *self._archive["snapshots"]], key=_age, reverse=True
            ),
        }

    def _shelve(self, number: int) -> dict[str, Sequence[Item]]:
        return self._collect([], [_archived(self.seed, place) for place in range(number)])

    def _show_release(self, release: Release) -> Item:
        item: Item = {
            "id": release.id,
            "name": release.name,
            "type": release.line.type,
            "regions": release.regions,
            "created_at": release.created_at,
        }
        if self.generation != "seed":
            item |= {"family": release.line.family, "slug": release.line.slug, "versions": release.versions}
            item |= {"os_type": "linux", "updated_at": release.updated_at}
        return item

    def _show_image(self, snapshot: Snapshot) -> Item:
        item: Item = {
            "id": snapshot.id,
            "name": snapshot.name,
            "type": "snapshot",
            "regions": [snapshot.region],
            "created_at": snapshot.created_at,
        }
        if self.generation != "seed":
            item |= {"family": None, "slug": None, "versions": [], "os_type": "linux"}
            item |= {"updated_at": snapshot.updated_at}
        return item

    def _show_snapshot(self, snapshot: Snapshot) -> Item:
        item: Item = {
            "id": snapshot.id,
            "name": snapshot.name,
            "region": snapshot.region,
            "size": str(snapshot.size_gib << 30) if self.generation == "seed" else snapshot.size_gib,
            "status": snapshot.status,
        }
        if self.generation == "newest":
            item |= {"source_instance_id": snapshot.instance_id, "source_snapshot_id": snapshot.source_id}
        else:
            item |= {"resource_id": snapshot.instance_id}
        item |= {"created_at": snapshot.created_at}
        if self.generation != "seed":
            item |= {"updated_at": snapshot.updated_at, "os_type": "linux"}
        return item

    def _show_instance(self, instance: Instance, minute: int) -> Item:
        luck = draw(instance.id)
        image = _image_of(self.seed, self.generation, instance.born, luck)
        return {
            "id": instance.id,
            "name": instance.name,
            "hostname": instance.name,
            "type": instance.type,
            "region": instance.region,
            "os_type": "linux",
            "status": status_of(instance, minute),
            "image": dict(image),
            "volumes": [{"id": draw_id(instance.id, "volume"), "name": f"{instance.name}-data"}],
            "ssh_keys": [{"id": draw_id(self.seed, "key", luck % 3), "name": f"key-{luck % 3}"}],
            "security_groups": [{"id": draw_id(self.seed, "group"), "name": "standard"}],
            "disk_size": instance.size_gib,
            "floating_ip": None,
            "private_ip": f"10.0.{luck % 256}.{2 + luck // 256 % 250}",
            "public_ip": f"192.0.2.{2 + luck // 7 % 250}",  # of a network that is for documentation alone
            "reservation_id": None,
            "created_at": stamp(instance.born, luck),
            "updated_at": stamp(updated_at(instance, minute), luck),
        }


def lived_minute(at: datetime) -> int:
    """Return the whole minute of `at`; refuse what lies off every calendar of use."""
    if not 1990 <= at.year < 2200:
        raise ValueError(f"the simulated account lives from 1990 to 2199, not at {at.isoformat()}")
    return minute_of(at)


@lru_cache(maxsize=4096)  # an instance keeps it for ever, and to find it takes as long as to list all images
def _image_of(seed: int, generation: str, born: int, luck: int) -> tuple[tuple[str, str], ...]:
    """Return id and name of the image that an instance was created from, one of those listed then."""
    listed = releases(seed, TYPES[generation], born)
    image = listed[luck % len(listed)]
    return ("id", image.id), ("name", image.name)


def _age(item: Item) -> tuple[str, str]:
    return item["created_at"], item["id"]


def _archived(seed: int, place: int) -> Snapshot:
    luck = draw(seed, "archive", place)
    created_at = stamp(ARCHIVED_AT + luck % (700 * DAY), luck)
    return Snapshot(
        id=draw_id(seed, "archive", place),
        name=f"archive-{place:06}",
        region=PERMANENT[luck % len(PERMANENT)],
        size_gib=20 + luck % 200,
        status="created",
        instance_id=draw_id(seed, "archived instance", place // 12),
        source_id=None,
        created_at=created_at,
        updated_at=created_at,
    )
