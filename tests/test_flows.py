"""The flows on a real Prefect server: one server for the session, few runs on it."""

from __future__ import annotations

import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import requests
import yaml

from genesis_etl import open_lake
from genesis_etl.lake.lake import Lake
from genesis_etl.publish.against import has_failed, verify_lake
from genesis_etl.sandbox import Fault, Sandbox
from tests.histories import land_all, rows
from tests.orchestrator import FLOW, ROOT, Prefect, free_port, listening, run_flow, serving, stored_text

pytestmark = pytest.mark.xdist_group("prefect")  # one server, and one process that imports Prefect


@pytest.fixture(scope="module")
def serving_room() -> ModuleType:
    """Import `flows/serve.py` where it is needed, for with it comes all of Prefect."""
    return importlib.import_module("flows.serve")


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """Start one server for all tests of this file."""
    server = Prefect.at(tmp_path_factory.mktemp("prefect"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
def test_a_running_server_shows_the_flow_completed_with_its_tasks(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """That server lists the run, Completed, and the account's read, normalise and land, each with its counts."""
    sandbox = serve(at=datetime.now(UTC), images=140)
    done = run_flow(prefect, tmp_path, GENESISCLOUD_ENDPOINT=sandbox.endpoint, GENESISCLOUD_TOKEN=sandbox.token)
    assert done.returncode == 0, done.stderr
    run = prefect.newest_run()
    assert (run["state_type"], run["name"][:14]) == ("COMPLETED", "export-images-")
    tasks = {task["name"]: task for task in prefect.task_runs(run)}
    steps = [f"{step}-default" for step in ("read", "normalise", "land")]
    assert sorted(tasks) == sorted(["export-default", *steps, "read-back"])
    assert {task["state_type"] for task in tasks.values()} == {"COMPLETED"}
    assert all(set(tasks[name]["tags"]) == {"genesis-etl", "account:default"} for name in ["export-default", *steps])
    landed = open_lake(str(tmp_path / "data" / "lake")).sql("select images, snapshots, rows, file from captures")
    ((images, snapshots, rows, file),) = landed.itertuples(index=False)
    assert images == 140
    told = [tasks[name]["state"]["message"] for name in steps]
    assert f"/snapshots {snapshots} snapshots" in told[0]
    assert told[1].startswith(f"{rows} rows of image × region")
    assert told[2] == f"landed 140 images in {rows} rows as {file}; 4 tables published"
    assert all(tasks[name]["total_run_time"] > 0 for name in steps)


@pytest.mark.slow
def test_a_failing_account_stops_no_other_and_fails_the_flow_by_name(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Two of three accounts land and are published, each in three tasks with counts; the third fails in `read`.

    The flow ends Failed and names it; its token is stored nowhere.
    """
    sandbox = serve(at=datetime.now(UTC))
    wrong = "wrong-token-9f3a1c2e4b"
    (tmp_path / "genesis-etl.toml").write_text(
        f'endpoint = "{sandbox.endpoint}"\nrate = 1000\n'
        + "".join(f'[accounts.{name}]\ntoken_env = "{name.upper()}_TOKEN"\n' for name in ("first", "broken", "last"))
    )
    done = run_flow(prefect, tmp_path, FIRST_TOKEN=sandbox.token, BROKEN_TOKEN=wrong, LAST_TOKEN=sandbox.token)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: account broken: GET /images page 1")
    run = prefect.newest_run()
    assert run["state_type"] == "FAILED"
    assert "account broken" in run["state"]["message"]
    tasks = {task["name"]: task for task in prefect.task_runs(run)}
    states = {name: task["state_type"] for name, task in tasks.items()}
    steps = ("export", "read", "normalise", "land")
    well = [f"{step}-{account}" for account in ("first", "last") for step in steps]
    assert states == {
        **dict.fromkeys([*well, "read-back"], "COMPLETED"),
        "export-broken": "FAILED",
        "read-broken": "FAILED",
    }
    counts = {
        "read": r"\d+ requests?, \d+ pass",
        "normalise": r"\d+ rows of",
        "land": r"\d+ images .*4 tables published$",
    }
    for account in ("first", "last"):
        for step, told in counts.items():
            assert re.search(told, tasks[f"{step}-{account}"]["state"]["message"])
    lake = tmp_path / "data" / "lake"
    captured = open_lake(str(lake)).sql("select account from captures order by account")
    assert captured["account"].tolist() == ["first", "last"]
    assert sorted(path.stem for path in lake.glob("tables/*/*")) == ["first"] * 4 + ["last"] * 4
    for token in (wrong, sandbox.token):
        assert token not in done.stdout + done.stderr
        assert token not in stored_text(prefect.home)


@pytest.mark.slow
def test_tables_that_cannot_be_written_cost_no_capture_and_are_warned_of(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Where a file stands in place of the tables, the run is Completed; `land` and a warning say what is missing."""
    sandbox = serve(at=datetime.now(UTC))
    lake = tmp_path / "data" / "lake"
    lake.mkdir(parents=True)
    (lake / "tables").write_text("no folder")
    done = run_flow(prefect, tmp_path, GENESISCLOUD_ENDPOINT=sandbox.endpoint, GENESISCLOUD_TOKEN=sandbox.token)
    assert done.returncode == 0, done.stderr
    run = prefect.newest_run()
    assert run["state_type"] == "COMPLETED"
    (land,) = (task for task in prefect.task_runs(run) if task["name"] == "land-default")
    assert land["state"]["message"].endswith("; tables not published, as the log says")
    (warning,) = prefect.warnings(run)
    assert warning.startswith("account default: the tables were not published: ")
    assert len(open_lake(str(lake)).sql("select * from captures")) == 1


@pytest.mark.slow
def test_a_compaction_publishes_the_tables_of_what_it_compacts(prefect: Prefect, tmp_path: Path) -> None:
    """After `compact-lake` the tables of a lake that had none hold all its captures, those of the store."""
    lake = tmp_path / "lake"
    states = {f"2026-11-{day:02}": rows("a", "b") for day in range(1, 11)}
    land_all(Lake(str(lake)), states)
    assert not (lake / "tables").exists()
    compact = f"from flows.compact_lake import compact_lake; compact_lake(lake={str(lake)!r})"
    command = [sys.executable, "-c", compact]
    environment = {**prefect.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert prefect.newest_run()["state_type"] == "COMPLETED"
    assert Lake(str(lake)).contents().captures["file"].to_pylist()[0].count("compacted") == 1
    assert len(pd.read_parquet(lake / "tables" / "captures")) == len(states)
    assert not has_failed(verify_lake(str(lake)))


@pytest.mark.slow
def test_without_the_prefect_api_the_error_is_clear_and_the_command_captures(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """With the Prefect API down, the flow says so in one line and leaves nothing; `genesis-etl export` needs no API."""
    sandbox = serve(at=datetime.now(UTC))
    reach = {
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "GENESISCLOUD_TOKEN": sandbox.token,
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
    }
    done = run_flow(prefect, tmp_path, **reach)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "error: Prefect: Failed to reach API at http://127.0.0.1:1/api/; `genesis-etl export` captures without it"
    )
    assert not (tmp_path / "data").exists()
    command = [sys.executable, "-m", "genesis_etl", "export"]
    captured = subprocess.run(command, env={**prefect.environment, **reach}, cwd=tmp_path, timeout=60)
    assert captured.returncode == 0
    assert len(open_lake(str(tmp_path / "data" / "lake")).sql("select * from captures")) == 1


@pytest.mark.slow
def test_with_prefects_database_locked_the_error_is_clear_and_the_command_captures(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """While another process locks Prefect's database the flow ends in one line, and `genesis-etl export` captures."""
    sandbox = serve(at=datetime.now(UTC))
    reach = {"GENESISCLOUD_ENDPOINT": sandbox.endpoint, "GENESISCLOUD_TOKEN": sandbox.token}
    with sqlite3.connect(prefect.home / "prefect.db", isolation_level=None) as database:
        database.execute("begin exclusive")
        hurry = {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_API_REQUEST_TIMEOUT": "3"}
        done = run_flow(prefect, tmp_path, **reach, **hurry)
        assert done.returncode == 4
        assert re.fullmatch(
            r"error: Prefect: .*; `genesis-etl export` captures without it", done.stderr.splitlines()[-1]
        )
        assert not (tmp_path / "data").exists()
        command = [sys.executable, "-m", "genesis_etl", "export"]
        captured = subprocess.run(command, env={**prefect.environment, **reach}, cwd=tmp_path, timeout=60)
        assert captured.returncode == 0
        database.execute("rollback")
    assert len(open_lake(str(tmp_path / "data" / "lake")).sql("select * from captures")) == 1


DECISIONS = ("figures", "retention", "can-go", "orphans", "missing")


@pytest.mark.slow
def test_an_artifact_has_fifty_rows_and_takes_the_place_of_ours_before_it(prefect: Prefect, tmp_path: Path) -> None:
    """Of two runs of `publish-page` the second's artifacts stay, newest periods first; those of others stay, too."""
    theirs = {"key": "snapshot-growth", "type": "table", "data": "[]", "description": "of another project"}
    other = prefect.post("artifacts/", theirs)["id"]
    twice = (
        "from flows.publish_page import publish_page\n"
        f"for page in ('a.html', 'b.html'): publish_page(page=page, lake={str(ROOT / 'data' / 'sample')!r})"
    )
    command = [sys.executable, "-c", twice]
    environment = {**prefect.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    ours, kept = prefect.artifacts("snapshot-growth")
    assert kept["id"] == other
    rows = json.loads(ours["data"])
    periods = [row["period"] for row in rows]
    whole = open_lake(str(ROOT / "data" / "sample")).report("snapshot-growth")["period"]
    assert (len(rows), len(whole) > 50, periods[0]) == (50, True, f"{whole.max():%Y-%m-%d}")
    assert periods == sorted(periods, reverse=True)
    (page,) = prefect.artifacts("page")
    assert "b.html" in page["data"]
    decided = {key: json.loads(prefect.newest_artifact(key)) for key in DECISIONS}
    assert [row["keep"] for row in decided["retention"]] == [7, 14, 30, 60, 90, 180, 365]
    (kept,) = [row for row in decided["retention"] if row["keep"] == 30]
    assert len(decided["can-go"]) == min(kept["snapshots"], 50)
    assert len(decided["figures"]) == 1
    assert all(len(prefect.artifacts(key)) == 1 and len(rows) <= 50 for key, rows in decided.items())
    for key in ("snapshot-growth", "region-coverage", "page", *DECISIONS):
        for artifact in prefect.artifacts(key):
            prefect.delete(f"artifacts/{artifact['id']}")


@pytest.mark.slow
def test_what_hinders_an_artifact_or_its_removal_fails_no_run(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Where Prefect refuses to store and remove artifacts, the run says so in its log, completes and has captured."""
    sandbox = serve(at=datetime.now(UTC))
    refuse = (
        "import flows.artifacts as room\n"
        "def refuse(*_, **__): raise RuntimeError('no artifacts today')\n"
        "room.create_markdown_artifact = room.create_table_artifact = room.get_client = refuse\n"
        "from flows.export_images import export_images\n"
        "export_images()"
    )
    reach = {"GENESISCLOUD_ENDPOINT": sandbox.endpoint, "GENESISCLOUD_TOKEN": sandbox.token}
    done = subprocess.run(
        [sys.executable, "-c", refuse],
        env={**prefect.environment, **reach, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no artifacts today") == 3
    assert prefect.newest_run()["state_type"] == "COMPLETED"


@pytest.mark.slow
def test_a_terminated_flow_leaves_no_server_behind(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """SIGTERM while a flow on a temporary server waits for a page ends with 143, no process and no file."""
    sandbox = serve(at=datetime.now(UTC), faults=[Fault("hang", seconds=60, times=0)])
    environment = {name: value for name, value in prefect.environment.items() if name != "PREFECT_API_URL"}
    environment |= {
        "PREFECT_HOME": str(tmp_path / "home"),
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "GENESISCLOUD_TOKEN": sandbox.token,
    }
    flow = subprocess.Popen([sys.executable, str(FLOW)], env=environment, cwd=tmp_path, start_new_session=True)
    for _ in range(1200):
        if sandbox.requests or flow.poll() is not None:
            break
        time.sleep(0.1)
    flow.terminate()
    assert flow.wait(60) == 143
    for _ in range(100):
        try:
            os.killpg(flow.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a process of the flow's group lives on")
    assert not list((tmp_path / "data").rglob("*.parquet*"))


@pytest.mark.slow
def test_runs_that_start_together_all_end_well_and_one_captures(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Of five runs that a deployment has let pile up none is cancelled; those that find a fresh capture ask nothing.

    Two that cross may both land, so what is counted is that not all do, and that a run after them does not.
    """
    sandbox = serve(at=datetime.now(UTC))
    (tmp_path / "genesis-etl.toml").write_text(f'endpoint = "{sandbox.endpoint}"\nrate = 1000\n')
    with serving(prefect, tmp_path, {}, GENESISCLOUD_TOKEN=sandbox.token):
        start = f"deployments/{prefect.deployment('hourly')['id']}/create_flow_run"
        runs = [prefect.post(start, {})["id"] for _ in range(5)]
        assert {run["state_type"] for run in prefect.ended(runs)} == {"COMPLETED"}
        before = len(sandbox.requests)
        (last,) = prefect.ended([prefect.post(start, {})["id"]])
        (read,) = (task for task in prefect.task_runs(last) if task["name"] == "read-default")
    assert last["state_type"] == "COMPLETED"
    assert "fresh: the newest capture is younger than 30m" in read["state"]["message"]
    assert len(sandbox.requests) == before
    assert 1 <= len(open_lake(str(tmp_path / "data" / "lake")).sql("select * from captures")) < 5
    assert "0 landed, 0 failed, 1 fresh." in prefect.newest_artifact("captures")


@pytest.mark.slow
def test_schedules_capture_publish_and_check_and_all_say_when_the_api_refuses(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Schedules alone make captures, pages, compactions, green checks; a refusal fails the next capture and check.

    Meanwhile the process that serves says that it is well.
    """
    sandbox = serve(at=datetime.now(UTC))
    (tmp_path / "genesis-etl.toml").write_text(f'endpoint = "{sandbox.endpoint}"\nrate = 1000\n')
    begun = datetime.now(UTC)
    page = tmp_path / "page.html"
    every = {"hourly": 20, "daily": 30, "every-hour": 30, "nightly": 40}
    health = {"PREFECT_RUNNER_SERVER_ENABLE": "true", "PREFECT_RUNNER_SERVER_PORT": str(free_port())}
    with serving(prefect, tmp_path, every, GENESISCLOUD_TOKEN=sandbox.token, **health):
        prefect.wait_for("publish-page", ["COMPLETED"], 1, begun)
        first = page.stat()
        captured = prefect.wait_for("export-images", ["COMPLETED"], 3, begun)
        assert all(run["auto_scheduled"] for run in captured)
        for flow in ("publish-page", "check-lake", "compact-lake"):
            prefect.wait_for(flow, ["COMPLETED"], 1, datetime.fromisoformat(captured[0]["start_time"]))
        assert requests.get(f"http://127.0.0.1:{health['PREFECT_RUNNER_SERVER_PORT']}/health", timeout=5).ok
        assert page.stat().st_ino != first.st_ino
        assert "checks, none failed." in prefect.newest_artifact("checks")
        assert "1 landed, 0 failed." in prefect.newest_artifact("captures")
        for key in ("snapshot-growth", "region-coverage", "page", "captures", "checks"):
            # Two runs at once may each see the other's as the newer one.
            assert 1 <= len(prefect.artifacts(key)) <= 2

        refused = datetime.now(UTC)
        sandbox.faults.append(Fault("status", status=401, times=0))
        told = {}
        for flow, key in (("export-images", "captures"), ("check-lake", "checks")):
            ended = prefect.wait_for(flow, ["COMPLETED", "FAILED", "CRASHED"], 1, refused)
            assert {run["state_type"] for run in ended} == {"FAILED"}
            told[flow] = ended[-1]["state"]["message"] + prefect.newest_artifact(key)
    assert told["export-images"].count("401 Unauthorized") == 2
    assert "give the account a token that the API accepts" in told["export-images"]
    assert told["check-lake"].count("401 Unauthorized") == 2
    captures = open_lake(str(tmp_path / "data" / "lake")).sql("select count(distinct capture_id) as n from captures")
    assert captures["n"].item() >= 3


@pytest.mark.slow
def test_alarms_hear_of_failed_crashed_and_cancelled_runs_once_each(prefect: Prefect, tmp_path: Path) -> None:
    """`serve.py --alarms URL` twice leaves one automation of each kind, which calls the second URL.

    A run of ours that ends badly is told once, one of others is not, and the URLs are stored and printed nowhere.
    """

    def automations() -> dict[str, str]:
        return {each["name"]: each["id"] for each in prefect.post("automations/filter", {})}

    with listening() as (old, unheard), listening() as (hook, calls):
        with serving(prefect, tmp_path, {"hourly": 3600}, "--alarms", f"{old}/a-secret-path-1"):
            first = automations()
        with serving(prefect, tmp_path, {"hourly": 3600}, "--alarms", f"{hook}/a-secret-path-2"):
            assert automations() == first
            assert len(first) == 2
            # Not by a schedule: of runs that it has made just now, the automations hear a quarter of an hour late.
            start = f"deployments/{prefect.deployment('hourly')['id']}/create_flow_run"
            prefect.post(start, {})  # without a token it fails
            later = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}}
            for kind in ("CRASHED", "CANCELLED"):
                run = prefect.post(start, later)["id"]
                prefect.post(f"flow_runs/{run}/set_state", {"state": {"type": kind, "message": 'so "it" is'}})
            for _ in range(450):
                if len(calls) >= 3:
                    break
                time.sleep(0.2)
        with serving(prefect, tmp_path, {}, "--alarms", f"{hook}/a-secret-path-2"):
            assert len(automations()) == 1  # without a schedule nothing is waited for
    texts = sorted(json.loads(call)["text"].split(": ", 1)[1] for call in calls)
    assert texts[:2] == ['Cancelled: so "it" is', 'Crashed: so "it" is']
    assert texts[2].startswith("Failed: Flow run encountered an exception: ExportFailed: no token for account default")
    assert (len(texts), unheard) == (3, [])
    assert "a-secret-path" not in stored_text(prefect.home) + (tmp_path / "serve.log").read_text()
    for automation in automations().values():
        prefect.delete(f"automations/{automation}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--alarms", "hooks.example.com/a-secret-path"],
        ["--alarms", "ftp://hooks.example.com/a-secret-path"],
        ["--alarms", "http://hooks.example.com/a-secret-path"],
        ["--alarms", "https://user:a-secret-path@hooks.example.com"],
        ["https://hooks.example.com/a-secret-path"],
        ["--alarms", "https://hooks.example.com/a-secret-path", "https://hooks.example.com/a-secret-path"],
        ["--alarm=s", "https://hooks.example.com/a-secret-path"],
    ],
)
def test_what_is_no_alarm_is_refused_without_being_shown(
    arguments: list[str],
    serving_room: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A URL that cannot be told, or one in the wrong place, ends with 2 and one line that does not repeat it."""
    monkeypatch.setattr(sys, "argv", ["serve.py", *arguments])
    assert serving_room.main() == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "--alarms takes the one https URL" in said.err
    assert "a-secret-path" not in said.err


@pytest.mark.parametrize(
    ("schedules", "declared", "served", "awaited"),
    [
        ([{"cron": "7 * * * *", "timezone": "UTC"}], "30m", "30m", timedelta(hours=2)),
        ([{"cron": "7 * * * *", "timezone": "UTC"}], None, "1800s", timedelta(hours=2)),
        ([{"cron": "*/10 * * * *", "timezone": "UTC"}], "30m", "300s", timedelta(minutes=20)),
        ([{"cron": "7 8-18 * * *", "timezone": "UTC"}], "30m", "30m", timedelta(hours=28)),
        ([{"cron": "0 6 * * 1-5", "timezone": "UTC"}], "12h", "12h", timedelta(days=6)),
        ([{"interval": 20}], "30m", "10s", timedelta(seconds=40)),
        ([{"cron": "7 * * * *"}, {"cron": "37 * * * *"}], "30m", "900s", timedelta(hours=1)),
        ([], "30m", "30m", None),
        ([], None, None, None),
    ],
)
def test_a_deployment_is_served_with_half_its_period(
    schedules: list[dict[str, Any]],
    declared: str | None,
    served: str | None,
    awaited: timedelta | None,
    serving_room: ModuleType,
    tmp_path: Path,
) -> None:
    """`if_older_than` stands as declared where it is shorter than the shortest period, else it is half of that.

    Silence is twice the longest period, the nights and weekends of a schedule included.
    """
    parameters = {} if declared is None else {"if_older_than": declared}
    each = {"name": "x", "entrypoint": f"{FLOW}:export_images", "schedules": schedules, "parameters": parameters}
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"deployments": [each]}))
    found = serving_room.deployments(tmp_path / "prefect.yaml")
    assert found[0].parameters.get("if_older_than") == served
    assert serving_room.silence(found) == awaited


@pytest.mark.parametrize("text", ["deployments: [", "{}", "deployments: [{name: x}]"])
def test_a_faulty_declaration_is_one_line(
    text: str,
    serving_room: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A prefect.yaml that is none ends with 2 and names the file."""
    (tmp_path / "prefect.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["serve.py"])
    assert serving_room.main() == 2
    assert re.fullmatch(r"error: prefect.yaml: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.slow
def test_twenty_accounts_of_which_two_fail_land_eighteen(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """A bad token and a dead endpoint fail the flow, which names both; the others land; no token is anywhere."""
    sandbox = serve(at=datetime.now(UTC))
    wrong = "wrong-token-0b1e5c77aa"
    names = write_accounts(tmp_path, sandbox, dead="team-07")
    tokens = dict.fromkeys(names.values(), sandbox.token) | {names["team-13"]: wrong}
    done = run_flow(prefect, tmp_path, **tokens)
    assert done.returncode == 4  # of the first in the order of the settings
    run = prefect.newest_run()
    assert run["state_type"] == "FAILED"
    shown = prefect.newest_artifact("captures")
    assert "18 landed, 2 failed." in shown
    for name in ("team-07", "team-13"):
        assert f"account {name}" in run["state"]["message"]
        assert f"account {name}" in done.stderr
        assert name in shown.split("## What failed")[1]
    landed = open_lake(str(tmp_path / "data" / "lake")).sql("select account from captures order by all")
    assert landed["account"].tolist() == [name for name in names if name not in ("team-07", "team-13")]
    files = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file())
    for token in (wrong, sandbox.token):
        assert token not in done.stdout + done.stderr + files
        assert token not in stored_text(prefect.home)


@pytest.mark.slow
def test_a_token_in_a_secret_block_captures_its_account(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """`token_block` is read inside the task, is stored nowhere in clear, and one that is missing is named."""
    sandbox = serve(at=datetime.now(UTC))
    (tmp_path / "genesis-etl.toml").write_text(
        f'endpoint = "{sandbox.endpoint}"\n[accounts.shop]\ntoken_block = "token-shop"\n'
        '[accounts.none]\ntoken_block = "token-none"\n'
    )
    save = "import os; from prefect.blocks.system import Secret; Secret(value=os.environ['T']).save('token-shop')"
    environment = {**prefect.environment, "T": sandbox.token}
    subprocess.run([sys.executable, "-c", save], env=environment, cwd=tmp_path, check=True, capture_output=True)
    done = run_flow(prefect, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: account none: no token for account none: Prefect has no block"
    )
    landed = open_lake(str(tmp_path / "data" / "lake")).sql("select account from captures")
    assert landed["account"].tolist() == ["shop"]
    assert sandbox.token not in done.stdout + done.stderr + stored_text(prefect.home)


@pytest.mark.slow
def test_a_dask_cluster_lands_the_same_lake_as_threads(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Twenty accounts captured by two processes of a Dask cluster and by threads are row for row the same.

    The cluster is started as docs/operations.md says; the flow is run by hand and as a deployment is.
    """
    pytest.importorskip("prefect_dask", exc_type=ImportError)
    sandbox = serve()
    tokens = dict.fromkeys(write_accounts(tmp_path, sandbox).values(), sandbox.token)
    tokens["GENESIS_ETL_NOW"] = sandbox.at.isoformat()
    rows = "select * exclude (capture_id) from image_regions order by all"
    cluster = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys; from distributed import LocalCluster\n"
            "with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
            "    print(cluster.scheduler_address, flush=True); sys.stdin.read()",
        ],
        env={**prefect.environment, **tokens, "PYTHONPATH": str(ROOT / "flows")},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        told = {}
        for lake, dask in (("threads", {}), ("dask", {"GENESIS_ETL_DASK": address})):
            where = str(tmp_path / lake)
            done = run_flow(prefect, tmp_path, GENESIS_ETL_LAKE=where, **tokens, **dask)
            assert done.returncode == 0, done.stderr
            told[lake] = open_lake(where).sql(rows)
        where = str(tmp_path / "deployed")
        with serving(prefect, tmp_path, {}, GENESIS_ETL_LAKE=where, GENESIS_ETL_DASK=address, **tokens):
            start = f"deployments/{prefect.deployment('hourly')['id']}/create_flow_run"
            (run,) = prefect.ended([prefect.post(start, {})["id"]])
            assert run["state_type"] == "COMPLETED", run["state"]["message"]
        told["deployed"] = open_lake(where).sql(rows)
        assert told["dask"]["account"].nunique() == 20
        assert told["dask"].equals(told["threads"])
        assert told["deployed"].equals(told["threads"])
    finally:
        cluster.communicate(timeout=60)


@pytest.mark.slow
def test_a_dask_cluster_that_is_not_there_is_one_line(prefect: Prefect, tmp_path: Path) -> None:
    """Without the extra, or without a cluster at the address, the flow says so and nothing is captured."""
    done = run_flow(prefect, tmp_path, GENESISCLOUD_TOKEN="a-token", GENESIS_ETL_DASK="tcp://127.0.0.1:1")
    assert done.returncode in (2, 4)
    assert '".[dask]"' in done.stderr or "no Dask cluster at tcp://127.0.0.1:1" in done.stderr
    assert not (tmp_path / "data").exists()


def test_every_deployment_is_declared_in_utc_alone_and_without_a_token() -> None:
    """`prefect.yaml` names every flow once, in UTC, without a concurrency limit, and only export has a parameter."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    flows = {"export_images", "compact_lake", "publish_page", "check_lake"}
    assert {each["entrypoint"] for each in declared} == {f"flows/{flow}.py:{flow}" for flow in flows}
    parameters = {each["name"]: each.get("parameters", {}) for each in declared}
    assert parameters == {"hourly": {"if_older_than": "30m"}, "every-hour": {}, "nightly": {}, "daily": {}}
    for each in declared:
        assert [schedule["timezone"] for schedule in each["schedules"]] == ["UTC"]
        assert "concurrency_limit" not in each
        assert each["description"]
        assert "genesis-etl" in each["tags"]


@pytest.mark.slow
def test_deployed_to_a_work_pool_a_worker_captures(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """The README's commands leave four scheduled deployments, explained, without a token; a worker runs them."""
    for command in (["work-pool", "create", "genesis-etl", "--type", "process"], ["--no-prompt", "deploy", "--all"]):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            env=prefect.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    pool = {"work_pools": {"name": {"any_": ["genesis-etl"]}}}
    found = prefect.post("deployments/filter", pool)
    assert sorted(each["name"] for each in found) == ["daily", "every-hour", "hourly", "nightly"]
    for each in found:
        assert (each["schedules"][0]["schedule"]["timezone"], each["schedules"][0]["active"]) == ("UTC", True)
        assert each["global_concurrency_limit"] is None
        parameters = each["parameter_openapi_schema"]["properties"]
        assert all(parameter["description"] for parameter in parameters.values())
        assert not [name for name in parameters if "token" in name]
    sandbox = serve(at=datetime.now(UTC))
    run = prefect.post(f"deployments/{prefect.deployment('hourly')['id']}/create_flow_run", {})
    worker = subprocess.run(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "genesis-etl", "--run-once"],
        env={
            **prefect.environment,
            "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
            "GENESISCLOUD_TOKEN": sandbox.token,
            "GENESIS_ETL_LAKE": str(tmp_path / "lake"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    for each in found:
        prefect.delete(f"deployments/{each['id']}")
    (run,) = prefect.post("flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert run["state_type"] == "COMPLETED", worker.stdout + worker.stderr
    assert len(open_lake(str(tmp_path / "lake")).sql("select * from captures")) == 1


def write_accounts(folder: Path, sandbox: Sandbox, dead: str | None = None) -> dict[str, str]:
    """Write settings of twenty accounts, one with an endpoint where nobody listens; return name → variable."""
    names = {f"team-{number:02}": f"TEAM_{number:02}_TOKEN" for number in range(1, 21)}
    text = f'endpoint = "{sandbox.endpoint}"\nrate = 1000\nattempts = 1\n'
    for name, variable in names.items():
        text += f'[accounts.{name}]\ntoken_env = "{variable}"\n'
        text += 'endpoint = "http://127.0.0.1:1/compute/v1"\n' if name == dead else ""
    (folder / "genesis-etl.toml").write_text(text)
    return names
