"""The flow `export-images`: every account is captured, normalised and landed, side by side.

    python flows/export_images.py

Settings and tokens are read inside the tasks, from the environment and `genesis-etl.toml`, never from
parameters, which Prefect stores in clear. What tasks hand on are counts and paths.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from datetime import datetime
from types import FrameType
from typing import Any, NoReturn

# Prefect reads both when it is imported. Its server's first start takes longer than its own limit of 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

from prefect import flow, get_run_logger, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from genesis_etl import ExportFailed, GenesisEtlError, Settings, open_lake
from genesis_etl.api import stop_clients
from genesis_etl.errors import ApiUnavailable, LakeError
from genesis_etl.export import export_account

Row = dict[str, Any]


def _run_name() -> str:
    scheduled: datetime = flow_run.scheduled_start_time
    return f"export-images-{scheduled:%Y-%m-%dT%H:%M:%S}"


# Retry lives in the package's API room alone; retries around it would multiply the waits.
@task(task_run_name="export-{account}", retries=0, cache_policy=NO_CACHE)
def export_one(account: str, config: str | None, lake: str | None, allow_empty: bool, without_snapshots: bool) -> Row:
    """Capture one account, normalise and land it; return its row of `captures`."""
    logger = get_run_logger()
    settings = Settings.load(config, lake=lake)
    (chosen,) = settings.chosen((account,))
    capture = export_account(
        settings, chosen, allow_empty=allow_empty, without_snapshots=without_snapshots, notice=logger.warning
    )
    logger.info("landed %d images in %d rows as %s", capture.images, capture.rows, capture.file)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(capture).items()}


@task(task_run_name="read-back-{account}", retries=0, cache_policy=NO_CACHE)
def read_back(account: str, capture_id: str, rows: int, lake: str) -> int:
    """Count the rows that the lake now tells of the capture; raises if they are not those that were landed."""
    counts = open_lake(lake).sql("select account, capture_id, count(*) as rows from image_regions group by all")
    found = int(counts.loc[counts["capture_id"] == capture_id, "rows"].sum())
    if found != rows:
        raise LakeError(f"{lake}: {found} rows of capture {capture_id} of {account} where {rows} were landed")
    return found


@flow(name="export-images", flow_run_name=_run_name, retries=0)
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
    settings = Settings.load(config, lake=lake)
    runs: dict[str, PrefectFuture[Row]] = {}
    for account in settings.chosen(tuple(accounts or ())):
        with tags("genesis-etl", f"account:{account.name}"):
            runs[account.name] = export_one.submit(account.name, config, lake, allow_empty, without_snapshots)
    landed: list[Row] = []
    failed: dict[str, GenesisEtlError] = {}
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
        stop_clients()
        raise
    for row in landed:
        with tags("genesis-etl", f"account:{row['account']}"):
            read_back(row["account"], row["capture_id"], row["rows"], settings.lake)
    if failed:
        raise ExportFailed(landed, failed)
    return landed


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """End in order: Prefect's temporary server ends with the interpreter, which ends when no task waits any more."""
    stop_clients()
    sys.exit(128 + signum)


def main() -> int:
    """Run the flow once, as a command: one line and the documented exit code on failure."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    try:
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
