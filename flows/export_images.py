"""The flow `export-images`: every account is captured, normalised and landed, side by side.

    python flows/export_images.py

    for each account:   read → normalise → land          then   read-back

Settings and tokens are read inside the tasks, from the environment, `genesis-etl.toml` and Secret blocks, never from
parameters, which Prefect stores in clear. What leaves an account's task are counts and paths.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypedDict, TypeVar

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import flow, get_run_logger, tags, task
from prefect.blocks.system import Secret as SecretBlock
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from flows.alarms import tell_completed
from flows.artifacts import show_captures, show_page, show_reports, showing_failure
from genesis_etl import ExportFailed, GenesisEtlError, Settings, open_lake
from genesis_etl.api.stop import Stop
from genesis_etl.checks.alerts import ping_heartbeat
from genesis_etl.errors import ApiUnavailable, LakeError, SettingsError
from genesis_etl.pipeline import Proven, land, normalise, read
from genesis_etl.settings import Account, Secret, duration_of
from genesis_etl.text import counted

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
T = TypeVar("T")


class Options(TypedDict):
    """The parameters of the flow that its tasks need."""

    config: str | None
    lake: str
    allow_empty: bool
    without_snapshots: bool
    if_older_than: str | None


# Of the run under way; the tasks are threads of its process, and a signal has to end what they wait for.
_stop = Stop()


def run_name() -> str:
    """Name a run after its flow and the time that it was scheduled for."""
    scheduled: datetime = flow_run.scheduled_start_time
    return f"{flow_run.flow_name}-{scheduled:%Y-%m-%dT%H:%M:%S}"


def with_token(account: Account) -> Account:
    """Return the account with the token of its Secret block, if it has one; SettingsError if that cannot be read."""
    if account.token_block is None:
        return account
    try:
        token = SecretBlock.load(account.token_block).get()
    except ValueError:  # Prefect's word for a block that is not there
        token = None
    if not isinstance(token, str):
        raise SettingsError(
            f"Prefect has no block secret/{account.token_block} with a text in it",
            where=f"no token for account {account.name}",
            advice="make it on Prefect's page of blocks, of the type Secret",
        )
    return replace(account, secret=Secret(token))


# Retry lives in the package's API room alone; retries around it would multiply the waits.
# What they return holds the account's token and all its images: it is stored nowhere, whatever Prefect is set to.
_OURS: Final[dict[str, Any]] = {"retries": 0, "cache_policy": NO_CACHE, "persist_result": False}


@task(name="read", task_run_name="read-{account}", **_OURS)
def read_images(account: str, options: Options) -> State[Proven | None]:
    """Page through all images of one account until what they say is proven; None where its newest capture is fresh."""
    settings = Settings.load(options["config"], lake=options["lake"])
    (chosen,) = settings.chosen((account,))
    patience = duration_of("if_older_than", options["if_older_than"])
    proven = read(
        settings,
        with_token(chosen),
        allow_empty=options["allow_empty"],
        without_snapshots=options["without_snapshots"],
        if_older_than=patience,
        notice=get_run_logger().warning,
        stop=_stop,
    )
    if proven is None:
        return _told(None, f"fresh: the newest capture is younger than {options['if_older_than']}, nothing was asked")
    reading = proven.reading
    snapshots = "no snapshots" if reading.snapshots is None else counted(len(reading.snapshots), "snapshot")
    instances = "none asked for" if reading.instances is None else counted(len(reading.instances), "instance")
    images, requests = counted(len(reading.images), "image"), counted(proven.requests, "request")
    passes = f"{reading.passes} {'pass' if reading.passes == 1 else 'passes'}"
    return _told(
        proven, f"/images lists {images}, /snapshots {snapshots}, /instances {instances}; {requests}, {passes}"
    )


@task(name="normalise", task_run_name="normalise-{account}", **_OURS)
def normalise_images(account: str, proven: Proven) -> State[pd.DataFrame]:
    """Make a DataFrame of the images, one row per image × region."""
    rows = normalise(proven, notice=get_run_logger().warning)
    return _told(rows, f"{counted(len(rows), 'row')} of image × region, {rows['region'].nunique()} regions")


@task(name="land", task_run_name="land-{account}", **_OURS)
def land_images(account: str, proven: Proven, rows: pd.DataFrame, options: Options) -> State[Row | None]:
    """Write the rows to the lake as Parquet; None where another run has landed a capture meanwhile."""
    settings = Settings.load(options["config"], lake=options["lake"])
    patience = duration_of("if_older_than", options["if_older_than"])
    landed = land(settings, proven, rows, if_older_than=patience, notice=get_run_logger().warning, stop=_stop)
    if landed is None:
        return _told(None, "fresh: another run has landed a capture meanwhile")
    capture, tables = landed.capture, len(landed.tables)
    row = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(capture).items()}
    published = f"{counted(tables, 'table')} published" if tables else "tables not published, as the log says"
    counts = f"landed {counted(capture.images, 'image')} in {counted(capture.rows, 'row')} as {capture.file}"
    return _told(row, f"{counts}; {published}")


@task(name="export", task_run_name="export-{account}", **_OURS)
def export_one(account: str, options: Options) -> Row | None:
    """Read, normalise and land one account on one machine; return its row of `captures`, None if it was fresh.

    Only that row travels: what is read and normalised stays in the process that does it.
    """
    # `quote` keeps Prefect from walking through every item on its way from one task to the next.
    proven = _value(read_images(account, options))
    if proven is None:
        return None
    rows = _value(normalise_images(account, quote(proven)))
    return _value(land_images(account, quote(proven), quote(rows), options))


def _told(value: T, counts: str) -> State[T]:
    """Return a task's end, Completed, with its counts as the message, which Prefect shows and logs."""
    return Completed(message=counts, data=value)


