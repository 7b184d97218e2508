"""The flows on a real Prefect server: one server for the session, few runs on it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from genesis_etl import open_lake
from genesis_etl.sandbox import Fault, Sandbox

ROOT = Path(__file__).parent.parent
FLOW = ROOT / "flows" / "export_images.py"


@dataclass
class Prefect:
    """A running server: its API, its home, and the environment that points to it."""

    url: str
    home: Path
    environment: dict[str, str]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = requests.post(f"{self.url}/{path}", json=body, timeout=30)
        response.raise_for_status()
        return response.json()

    def newest_run(self) -> dict[str, Any]:
        (run,) = self.post("flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
        return dict(run)

    def task_runs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a flow run's task runs; the server learns of them a moment after the flow has ended."""
        for _ in range(100):
            found = self.post("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
            if found and all(task["state_type"] in ("COMPLETED", "FAILED") for task in found):
                break
            time.sleep(0.2)
        return list(found)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "GENESISCLOUD_", "GENESIS_ETL_"))
    }
    environment = {
        **clean,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
    }
    log = (home / "server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        cwd=home,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            try:
                if requests.get(f"{url}/health", timeout=2).ok:
                    break
            except requests.RequestException:
                assert server.poll() is None, (home / "server.log").read_text()
            time.sleep(0.1)
        else:
            raise AssertionError((home / "server.log").read_text())
        yield Prefect(url, home, environment)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        log.close()


def run_flow(prefect: Prefect, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FLOW)],
        env={**prefect.environment, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_running_server_shows_the_flow_completed_with_its_tasks(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """With PREFECT_API_URL set, that server lists the run, Completed, and the tasks of its account."""
    sandbox = serve(at=datetime.now(UTC), images=140)
    done = run_flow(prefect, tmp_path, GENESISCLOUD_ENDPOINT=sandbox.endpoint, GENESISCLOUD_TOKEN=sandbox.token)
    assert done.returncode == 0, done.stderr
    run = prefect.newest_run()
    assert (run["state_type"], run["name"][:14]) == ("COMPLETED", "export-images-")
    tasks = {task["name"]: task for task in prefect.task_runs(run)}
    assert sorted(tasks) == ["export-default", "read-back-default"]
    assert {task["state_type"] for task in tasks.values()} == {"COMPLETED"}
    assert set(tasks["export-default"]["tags"]) == {"genesis-etl", "account:default"}
    landed = open_lake(str(tmp_path / "data" / "lake")).sql("select images from captures")
    assert landed["images"].tolist() == [140]


def test_a_failing_account_stops_no_other_and_fails_the_flow_by_name(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Two of three accounts land, the flow ends Failed and names the third, its token is stored nowhere."""
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
    states = {task["name"]: task["state_type"] for task in prefect.task_runs(run)}
    assert states["export-broken"] == "FAILED"
    assert states["export-first"] == states["export-last"] == "COMPLETED"
    lake = open_lake(str(tmp_path / "data" / "lake"))
    assert lake.sql("select account from captures order by account")["account"].tolist() == ["first", "last"]
    for token in (wrong, sandbox.token):
        assert token not in done.stdout + done.stderr
        assert token not in stored_text(prefect.home)


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


def stored_text(home: Path) -> str:
    """Return everything that Prefect has written: its database, row by row, and all its files."""
    parts = []
    with sqlite3.connect(home / "prefect.db") as database:
        parts += list(database.iterdump())
    parts += [path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file()]
    return "\n".join(parts)
