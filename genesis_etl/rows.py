"""An account's images as rows of image × region.

    {"id": "2c6d", "name": "Ubuntu 22.04", "type": "base-os", "created_at": "2020-03-06T14:07:18.311Z",
     "regions": ["ARC-IS-HAF-1", "NORD-NO-KRS-1"]}
    image_id  name          type     region         created_at                   …
    2c6d      Ubuntu 22.04  base-os  ARC-IS-HAF-1   2020-03-06 14:07:18.311 UTC
    2c6d      Ubuntu 22.04  base-os  NORD-NO-KRS-1  2020-03-06 14:07:18.311 UTC

Pure: no file, no network, no clock.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from genesis_etl.errors import BadPage
from genesis_etl.text import seen, shown
from genesis_etl.times import parse_time

if TYPE_CHECKING:
    import pandas as pd

Item = Mapping[str, Any]
Items = Mapping[str, Item]

GIB: Final = 2**30
_MOST_EXACT: Final = 2**53  # above it a double skips integers
_GIVES_WAY = re.compile(r"(?:images\.)*snapshots")
_DIGITS = re.compile(r"[0-9]{1,16}")
INSTANT: Final = pa.timestamp("us", tz="UTC")


def described(name: str, type: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """Return a field with its description, which lies in every file."""
    return pa.field(name, type, nullable=nullable, metadata={"description": description})


# What identifies a row; two rows are the same when all of these are, null being equal to null.
ROW: Final = pa.schema(
    [
        described("image_id", pa.string(), "id of the image, as the API gives it"),
        described("name", pa.string(), "display name; for a snapshot any text a person chose"),
        described("type", pa.string(), "base-os, preconfigured, cloud-image, snapshot, or a later one"),
        described("region", pa.string(), "region id; null for an image that lists none", nullable=True),
        described("created_at", INSTANT, "when the image was created"),
        described("updated_at", INSTANT, "when the API says it last changed", nullable=True),
        described("os_type", pa.string(), "operating system, such as linux", nullable=True),
        described("family", pa.string(), "family, such as ubuntu", nullable=True),
        described("slug", pa.string(), "short name, such as ubuntu-22.04", nullable=True),
        described("versions", pa.list_(pa.string()), "versions of a cloud image", nullable=True),
        described("size_gib", pa.float64(), "size in GiB (2^30 bytes), from /snapshots", nullable=True),
        described("status", pa.string(), "state of a snapshot, from /snapshots", nullable=True),
        described("source_instance_id", pa.string(), "instance the snapshot was taken from", nullable=True),
        described("source_snapshot_id", pa.string(), "snapshot that this one is a copy of", nullable=True),
        described("source_instance_name", pa.string(), "its name, from /instances; null if it is gone", nullable=True),
        described(
            "source_instance_exists", pa.bool_(), "whether it exists; null if that could not be read", nullable=True
        ),
        described("extra", pa.string(), "JSON object of every field not named here, keys sorted", nullable=True),
    ]
)

_TYPES: Final = frozenset(("base-os", "preconfigured", "cloud-image", "snapshot"))
_STATUSES: Final = frozenset(("creating", "created", "pending_delete", "deleting", "active", "error"))
_USUAL_LENGTHS: Final = {len("2020-03-16T16:01:12Z"), len("2020-03-16T16:01:12.954Z")}
_NOTHING: Final[Item] = {}


class Rows:
    """An account's images as a table with the columns of `ROW`, and what was noteworthy while making it."""

    def __init__(self, table: pa.Table, notes: list[str]) -> None:
        self.table = table
        self.notes = notes


