"""`genesis-etl check`: is all well, and who is told."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import SettingsError
from genesis_etl.settings import SETTINGS, Settings, alarm_hook


@click.command("check")
@click.option("--max-age", metavar="D", help=SETTINGS["max_age"].sentence)
@lake_option
@row_options
@common_options
def command(config: str | None, output: Output, max_age: str | None, lake: str | None) -> None:
    """Say whether all is well.

    Looks at tokens, the lake, the age and gaps of its captures, and the thresholds of the settings file. Prints a
    row per check; the failed ones are posted to the webhook, if there is one. Ends with 1 if any failed. With --quiet
    a table has the failed rows alone, and where all is well nothing is printed, which is what cron mails.

    \b
    Example:  genesis-etl check --max-age 2h
    """
    from genesis_etl.checks.alerts import post_webhook
    from genesis_etl.checks.check import check, unusable
    from genesis_etl.checks.rows import failures, in_short

    try:
        settings = Settings.load(config, lake=lake, max_age=max_age)
        rows = check(settings)
    except SettingsError as error:
        rows = unusable(error)
        post_webhook(alarm_hook(), rows, output.warn)
        if not output.is_table:  # for people the error's line is enough
            output.print_rows(rows)
        raise
    failed = failures(rows)
    post_webhook(settings.webhook, rows, output.warn)
    if output.is_table:
        rows = in_short(failed if output.is_quiet else rows)
    if len(rows) or not output.is_table:
        output.print_findings(rows)
    if len(failed):
        raise click.exceptions.Exit(1)
