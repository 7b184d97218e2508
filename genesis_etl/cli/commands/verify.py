"""`genesis-etl verify`: every file of the lake against its hash and commit, and the tables."""

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
    """Hold the files of the lake against their hashes, and its tables.

    A row per account whose files are whole, one for its tables, and one per file that is damaged, missing, behind,
    orphaned or a stranger. Ends with 1 unless all that it found are orphans and strays.

    \b
    Example:  genesis-etl verify --lake data/lake
    """
    from genesis_etl.publish.against import has_failed, verify_lake

    rows = verify_lake(Settings.load(config, lake=lake).lake)
    output.print_findings(rows)
    if has_failed(rows):
        raise click.exceptions.Exit(1)
