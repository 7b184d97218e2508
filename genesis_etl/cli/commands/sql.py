"""`genesis-etl sql`: one statement over the lake's tables."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.settings import Settings


@click.command("sql")
@click.argument("statement")
@lake_option
@row_options
@common_options
def command(config: str | None, output: Output, statement: str, lake: str | None) -> None:
    """Run one SELECT or EXPLAIN over the lake's tables.

    The tables are images (now), image_history (runs), image_regions (everything observed) and captures.

    \b
    Example:  genesis-etl sql "select region, count(*) as images from images group by all order by all"
    """
    from genesis_etl.opened import open_lake

    settings = Settings.load(config, lake=lake)
    output.print_rows(open_lake(settings.lake).sql_rows(statement))
