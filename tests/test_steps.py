"""The three steps of a capture, which `export` and the flow share: read, normalise, land."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pytest

from genesis_etl.errors import BadPage
from genesis_etl.lake.lake import Lake
from genesis_etl.pipeline import land, normalise, read
from genesis_etl.rows import ROW, to_rows
from genesis_etl.sandbox import Sandbox
from tests.conftest import files_of, listing, settings_for, some_images


@pytest.mark.parametrize("generation", ["seed", "middle", "newest"])
def test_a_data_frame_of_images_by_region_goes_to_the_lake_without_loss(
    serve: Callable[..., Sandbox], generation: str
) -> None:
    """`normalise` gives one row per image × region; in the schema of the lake it is what `to_rows` makes."""
    settings = settings_for(serve(generation=generation, images=120))
    proven = read(settings, settings.accounts[0])
    assert proven is not None
    assert proven.reading.snapshots
    frame = normalise(proven)
    assert isinstance(frame, pd.DataFrame)
    assert not frame.duplicated(["image_id", "region"]).any()
    rows = to_rows(proven.reading.images, proven.reading.snapshots, proven.reading.instances).table
    assert pa.Table.from_pandas(frame, schema=ROW, preserve_index=False).equals(rows)


def test_an_account_without_images_has_the_same_columns_and_types(serve: Callable[..., Sandbox]) -> None:
    """An empty account lands as an empty table of the lake's schema."""
    settings = settings_for(serve(collections=listing(0, 0)))
    proven = read(settings, settings.accounts[0])
    assert proven is not None
    frame = normalise(proven)
    assert (len(frame), list(frame.columns)) == (0, ROW.names)
    landed = land(settings, proven, frame)
    assert landed is not None
    assert landed.capture.rows == 0


def test_nothing_is_written_before_land(serve: Callable[..., Sandbox]) -> None:
    """Reading and normalising leave no file; landing leaves rows, commit and the four tables."""
    settings = settings_for(serve(collections=listing(3, 2)))
    proven = read(settings, settings.accounts[0])
    assert proven is not None
    frame = normalise(proven)
    assert files_of(".") == {}
    land(settings, proven, frame)
    assert len(files_of("lake/store")) == 2
    assert len(files_of("lake/tables")) == 4


def test_an_item_that_makes_no_row_is_told_without_the_token(serve: Callable[..., Sandbox]) -> None:
    """The error of `normalise` names the item, but where it holds the account's token, not that."""
    images = some_images(1)
    sandbox = serve(collections=lambda name, at: images if name == "images" else [])
    images[0]["created_at"] = sandbox.token
    settings = settings_for(sandbox)
    proven = read(settings, settings.accounts[0])
    assert proven is not None
    with pytest.raises(BadPage) as caught:
        normalise(proven)
    assert sandbox.token not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize("method", ["newest", "land"])
def test_an_error_that_nobody_thought_of_is_told_without_the_token(
    serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What a bug raises while an account is read or landed holds no secret when it leaves the step."""
    sandbox = serve(collections=listing(1, 0))
    settings = settings_for(sandbox)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"no thread for {sandbox.token}")

    def steps() -> None:
        proven = read(settings, settings.accounts[0])
        assert proven is not None
        land(settings, proven, normalise(proven))

    monkeypatch.setattr(Lake, method, fails)
    with pytest.raises(RuntimeError, match=r"^no thread for \*\*\*$"):
        steps()
