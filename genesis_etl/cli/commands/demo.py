"""`genesis-etl demo`: a lake to look at without a token."""

from __future__ import annotations

import sys
from typing import Any

import click

from genesis_etl import demo as demo_room
from genesis_etl.cli.options import common_options
from genesis_etl.cli.output import Output


@click.command("demo")
@click.option("--days", type=click.IntRange(1, 3650), default=120, show_default=True, help="Days to simulate.")
@click.option("--lake", default=demo_room.LAKE, show_default=True, metavar="URL", help="Folder of the demo's lake.")
@common_options
def command(output: Output, days: int, lake: str, **_: Any) -> None:
    """Fill a lake from the sandbox and show both reports.

    It captures day by simulated day, those that the lake does not have.

    \b
    Example:  genesis-etl demo --days 120
    """
    from genesis_etl.opened import open_lake
    from genesis_etl.query.report import find_report

    is_shown = sys.stderr.isatty() and not output.is_quiet

    def show(done: int, missing: int) -> None:
        if is_shown:
            click.echo(f"\rday {done} of {missing}" + ("\n" if done == missing else ""), err=True, nl=False)

    result = demo_room.run_demo(lake, days, show)
    output.say(f"{result.captured} days captured into {lake}, {result.kept} were there already")
    opened = open_lake(lake)
    for name, options in demo_room.REPORTS:
        click.echo(f"\n{find_report(name).title}\n")
        output.print_rows(opened.report_rows(name, **options))
    click.echo("\n".join(demo_room.closing_lines(lake)))
