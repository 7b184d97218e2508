"""The flow `check-lake`: is everything well? It fails where a check does, so that an automation can hear of it."""

from __future__ import annotations

from dataclasses import replace

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import flow, get_run_logger

from flows.artifacts import show_checks, showing_failure
from flows.export_images import run_name, with_token
from genesis_etl import Settings
from genesis_etl.checks.alerts import post_webhook
from genesis_etl.checks.check import check, unusable
from genesis_etl.checks.rows import has_failed
from genesis_etl.errors import ChecksFailed, SettingsError
from genesis_etl.settings import Account, alarm_hook


@flow(name="check-lake", flow_run_name=run_name, retries=0)
def check_lake(max_age: str | None = None, config: str | None = None, lake: str | None = None) -> int:
    """Look at tokens, lake, ages, gaps and thresholds; the flow ends Failed, naming what is not well.

    The failed rows go to the webhook of the settings, if there is one. Returns the number of checks.

    Args:
        max_age: How old a newest capture may be, as `2h`; that of the settings if left out.
        config: Settings file; `genesis-etl.toml` in the working directory if left out.
        lake: Folder or URL of the lake; that of the settings if left out.
    """
    logger = get_run_logger()

    def with_its_token(account: Account) -> Account:
        try:
            return with_token(account)
        except SettingsError as error:  # the check of its token will fail
            logger.warning("%s", error)
            return account

    with showing_failure("checks"):
        try:
            settings = Settings.load(config, lake=lake, max_age=max_age)
            settings = replace(settings, accounts=tuple(map(with_its_token, settings.accounts)))
            rows = check(settings)
        except SettingsError as error:
            post_webhook(alarm_hook(), unusable(error), logger.warning)
            raise
    show_checks(rows)
    post_webhook(settings.webhook, rows, logger.warning)
    if has_failed(rows):
        bad = [row for row in rows.to_pylist() if row["status"] == "failed"]
        raise ChecksFailed(
            "; ".join(" ".join(filter(None, (row["check"], row["account"], row["where"], row["seen"]))) for row in bad)
        )
    return len(rows)
