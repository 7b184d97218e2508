"""The table of an account's images, made a batch of them at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from genesis_etl.errors import BadPage
from genesis_etl.rows.merge import NOTHING, Item, Items, Merge, Noted
from genesis_etl.rows.schema import ROW
from genesis_etl.text import seen, shown

if TYPE_CHECKING:
    import pandas as pd

_BATCH: Final = 4096  # images that are Python objects at once

Names = dict[str | None, Any]


class Rows:
    """An account's images as a table with the columns of `ROW`, and what was noteworthy while making it."""

    def __init__(self, table: pa.Table, notes: list[str]) -> None:
        self.table = table
        self.notes = notes


def to_rows(images: Items, snapshots: Items | None = None, instances: Items | None = None) -> Rows:
    """Merge the collections and return one row per image × region, sorted by image and region.

    An image without a region keeps one row, its region null. BadPage names the item and field of a wrong kind.
    """
    noted = Noted(are_images=bool(images), are_snapshots=bool(snapshots))
    names = None if instances is None else _names(instances)
    ids: list[str] = []
    regions: list[list[str | None]] = []
    parts: dict[str, list[pa.Array]] = {name: [] for name in ROW.names if name != "region"}
    for both in _batches(images, snapshots or {}, noted):
        ids += both.ids
        regions += both.regions()
        for name, values in _columns(both, names).items():
            is_made = isinstance(values, pa.Array)
            parts[name].append(values if is_made else pa.array(values, ROW.field(name).type))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    parents = pa.array([index for index in order for _ in regions[index]], pa.int64())
    arrays = {}
    while parts:
        name, arrays_of = parts.popitem()
        arrays[name] = pa.concat_arrays(arrays_of).take(parents)
    arrays["region"] = pa.array(list(chain.from_iterable(regions[index] for index in order)), pa.string())
    return Rows(pa.table([arrays[name] for name in ROW.names], schema=ROW), noted.texts())


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame in Arrow's types, from which the same table can be made again.

    With pandas' own types null integers would become floats, and the way back would guess.
    """
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _batches(images: Items, snapshots: Items, noted: Noted) -> Iterator[Merge]:
    """Yield all images, those of one collection after those of the other, in batches; at least one, maybe empty."""
    details = {id: item for id, item in snapshots.items() if id in images}
    listed = ((id, item, details.get(id, NOTHING)) for id, item in images.items())
    alone = ((id, NOTHING, item) for id, item in snapshots.items() if id not in details)
    both: Iterable[tuple[str, Item, Item]] = chain(listed, alone)
    batch = [*islice(both, _BATCH)]
    while True:
        yield Merge(batch, noted)
        batch = [*islice(both, _BATCH)]
        if not batch:
            return


def _columns(both: Merge, names: Names | None) -> dict[str, Any]:
    """Return the columns of a batch, `region` apart, with a value per image."""
    sources = both.source_instances()
    return {
        "image_id": both.ids,
        "name": both.text("name", is_required=True),
        "type": both.types(),
        "created_at": both.instants("created_at", is_required=True),
        "updated_at": both.instants("updated_at"),
        "os_type": both.text("os_type"),
        "family": both.text("family", only="images"),
        "slug": both.text("slug", only="images"),
        "versions": both.versions(),
        "size_gib": both.sizes(),
        "status": both.statuses(),
        "source_instance_id": sources,
        "source_snapshot_id": both.text("source_snapshot_id", only="snapshots"),
        "source_instance_name": list(map((names or {}).get, sources)),
        "source_instance_exists": [None if source is None or names is None else source in names for source in sources],
        "extra": both.extra(),  # last: what nothing above has read
    }


def _names(instances: Items) -> Names:
    """Return the names of instances by id."""
    names: Names = {id: item.get("name") for id, item in instances.items()}
    for id, name in names.items():
        if type(name) is not str:
            raise BadPage(f"/instances: the item {shown(str(id))} has an unusable name: {seen(name)}")
    return names
