"""The flow `compact-lake`: loose captures are compacted, what was replaced long ago is removed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import flow, get_run_logger

from flows.artifacts import showing_failure
from flows.export_images import run_name
from genesis_etl import Settings
from genesis_etl.errors import SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.publish.publish import publish_after
from genesis_etl.times import parse_duration


@flow(name="compact-lake", flow_run_name=run_name, retries=0)
def compact_lake(grace: str = "7d", config: str | None = None, lake: str | None = None) -> list[dict[str, Any]]:
    """Compact loose captures into one file per account and year; answers stay the same.

    Args:
        grace: How long files stay that a compaction has replaced, as `12h` or `7d`.
        config: Settings file; `genesis-etl.toml` in the working directory if left out.
        lake: Folder or URL of the lake; that of the settings if left out.
    """
    with showing_failure("compaction"):
        settings = Settings.load(config, lake=lake)
        try:
            patience = parse_duration(grace)
        except ValueError as error:
            raise SettingsError(str(error), where="grace") from None
        notice = get_run_logger().warning
        opened = Lake(settings.lake)
        compacted = compact(opened, grace=patience, notice=notice)
        publish_after(opened, sorted({each.account for each in compacted if each.captures}), notice)
        done = [asdict(each) for each in compacted]
    for each in done:
        get_run_logger().info(" ".join(f"{name}={value}" for name, value in each.items()))
    return done
