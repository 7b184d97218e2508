"""Images as rows of image × region: literal dicts in, whole rows out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from genesis_etl.errors import BadPage
from genesis_etl.lake.schema import CAPTURES, IMAGES
from genesis_etl.rows import ROW, to_frame, to_rows

Item = dict[str, Any]
BORN = "2020-03-16T16:01:12.954Z"
BORN_AT = datetime(2020, 3, 16, 16, 1, 12, 954000, tzinfo=UTC)
EMPTY = dict.fromkeys(ROW.names)


def image(id: str = "a", **fields: Any) -> Item:
    """Return an image of the oldest generation."""
    return {"id": id, "name": "n", "type": "base-os", "regions": ["R1"], "created_at": BORN, **fields}


def snapshot(id: str = "a", **fields: Any) -> Item:
    """Return a snapshot with what all generations tell."""
    return {"id": id, "name": "n", "region": "R1", "created_at": BORN, **fields}


def rows(images: list[Item] = (), snapshots: list[Item] | None = None) -> list[Item]:  # type: ignore[assignment]
    """Return the rows of these items as dicts."""
    listed = {item["id"]: item for item in images}
    detailed = None if snapshots is None else {item["id"]: item for item in snapshots}
    table = to_rows(listed, detailed).table
    assert table.schema.equals(ROW, check_metadata=True)
    table.validate(full=True)
    result: list[Item] = table.to_pylist()
    return result


def notes(images: list[Item] = (), snapshots: list[Item] = ()) -> list[str]:  # type: ignore[assignment]
    """Return what was noteworthy about these items."""
    return to_rows({item["id"]: item for item in images}, {item["id"]: item for item in snapshots}).notes


def row(**fields: Any) -> Item:
    """Return a row of the oldest generation's fields."""
    base = {"image_id": "a", "name": "n", "type": "base-os", "region": "R1", "created_at": BORN_AT}
    return {**EMPTY, **base, **fields}


def test_an_image_has_a_row_for_each_region() -> None:
    """One row per image × region, sorted by both."""
    assert rows([image("b", regions=["R2", "R1"]), image("a")]) == [
        row(image_id="a"),
        row(image_id="b", region="R1"),
        row(image_id="b", region="R2"),
    ]


@pytest.mark.parametrize(("regions", "note"), [([], []), (None, ["1 images have null for regions"])])
def test_an_image_without_a_region_keeps_its_row(regions: Any, note: list[str]) -> None:
    """An image that lists no region has one row with region null; null in place of a list is told."""
    assert rows([image(regions=regions)]) == [row(region=None)]
    assert [told[: len(start)] for told, start in zip(notes([image(regions=regions)]), note, strict=True)] == note


def test_a_region_listed_twice_is_one_row() -> None:
    """A repeated region is one row, and told."""
    assert rows([image(regions=["R2", "R1", "R2"])]) == [row(region="R1"), row(region="R2")]
    assert notes([image(regions=["R1", "R1"])]) == ["1 images list a region twice; kept once"]


SEED = (
    image(type="snapshot"),
    snapshot(size="85899345920", status="active", resource_id="i-1"),
    row(type="snapshot", size_gib=80.0, status="active", source_instance_id="i-1"),
)
MIDDLE = (
    image(type="snapshot", family=None, slug=None, versions=[], os_type="linux", updated_at="2024-05-06T07:08:09Z"),
    snapshot(size=80, status="created", resource_id="i-1", os_type="linux", updated_at="2024-05-06T07:08:09Z"),
    row(
        type="snapshot",
        versions=[],
        os_type="linux",
        updated_at=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        size_gib=80.0,
        status="created",
        source_instance_id="i-1",
    ),
)
NEWEST = (
    None,
    snapshot(size=80, status="created", source_instance_id="i-1", source_snapshot_id="s-1", os_type="linux"),
    row(
        type="snapshot",
        os_type="linux",
        size_gib=80.0,
        status="created",
        source_instance_id="i-1",
        source_snapshot_id="s-1",
    ),
)


@pytest.mark.parametrize(("listed", "detailed", "expected"), [SEED, MIDDLE, NEWEST], ids=["seed", "middle", "newest"])
def test_the_three_generations(listed: Item | None, detailed: Item, expected: Item) -> None:
    """A snapshot of each generation of the API makes the same kind of row."""
    assert rows([listed] if listed else [], [detailed]) == [expected]
    assert notes([listed] if listed else [], [detailed]) == []


