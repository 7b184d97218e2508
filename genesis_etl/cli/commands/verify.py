"""`genesis-etl verify`: every file of the lake against its hash and commit."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.settings import Settings


@click.command("verify")
@lake_option
@row_options
@common_options
def command(config: str | None, output: Output, lake: str | None) -> None:
    """Hold every file of the lake against its hash and commit.

    A row per account whose files are whole, and one per file that is damaged, missing, orphaned or a stranger.
    Ends with 1 if anything is damaged, missing, or of a newer genesis-etl.

    \b
    Example:  genesis-etl verify --lake data/lake
    """
    from genesis_etl.maintenance.verify import has_failed, verify

    rows = verify(Settings.load(config, lake=lake).lake)
    output.print_findings(rows)
    if has_failed(rows):
        raise click.exceptions.Exit(1)
