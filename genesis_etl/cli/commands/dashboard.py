"""`genesis-etl dashboard`: the HTML page of a lake."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option
from genesis_etl.cli.output import Output
from genesis_etl.outfile import refuse_unwritable
from genesis_etl.settings import Settings
from genesis_etl.text import shown


@click.command("dashboard")
@click.option(
    "--output", "page", metavar="FILE", help="Write the page there; the setting page, page.html, if left out."
)
@lake_option
@common_options
def command(config: str | None, output: Output, page: str | None, lake: str | None) -> None:
    """Write the HTML page: one file, which fetches nothing.

    Under each picture stand its numbers and the command that prints them.

    \b
    Example:  genesis-etl dashboard --output page.html
    """
    from genesis_etl.dashboard.page import write_page
    from genesis_etl.lake.lake import Lake, no_capture

    if page == "-":
        raise click.UsageError("the page is for a file; name it with --output FILE")
    settings = Settings.load(config, lake=lake, page=page)
    refuse_unwritable(settings.page)
    output.say(f"the page is {shown(str(write_page(settings)), 300)}; open it in a browser")
    if not Lake(settings.lake).accounts():
        output.warn(f"{no_capture(settings.lake)}; the page says so")