def test_a_cloud_image() -> None:
    """A public image of the newer generations keeps family, slug and versions."""
    item = image(type="cloud-image", family="ubuntu", slug="ubuntu-22.04", versions=["2024-01", "2024-02"])
    assert rows([item], []) == [
        row(type="cloud-image", family="ubuntu", slug="ubuntu-22.04", versions=["2024-01", "2024-02"])
    ]


@pytest.mark.parametrize(
    ("listed", "detailed", "expected"),
    [
        ({"name": "image"}, {"name": "snapshot"}, {"name": "image"}),
        ({"os_type": "linux"}, {"os_type": "other"}, {"os_type": "linux"}),
        ({"os_type": None}, {"os_type": "linux"}, {"os_type": "linux"}),
        ({}, {"os_type": "linux"}, {"os_type": "linux"}),
        ({"updated_at": None}, {"updated_at": BORN}, {"updated_at": BORN_AT}),
        ({"created_at": BORN}, {"created_at": "2021-01-01T00:00:00Z"}, {"created_at": BORN_AT}),
        ({"regions": ["R2"]}, {"region": "R1"}, {"region": "R2"}),
        ({"regions": []}, {"region": "R1"}, {"region": "R1"}),
        ({"regions": None}, {"region": "R1"}, {"region": "R1"}),
        ({"regions": []}, {"region": None}, {"region": None}),
        ({"type": "base-os"}, {}, {"type": "base-os"}),
        ({}, {"source_instance_id": None, "resource_id": "old"}, {"source_instance_id": "old"}),
        ({}, {"source_instance_id": "new", "resource_id": "old"}, {"source_instance_id": "new"}),
    ],
)
def test_how_the_two_collections_merge(listed: Item, detailed: Item, expected: Item) -> None:
    """/images wins where both tell, /snapshots fills what it leaves open."""
    assert rows([image(**listed)], [snapshot(**detailed)]) == [row(**expected)]


def test_images_of_both_collections() -> None:
    """An image only in /snapshots is a snapshot; one only in /images needs none."""
    merged = rows([image("a"), image("b")], [snapshot("b", size=1), snapshot("c", size=2)])
    assert [(item["image_id"], item["type"], item["size_gib"]) for item in merged] == [
        ("a", "base-os", None),
        ("b", "base-os", 1.0),
        ("c", "snapshot", 2.0),
    ]


@pytest.mark.parametrize(
    ("size", "gib"),
    [
        (80, 80.0),
        (0, 0.0),
        (80.5, 80.5),
        ("85899345920", 80.0),
        ("0", 0.0),
        ("1", 2**-30),
        ("85899345921", 80 + 2**-30),
        ("9007199254740991", (2**53 - 1) / 2**30),
        (None, None),
    ],
)
def test_sizes(size: Any, gib: float | None) -> None:
    """A text is bytes, a number is GiB, both exact."""
    assert rows([], [snapshot(size=size)])[0]["size_gib"] == gib


@pytest.mark.parametrize(
    "size", ["", "-1", "1.5", " 80", "８０", "1" * 17, -1, -0.5, 2**54, 1e300, True, [], {}, "80G"]
)
def test_sizes_that_cannot_be_read(size: Any) -> None:
    """Any other size is refused, with the snapshot and the size."""
    with pytest.raises(BadPage, match="the item a has an unusable size"):
        rows([], [snapshot(size=size)])


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2020-03-16T16:01:12Z", 0),
        ("2020-03-16T16:01:12.9Z", 900_000),
        ("2020-03-16T16:01:12.954Z", 954_000),
        ("2020-03-16T16:01:12.954321Z", 954_321),
        ("2020-03-16T16:01:12.954321987Z", 954_321),
        ("2020-03-16T16:01:12", 0),
        ("2020-03-16 16:01:12+00:00", 0),
        ("2020-03-16T18:01:12.5+02:00", 500_000),
        ("2020-03-16t16:01:12z", 0),
    ],
)
def test_instants(text: str, microseconds: int) -> None:
    """Instants with and without fraction or zone are the same instants in UTC."""
    assert rows([image(created_at=text)])[0]["created_at"] == BORN_AT.replace(microsecond=microseconds)


