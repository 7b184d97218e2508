"""Serves the deployments of `prefect.yaml` from this process, for a machine without workers, until interrupted.

    python flows/serve.py [--alarms URL]

Prefect's own `serve` ends when the server has been away for a minute; this one goes on with it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import yaml

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from pydantic import TypeAdapter

from flows.alarms import register_alarms
from genesis_etl.errors import SettingsError
from genesis_etl.settings import Hook, alarm_hook
from genesis_etl.text import shown
from genesis_etl.times import parse_duration

DECLARED = Path("prefect.yaml")
EXPORT: Final = "export-images"
_AGAIN: Final = "--again"  # how this process calls itself after the server was away
_PAUSE: Final = 10.0  # seconds until Prefect's server is tried again
_AHEAD: Final = timedelta(days=8)  # of a schedule, which has the gap of a weekend in it


def deployments(path: Path = DECLARED) -> list[RunnerDeployment]:
    """Return the deployments that the file declares, as `prefect deploy` would make them, but without a work pool.

    SettingsError where the file cannot be used.
    """
    try:
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
        return [_deployment(**each) for each in declared]
    except OSError as error:
        raise SettingsError(
            error.strerror or str(error), where=f"cannot read {path}", advice="start this from the project's folder"
        ) from None
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise SettingsError(
            shown(str(error), 300), where=str(path), advice="compare it with the one of the project"
        ) from None


def _deployment(
    *,
    name: str,
    entrypoint: str,
    schedules: list[dict[str, Any]],
    parameters: dict[str, Any] | None = None,
    work_pool: object = None,
    **options: Any,
) -> RunnerDeployment:
    flow = load_flow_from_entrypoint(entrypoint)
    parameters = dict(parameters or {})
    gaps = _gaps(_slots(schedules))
    if flow.name == EXPORT and gaps:
        parameters["if_older_than"] = _patience(name, min(gaps), parameters.get("if_older_than"))
    return flow.to_deployment(
        name,
        schedules=[DeploymentScheduleCreate(schedule=schedule) for schedule in schedules],
        parameters=parameters,
        **options,
    )


def _patience(name: str, period: timedelta, declared: str | None) -> str:
    """Return the declared `if_older_than`; half the period where none is, or one that would leave out whole periods."""
    half = f"{max(1, int(period.total_seconds()) // 2)}s"
    if declared is None:
        return half
    try:
        if parse_duration(declared) < period:
            return declared
    except ValueError as error:
        raise SettingsError(str(error), where=f"{DECLARED}, deployment {name}, if_older_than") from None
    print(f"{name}: if_older_than is {half}, half its period, for with {declared} not every period had a capture")
    return half


def _slots(schedules: Sequence[Any]) -> list[datetime]:
    """Return the coming times of schedules, for eight days or a thousand of each."""
    now = datetime.now(UTC)
    read = TypeAdapter(SCHEDULE_TYPES).validate_python
    dates = (asyncio.run(read(each).get_dates(n=1000, start=now, end=now + _AHEAD)) for each in schedules)
    # Prefect counts in a library's own dates, of which the difference is no timedelta.
    return sorted({datetime.fromtimestamp(date.timestamp(), UTC) for several in dates for date in several})


def _gaps(slots: Sequence[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in pairwise(slots)]


def silence(served: Sequence[RunnerDeployment]) -> timedelta | None:
    """Return two periods of export-images: twice the longest gap between its coming slots; None without schedules."""
    schedules = [
        schedule.schedule.model_dump(exclude_unset=True)
        for deployment in served
        if deployment.flow_name == EXPORT
        for schedule in deployment.schedules or ()
    ]
    gaps = _gaps(_slots(schedules))
    return 2 * max(gaps) if gaps else None


def serve(served: Sequence[RunnerDeployment], hook: Hook | None, *, is_again: bool) -> None:
    """Serve until a signal comes, and register the alarms first, if asked to.

    Raises what Prefect does where it is not there yet; where this process has served before, it asks until it is.
    Schedules go on in Prefect when this ends: a stopped process must not silence the one that takes its place.
    """
    signal.signal(signal.SIGTERM, _end)
    while True:
        try:
            runner = Runner(name="genesis-etl", pause_on_shutdown=False)
            for deployment in served:
                runner.add_deployment(deployment)
            if hook is not None:
                register_alarms(hook, silence(served))
            break
        except Exception as error:
            if not is_again:
                raise
            _wait_after(error)
    names = ", ".join(f"{deployment.flow_name}/{deployment.name}" for deployment in served)
    print(f"serving {names}" + (", with alarms" if hook else "") + "; stop with Ctrl-C", flush=True)
    try:
        asyncio.run(runner.start())
    except Exception as error:
        signal.signal(signal.SIGTERM, _end)  # that of the runner is for one that runs
        _wait_after(error)
        # A runner that has ended leaves threads behind, its health among them: begin anew as the same process.
        again = sys.orig_argv[1:] if is_again else [*sys.orig_argv[1:], _AGAIN]
        os.execv(sys.executable, [sys.executable, *again])


def _wait_after(error: Exception) -> None:
    told = f"Prefect's server does not answer ({type(error).__name__})"
    print(f"warning: {told}; asking it again in {_PAUSE:.0f} s", file=sys.stderr, flush=True)
    time.sleep(_PAUSE)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def main() -> int:
    """Serve until a signal comes; one line where the file is not there or Prefect cannot be reached."""
    parser = argparse.ArgumentParser(description="Serve the deployments of prefect.yaml until interrupted.")
    parser.add_argument("--alarms", metavar="URL", help="Let Prefect tell this webhook of failed runs and of silence.")
    parser.add_argument(_AGAIN, action="store_true", dest="is_again", help=argparse.SUPPRESS)
    asked, others = parser.parse_known_args()
    hook = None if asked.alarms is None else alarm_hook({"GENESIS_ETL_WEBHOOK": asked.alarms})
    # What was given may be the secret itself, so it is not repeated.
    if others or (asked.alarms is not None and hook is None):
        print("error: --alarms takes the one https URL of a webhook, and nothing else is taken", file=sys.stderr)
        return 2
    try:
        served = deployments()
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        serve(served, hook, is_again=asked.is_again)
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        print(f"error: Prefect: {error}; `genesis-etl export` captures without it", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
