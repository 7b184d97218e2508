"""`check`: a row per check that is right about what it says, and whoever should be told is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import genesis_etl.api.hooks
from genesis_etl.checks.alerts import ping_heartbeat
from genesis_etl.checks.check import check
from genesis_etl.checks.rows import SCHEMA, has_failed
from genesis_etl.errors import SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from genesis_etl.publish.publish import publish
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings, Thresholds
from tests.commands import Run
from tests.conftest import AT, files_of, listing, settings_for, some_snapshots
from tests.histories import at, land, land_all, row, rows
from tests.listening import Listener

HOUR = timedelta(hours=1)


def found(settings: Settings) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Return the rows by check and account."""
    return {(each["check"], each["account"]): each for each in check(settings).to_pylist()}


def statuses(settings: Settings) -> dict[tuple[str, str | None], str]:
    return {key: each["status"] for key, each in found(settings).items()}


def test_all_is_well(serve: Callable[..., Sandbox]) -> None:
    """A fresh capture, an accepted token and a whole lake are a row each, all ok, after one request."""
    sandbox = serve(collections=listing(250, 5))
    land(Lake("lake"), AT - HOUR, rows("a"))
    publish(Lake("lake"))
    before = files_of("lake")
    table = check(settings_for(sandbox))
    assert table.schema == SCHEMA
    assert not has_failed(table)
    assert [(each["check"], each["account"], each["status"]) for each in table.to_pylist()] == [
        ("settings", None, "ok"),
        ("token", "default", "ok"),
        ("lake", None, "ok"),
        ("verify", "default", "ok"),
        ("tables", "default", "ok"),
        ("freshness", "default", "ok"),
        ("gaps", "default", "ok"),
    ]
    assert [each["seen"] for each in table.to_pylist()][:3] == [
        "1 account: default",
        "accepted, /images lists 250",
        "1 capture of 1 account",
    ]
    assert table["advice"].null_count == len(table)
    assert [(request.path, request.query["page"]) for request in sandbox.requests] == [("/compute/v1/images", "1")]
    assert files_of("lake") == before


@pytest.mark.parametrize(
    ("fault", "seen", "advice"),
    [
        (Fault("status", status=401, times=0), "401", "check it"),
        (Fault("status", status=503, times=0), "503", "try again later"),
        (Fault("status", status=404, times=0), "404", "check the endpoint"),
        (Fault("body", body="<html>", times=0), "<html>", "cannot be used"),
    ],
)
def test_a_token_that_is_not_accepted(serve: Callable[..., Sandbox], fault: Fault, seen: str, advice: str) -> None:
    """Whatever the API refuses is a failed row with what was seen and what to do; the lake is looked at too."""
    sandbox = serve(faults=[fault])
    land(Lake("lake"), AT, rows("a"))
    result = found(settings_for(sandbox))
    token = result["token", "default"]
    assert token["status"] == "failed"
    assert token["where"].startswith("GET /images page 1")
    assert seen in token["seen"]
    assert advice in token["advice"]
    assert result["freshness", "default"]["status"] == "ok"
    assert len(sandbox.requests) == (4 if fault.options.get("status") == 503 else 1)


def test_a_missing_token_is_a_row() -> None:
    """An account without a token fails its row before any request."""
    settings = Settings(accounts=(Account("prod", "http://127.0.0.1:1/v1", "T_PROD"),), lake="lake")
    token = found(settings)["token", "prod"]
    assert (token["status"], token["seen"]) == ("failed", "no token for account prod")
    assert token["advice"] == "set the variable T_PROD"


def test_the_simulated_now_is_for_the_sandbox() -> None:
    """GENESIS_ETL_NOW with an endpoint elsewhere is misuse, as in an export."""
    with pytest.raises(SettingsError, match="GENESIS_ETL_NOW is for simulations"):
        check(Settings(now=AT))


