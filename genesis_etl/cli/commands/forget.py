"""`genesis-etl forget`: an account's captures out of the lake, for ever."""

from __future__ import annotations

import sys

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import SettingsError
from genesis_etl.settings import Settings
from genesis_etl.text import shown
from genesis_etl.times import parse_time


@click.command("forget")
@click.option("--account", required=True, metavar="A", help="The account whose captures go.")
@click.option("--before", metavar="D", help="Only captures before this date or instant.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@lake_option
@row_options
@common_options
def command(
    config: str | None, output: Output, account: str, before: str | None, is_dry: bool, yes: bool, lake: str | None
) -> None:
    """Remove an account's captures from the lake, for ever.

    All of them and its tables, or those before a time. Asks first; where nobody can be asked, give --yes. Prints
    what went, a row per year. Stopped at any moment it leaves a whole lake, and another run ends the work.

    \b
    Example:  genesis-etl forget --account old --before 2025-01-01
    """
    from genesis_etl.lake.lake import Lake
    from genesis_etl.maintenance.forget import forget, forgettable, forgotten
    from genesis_etl.publish.publish import publish_after

    try:
        end = None if before is None else parse_time(before)
    except ValueError as error:
        raise SettingsError(str(error), where="--before") from None
    opened = Lake(Settings.load(config, lake=lake).lake)
    going = forgettable(opened, account, end)
    if is_dry:
        output.print_rows(forgotten(going))
        return
    count = sum(each.captures for each in going)
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(
                "forget removes captures for ever and asks before", advice="give --yes where nobody can answer"
            )
        captures = "1 capture" if count == 1 else f"{count} captures"
        what = f"Remove {captures} of {account} from {opened.url}, for ever?"
        if not click.confirm(shown(what, 300), err=True):
            raise SettingsError("nothing was removed, as you answered")
    done = forget(opened, account, end)
    if end is not None:
        publish_after(opened, [account], output.say)
    output.print_rows(forgotten(done))
