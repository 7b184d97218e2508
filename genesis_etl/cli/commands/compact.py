"""`genesis-etl compact`: loose captures into one file per account and year."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import SettingsError
from genesis_etl.settings import Settings
from genesis_etl.times import parse_duration


@click.command("compact")
@click.option("--grace", default="7d", show_default=True, metavar="D", help="How long replaced files stay.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be compacted and removed.")
@lake_option
@row_options
@common_options
def command(config: str | None, output: Output, grace: str, is_dry: bool, lake: str | None) -> None:
    """Compact loose captures into one file per account and year.

    Those that are half an hour old. Answers stay the same, in far fewer bytes and files. Safe at any time, beside
    exports, readers and other compactions; a grace shorter than a report takes makes that report start again. What
    cannot be removed is a notice.

    \b
    Example:  genesis-etl compact --grace 7d --dry-run
    """
    from genesis_etl.lake.lake import Lake
    from genesis_etl.maintenance.compact import compact, compactions
    from genesis_etl.publish.publish import publish_after

    try:
        patience = parse_duration(grace)
    except ValueError as error:
        raise SettingsError(str(error), where="--grace") from None
    opened = Lake(Settings.load(config, lake=lake).lake)
    done = compact(opened, grace=patience, is_dry=is_dry, notice=output.say)
    if not is_dry:
        publish_after(opened, sorted({each.account for each in done if each.captures}), output.say)
    output.print_rows(compactions(done))
