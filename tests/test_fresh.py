"""`--if-older-than`: who has a capture that is young enough is left alone, and nobody else is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from genesis_etl import cli
from genesis_etl.errors import ExportFailed, SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import files_of, listing, settings_for

SECOND = timedelta(seconds=1)
TEN = timedelta(minutes=10)


def aged(settings: Settings, age: timedelta) -> Settings:
    """Return the settings of a capture so much later."""
    assert settings.now is not None
    return replace(settings, now=settings.now + age)


def several(sandbox: Sandbox, *names: str) -> Settings:
    """Return settings of so many accounts on one sandbox."""
    accounts = tuple(Account(name, sandbox.endpoint, f"{name}_TOKEN", Secret(sandbox.token)) for name in names)
    return replace(settings_for(sandbox), accounts=accounts)


@pytest.mark.parametrize(
    ("age", "is_fresh"),
    [
        (0 * SECOND, True),
        (TEN - SECOND, True),
        (TEN, False),
        (TEN + SECOND, False),
        (-SECOND, True),
        (timedelta(days=-400), True),
    ],
)
def test_a_capture_is_fresh_until_it_is_so_old(serve: Callable[..., Sandbox], age: timedelta, is_fresh: bool) -> None:
    """Ages count from the time of the new capture; a later-dated one is younger than anything; no request is sent."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)
    export(settings)
    before, _ = files_of("lake"), sandbox.requests.clear()
    landed = export(aged(settings, age), if_older_than=TEN)
    assert (landed == [], sandbox.requests == [], files_of("lake") == before) == (is_fresh, is_fresh, is_fresh)


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(days=30)])
def test_by_the_clock_a_later_dated_capture_counts_as_fresh(serve: Callable[..., Sandbox], ahead: timedelta) -> None:
    """A newest capture from the future, which an export without the option refuses, asks nothing of the API."""
    sandbox = serve(collections=listing(3, 2), at=None)
    export(settings_for(sandbox, now=datetime.now(UTC) + ahead))
    sandbox.requests.clear()
    assert export(settings_for(sandbox, now=None), if_older_than="0s") == []
    assert sandbox.requests == []


def test_an_account_without_a_capture_is_captured(serve: Callable[..., Sandbox]) -> None:
    """Nothing is as old as can be."""
    assert len(export(settings_for(serve(collections=listing(3, 2))), if_older_than="36500d")) == 1


def test_nothing_is_asked_even_without_a_token(serve: Callable[..., Sandbox]) -> None:
    """Who has a fresh capture needs neither token nor API."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)
    export(settings)
    (account,) = settings.accounts
    assert export(replace(settings, accounts=(replace(account, secret=None),)), if_older_than=TEN) == []


@pytest.mark.parametrize("harm", ["damaged", "missing", "cut"])
def test_a_newest_capture_whose_rows_cannot_be_read_is_not_fresh(serve: Callable[..., Sandbox], harm: str) -> None:
    """Where the newest capture's rows are lost, another one is taken."""
    settings = settings_for(serve(collections=listing(3, 2)))
    (capture,) = export(settings)
    path = Path("lake") / capture.file
    data = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(data[:-20] if harm == "cut" else bytes([*data[:-20], data[-20] ^ 1, *data[-19:]]))
    assert len(export(aged(settings, SECOND), if_older_than=TEN)) == 1


def test_a_newest_commit_that_cannot_be_read_is_not_fresh(serve: Callable[..., Sandbox]) -> None:
    """A damaged commit does not pass for a fresh capture: another one lands, and says what could not be read."""
    settings = settings_for(serve(collections=listing(3, 2)))
    export(settings)
    (path,) = Path("lake", "store", "captures").rglob("*.parquet")
    path.write_bytes(b"nothing")
    said: list[str] = []
    assert len(export(aged(settings, SECOND), if_older_than=TEN, notice=said.append)) == 1
    assert any("the commit" in each for each in said)


def test_a_capture_that_landed_while_this_one_was_read_makes_it_needless(serve: Callable[..., Sandbox]) -> None:
    """The lake is looked at again before landing: of two that cross while reading, one lands."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)

    def land_another(body: dict[str, Any]) -> dict[str, Any]:
        export(aged(settings, SECOND))
        return body

    sandbox.faults.append(Fault("patch", collection="images", patch=land_another))
    assert export(settings, if_older_than=TEN) == []
    assert len(Lake("lake").list("captures").files) == 1


def test_a_proven_capture_lands_though_the_second_look_fails(serve: Callable[..., Sandbox]) -> None:
    """A commit that is damaged while the API is read is not fresh, and costs no capture."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)
    export(settings)

    def damage(body: dict[str, Any]) -> dict[str, Any]:
        (path,) = Path("lake", "store", "captures").rglob("*.parquet")
        path.write_bytes(b"nothing")
        return body

    sandbox.faults.append(Fault("patch", collection="images", patch=damage))
    assert len(export(aged(settings, 2 * TEN), if_older_than=TEN)) == 1