def _value(state: State[T]) -> T:
    """Return what a task that ended with `_told` has made."""
    return state.result()


@task(name="read-back", task_run_name="read-back", **_OURS)
def read_back(landed: list[Row], lake: str) -> int:
    """Count the rows that the lake now tells of the captures; raises if they are not those that were landed."""
    since = min(row["captured_at"] for row in landed)
    counts = open_lake(lake).sql(
        f"select capture_id, count(*) as rows from image_regions where captured_at >= '{since}' group by all"
    )
    found = dict(zip(counts["capture_id"], counts["rows"], strict=True))
    for row in landed:
        seen = found.get(row["capture_id"], 0)
        if seen != row["rows"]:
            raise LakeError(
                f"{seen} rows of capture {row['capture_id']} of {row['account']} where {row['rows']} were landed",
                where=lake,
                advice="run `genesis-etl verify`",
            )
    return sum(row["rows"] for row in landed)


@flow(name="export-images", flow_run_name=run_name, retries=0)
def export_images(
    accounts: list[str] | None = None,
    config: str | None = None,
    lake: str | None = None,
    allow_empty: bool = False,
    without_snapshots: bool = False,
    if_older_than: str | None = None,
) -> list[Row]:
    """Capture every configured account and land it in the lake.

    Every account is tried; the flow ends Failed, naming those that failed, while the others' captures stay. One whose
    newest capture is fresh is left out.

    Args:
        accounts: Names of accounts of the settings; all of them if left out.
        config: Settings file; `genesis-etl.toml` in the working directory if left out.
        lake: Folder or URL of the lake; that of the settings if left out.
        allow_empty: Believe an API that suddenly lists nothing.
        without_snapshots: Do not read /snapshots, nor /instances.
        if_older_than: Leave out accounts whose newest capture is younger, as `30m`.
    """
    with showing_failure("captures"):
        settings = Settings.load(config, lake=lake)
        chosen = settings.chosen(tuple(accounts or ()))
        duration_of("if_older_than", if_older_than)
        options = Options(
            config=config,
            lake=settings.lake,
            allow_empty=allow_empty,
            without_snapshots=without_snapshots,
            if_older_than=if_older_than,
        )
        landed, failed, fresh = _captured(settings, chosen, options)
    show_captures(landed, failed, fresh)
    if landed:
        read_back(landed, settings.lake)
        show_reports(settings)
        show_page(settings)
    if failed:
        raise ExportFailed(landed, failed, fresh)
    ping_heartbeat(settings, get_run_logger().warning)
    tell_completed()
    return landed


def _captured(
    settings: Settings, chosen: tuple[Account, ...], options: Options
) -> tuple[list[Row], dict[str, GenesisEtlError], list[str]]:
    """Run a task for each account; return the rows landed, the errors and who was fresh, in the settings' order."""
    global _stop
    _stop = Stop()
    landed: list[Row] = []
    failed: dict[str, GenesisEtlError] = {}
    fresh: list[str] = []
    with ExitStack() as stack:
        runner = stack.enter_context(_runner(settings))
        runs: dict[str, PrefectFuture[Row | None]] = {}
        for account in chosen:
            with tags("genesis-etl", f"account:{account.name}"):
                try:
                    runs[account.name] = runner.submit(export_one, {"account": account.name, "options": options})
                except OSError as error:  # Dask connects with the first task
                    raise ApiUnavailable(
                        str(error), where=f"no Dask cluster at {settings.dask}", advice="start it, or unset dask"
                    ) from None
        try:
            for name, run in runs.items():
                result = run.result(raise_on_failure=False)
                if isinstance(result, GenesisEtlError):
                    failed[name] = result
                elif isinstance(result, BaseException):
                    raise result
                elif result is None:
                    fresh.append(name)
                else:
                    landed.append(result)
        except BaseException:
            # Prefect makes an exception of a signal, and then waits for every task.
            _stop.set()
            raise
    return landed, failed, fresh


def _runner(settings: Settings) -> TaskRunner[PrefectFuture[Row | None]]:
    """Return what runs the tasks: threads of this process, or the Dask cluster that the settings name."""
    if settings.dask is None:
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise SettingsError("the setting dask needs more packages", advice='pip install --editable ".[dask]"') from None
    return DaskTaskRunner(address=settings.dask)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """End in order: Prefect's temporary server ends with the interpreter, which ends when no task waits any more."""
    _stop.set()
    sys.exit(128 + signum)


def main() -> int:
    """Run the flow once, as a command: one line and the documented exit code on failure."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _end)
    try:
        with tags("genesis-etl"):
            export_images()
    except GenesisEtlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # Prefect's own: its API is down, its database locked
        print(f"error: Prefect: {error}; `genesis-etl export` captures without it", file=sys.stderr)
        return ApiUnavailable.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
