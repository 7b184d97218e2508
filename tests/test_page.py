"""What an answer may say: each unusable payload is refused over a real socket, and nothing is captured of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import genesis_etl
from genesis_etl.api.page import read_page
from genesis_etl.errors import BadPage
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Settings
from tests.conftest import fewer, files_of, listing, refused, settings_for, some_images

NESTED = "[" * 900 + "]" * 900


@pytest.fixture
def sandbox(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox of 250 images and 120 snapshots, with a capture already in the lake."""
    sandbox = serve(collections=listing())
    export(settings_for(sandbox))
    sandbox.requests.clear()
    return sandbox


def body(items: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a first page that holds these images."""
    items = some_images(3) if items is None else items
    return {"images": items, "total_count": len(items), "page": 1, "per_page": 100, **fields}


def with_text(field: str, literal: str) -> bytes:
    """Return a page whose second image has a field of this JSON text, which need not be one that Python writes."""
    image = json.dumps(some_images(2)[1])[:-1] + f', "{field}": {literal}}}'
    text = json.dumps(body(some_images(1), total_count=2))
    return text.replace("}]", "}, " + image + "]", 1).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("sent", "words"),
    fewer(
        [
            ("<!doctype html>\n<html>" + "x" * 500, ("expected JSON", "<!doctype html>\\n<html>xxx")),
            ("", ("expected JSON, got an empty body",)),
            ("   \n", ("an empty body",)),
            ("null", ("expected a JSON object, got null",)),
            ("[]", ("expected a JSON object",)),
            ('"images"', ("expected a JSON object",)),
            ("17", ("expected a JSON object",)),
            ('{"error": "no\x1b[31m"}', ("expected JSON",)),
            ('{"error": "down"}', ("expected a list under 'images'", '{"error": "down"}')),
            (body(images=None), ("expected a list under 'images'",)),
            (body(images={}), ("expected a list under 'images'",)),
            ({"snapshots": [], "total_count": 0, "page": 1, "per_page": 100}, ("expected a list under 'images'",)),
            (body([], total_count=3), ("first page is empty though total_count is 3",)),
            *(
                (body(total_count=wrong), ("total_count", shown))
                for wrong, shown in (("3", "'3'"), (-1, "-1"), (True, "True"), (None, "None"), (3.0, "3.0"), ([], "[]"))
            ),
            ({"images": [], "page": 1, "per_page": 100}, ("total_count", "None")),
            *(
                (body(page=wrong), ("asked for page 1", shown))
                for wrong, shown in ((2, "2"), (0, "0"), ("1", "'1'"), (1.0, "1.0"), (True, "True"), (None, "None"))
            ),
            ({"images": [], "total_count": 0, "per_page": 100}, ("asked for page 1, the answer says page None",)),
            *((body(per_page=wrong), ("asked for per_page 100",)) for wrong in (0, -1, 101, "100", None, True, 50.0)),
            ({"images": [], "total_count": 0, "page": 1}, ("asked for per_page 100, the answer says None",)),
            (body(some_images(1) * 2), ("item 1 has the id", "of an earlier one")),
            *((body([*some_images(1), wrong]), ("item 1 is no object",)) for wrong in (None, "x", 1, [])),
            *(
                (body([some_images(1)[0], {**some_images(2)[1], "id": wrong}]), ("item 1 has the id", shown))
                for wrong, shown in ((None, "None"), (17, "17"), ("", "''"), (["a"], "['a']"), (True, "True"))
            ),
            (body([{"name": "x"}]), ("item 0 has the id None",)),
            *((with_text("size", number), (number,)) for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e400")),
            (with_text("size", "0.1000000000000000055511151231257827021181583404541015626"), ("more digits",)),
            (with_text("size", "9007199254740993.0"), ("more digits",)),
            (with_text("size", "1" + "0" * 5000), ("cannot be kept exactly",)),
            (with_text("size", "01"), ("expected JSON",)),
            (with_text("name", '"twice"'), ("the same key twice",)),
            (b'{"total_count": 0, ' + json.dumps(body()).encode()[1:], ("the same key twice",)),
            (with_text("note", '"\\ud83d"'), ("half a surrogate pair",)),
            (with_text("note", '"\\ude00\\ud83d"'), ("half a surrogate pair",)),
            (with_text("no\\udcffte", "1"), ("half a surrogate pair",)),
            (with_text("note", '"\ud83d"'), ("not UTF-8",)),
            (with_text("note", "[" * 100_000 + "]" * 100_000), ("cannot be kept exactly",)),
            (json.dumps(body(some_images(1, name="Größe")), ensure_ascii=False).encode("latin-1"), ("not UTF-8",)),
            (json.dumps(body()).encode("utf-16"), ("not UTF-8",)),
            (json.dumps(body()).encode("utf-16-le"), ("expected JSON",)),
            (json.dumps(body()).encode("utf-8-sig"), ("expected JSON",)),
            (json.dumps(body()) + "]", ("expected JSON",)),
            (json.dumps(body()) * 2, ("expected JSON",)),
            (with_text("note", '"a\nb"'), ("expected JSON",)),
        ],
        24,
    ),
    ids=lambda value: value[0][:30] if isinstance(value, tuple) else "",
)
def test_an_unusable_page_is_refused(sandbox: Sandbox, sent: Any, words: tuple[str, ...]) -> None:
    """A payload that would have to be guessed ends with 5, once, and says what was seen."""
    raw = sent if isinstance(sent, str | bytes) else json.dumps(sent)
    sandbox.faults.append(Fault("body", "images", 1, times=0, body=raw))
    refused(settings_for(sandbox), sandbox.token, 5, "GET /images page 1, attempt 1 of 4", *words)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("name", ["total_count", "page", "per_page", "images"])
def test_a_field_that_a_later_page_lacks(sandbox: Sandbox, name: str) -> None:
    """What the first page must say, every page must say."""
    sandbox.faults.append(Fault("field", "images", 2, times=0, name=name))
    refused(settings_for(sandbox), sandbox.token, 5, "GET /images page 2, attempt 1 of 4")


@pytest.mark.parametrize(
    ("collection", "field", "wrong"),
    fewer(
        [
            *(("images", name, None) for name in ("name", "type", "created_at")),
            *(("images", name, 5) for name in ("name", "type", "created_at", "regions", "os_type", "family", "slug")),
            *(("images", name, ["a"]) for name in ("name", "os_type", "updated_at", "slug")),
            ("images", "regions", "ARC-IS-HAF-1"),
            ("images", "regions", {"a": 1}),
            ("images", "regions", ["ARC-IS-HAF-1", None]),
            ("images", "regions", ["ARC-IS-HAF-1", ""]),
            ("images", "regions", [["ARC-IS-HAF-1"]]),
            ("images", "regions", [1]),
            ("images", "versions", "2024"),
            ("images", "versions", [1]),
            *(
                ("images", "created_at", text)
                for text in (
                    "",
                    "yesterday",
                    "2020-13-01T00:00:00Z",
                    "2020-01-01T25:00:00Z",
                    "1584374472",
                    "x" * 10_000,
                )
            ),
            ("images", "updated_at", "never"),
            ("snapshots", "name", None),
            ("snapshots", "created_at", None),
            ("snapshots", "created_at", "0000-00-00T00:00:00Z"),
            ("snapshots", "region", ["NORD-NO-KRS-1"]),
            ("snapshots", "region", ""),
            ("snapshots", "status", 1),
            *(("snapshots", "size", wrong) for wrong in ("80 GiB", "", "-1", -1, True, [80], 2**60, "9" * 40, "8e1")),
            ("snapshots", "source_instance_id", {}),
            ("snapshots", "resource_id", 7),
        ],
        16,
    ),
)
def test_an_unusable_item_is_refused(sandbox: Sandbox, collection: str, field: str, wrong: Any) -> None:
    """A field of a wrong kind ends with 5, and the message names the item and the field."""
    sandbox.faults.append(Fault("field", collection, 1, times=0, name=field, value=wrong, index=7))
    error = refused(settings_for(sandbox), sandbox.token, 5, "00000007-0000-4000-8000-")
    assert field.removesuffix("s") in str(error)
    assert "images" in str(error) or "snapshots" in str(error) or "image " in str(error)


@pytest.mark.parametrize(
    ("collection", "field"),
    [
        *(("images", name) for name in ("name", "type", "regions", "created_at")),
        ("snapshots", "name"),
        ("snapshots", "created_at"),
    ],
)
def test_a_required_field_that_is_absent(sandbox: Sandbox, collection: str, field: str) -> None:
    """An item without a required field ends with 5."""
    sandbox.faults.append(Fault("field", collection, 1, times=0, name=field, index=7))
    refused(settings_for(sandbox), sandbox.token, 5, collection, "00000007-", f"unusable {field}: missing")


def test_an_empty_account_is_a_capture(serve: Callable[..., Sandbox]) -> None:
    """Empty lists, rightly counted, are a state like any other."""
    sandbox = serve(collections=listing(0, 0))
    (capture,) = export(settings_for(sandbox))
    assert (capture.images, capture.rows, capture.snapshots, capture.requests) == (0, 0, 0, 3)


def failure_of(settings: Settings) -> genesis_etl.ExportFailed | None:
    """Run an export and return the error that it ends in, if it does."""
    try:
        export(settings)
    except genesis_etl.ExportFailed as error:
        return error
    return None


@pytest.mark.parametrize(
    "literal", fewer([str(2**63), str(-(2**64)), "1" + "0" * 300, NESTED, "1.5e-300", "-0.0", "1E2"], 3)
)
def test_what_is_odd_but_exact_is_kept(sandbox: Sandbox, literal: str) -> None:
    """A number that no 64 bits hold, or 900 brackets, is in `extra` as it came, or refused with 5."""
    sandbox.faults.append(Fault("body", "images", 1, times=0, body=with_text("odd", literal)))
    failure = failure_of(settings_for(sandbox, "another"))
    if failure is not None:
        assert (failure.exit_code, literal) == (5, NESTED)
        assert not Path("another").exists()
        return
    extra = genesis_etl.open_lake("another").sql("select extra from images where extra is not null").extra
    assert set(extra) == {f'{{"odd":{json.dumps(json.loads(literal))}}}'}


@pytest.mark.parametrize("depth", fewer([800, 900, 940, 960, 980, 1000, 2000, 50_000], 3))
@pytest.mark.parametrize("field", ["odd", "name", "regions", "total"])
def test_no_nesting_is_a_traceback(sandbox: Sandbox, depth: int, field: str) -> None:
    """Wherever and however deep a field is nested: the whole capture, or 5."""
    sent = with_text(field, "[" * depth + "]" * depth)
    if field != "odd":
        sent = sent.replace(b'"%s": "' % field.encode(), b'"x_%s": "' % field.encode())
        sent = sent.replace(b'"%s": ["' % field.encode(), b'"x_%s": ["' % field.encode())
    sandbox.faults.append(Fault("body", "images", 1, times=0, body=sent))
    before = files_of("lake")
    failure = failure_of(settings_for(sandbox))
    if failure is not None:
        assert (failure.exit_code, files_of("lake")) == (5, before)
        assert len(str(failure)) < 1000


NAMES = [
    "a\x00b",
    "\x00",
    "😀 👨‍👩‍👧‍👦",
    "‮evil‬",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "line\nbreak\r\n\ttab",
    "Größe 日本語 \u2028\u2029\ufeff",
    "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>{{7*7}}",
    "x" * 2**20,
    "'; drop table images; --",
    "",
    " ",
]


def test_names_are_exact(serve: Callable[..., Sandbox]) -> None:
    """Whatever a person called a snapshot is in the lake to the letter, and harmless where it is shown."""
    images = [{**item, "name": name} for item, name in zip(some_images(len(NAMES)), NAMES, strict=True)]
    lists = {"images": images}
    sandbox = serve(collections=lambda name, at: lists.get(name, []))
    said: list[str] = []
    export(settings_for(sandbox), notice=said.append)
    rows = genesis_etl.open_lake("lake").sql("select distinct image_id, name from images order by image_id")
    assert list(rows.name) == NAMES
    for place, name in enumerate(NAMES):
        broken = {**images[place], "created_at": name}
        lists["images"] = [broken if item["id"] == broken["id"] else item for item in images]
        error = refused(settings_for(sandbox), sandbox.token, 5, images[place]["id"])
        assert str(error).isprintable()


KNOWN = st.sampled_from(["id", "name", "type", "regions", "created_at", "images", "total_count", "page", "per_page"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("a"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KNOWN | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)


@examples(max_examples=400, deadline=None)
@given(JSON)
def test_any_json_is_a_page_or_refused(document: Any) -> None:
    """No JSON at all makes the reader raise anything but BadPage."""
    try:
        page = read_page("images", 1, json.dumps(document).encode(), b"")
    except BadPage as error:
        message = str(error)
    else:
        message = ""
        assert page.items == document["images"]
    assert message.isprintable()


@examples(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_page_or_refused(raw: bytes) -> None:
    """No bytes at all make the reader raise anything but BadPage."""
    with pytest.raises(BadPage) as caught:
        read_page("images", 1, raw, b"")
    assert str(caught.value).isprintable()
