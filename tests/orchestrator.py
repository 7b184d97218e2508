"""Real Prefect servers for the tests, `flows/serve.py` on them, and a webhook, all on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml

ROOT = Path(__file__).parent.parent
FLOW = ROOT / "flows" / "export_images.py"


@dataclass
class Prefect:
    """A server that can be started, killed and started again: its API, home, and the environment that points to it."""

    url: str
    home: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, home: Path) -> Prefect:
        """Return a server that is not started yet, with a home and a port of its own."""
        url = f"http://127.0.0.1:{free_port()}/api"
        theirs = ("PREFECT_", "GENESISCLOUD_", "GENESIS_ETL_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        ours = {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        return cls(url, home, {**clean, **ours})

    def start(self) -> None:
        """Start the server and wait until it answers."""
        port = self.url.split(":")[2].split("/")[0]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for _ in range(1200):
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            assert self.process.poll() is None, (self.home / "server.log").read_text()
            time.sleep(0.1)
        raise AssertionError((self.home / "server.log").read_text())

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End the server and whatever it has started."""
        if self.process is not None:
            end([self.process.pid], signum)
            self.process.wait(60)
            self.process = None

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

    def artifacts(self, key: str) -> list[dict[str, Any]]:
        """Return all artifacts of a key, newest first."""
        return list(self.post("artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}))

    def newest_artifact(self, key: str) -> str:
        return str(self.artifacts(key)[0]["data"])

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

    def ended(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return flow runs once all of them have ended."""
        for _ in range(900):
            found = self.post("flow_runs/filter", {"flow_runs": {"id": {"any_": list(ids)}}})
            if {run["state_type"] for run in found} <= {"COMPLETED", "CANCELLED", "FAILED", "CRASHED"}:
                return list(found)
            time.sleep(0.2)
        raise AssertionError([(run["name"], run["state_name"]) for run in found])

    def task_runs(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a flow run's task runs; the server learns of them a moment after the flow has ended."""
        for _ in range(100):
            found = self.post("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
            if found and all(task["state_type"] in ("COMPLETED", "FAILED") for task in found):
                break
            time.sleep(0.2)
        return list(found)

    def warnings(self, run: dict[str, Any]) -> list[str]:
        """Return what a flow run has warned of; its log reaches the server a moment after it has ended."""
        wanted = {"logs": {"flow_run_id": {"any_": [run["id"]]}, "level": {"ge_": logging.WARNING}}}
        for _ in range(50):
            if found := self.post("logs/filter", wanted):
                break
            time.sleep(0.2)
        return [str(line["message"]) for line in found]


def end(pids: Sequence[int], signum: int = signal.SIGTERM) -> None:
    """Send a signal to processes and all that they have started."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signum)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_flow(prefect: Prefect, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FLOW)],
        env={**prefect.environment, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=180,
    )


def declare(folder: Path, every: dict[str, int]) -> None:
    """Write the repository's deployments into a folder, each fired every so many seconds, or never."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for each in declared["deployments"]:
        each["entrypoint"] = f"{ROOT}/{each['entrypoint']}"
        each["schedules"] = [{"interval": every[each["name"]]}] if each["name"] in every else []
    (folder / "prefect.yaml").write_text(yaml.safe_dump(declared))


def start_serving(prefect: Prefect, folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Run `flows/serve.py` in a folder and wait until it serves."""
    before = (folder / "serve.log").stat().st_size if (folder / "serve.log").exists() else 0
    with (folder / "serve.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "flows" / "serve.py"), *arguments],
            env={**prefect.environment, **environment},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    for _ in range(900):
        said = (folder / "serve.log").read_bytes()[before:].decode()
        if "stop with Ctrl-C" in said:
            return server
        assert server.poll() is None, said
        time.sleep(0.1)
    raise AssertionError(said)


@contextmanager
def serving(
    prefect: Prefect, folder: Path, every: dict[str, int], *arguments: str, **environment: str
) -> Iterator[None]:
    """Run `flows/serve.py` on the repository's deployments, each fired every so many seconds, or never."""
    declare(folder, every)
    server = start_serving(prefect, folder, *arguments, **environment)
    try:
        yield
    finally:
        server.terminate()
        server.wait(60)
        for each in prefect.post("deployments/filter", {}):
            prefect.delete(f"deployments/{each['id']}")


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
