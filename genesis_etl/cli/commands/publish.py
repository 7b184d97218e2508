"""`genesis-etl publish`: the tables of the lake anew where they lag behind, and as a DuckDB file or Delta tables."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.settings import Settings


@click.command("publish")
@click.option("--account", metavar="A", help="The tables of this account alone.")
@click.option("--duckdb", "database", metavar="FILE", help="Also write them into one DuckDB file.")
@click.option("--delta", metavar="URL", help="Also write them as Delta tables below a folder or s3:// URL.")
@lake_option
@row_options
@common_options
def command(
    config: str | None,
    output: Output,
    account: str | None,
    database: str | None,
    delta: str | None,
    lake: str | None,
) -> None:
    """Write the tables of the lake anew where they lag behind its captures.

    `export`, `compact` and `forget` do it for what they change. A row per account and table: `written`, or `whole`
    where it was right already. What --duckdb and --delta name is replaced whole; readers see the old or the new one.

    \b
    Example:  genesis-etl publish --duckdb images.duckdb
    """
    from genesis_etl.lake.lake import Lake
    from genesis_etl.publish.publish import publications, publish_everywhere

    opened = Lake(Settings.load(config, lake=lake).lake)
    done = publish_everywhere(opened, account, database, delta, output.say)
    output.print_rows(publications(done))
