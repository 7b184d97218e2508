"""Two collections side by side, and what is read of them; Python's kinds are held against what a column needs."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from genesis_etl.errors import BadPage
from genesis_etl.rows.schema import INSTANT
from genesis_etl.text import seen, shown
from genesis_etl.times import parse_time

Item = Mapping[str, Any]
Items = Mapping[str, Item]

GIB: Final = 2**30
_MOST_EXACT: Final = 2**53  # above it a double skips integers
_GIVES_WAY = re.compile(r"(?:images\.)*snapshots")
_DIGITS = re.compile(r"[0-9]{1,16}")
_TYPES: Final = frozenset(("base-os", "preconfigured", "cloud-image", "snapshot"))
_STATUSES: Final = frozenset(("creating", "created", "pending_delete", "deleting", "active", "error"))
_USUAL_LENGTHS: Final = {len("2020-03-16T16:01:12Z"), len("2020-03-16T16:01:12.954Z")}
_TEXTS: Final = frozenset((str,))
NOTHING: Final[Item] = {}


class Noted:
    """What was noteworthy in all batches of an account's images, and which collections have items at all."""

    def __init__(self, *, are_images: bool, are_snapshots: bool) -> None:
        self.is_empty = {"images": not are_images, "snapshots": not are_snapshots}
        self.nulls = self.repeats = 0
        self.fields: dict[str, set[str]] = {"images": set(), "snapshots": set()}
        self.values: dict[str, set[str]] = {"type": set(), "status": set()}

    def texts(self) -> list[str]:
        """Say it in sentences."""
        said = []
        if self.nulls:
            said.append(f"{self.nulls} images have null for regions; kept with region null")
        if self.repeats:
            said.append(f"{self.repeats} images list a region twice; kept once")
        for side, fields in self.fields.items():
            if fields:
                said.append(f"/{side} has fields not known yet, kept in extra: {_list(fields)}")
        for field, values in self.values.items():
            if values:
                said.append(f"{field} not known yet, kept as it is: {_list(values)}")
        return said


class Merge:
    """A batch of images on both sides: `/images` wins where both have a field, its nulls are filled."""

    def __init__(self, both: Sequence[tuple[str, Item, Item]], noted: Noted) -> None:
        self.ids = [id for id, _, _ in both]
        self._images = [image for _, image, _ in both]
        self._snapshots = [snapshot for _, _, snapshot in both]
        self._sides = {"images": self._images, "snapshots": self._snapshots}
        self._noted = noted
        self._known = {"images": {"id"}, "snapshots": {"id"}}  # fields read so far; the rest is extra

    def text(self, field: str, *, is_required: bool = False, only: str | None = None) -> list[Any]:
        return self._merged(field, (str,), is_required=is_required, only=only)

    def types(self) -> list[str]:
        types = self._merged("type", (str,), is_required=True, only="images")
        types = ["snapshot" if item is NOTHING else type for item, type in zip(self._images, types, strict=True)]
        return self._noting("type", types, _TYPES)

    def statuses(self) -> list[Any]:
        return self._noting("status", self.text("status", only="snapshots"), _STATUSES)

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
        for id, item, many, one in zip(self.ids, self._images, listed, single, strict=True):
            if many is None:
                self._noted.nulls += item is not NOTHING
                many = []
            if one == "" or "" in many or not _TEXTS.issuperset(map(type, many)):
                raise BadPage(f"the image {shown(id)}: its regions hold something other than region ids")
            combination = tuple(many)
            if combination not in usual:
                usual[combination] = sorted(set(many))
            unique = usual[combination]
            self._noted.repeats += len(unique) != len(many)
            merged.append(unique or [one])
        return merged

    def versions(self) -> list[Any]:
        versions = self._merged("versions", (list,), only="images")
        for id, value in zip(self.ids, versions, strict=True):
            if value and not _TEXTS.issuperset(map(type, value)):
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
            self._noted.fields[side] |= fields
        if not any(unknown.values()):
            return [None] * len(self.ids)
        return [
            _extra(id, image, snapshot, unknown["images"], unknown["snapshots"])
            for id, image, snapshot in zip(self.ids, self._images, self._snapshots, strict=True)
        ]

    def _noting(self, field: str, values: list[Any], known: frozenset[str]) -> list[Any]:
        self._noted.values[field] |= set(values) - known - {None}
        return values

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
        if self._noted.is_empty[side]:
            return [None] * len(self.ids)
        items = self._sides[side]
        values = [item.get(field) for item in items]
        found = set(map(type, values))
        if found <= set(kinds) and not (is_required and type(None) in found):
            return values
        for id, item, value in zip(self.ids, items, values, strict=True):
            if item is not NOTHING and (type(value) not in kinds or (is_required and field not in item)):
                what = seen(value) if field in item else "missing"
                raise BadPage(f"/{side}: the item {shown(id)} has an unusable {field}: {what}")
        return values


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