def test_twenty_runs_at_once_end_well_and_leave_nothing_to_do(serve: Callable[..., Sandbox]) -> None:
    """Of runs that start together at least one lands, none fails, and none after them captures again."""
    sandbox = serve(collections=listing(3, 2))
    settings = settings_for(sandbox)
    start = threading.Barrier(20, timeout=30)
    landed: list[int] = []

    def one(place: int) -> None:
        start.wait()
        landed.append(len(export(aged(settings, place * SECOND), if_older_than=TEN)))

    threads = [threading.Thread(target=one, args=(place,)) for place in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(landed) == 20
    assert sum(landed) == len(Lake("lake").list("captures").files) >= 1
    assert export(aged(settings, 20 * SECOND), if_older_than=TEN) == []


def test_each_account_counts_for_itself(serve: Callable[..., Sandbox]) -> None:
    """Of several accounts the fresh ones are left out, the others captured, and a second run asks nothing at all."""
    sandbox = serve(collections=listing(3, 2))
    settings = several(sandbox, "a", "b", "c")
    export(settings, ("b",))
    assert [capture.account for capture in export(settings, if_older_than="10m")] == ["a", "c"]
    sandbox.requests.clear()
    assert export(settings, if_older_than="10m") == []
    assert sandbox.requests == []


def test_the_one_that_failed_is_named_beside_fresh_ones(serve: Callable[..., Sandbox]) -> None:
    """An error tells whose it is where other accounts were fresh; the error carries their names."""
    sandbox = serve(collections=listing(3, 2))
    settings = several(sandbox, "a", "b")
    export(settings, ("a",))
    good, bad = settings.accounts
    settings = replace(settings, accounts=(good, replace(bad, secret=Secret("wrong-token-1"))))
    with pytest.raises(ExportFailed) as caught:
        export(settings, if_older_than=TEN)
    assert str(caught.value).startswith("account b: GET /images page 1")
    assert (caught.value.fresh, list(caught.value.failed), caught.value.landed) == (["a"], ["b"], [])


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "-5m", "1w", "99999999d"])
def test_what_is_no_duration_is_refused_before_any_request(serve: Callable[..., Sandbox], text: str) -> None:
    """`export` says which parameter is not a duration."""
    sandbox = serve(collections=listing(3, 2))
    with pytest.raises(SettingsError, match="if_older_than: "):
        export(settings_for(sandbox), if_older_than=text)
    assert sandbox.requests == []


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def reach(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Let the environment point to a sandbox at the present."""
    sandbox = serve(collections=listing(3, 2), at=None)
    monkeypatch.setenv("GENESISCLOUD_ENDPOINT", sandbox.endpoint)
    monkeypatch.setenv("GENESISCLOUD_TOKEN", sandbox.token)
    return sandbox


def test_the_command_says_fresh_and_ends_well(reach: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The second of two commands has a row `fresh`, code 0, no request; the same columns in every format."""
    assert cli.run(["export", "--if-older-than", "10m", "--format", "json"]) == 0
    (first,) = json.loads(capsys.readouterr().out)
    reach.requests.clear()
    assert cli.run(["export", "--if-older-than", "10m", "--format", "json"]) == 0
    (second,) = json.loads(capsys.readouterr().out)
    assert reach.requests == []
    assert (first["status"], second["status"]) == ("landed", "fresh")
    assert first.keys() == second.keys()
    assert {name for name, value in second.items() if value is not None} == {"account", "status"}
    assert cli.run(["export", "--if-older-than", "10m"]) == 0
    assert capsys.readouterr().out.split("\n")[2].split() == ["default", "fresh"]


def test_the_heartbeat_hears_of_a_run_that_found_all_fresh(
    reach: Sandbox, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to do is a good run."""
    beats = serve()
    cli.run(["export", "--quiet"])
    monkeypatch.setenv("GENESIS_ETL_HEARTBEAT", beats.endpoint + "/beat")
    assert cli.run(["export", "--quiet", "--if-older-than", "10m"]) == 0
    assert [request.path for request in beats.requests] == ["/compute/v1/beat"]


def test_a_capture_of_before_is_no_reason_where_the_option_is_not_given(reach: Sandbox) -> None:
    """Without the option every export captures."""
    assert [cli.run(["export", "--quiet"]) for _ in range(2)] == [0, 0]
    assert len(Lake("data/lake").list("captures").files) == 2


def test_a_bad_duration_ends_with_two(reach: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the option and how a duration is written; nothing is asked."""
    assert cli.run(["export", "--if-older-than", "soon"]) == 2
    assert capsys.readouterr().err.startswith("error: --if-older-than: 'soon' is not a duration; write it as")
    assert reach.requests == []


def test_a_simulated_time_on_a_real_endpoint_is_refused_though_all_is_fresh(
    reach: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GENESIS_ETL_NOW is for simulations, whatever the lake holds."""
    cli.run(["export", "--quiet"])
    monkeypatch.setenv("GENESISCLOUD_ENDPOINT", "https://api.example.com/v1")
    monkeypatch.setenv("GENESIS_ETL_NOW", "2026-11-20")
    assert cli.run(["export", "--if-older-than", "10m"]) == 2
    assert "GENESIS_ETL_NOW" in capsys.readouterr().err