def test_an_empty_lake_fails(api: Callable[..., Sandbox], run: Run) -> None:
    """Where nothing was captured yet, the row lake says how to begin, and the command ends with 1."""
    api()
    ended = run("check", "--format", "json")
    assert (ended.code, ended.err) == (1, "")
    assert [each["check"] for each in ended.rows if each["status"] == "failed"] == ["lake"]
    (lake,) = [each for each in ended.rows if each["check"] == "lake"]
    assert (lake["seen"], lake["advice"]) == ("no capture yet in data/lake", "run `genesis-etl export`")


def test_a_lake_that_cannot_be_read_fails(serve: Callable[..., Sandbox]) -> None:
    """A file in the lake's place is named, and what needs the lake is skipped."""
    Path("lake").write_text("")
    result = found(settings_for(serve()))
    assert result["lake", None]["status"] == "failed"
    assert "Not a directory" in result["lake", None]["seen"]
    assert {result[name, None]["status"] for name in ("verify", "freshness", "gaps")} == {"skipped"}


def test_damage_fails_and_names_the_file(serve: Callable[..., Sandbox]) -> None:
    """A cut file fails the row verify of its account alone; thresholds are not told from half a truth."""
    lake = Lake("lake")
    land(lake, AT, rows("a"), "good")
    bad = land(lake, AT, rows("a"), "bad")
    Path("lake", bad.file).write_bytes(b"PAR1")
    accounts = tuple(replace(settings_for(serve()).accounts[0], name=name) for name in ("good", "bad"))
    settings = replace(settings_for(serve()), accounts=accounts, thresholds=Thresholds(snapshots=5))
    result = found(settings)
    assert (result["verify", "good"]["status"], result["verify", "bad"]["status"]) == ("ok", "failed")
    assert bad.file in result["verify", "bad"]["seen"]
    assert (result["snapshots", "good"]["status"], result["thresholds", "bad"]["status"]) == ("ok", "skipped")


@pytest.mark.parametrize(
    ("age", "max_age", "is_fresh"),
    [
        (timedelta(0), 2 * HOUR, True),
        (2 * HOUR, 2 * HOUR, True),
        (2 * HOUR + timedelta(seconds=1), 2 * HOUR, False),
        (2 * HOUR + timedelta(seconds=1), 3 * HOUR, True),
        (-HOUR, 2 * HOUR, True),
    ],
)
def test_a_capture_is_fresh_up_to_the_age(
    serve: Callable[..., Sandbox], age: timedelta, max_age: timedelta, is_fresh: bool
) -> None:
    """The newest capture may be as old as the setting says and no second older, by the simulated clock."""
    land(Lake("lake"), AT - age, rows("a"))
    freshness = found(settings_for(serve(), max_age=max_age))["freshness", "default"]
    assert freshness["status"] == ("ok" if is_fresh else "failed")
    assert is_fresh or "stale" in freshness["seen"]
    assert is_fresh or "2h 1s old" in freshness["seen"]


def test_a_clock_behind_the_newest_capture_fails(serve: Callable[..., Sandbox]) -> None:
    """What an export refuses is no fresh capture: one that the clock has not reached yet."""
    land(Lake("lake"), datetime.now(UTC) + HOUR, rows("a"))
    freshness = found(settings_for(serve(), now=None))["freshness", "default"]
    assert freshness["status"] == "failed"
    assert "the clock says" in freshness["seen"]
    assert "set the clock right" in freshness["advice"]


def test_a_clock_far_from_the_apis_fails_the_token(serve: Callable[..., Sandbox]) -> None:
    """Where an export would refuse the clock, the row of the token says so."""
    land(Lake("lake"), datetime.now(UTC), rows("a"))
    token = found(settings_for(serve(faults=[Fault("date", seconds=-3600, times=0)]), now=None))["token", "default"]
    assert token["status"] == "failed"
    assert "ahead of the API's" in token["seen"]


