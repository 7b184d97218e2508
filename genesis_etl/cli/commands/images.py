"""`genesis-etl images`: what is there now, and nothing stored."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import ExportFailed, GenesisEtlError
from genesis_etl.settings import Settings


@click.command("images")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--type", "type_", metavar="T", help="Images of this type, such as cloud-image or snapshot.")
@click.option("--region", metavar="R", help="Images of this region.")
@row_options
@common_options
def command(
    config: str | None, output: Output, accounts: tuple[str, ...], type_: str | None, region: str | None
) -> None:
    """List the images that are there now; nothing is stored.

    One row per image × region.

    \b
    Example:  genesis-etl images --type snapshot --region NORD-NO-KRS-1
    """
    import pyarrow as pa

    from genesis_etl.live import live_rows, named

    settings = Settings.load(config)
    tables: list[pa.Table] = []
    failed: dict[str, GenesisEtlError] = {}
    for account in settings.chosen(accounts):
        try:
            with output.progress_bar() as progress:
                rows = live_rows(settings, account, type=type_, region=region, progress=progress)
        except GenesisEtlError as error:
            failed[account.name] = error
            continue
        for note in rows.notes:
            output.say(f"account {account.name}: {note}")
        tables.append(named(account.name, rows.table))
    if tables:
        output.print_rows(pa.concat_tables(tables))
    if failed:
        raise ExportFailed(tables, failed)