TEXTS = ("name", "type", "created_at", "updated_at", "os_type", "family", "slug")
DETAILS = ("name", "created_at", "updated_at", "status", "source_instance_id", "resource_id", "source_snapshot_id")


@pytest.mark.parametrize("value", [None, ...], ids=["null", "missing"])
@pytest.mark.parametrize(
    ("side", "field"),
    [
        *(("images", field) for field in ("name", "type", "created_at")),
        ("snapshots", "name"),
        ("snapshots", "created_at"),
    ],
)
def test_a_field_that_every_item_has_is_required(side: str, field: str, value: Any) -> None:
    """A name, type or creation that is null or missing is refused, though the other items and collection have it."""
    item = {**(image("b") if side == "images" else snapshot("b")), field: value}
    if value is ...:
        del item[field]
    listed, detailed = ([image(), item], [snapshot("b")]) if side == "images" else ([image("b")], [snapshot(), item])
    what = "None" if value is None else "missing"
    with pytest.raises(BadPage, match=f"^/{side}: the item b has an unusable {field}: {what}"):
        rows(listed, detailed)


def test_regions_must_be_listed() -> None:
    """An image without the field `regions` is refused; a snapshot without a region has a row with region null."""
    item = image("b")
    del item["regions"]
    with pytest.raises(BadPage, match=r"^/images: the item b has an unusable regions: missing"):
        rows([image(), item])
    detail = snapshot()
    del detail["region"]
    assert rows([], [detail]) == [row(type="snapshot", region=None)]


@pytest.mark.parametrize("others", [[], ["a", "c"]], ids=["alone", "among others"])
@pytest.mark.parametrize("wrong", [5, True, ["x"], {"x": 1}], ids=repr)
@pytest.mark.parametrize(
    ("side", "field"), [*(("images", field) for field in TEXTS), *(("snapshots", field) for field in DETAILS)]
)
def test_a_field_of_a_wrong_kind_is_refused(side: str, field: str, wrong: Any, others: list[str]) -> None:
    """Whatever is no text where a text is wanted is refused by item and field, alone and among items that are right."""
    make = image if side == "images" else snapshot
    items = [make("b", **{field: wrong}), *(make(id, **{field: make().get(field, BORN)}) for id in others)]
    with pytest.raises(BadPage, match=f"^/{side}: the item b has an unusable {field}"):
        rows(*([items] if side == "images" else [[], items]))


@pytest.mark.parametrize(
    ("side", "field", "wrong"),
    [
        ("images", "regions", "R1"),
        ("images", "regions", [""]),
        ("images", "regions", ["R1", None]),
        ("images", "versions", "2024-01"),
        ("images", "versions", ["2024-01", 5]),
        ("snapshots", "region", ["R1"]),
        ("snapshots", "region", ""),
    ],
)
def test_lists_and_regions_of_a_wrong_kind_are_refused(side: str, field: str, wrong: Any) -> None:
    """Regions and versions are lists of texts, a snapshot's region is a text, and none is empty."""
    item = (image if side == "images" else snapshot)("b", **{field: wrong})
    with pytest.raises(BadPage, match=f"the (item|image) b.* {field.rstrip('s')}"):
        rows(*([[item, image()]] if side == "images" else [[image("b")], [item, snapshot()]]))


