"""Items packed: what comes out is what went in, whatever JSON can say."""

from __future__ import annotations

from typing import Any

import pytest

from genesis_etl.api.page import Item
from genesis_etl.reading.packed import Items, Packed

ODD: list[Any] = [
    None,
    True,
    1,
    1.0,
    -0.0,
    5e-324,
    2**63,
    -(2**200),
    "",
    "\x00\u2028\U0001f600",
    [[], {}],
    {"b": 1, "a": {"id": 2}},
]


def items_of(*pages: Packed) -> Items:
    """Return the items of some pages."""
    items = Items()
    for page in pages:
        assert items.add(page)
    return items


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_an_item_is_unpacked_as_it_was(value: Any) -> None:
    """Numbers keep their kind and every digit, texts every character, objects the order of their keys."""
    given = [{"id": "a", "value": value}, {"id": "b"}]
    packed = Packed(given)
    assert (repr([*packed]), len(packed), packed.ids) == (repr(given), 2, ("a", "b"))
    assert repr(dict(items_of(packed))) == repr({item["id"]: item for item in given})


def test_an_item_nested_too_deep_to_be_packed_is_kept() -> None:
    """Two thousand brackets are more than can be packed; the page is kept as it came."""
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    (item,) = Packed([{"id": "a", "deep": deep}])
    assert item["deep"] is deep


def test_an_id_on_two_pages_is_told() -> None:
    """`add` tells whether all ids of a page are new."""
    items = items_of(Packed([{"id": "a"}, {"id": "b"}]))
    assert not items.add(Packed([{"id": "c"}, {"id": "a"}]))


def test_only_what_lies_on_pages_that_differ_is_compared() -> None:
    """Of a page that came again to the byte no item is looked at; of others all that are in both are."""
    same = Packed([{"id": "a"}])
    before: list[Item] = [{"id": "b", "n": 1}, {"id": "c"}]
    after: list[Item] = [{"id": "d"}, {"id": "b", "n": 2}]
    pairs = items_of(same, Packed(after)).pairs(items_of(same, Packed(before)))
    assert [*pairs] == [({"id": "b", "n": 2}, {"id": "b", "n": 1})]


def test_items_know_their_snapshots() -> None:
    """The ids of the items whose type is `snapshot`, of all pages."""
    pages = [Packed([{"id": "a", "type": "snapshot"}, {"id": "b", "type": "base-os"}]), Packed([{"id": "c"}])]
    assert items_of(*pages).snapshots == {"a"}