def to_rows(images: Items, snapshots: Items | None = None, instances: Items | None = None) -> Rows:
    """Merge the collections and return one row per image × region, sorted by image and region.

    An image without a region keeps one row, its region null. BadPage names the item and field of a wrong kind.
    """
    both = _Merge(images, snapshots or {})
    names = both.text("name", is_required=True)
    types = both.types()
    created = both.instants("created_at", is_required=True)
    regions = both.regions()
    sources = both.source_instances()
    columns: dict[str, Any] = {
        "image_id": both.ids,
        "name": names,
        "type": types,
        "created_at": created,
        "updated_at": both.instants("updated_at"),
        "os_type": both.text("os_type"),
        "family": both.text("family", only="images"),
        "slug": both.text("slug", only="images"),
        "versions": both.versions(),
        "size_gib": both.sizes(),
        "status": both.text("status", only="snapshots"),
        "source_instance_id": sources,
        "source_snapshot_id": both.text("source_snapshot_id", only="snapshots"),
        **_told_of(sources, instances),
        "extra": both.extra(),  # last: what nothing above has read
    }
    both.note_unknown("type", types, _TYPES)
    both.note_unknown("status", columns["status"], _STATUSES)
    parents = pa.array([index for index, many in enumerate(regions) for _ in many], pa.int64())
    arrays = {
        name: (values if isinstance(values, pa.Array) else pa.array(values, ROW.field(name).type)).take(parents)
        for name, values in columns.items()
    }
    arrays["region"] = pa.array(list(chain.from_iterable(regions)), pa.string())
    return Rows(pa.table([arrays[name] for name in ROW.names], schema=ROW), both.notes)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame in Arrow's types, from which the same table can be made again.

    With pandas' own types null integers would become floats, and the way back would guess.
    """
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


class _Merge:
    """Two collections side by side: `/images` wins where both have a field, its nulls are filled."""

    def __init__(self, images: Items, snapshots: Items) -> None:
        self.ids = sorted(images.keys() | snapshots.keys())
        self.notes: list[str] = []
        self._images = [images.get(id, _NOTHING) for id in self.ids]
        self._snapshots = [snapshots.get(id, _NOTHING) for id in self.ids]
        self._sides = {"images": self._images, "snapshots": self._snapshots}
        self._is_empty = {"images": not images, "snapshots": not snapshots}
        self._known = {"images": {"id"}, "snapshots": {"id"}}  # fields read so far; the rest is extra

    def text(self, field: str, *, is_required: bool = False, only: str | None = None) -> list[Any]:
        return self._merged(field, (str,), is_required=is_required, only=only)

    def types(self) -> list[str]:
        types = self._merged("type", (str,), is_required=True, only="images")
        return ["snapshot" if item is _NOTHING else type for item, type in zip(self._images, types, strict=True)]

    def instants(self, field: str, *, is_required: bool = False) -> pa.Array:
        texts = self.text(field, is_required=is_required)
        if all(len(text) in _USUAL_LENGTHS and text[-1] == "Z" for text in texts if text is not None):
            # Arrow reads these forms many times faster, and refuses whatever else looks like them but the year 0.
            with contextlib.suppress(pa.ArrowInvalid):
                instants = pa.array(texts, pa.string()).cast(INSTANT)
                if not any(text.startswith("0000") for text in texts if text is not None):
                    return instants
        known: dict[str | None, datetime | None] = {None: None}
        for id, text in zip(self.ids, texts, strict=True):
            if text not in known:
                try:
                    known[text] = parse_time(text)
                except ValueError:
                    raise BadPage(f"the image {shown(id)} has an unusable {field}: {seen(text)}") from None
        return pa.array([known[text] for text in texts], INSTANT)

    def regions(self) -> list[list[str | None]]:
        listed = self._values("images", "regions", (list, type(None)), is_required=True)
        single = self._values("snapshots", "region", (str, type(None)))
        merged: list[list[str | None]] = []
        # Few combinations of regions stand in many images, so each is looked at once.
        usual: dict[tuple[str, ...], list[str | None]] = {}
        nulls = repeats = 0
        for id, item, many, one in zip(self.ids, self._images, listed, single, strict=True):
            if many is None:
                nulls += item is not _NOTHING
                many = []
            if one == "" or not all(map(_is_region, many)):
                raise BadPage(f"the image {shown(id)}: its regions hold something other than region ids")
            combination = tuple(many)
            if combination not in usual:
                usual[combination] = sorted(set(many))
            unique = usual[combination]
            repeats += len(unique) != len(many)
            merged.append(unique or [one])
        if nulls:
            self.notes.append(f"{nulls} images have null for regions; kept with region null")
        if repeats:
            self.notes.append(f"{repeats} images list a region twice; kept once")
        return merged

    def versions(self) -> list[Any]:
        versions = self._merged("versions", (list,), only="images")
        for id, value in zip(self.ids, versions, strict=True):
            if value and not all(type(version) is str for version in value):
                raise BadPage(f"the image {shown(id)}: its versions hold something other than texts")
        return versions

    def sizes(self) -> list[float | None]:
        sizes = self._merged("size", (str, int, float), only="snapshots")
        return [None if size is None else _gib(id, size) for id, size in zip(self.ids, sizes, strict=True)]

    def source_instances(self) -> list[Any]:
        newer = self.text("source_instance_id", only="snapshots")
        older = self.text("resource_id", only="snapshots")
        return [new if new is not None else old for new, old in zip(newer, older, strict=True)]

    def extra(self) -> list[str | None]:
        """Return every field that nothing has read before; those of /snapshots under `snapshots`."""
        unknown = {side: set(chain.from_iterable(items)) - self._known[side] for side, items in self._sides.items()}
        for side, fields in unknown.items():
            if fields:
                self.notes.append(f"/{side} has fields not known yet, kept in extra: {_list(fields)}")
        if not any(unknown.values()):
            return [None] * len(self.ids)
        return [
            _extra(id, image, snapshot, unknown["images"], unknown["snapshots"])
            for id, image, snapshot in zip(self.ids, self._images, self._snapshots, strict=True)
        ]

    def note_unknown(self, field: str, values: Iterable[str | None], known: frozenset[str]) -> None:
        new = {value for value in values if value is not None} - known
        if new:
            self.notes.append(f"{field} not known yet, kept as it is: {_list(new)}")

    def _merged(
        self, field: str, kinds: tuple[type, ...], *, is_required: bool = False, only: str | None = None
    ) -> list[Any]:
        allowed = kinds if is_required else (*kinds, type(None))
        sides = [only] if only else ["images", "snapshots"]
        first, *rest = [self._values(side, field, allowed, is_required=is_required) for side in sides]
        if not rest:
            return first
        return [a if a is not None else b for a, b in zip(first, rest[0], strict=True)]

    def _values(self, side: str, field: str, kinds: tuple[type, ...], *, is_required: bool = False) -> list[Any]:
        """Return a field of every image on one side, None where the image is not on it; BadPage for a wrong kind."""
        self._known[side].add(field)
        if self._is_empty[side]:
            return [None] * len(self.ids)
        items = self._sides[side]
        values = [item.get(field) for item in items]
        found = set(map(type, values))
        if found <= set(kinds) and not (is_required and type(None) in found):
            return values
        for id, item, value in zip(self.ids, items, values, strict=True):
            if item is not _NOTHING and (type(value) not in kinds or (is_required and field not in item)):
                what = seen(value) if field in item else "missing"
                raise BadPage(f"/{side}: the item {shown(id)} has an unusable {field}: {what}")
        return values


def _told_of(sources: list[str | None], instances: Items | None) -> dict[str, list[Any]]:
    """Return the names of instances, and whether they exist; null where nothing is known, or there is none."""
    names: dict[str | None, Any] = {id: item.get("name") for id, item in (instances or {}).items()}
    for id, name in names.items():
        if type(name) is not str:
            raise BadPage(f"/instances: the item {shown(str(id))} has an unusable name: {seen(name)}")
    exist = [None if source is None or instances is None else source in names for source in sources]
    return {"source_instance_name": list(map(names.get, sources)), "source_instance_exists": exist}


def _is_region(value: object) -> bool:
    return type(value) is str and value != ""


def _gib(id: str, size: str | float) -> float:
    """Read a size: a text is bytes (older generations of the API), a number is GiB."""
    if isinstance(size, str):
        number: float = int(size) if _DIGITS.fullmatch(size) else -1
        gib = number / GIB
    else:
        number = gib = size
    if not 0 <= number <= _MOST_EXACT:
        raise BadPage(f"/snapshots: the item {shown(id)} has an unusable size: {seen(size)}")
    return float(gib)


def _extra(id: str, image: Item, snapshot: Item, of_image: set[str], of_snapshot: set[str]) -> str | None:
    # A field of /images that is itself called `snapshots` gives way, so that no two things share a key.
    extra = {f"images.{key}" if _GIVES_WAY.fullmatch(key) else key: image[key] for key in of_image if key in image}
    more = {key: snapshot[key] for key in of_snapshot if key in snapshot}
    if more:
        extra["snapshots"] = more
    if not extra:
        return None
    try:
        return json.dumps(extra, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        raise BadPage(f"the image {shown(id)} has unknown fields nested too deep to be kept") from None


def _list(names: set[str]) -> str:
    few = sorted(names)[:5]
    return ", ".join(shown(name, 40) for name in few) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