def test_a_file_that_cannot_be_read_hides_no_other_account(serve: Callable[..., Sandbox]) -> None:
    """An unreadable rows file, here a folder in its place, fails its own account; the other's rows are all there."""
    (bad,) = land_all(Lake("lake"), {"2026-11-20 11:30": rows("a", "b")}, "bad")
    land_all(Lake("lake"), {"2026-11-20 11:30": rows("a", "b")}, "good")
    Path("lake", bad.file).unlink()
    Path("lake", bad.file).mkdir()
    accounts = tuple(replace(settings_for(serve()).accounts[0], name=name) for name in ("good", "bad"))
    result = found(replace(settings_for(serve()), accounts=accounts, thresholds=Thresholds(snapshots=5)))
    told = {check: result[check, "good"]["status"] for check in ("verify", "freshness", "gaps", "snapshots")}
    assert set(told.values()) == {"ok"}
    assert result["verify", "bad"]["status"] == "failed"
    assert bad.file in result["verify", "bad"]["seen"]
    assert open_lake("lake").report("snapshot-growth", account="good")["closing"].iloc[-1] == 2


def test_accounts_that_are_captured_no_more_are_stale(serve: Callable[..., Sandbox]) -> None:
    """An account of the lake that the settings lost is named; one that is retired on purpose is not called stale."""
    lake = Lake("lake")
    for name, age in (("default", 0), ("lost", 30), ("old", 90), ("other-machine", 1)):
        land(lake, AT - age * HOUR, rows("a"), name)
    accounts = (*settings_for(serve()).accounts, Account("new", "http://127.0.0.1:1/v1"))
    result = found(settings_for(serve(), retired=("old",), thresholds=Thresholds(snapshots=0)))
    assert {name: result["freshness", name]["status"] for name in ("default", "lost", "old", "other-machine")} == {
        "default": "ok",
        "lost": "failed",
        "old": "skipped",
        "other-machine": "ok",
    }
    assert result["freshness", "lost"]["seen"].startswith("stale: ")
    assert "retired" in result["freshness", "lost"]["advice"]
    assert ("snapshots", "lost") in result
    assert ("snapshots", "old") not in result
    never = found(replace(settings_for(serve()), accounts=accounts))["freshness", "new"]
    assert (never["status"], never["seen"]) == ("failed", "no capture yet")


@pytest.mark.parametrize(
    ("hours", "status", "seen"),
    [
        ([0], "ok", "one capture"),
        ([2, 1, 0], "ok", "at most 1h between 3 captures"),
        ([4, 2, 0], "ok", "at most 2h between 3 captures"),
        ([5, 4, 1], "failed", "none for 3h, from 2026-11-20T08:00:00Z to 2026-11-20T11:00:00Z"),
        ([5, 4, 1, 0], "ok", "none for 3h, from 2026-11-20T08:00:00Z to 2026-11-20T11:00:00Z; well again since then"),
        ([30, 23], "failed", "none for 7h"),
        ([30, 23, 22, 21, 20], "ok", "none for 7h"),
        ([20, 10, 9, 3], "failed", "none for 6h"),
        ([9, 6, 3, 0], "failed", "none for 3h, from 2026-11-20T09:00:00Z to 2026-11-20T12:00:00Z"),
        ([20, 10, 6, 5], "ok", "none for 10h"),
        ([40, 30, 29, 28], "skipped", "no capture in the last day"),
    ],
)
def test_a_gap_is_well_again_at_the_second_capture_after_it(
    serve: Callable[..., Sandbox], hours: list[int], status: str, seen: str
) -> None:
    """The time between the two newest captures decides; a longer one of the last day is told, as one that is over."""
    for hour in hours:
        land(Lake("lake"), AT - hour * HOUR, rows("a"))
    gaps = found(settings_for(serve()))["gaps", "default"]
    assert gaps["status"] == status
    assert seen in gaps["seen"]