def test_fields_nested_too_deep_are_refused() -> None:
    """What cannot be written as JSON is refused with its item."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadPage, match="the image a has unknown fields nested too deep to be kept"):
        rows([image(odd=deep)])


def test_what_is_unknown_is_kept() -> None:
    """Unknown fields go to `extra`, keys sorted, those of /snapshots under a key of their own; each told once."""
    listed = image(zone="z", price=1.5, big=2**70, status="odd")
    detailed = snapshot(size=1, tags={"b": [1], "a": None})
    (merged,) = rows([listed], [detailed])
    assert merged["extra"] == (
        '{"big":1180591620717411303424,"price":1.5,"snapshots":{"tags":{"a":null,"b":[1]}},"status":"odd","zone":"z"}'
    )
    assert notes([listed, image("b", zone=None)], [detailed]) == [
        "/images has fields not known yet, kept in extra: big, price, status, zone",
        "/snapshots has fields not known yet, kept in extra: tags",
    ]
    assert rows([listed, image("b", zone=None), image("c")])[1]["extra"] == '{"zone":null}'
    assert rows([listed, image("c")])[1]["extra"] is None
    assert rows([image("d", zone="münchen-北")])[0]["extra"] == '{"zone":"münchen-北"}'


def test_no_two_unknown_fields_share_a_key() -> None:
    """A field of /images that is called `snapshots` gives way, so that nothing is dropped."""
    listed = image(**{"snapshots": 1, "images.snapshots": 2})
    (merged,) = rows([listed], [snapshot(tags=3)])
    extra = json.loads(merged["extra"])
    assert extra == {"images.snapshots": 1, "images.images.snapshots": 2, "snapshots": {"tags": 3}}


def test_unknown_values_are_kept_and_told() -> None:
    """A type or status never seen before is its value, and told once."""
    items = [image(id, type="gpu-image\x1b[31m") for id in "ab"]
    assert {item["type"] for item in rows(items)} == {"gpu-image\x1b[31m"}
    assert notes(items, [snapshot("c", status="frozen")]) == [
        "type not known yet, kept as it is: gpu-image\\x1b[31m",
        "status not known yet, kept as it is: frozen",
    ]


def test_many_unknown_fields_are_told_shortly() -> None:
    """A thousand unknown fields, or one with a name of a megabyte, are told in one short line."""
    (told,) = notes([image(**{f"field-{number:04}": 1 for number in range(1000)})])
    assert told.endswith("field-0000, field-0001, field-0002, field-0003, field-0004 and 995 more")
    (told,) = notes([image(**{"x" * 2**20: 1})])
    assert len(told) < 200


def test_five_unknown_fields_are_all_told() -> None:
    """Up to five unknown fields are told by name, each to 40 characters; none is said to be left out."""
    (told,) = notes([image(**{f"{letter}" * 40: 1 for letter in "vwxyz"})])
    assert told == "/images has fields not known yet, kept in extra: " + ", ".join(letter * 40 for letter in "vwxyz")


@pytest.mark.parametrize("name", ["a\x00b", "😀", "‮", "\x1b[2J", "a\nb\r", "x" * 2**20, "", "\ufeff", "=1+1"])
def test_names_are_exact(name: str) -> None:
    """Whatever the name, it is in its row to the letter."""
    assert rows([image(name=name)])[0]["name"] == name


def test_the_schema_does_not_depend_on_the_data() -> None:
    """No image, or columns that are null throughout, have the columns and types of any other capture."""
    assert rows() == []
    assert to_rows({}, None).table.schema.equals(ROW)
    assert all(field.metadata[b"description"] for schema in (ROW, IMAGES, CAPTURES) for field in schema)
    assert all(not pa.types.is_null(field.type) for field in (*IMAGES, *CAPTURES))


def test_a_frame() -> None:
    """`to_frame` is the same as a DataFrame, instants in UTC, and the way back loses nothing."""
    table = to_rows({"a": image(regions=["R1", "R2"])}, {"a": snapshot(size="1073741824")}).table
    frame = to_frame(table)
    assert list(frame.region) == ["R1", "R2"]
    assert list(frame.size_gib) == [1.0, 1.0]
    assert str(frame.created_at.dt.tz) == "UTC"
    assert list(frame.columns) == ROW.names
    assert pa.Table.from_pandas(frame, schema=ROW, preserve_index=False).equals(table)


def test_the_items_are_left_as_they_are() -> None:
    """Making rows changes none of the items."""
    listed, detailed = {"a": image(regions=["R2", "R1"], extra=[1])}, {"a": snapshot(size=1)}
    before = json.dumps([listed, detailed])
    to_rows(listed, detailed)
    assert json.dumps([listed, detailed]) == before


@pytest.mark.parametrize(
    "stamp",
    ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+0100", "9999-12-31T23:59:59-0100", "2026-01-01T00:00:00+0160"],
)
def test_instants_beyond_the_calendar_are_refused(stamp: str) -> None:
    """A time that no reader of the lake could write again never lands, whatever the other stamps look like."""
    item = {"id": "a", "name": "a", "type": "base-os", "regions": ["R1"], "created_at": stamp}
    with pytest.raises(BadPage, match="unusable created_at"):
        to_rows({"a": item}, {})
