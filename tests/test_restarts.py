"""Server, `serve.py` and run die, alone and together, in every phase of a run; the next slot captures by itself."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from genesis_etl.lake.lake import Lake
from genesis_etl.sandbox import Fault, Sandbox
from tests.orchestrator import Prefect, declare, end, free_port, listening, start_serving

PERIOD = 25  # seconds; on a busy machine a run takes ten


class Machine:
    """A Prefect server and a `serve.py` on it, which captures a sandbox every `PERIOD` seconds."""

    def __init__(self, folder: Path, sandbox: Sandbox, hook: str) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.arguments = ("--alarms", hook)
        self.port = free_port()
        (folder / "home").mkdir()
        self.prefect = Prefect.at(folder / "home")
        self.serving: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()
        declare(folder, {"hourly": PERIOD})
        (folder / "genesis-etl.toml").write_text(f'endpoint = "{sandbox.endpoint}"\nrate = 1000\n')
        self.start()

    def start(self) -> None:
        """Start what does not run."""
        if self.prefect.process is None:
            self.prefect.start()
        if self.serving is None:
            given = {
                "GENESISCLOUD_TOKEN": self.sandbox.token,
                "PREFECT_RUNNER_SERVER_ENABLE": "true",
                "PREFECT_RUNNER_SERVER_PORT": str(self.port),
            }
            self.serving = start_serving(self.prefect, self.folder, *self.arguments, **given)

    def runs(self) -> list[int]:
        """Return the processes of flow runs."""
        found = set()
        if self.serving is not None:
            with suppress(psutil.NoSuchProcess):
                found = {each.pid for each in psutil.Process(self.serving.pid).children(recursive=True)}
        self.pids |= found
        return list(found)

    def kill(self, *whom: str) -> None:
        """End the server, serve.py or its runs at once, as a power cut does; a run that is not named lives on."""
        runs = self.runs()
        if "run" in whom:
            end(runs, signal.SIGKILL)
        if "serve.py" in whom and self.serving is not None:
            self.serving.kill()
            self.serving.wait()
            self.serving = None
        if "server" in whom:
            self.prefect.stop(signal.SIGKILL)

    def is_healthy(self) -> bool:
        """Tell whether `serve.py` says that it asks for work."""
        with suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=5).ok
        return False

    def captures(self) -> set[str]:
        """Return the commits of the lake."""
        return {entry.path for entry in Lake(str(self.folder / "data" / "lake")).list("captures").files}

    def wait_until(self, what: str, is_so: Callable[[], object]) -> None:
        """Wait until something is so, for several periods at most."""
        for _ in range(1200):
            if is_so():
                return
            time.sleep(0.1)
        log = (self.folder / "serve.log").read_text()[-3000:]
        raise AssertionError(f"{what} has not come\n{log}")

    def wait_for_another(self, before: set[str], what: str) -> None:
        """Wait until there is a capture more than before."""
        self.wait_until(what, lambda: self.captures() - before)

    def wait_for_phase(self, phase: str) -> None:
        """Wait until a run is in the phase."""
        known, asked = self.captures(), len(self.sandbox.requests)
        wanted = {"flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}
        before = {run["id"] for run in self.prefect.post("flow_runs/filter", wanted)}

        def is_submitting() -> bool:
            return bool({run["id"] for run in self.prefect.post("flow_runs/filter", wanted)} - before)

        phases: dict[str, Callable[[], object]] = {
            "scheduled": lambda: not self.runs(),
            "submitting": is_submitting,
            "running": lambda: len(self.sandbox.requests) > asked,
            "ending": lambda: self.captures() - known,
        }
        self.wait_until(phase, phases[phase])

    def stop(self) -> None:
        """End all that was ever started here."""
        self.runs()
        if self.serving is not None:
            self.serving.kill()
            self.serving.wait()
        end(sorted(self.pids), signal.SIGKILL)
        self.prefect.stop(signal.SIGKILL)


@pytest.fixture
def machine(serve: Callable[..., Sandbox], tmp_path: Path) -> Iterator[tuple[Machine, list[str]]]:
    """Start a server and `serve.py`, with alarms to a webhook whose calls are given."""
    slow = Fault("delay", collection="images", seconds=2, times=0)  # so that a run can be met while it reads
    with listening() as (hook, calls):
        machine = Machine(tmp_path, serve(at=None, faults=[slow]), hook)
        try:
            yield machine, calls
        finally:
            machine.stop()


@pytest.mark.slow
@pytest.mark.xdist_group("restarts")
def test_after_every_death_the_next_slot_captures_without_a_hand(machine: tuple[Machine, list[str]]) -> None:
    """Whoever dies in whatever phase of a run, captures go on once it is back; no run is ever cancelled.

    In the end `serve.py` is stopped for good, and the alarm of silence is heard.
    """
    it, calls = machine
    for phase, *whom in (
        ("scheduled", "server"),
        ("submitting", "server", "serve.py"),
        ("running", "server", "run"),
        ("running", "serve.py"),
        ("ending", "server"),
        ("ending", "server", "serve.py", "run"),
    ):
        it.wait_for_phase(phase)
        it.kill(*whom)
        it.start()
        before = it.captures()
        it.wait_until(
            f"a capture after {' and '.join(whom)} died {phase}", lambda before=before: it.captures() - before
        )
    states = it.prefect.post("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CANCELLED"]}}}})
    assert states == []
    assert it.serving is not None
    it.serving.terminate()
    assert it.serving.wait(60) == 0
    it.serving = None
    calls.clear()
    it.wait_until("the alarm", lambda: any("no export-images has completed for 50 seconds" in call for call in calls))


@pytest.mark.slow
@pytest.mark.xdist_group("restarts")
def test_a_server_that_is_long_away_ends_no_serving(machine: tuple[Machine, list[str]]) -> None:
    """`serve.py` outlives a server that is away until Prefect's own runner gives up; captures go on, and it is well."""
    it, _ = machine
    it.kill("server")
    log = it.folder / "serve.log"
    it.wait_until("the warning", lambda: "warning: Prefect's server does not answer" in log.read_text())
    it.start()
    before = it.captures()
    it.wait_for_another(before, "a capture")
    it.wait_until("health", it.is_healthy)
    assert it.serving is not None
    assert it.serving.poll() is None