def test_a_gap_stays_in_capture_health(serve: Callable[..., Sandbox]) -> None:
    """Where `check` is well again, the report still tells the longest time between the day's captures."""
    for hour in (9, 8, 3, 2):
        land(Lake("lake"), AT - hour * HOUR, rows("a"))
    assert found(settings_for(serve()))["gaps", "default"]["status"] == "ok"
    assert open_lake("lake").report("capture-health")["longest_gap"].iloc[-1] == 5 * 3600


def test_a_life_with_a_gap(
    api: Callable[..., Sandbox], run: Run, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hourly life with three captures missing alarms from the limit on, and no more after the second capture."""
    sandbox = api(collections=listing(3, 2))
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    alarms = {}
    for hour in range(10):
        now = AT + hour * HOUR
        monkeypatch.setenv("GENESIS_ETL_NOW", now.isoformat())
        sandbox.at = now
        if hour not in (3, 4, 5):
            assert run("export").code == 0
        received = len(listener.received)
        code = run("check").code
        alarms[hour] = [
            each["check"] for *_, body in listener.received[received:] for each in json.loads(body)["checks"]
        ]
        assert code == bool(alarms[hour])
    assert {hour: checks for hour, checks in alarms.items() if checks} == {5: ["freshness"], 6: ["gaps"]}


WEEK = {
    "2026-11-12 12:00": rows("a", "b", "c", "d", size_gib=10.0),
    "2026-11-13 13:00": rows("a", "b", "c", "d", "e", "f", "g", "h", size_gib=10.0),
    "2026-11-20 12:00": [
        *rows("a", "b", "c", "d", size_gib=10.0),
        row("e", created_at=at("2025-01-01"), name="elder"),
        *rows("base", type="base-os"),
        *rows("base", "base2", type="base-os", region="R2"),
    ],
}


@pytest.mark.parametrize(
    ("limits", "check_name", "status", "seen"),
    [
        ({"snapshots": 5}, "snapshots", "ok", "5 snapshots"),
        ({"snapshots": 4}, "snapshots", "failed", "5 snapshots"),
        ({"gib": 40}, "gib", "ok", "40 GiB, 1 of unknown size"),
        ({"gib": 39.5}, "gib", "failed", "40 GiB"),
        ({"growth_pct_week": 25}, "growth_pct_week", "ok", "+25.0 %, from 4 to 5 snapshots"),
        ({"growth_pct_week": 24}, "growth_pct_week", "failed", "+25.0 %"),
        ({"snapshot_age": timedelta(days=689)}, "snapshot_age", "ok", "the oldest is 'elder' of 2025-01-01"),
        ({"snapshot_age": timedelta(days=688)}, "snapshot_age", "failed", "1 older, the oldest is 'elder'"),
        ({"snapshot_age": timedelta(days=5)}, "snapshot_age", "failed", "5 older"),
        ({"images_everywhere": ("base-os",)}, "images_everywhere", "failed", "R1 lacks base2"),
        ({"images_everywhere": ("nothing",)}, "images_everywhere", "failed", "no image of this type"),
    ],
)
def test_thresholds_fire_and_do_not(
    serve: Callable[..., Sandbox], limits: dict[str, Any], check_name: str, status: str, seen: str
) -> None:
    """At the threshold all is well, beyond it the row fails, with the number and with what to do."""
    land_all(Lake("lake"), WEEK)
    result = found(settings_for(serve(), thresholds=Thresholds(**limits)))[check_name, "default"]
    assert result["status"] == status
    assert seen in result["seen"]
    assert (result["advice"] is None) == (status == "ok")


def test_thresholds_that_cannot_be_told_are_skipped(serve: Callable[..., Sandbox]) -> None:
    """Without a capture a week before, without a known size or without a snapshot there is nothing to hold against."""
    limits = Thresholds(gib=1, growth_pct_week=1, snapshot_age=HOUR, snapshots=0, images_everywhere=("base-os",))
    land(Lake("lake"), AT, rows("a"))
    result = statuses(settings_for(serve(), thresholds=limits))
    assert (result["gib", "default"], result["growth_pct_week", "default"]) == ("skipped", "skipped")
    everywhere = [*rows("x", "y", type="base-os"), *rows("x", "y", type="base-os", region="R2")]
    land_all(Lake("none"), {"2026-11-01": [], "2026-11-20 12:00": everywhere})
    result = statuses(settings_for(serve(), "none", thresholds=limits))
    told = {name: result[name, "default"] for name in ("gib", "growth_pct_week", "snapshot_age", "snapshots")}
    assert told == {"gib": "ok", "growth_pct_week": "skipped", "snapshot_age": "ok", "snapshots": "ok"}
    assert result["images_everywhere", "default"] == "ok"
    expecting = settings_for(serve(), "none", thresholds=limits, regions=("MOON-1",))
    assert found(expecting)["images_everywhere", "default"]["seen"] == "MOON-1 lacks x, y"


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_capture_without_snapshots_is_not_one_of_none(serve: Callable[..., Sandbox], is_listed: bool) -> None:
    """Where /snapshots was not read, thresholds fail as unknown, unless /images lists snapshots to count."""
    state = [row("image", type="base-os"), *(rows("a", "b") if is_listed else [])]
    land(Lake("lake"), AT, state, snapshots=None)
    limits = Thresholds(gib=1, growth_pct_week=1, snapshot_age=timedelta(days=1000), snapshots=5)
    result = found(settings_for(serve(), thresholds=limits))
    assert result["snapshots", "default"]["status"] == ("ok" if is_listed else "failed")
    names = ("snapshots", "gib", "growth_pct_week", "snapshot_age")
    unknown = [name for name in names if "could not read /snapshots" in result[name, "default"]["seen"]]
    assert unknown == ([] if is_listed else list(names))


@pytest.mark.parametrize(("before", "status"), [(7, "failed"), (8, "failed"), (9, "skipped"), (115, "skipped")])
def test_a_weeks_growth_is_that_of_a_week(serve: Callable[..., Sandbox], before: int, status: str) -> None:
    """A capture from before a gap is no week before, and one that did not know its snapshots is none at all."""
    land(Lake("lake"), AT - timedelta(days=before), rows("a"))
    land(Lake("lake"), AT, rows("a", "b"))
    limits = Thresholds(growth_pct_week=25)
    assert statuses(settings_for(serve(), thresholds=limits))["growth_pct_week", "default"] == status
    land(Lake("blind"), AT - timedelta(days=7), [], snapshots=None)
    land(Lake("blind"), AT, rows("a", "b"))
    growth = found(settings_for(serve(), "blind", thresholds=limits))["growth_pct_week", "default"]
    assert (growth["status"], growth["seen"]) == ("skipped", "no capture that knows, 7 to 8 days before the newest")


def test_an_expected_region_that_lost_every_image_lacks_them(serve: Callable[..., Sandbox]) -> None:
    """A region that the settings expect is not retired, however empty; one that they do not name may go."""
    both = [*rows("x", type="base-os"), *rows("x", type="base-os", region="R2")]
    land_all(Lake("lake"), {"2026-11-20 10:00": both, "2026-11-20 11:00": rows("x", type="base-os")})
    limits = Thresholds(images_everywhere=("base-os",))
    for regions, seen in ((("R1", "R2"), "R2 lacks every image"), ((), "1 image in 1 region")):
        result = found(settings_for(serve(), thresholds=limits, regions=regions))
        assert result["images_everywhere", "default"]["seen"] == seen


def test_a_threshold_of_the_toml_reaches_the_command(api: Callable[..., Sandbox], run: Run) -> None:
    """[thresholds] and --max-age count in the command, and the exit code follows the rows."""
    api()
    assert run("export").code == 0
    assert run("check").code == 0
    Path("genesis-etl.toml").write_text("[thresholds]\nsnapshots = 0\n")
    ended = run("check", "--format", "json")
    assert (ended.code, ended.err) == (1, "")
    assert [each["check"] for each in ended.rows if each["status"] == "failed"] == ["snapshots"]
    Path("genesis-etl.toml").write_text("[thresholds]\nsnapshots = 10000\n")
    assert run("check", "--max-age", "30m").code == 0
    ended = run("check", "--max-age", "soon")
    assert (ended.code, ended.out) == (2, b"")
    assert "--max-age: 'soon' is not a duration" in ended.err


# who is told


def test_the_webhook_gets_the_failed_rows(
    api: Callable[..., Sandbox],
    run: Run,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One POST carries a line and the failed rows, with neither token nor header of ours; all well, none is sent."""
    sandbox = api()
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    Path(".netrc").write_text("machine 127.0.0.1 login me password netrc-secret")
    monkeypatch.setenv("NETRC", ".netrc")
    ended = run("check", "--format", "json")
    assert (ended.code, ended.err) == (1, "")
    ((method, path, headers, body),) = listener.received
    assert (method, path, headers["Content-Type"]) == ("POST", "/a-secret-path?key=1", "application/json")
    failed = [each for each in ended.rows if each["status"] == "failed"]
    assert json.loads(body) == {
        "text": "genesis-etl: 1 of 7 checks failed: lake: no capture yet in data/lake",
        "checks": failed,
    }
    assert {"X-Auth-Token", "Authorization"}.isdisjoint(headers)
    assert sandbox.token not in f"{headers}{body!r}{ended}"
    listener.received.clear()
    assert run("export").code == 0
    assert run("check").code == 0
    assert listener.received == []


@pytest.mark.parametrize("toml", ['rate = "x', "lake = 5", "x = " + "[" * 5000, "rate = " + "9" * 5000])
def test_settings_that_cannot_be_read_are_a_row_that_the_webhook_gets(
    api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch, listener: Listener, toml: str
) -> None:
    """A broken toml ends `check` with 2 and one line; monitoring gets its array, the variable's webhook the row."""
    api()
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    Path("genesis-etl.toml").write_text(toml)
    ended = run("check", "--format", "json")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    (told,) = ended.rows
    assert (told["check"], told["status"]) == ("settings", "failed")
    ((_, _, _, body),) = listener.received
    said = json.loads(body)
    assert said.keys() == {"text", "checks"}
    assert said["checks"] == [told]
    assert said["text"].startswith("genesis-etl: 1 of 1 check failed: settings: ")


def test_quiet_prints_what_failed_and_else_nothing(api: Callable[..., Sandbox], run: Run) -> None:
    """What cron would mail: nothing while all is well, then the rows that failed, whole."""
    api()
    assert run("export").code == 0
    ended = run("check", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, b"", "")
    Path("genesis-etl.toml").write_text("[thresholds]\nimages_everywhere = ['no-such-type']\n")
    ended = run("check", "--quiet")
    assert ended.code == 1
    (line,) = ended.out.decode().splitlines()[2:]
    assert line.startswith("images_everywhere")
    assert line.endswith("check the type in [thresholds]; `genesis-etl report region-coverage` lists them")


def test_no_name_makes_a_chat_call_everyone(
    api: Callable[..., Sandbox], run: Run, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook's line is one, however many checks failed, and none of its words is a link or a call in a chat."""
    api(collections=lambda name, at: some_snapshots(1, name="<!channel> @here\n" * 9) if name == "snapshots" else [])
    assert run("export").code == 0
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    Path("genesis-etl.toml").write_text('[thresholds]\nsnapshots = 0\nsnapshot_age = "1d"\n')
    assert run("check").code == 1
    ((*_, body),) = listener.received
    said = json.loads(body)
    assert said["text"].startswith("genesis-etl: 2 of 9 checks failed: snapshots of default: 1 snapshot; snapshot_age")
    assert "‹!channel› ＠here" in said["text"]
    assert len(said["text"]) <= 1000
    assert {"<", ">", "@", "\n"}.isdisjoint(said["text"])
    assert "<!channel> @here" in said["checks"][1]["seen"]


@pytest.mark.parametrize(
    ("toml", "arguments", "where", "seen", "advice"),
    [
        ("rate 10", (), "genesis-etl.toml", "cannot read it: Expected '=' after a key", "mend that line"),
        ("rate = 'x'", (), "rate in genesis-etl.toml", "expected a number, got 'x'", "mend it, or leave it out"),
        ("rates = 1", (), "genesis-etl.toml", "unknown key 'rates'", "did you mean 'rate'?"),
        ("", ("--config", "nothere.toml"), "nothere.toml", "no such file", "write one to start from with"),
        ("", ("--max-age", "soon"), "--max-age", "'soon' is not a duration", "write it as 30s, 45m, 2h or 7d"),
        ("", ("--lake", "$HOME/x"), "--lake", "'$HOME/x' holds a variable", "write the folder itself"),
        ("[accounts.A]", (), "[accounts.A] in genesis-etl.toml", "a name that no account can have", "1 to 63 of a-z"),
        ("token = 'x'", (), "token in genesis-etl.toml", "a token does not belong", "put it into a variable"),
    ],
)
def test_what_settings_are_refused_for_has_its_columns(
    run: Run, toml: str, arguments: tuple[str, ...], where: str, seen: str, advice: str
) -> None:
    """The row of settings that cannot be used says what was seen, where, and what to do, each in its column."""
    Path("genesis-etl.toml").write_text(toml)
    ended = run("check", "--format", "json", *arguments)
    assert ended.code == 2
    (row,) = ended.rows
    assert (row["check"], row["status"], row["wanted"], row["where"]) == ("settings", "failed", "usable", where)
    assert row["seen"].startswith(seen)
    assert advice in row["advice"]
    assert ended.err == f"error: {where}: {row['seen']}; {row['advice']}\n"


def test_the_row_of_a_failed_export_has_its_columns(
    serve: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen, where and what to do are three columns there too, and empty where an account landed."""
    sandbox = serve(collections=listing(3, 2))
    monkeypatch.setenv("T_GOOD", sandbox.token)
    monkeypatch.setenv("GENESISCLOUD_ENDPOINT", sandbox.endpoint)
    monkeypatch.setenv("GENESIS_ETL_NOW", AT.isoformat())
    accounts = '[accounts.good]\ntoken_env = "T_GOOD"\n[accounts.none]\ntoken_env = "T_NONE"\n'
    Path("genesis-etl.toml").write_text(f'lake = "lake"\n{accounts}')
    ended = run("export", "--format", "json")
    assert ended.code == 2
    told = [{name: row[name] for name in ("account", "status", "error", "where", "advice")} for row in ended.rows]
    assert told == [
        {"account": "good", "status": "landed", "error": None, "where": None, "advice": None},
        {
            "account": "none",
            "status": "failed",
            "error": "no token for account none",
            "where": None,
            "advice": "set the variable T_NONE",
        },
    ]


def test_no_token_reaches_the_webhook(
    serve: Callable[..., Sandbox], listener: Listener, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """A token that the API repeats in an error, or that a snapshot is called, is in no row and no POST."""
    token = "echo-0123456789abcdef"
    sandbox = serve(token=token, faults=[Fault("status", status=400, body=f'{{"code": "1", "message": "{token}"}}')])
    land(Lake("lake"), AT, rows("a", name=f"x {token} y"))
    publish(Lake("lake"))
    for name, value in {
        "T": token,
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "GENESIS_ETL_NOW": AT.isoformat(),
        "GENESIS_ETL_WEBHOOK": listener.url,
    }.items():
        monkeypatch.setenv(name, value)
    Path("genesis-etl.toml").write_text(
        'lake = "lake"\n[thresholds]\nsnapshot_age = "1d"\n[accounts.default]\ntoken_env = "T"\n'
    )
    ended = run("check", "--format", "json")
    failed = {each["check"] for each in ended.rows if each["status"] == "failed"}
    assert failed == {"token", "snapshot_age"}
    ((*_, body),) = listener.received
    assert token not in f"{ended}"
    assert token.encode() not in body
    assert b"x *** y" in body


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_fails_is_a_warning(
    api: Callable[..., Sandbox],
    run: Run,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """The rows and the code stay as they are; the warning names the host, not the secret path; nothing is followed."""
    api()
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    listener.status = status
    ended = run("check")
    assert ended.code == 1
    assert ended.out
    assert ended.err == f"warning: the webhook does not know of it: 127.0.0.1 answered {status}\n"
    assert len(listener.received) == 1
    assert run("check", "--quiet").err == ended.err


def test_a_token_in_the_wrong_variable_goes_nowhere(
    run: Run, listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A setting that is refused is shown to the terminal and the webhook, but never if it is a token."""
    Path("genesis-etl.toml").write_text('[accounts.a]\ntoken_env = "TOK_A"\n', encoding="utf-8")
    monkeypatch.setenv("GENESIS_ETL_WEBHOOK", listener.url)
    for token, name in (("token-in-a-9f3a1c2e", "TOK_A"), ("token-at-large-4b1d8a0c", "GENESISCLOUD_API_KEY")):
        monkeypatch.setenv(name, token)
        for setting in ("AUTH", "RATE", "MAX_AGE"):
            monkeypatch.setenv(f"GENESIS_ETL_{setting}", token)
            ended = run("check", "--format", "json")
            assert ended.code == 2
            assert "***" in f"{ended}"
            assert token not in f"{ended}{listener.received}"
            monkeypatch.delenv(f"GENESIS_ETL_{setting}")
    assert len(listener.received) == 6


def test_a_good_export_is_heard(
    api: Callable[..., Sandbox], run: Run, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat is a GET after a good run, not after a failed one, and its failure fails nothing."""
    sandbox = api()
    monkeypatch.setenv("GENESIS_ETL_HEARTBEAT", listener.url)
    assert run("export").code == 0
    ((method, path, headers, body),) = listener.received
    assert (method, path, body) == ("GET", "/a-secret-path?key=1", b"")
    assert sandbox.token not in f"{headers}"
    sandbox.faults.append(Fault("status", status=401, times=0))
    assert run("export").code == 3
    assert len(listener.received) == 1
    sandbox.faults.clear()
    listener.status = 500
    ended = run("export")
    assert ended.code == 0
    assert ended.err == "warning: the heartbeat did not arrive: 127.0.0.1 answered 500\n"
    listener.shutdown()
    listener.server_close()
    ended = run("export")
    assert ended.code == 0
    assert ended.err == "warning: the heartbeat did not arrive: 127.0.0.1: Connection refused\n"
    assert run("export", "--quiet").err == ""


def test_a_listener_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that is never answered costs no more than its time."""
    monkeypatch.setattr(genesis_etl.api.hooks, "NOTICE_SECONDS", 0.3)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        ping_heartbeat(Settings.load(environ={"GENESIS_ETL_HEARTBEAT": url}), said.append)
    assert said == ["the heartbeat did not arrive: 127.0.0.1: no answer within 0.3 s"]


def test_many_accounts_are_asked_side_by_side(serve: Callable[..., Sandbox]) -> None:
    """Every account has its row for its token, in the order of the settings."""
    sandbox = serve()
    good, bad = Secret(sandbox.token), Secret("wrong-token")
    accounts = tuple(Account(f"a{n}", sandbox.endpoint, "T", bad if n % 5 == 0 else good) for n in range(20))
    result = statuses(replace(settings_for(sandbox), accounts=accounts))
    tokens = [(account, status) for (name, account), status in result.items() if name == "token"]
    assert tokens == [(f"a{n}", "failed" if n % 5 == 0 else "ok") for n in range(20)]
