"""The flow `export-images`: every account is captured, normalised and landed, side by side.

    python flows/export_images.py

Settings and tokens are read inside the tasks, from the environment, `genesis-etl.toml` and Secret blocks, never from
parameters, which Prefect stores in clear. What tasks hand on are counts and paths.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from types import FrameType
from typing import Any, NoReturn

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import flow, get_run_logger, tags, task
from prefect.blocks.system import Secret as SecretBlock
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.artifacts import show_captures, show_page, show_reports, showing_failure
from genesis_etl import ExportFailed, GenesisEtlError, Settings, open_lake
from genesis_etl.api import Stop
from genesis_etl.check import beat
from genesis_etl.errors import ApiUnavailable, LakeError, SettingsError
from genesis_etl.pipeline import export_account
from genesis_etl.settings import Account, Secret

Row = dict[str, Any]

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
            f"no token for account {account.name}: Prefect has no block secret/{account.token_block} with a text in "
            "it; make it on Prefect's page of blocks, of the type Secret"
        )
    return replace(account, secret=Secret(token))


# Retry lives in the package's API room alone; retries around it would multiply the waits.
@task(task_run_name="export-{account}", retries=0, cache_policy=NO_CACHE)
def export_one(account: str, config: str | None, lake: str | None, allow_empty: bool, without_snapshots: bool) -> Row:
    """Capture one account, normalise and land it; return its row of `captures`."""
    logger = get_run_logger()
    settings = Settings.load(config, lake=lake)
    (chosen,) = settings.chosen((account,))
    capture = export_account(
        settings,
        with_token(chosen),
        allow_empty=allow_empty,
        without_snapshots=without_snapshots,
        notice=logger.warning,
        stop=_stop,
    )
    logger.info("landed %d images in %d rows as %s", capture.images, capture.rows, capture.file)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(capture).items()}


@task(task_run_name="read-back", retries=0, cache_policy=NO_CACHE)
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
                f"{lake}: {seen} rows of capture {row['capture_id']} of {row['account']} where {row['rows']} were "
                "landed; run `genesis-etl verify`"
            )
    return sum(row["rows"] for row in landed)


@flow(name="export-images", flow_run_name=run_name, retries=0)
def export_images(
    accounts: list[str] | None = None,
    config: str | None = None,
    lake: str | None = None,
    allow_empty: bool = False,
    without_snapshots: bool = False,
) -> list[Row]:
    """Capture every configured account and land it in the lake.

    Every account is tried; the flow ends Failed, naming those that failed, while the others' captures stay.

    Args:
        accounts: Names of accounts of the settings; all of them if left out.
        config: Settings file; `genesis-etl.toml` in the working directory if left out.
        lake: Folder or URL of the lake; that of the settings if left out.
        allow_empty: Believe an API that suddenly lists nothing.
        without_snapshots: Do not read /snapshots.
    """
    with showing_failure("captures"):
        settings = Settings.load(config, lake=lake)
        chosen = settings.chosen(tuple(accounts or ()))
        landed, failed = _captured(settings, chosen, (config, settings.lake, allow_empty, without_snapshots))
    show_captures(landed, failed)
    if landed:
        read_back(landed, settings.lake)
        show_reports(settings)
        show_page(settings)
    if failed:
        raise ExportFailed(landed, failed)
    beat(settings, get_run_logger().warning)
    return landed


def _captured(
    settings: Settings, chosen: tuple[Account, ...], options: tuple[str | None, str, bool, bool]
) -> tuple[list[Row], dict[str, GenesisEtlError]]:
    """Run a task for each account and return the rows landed and the errors, in the order of the settings."""
    global _stop
    _stop = Stop()
    landed: list[Row] = []
    failed: dict[str, GenesisEtlError] = {}
    names = ("config", "lake", "allow_empty", "without_snapshots")
    with ExitStack() as stack:
        runner = stack.enter_context(_runner(settings))
        runs: dict[str, PrefectFuture[Row]] = {}
        for account in chosen:
            with tags("genesis-etl", f"account:{account.name}"):
                parameters = {"account": account.name, **dict(zip(names, options, strict=True))}
                try:
                    runs[account.name] = runner.submit(export_one, parameters)
                except OSError as error:  # Dask connects with the first task
                    raise ApiUnavailable(
                        f"no Dask cluster at {settings.dask}: {error}; start it, or unset dask"
                    ) from None
        try:
            for name, run in runs.items():
                result = run.result(raise_on_failure=False)
                if isinstance(result, GenesisEtlError):
                    failed[name] = result
                elif isinstance(result, BaseException):
                    raise result
                else:
                    landed.append(result)
        except BaseException:
            # Prefect makes an exception of a signal, and then waits for every task.
            _stop.set()
            raise
    return landed, failed


def _runner(settings: Settings) -> TaskRunner[PrefectFuture[Row]]:
    """Return what runs the tasks: threads of this process, or the Dask cluster that the settings name."""
    if settings.dask is None:
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise SettingsError('the setting dask needs more packages: pip install --editable ".[dask]"') from None
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
