"""The flows on a real Prefect server: one server for the session, few runs on it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

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

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """Ask the server, again where its SQLite database was locked (503), as Prefect's own client does."""
        for _ in range(50):
            response = requests.request(method, f"{self.url}/{path}", json=body, timeout=30)
            if response.status_code != 503:
                break
            time.sleep(0.2)
        response.raise_for_status()
        return response

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body).json()

    def newest_run(self) -> dict[str, Any]:
        (run,) = self.post("flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
        return dict(run)

    def delete(self, path: str) -> None:
        self.request("DELETE", path)

    def deployment(self, name: str) -> dict[str, Any]:
        (found,) = self.post("deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return dict(found)

    def newest_artifact(self, key: str) -> str:
        wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
        (artifact,) = self.post("artifacts/filter", wanted)
        return str(artifact["data"])

    def wait_for(self, flow: str, states: Sequence[str], count: int, after: datetime) -> list[dict[str, Any]]:
        """Return a flow's runs begun after the instant, in one of the states, newest first, once there are so many."""
        wanted = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}, "start_time": {"after_": after.isoformat()}},
            "sort": "START_TIME_DESC",
        }
        for _ in range(900):
            found = self.post("flow_runs/filter", wanted)
            if len(found) >= count:
                return list(found)
            time.sleep(0.2)
        log = (self.home / "server.log").read_text()[-3000:]
        raise AssertionError(f"{len(found)} runs of {flow} are {states}, not {count}\n{log}")

    def task_runs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a flow run's task runs; the server learns of them a moment after the flow has ended."""
        for _ in range(100):
            found = self.post("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
            if found and all(task["state_type"] in ("COMPLETED", "FAILED") for task in found):
                break
            time.sleep(0.2)
        return list(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
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


@pytest.mark.xdist_group("prefect")
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
    assert sorted(tasks) == ["export-default", "read-back"]
    assert {task["state_type"] for task in tasks.values()} == {"COMPLETED"}
    assert set(tasks["export-default"]["tags"]) == {"genesis-etl", "account:default"}
    landed = open_lake(str(tmp_path / "data" / "lake")).sql("select images from captures")
    assert landed["images"].tolist() == [140]


@pytest.mark.xdist_group("prefect")
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


@pytest.mark.xdist_group("prefect")
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


@pytest.mark.xdist_group("prefect")
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
def test_of_two_overlapping_triggers_one_captures_and_one_is_cancelled(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """A run that is triggered while another one captures is cancelled, and the lake has one capture."""
    sandbox = serve(at=datetime.now(UTC), faults=[Fault("delay", collection="images", seconds=12)])
    (tmp_path / "genesis-etl.toml").write_text(f'endpoint = "{sandbox.endpoint}"\nrate = 1000\n')
    with serving(prefect, tmp_path, {}, GENESISCLOUD_TOKEN=sandbox.token):
        deployment = prefect.deployment("hourly")
        runs = [prefect.post(f"deployments/{deployment['id']}/create_flow_run", {})["id"] for _ in range(2)]
        for _ in range(900):
            found = prefect.post("flow_runs/filter", {"flow_runs": {"id": {"any_": runs}}})
            if {run["state_type"] for run in found} <= {"COMPLETED", "CANCELLED", "FAILED", "CRASHED"}:
                break
            time.sleep(0.2)
    assert sorted(run["state_type"] for run in found) == ["CANCELLED", "COMPLETED"]
    assert len(open_lake(str(tmp_path / "data" / "lake")).sql("select * from captures")) == 1


@pytest.mark.slow
def test_schedules_capture_publish_and_check_and_all_say_when_the_api_refuses(
    prefect: Prefect, serve: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """Schedules alone make three captures, pages, folds and a green check; a refusal fails the next capture and check.

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
        for key in ("snapshot-growth", "region-coverage", "page"):
            assert prefect.newest_artifact(key)

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
def test_an_automation_hears_of_a_run_that_failed(prefect: Prefect, tmp_path: Path) -> None:
    """What docs/operations.md shows makes Prefect call a webhook when a run of a deployment fails."""
    with listening() as (hook, calls), serving(prefect, tmp_path, {}):
        automate(prefect, tmp_path, hook)
        # Not by a schedule: of runs that it made within the last minutes, Prefect's automations hear a quarter late.
        prefect.post(f"deployments/{prefect.deployment('hourly')['id']}/create_flow_run", {})
        for _ in range(300):
            if calls:
                break
            time.sleep(0.2)
    assert len(calls) == 1
    assert re.fullmatch(r"export-images-[0-9T:-]+: .*FAILED", calls[0])


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
    """Twenty accounts captured by two processes of a Dask cluster and by threads are row for row the same."""
    pytest.importorskip("prefect_dask", exc_type=ImportError)
    sandbox = serve()
    tokens = dict.fromkeys(write_accounts(tmp_path, sandbox).values(), sandbox.token)
    tokens["GENESIS_ETL_NOW"] = sandbox.at.isoformat()
    cluster = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys; from distributed import LocalCluster\n"
            "with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
            "    print(cluster.scheduler_address, flush=True); sys.stdin.read()",
        ],
        env={**prefect.environment, **tokens},
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
            told[lake] = open_lake(where).sql("select * exclude (capture_id) from image_regions order by all")
        assert told["dask"]["account"].nunique() == 20
        assert told["dask"].equals(told["threads"])
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
    """`prefect.yaml` names every flow once, in UTC, one run at a time, the second cancelled, no token a parameter."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    flows = {"export_images", "compact_lake", "publish_page", "check_lake"}
    assert {each["entrypoint"] for each in declared} == {f"flows/{flow}.py:{flow}" for flow in flows}
    for each in declared:
        assert [schedule["timezone"] for schedule in each["schedules"]] == ["UTC"]
        assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert each["description"]
        assert "genesis-etl" in each["tags"]
        assert "parameters" not in each


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
        assert each["global_concurrency_limit"]["limit"] == 1
        assert each["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
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


@contextmanager
def serving(prefect: Prefect, folder: Path, every: dict[str, int], **environment: str) -> Iterator[None]:
    """Run `flows/serve.py` on the repository's deployments, each fired every so many seconds, or never."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for each in declared["deployments"]:
        each["entrypoint"] = f"{ROOT}/{each['entrypoint']}"
        each["schedules"] = [{"interval": every[each["name"]]}] if each["name"] in every else []
    (folder / "prefect.yaml").write_text(yaml.safe_dump(declared))
    log = (folder / "serve.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "flows" / "serve.py")],
        env={**prefect.environment, **environment},
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            if len(prefect.post("deployments/filter", {})) >= 4 or server.poll() is not None:
                break
            time.sleep(0.1)
        assert server.poll() is None, (folder / "serve.log").read_text()
        yield
    finally:
        server.terminate()
        server.wait(60)
        log.close()
        for each in prefect.post("deployments/filter", {}):
            prefect.delete(f"deployments/{each['id']}")


def automate(prefect: Prefect, folder: Path, hook: str) -> None:
    """Run what docs/operations.md shows for a Prefect automation, with this webhook."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (script,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Automation(" in block)
    assert "https://hooks.example.com/a-secret-path" in script
    script = script.replace("https://hooks.example.com/a-secret-path", hook)
    done = subprocess.run(
        [sys.executable, "-c", script], env=prefect.environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Serve a webhook on this machine; give its URL and the bodies that it gets."""
    calls: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", calls
        server.shutdown()


def stored_text(home: Path) -> str:
    """Return everything that Prefect has written: its database, row by row, and all its files."""
    parts = []
    with sqlite3.connect(home / "prefect.db") as database:
        parts += list(database.iterdump())
    parts += [path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file()]
    return "\n".join(parts)
