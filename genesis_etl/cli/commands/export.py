"""`genesis-etl export`: capture every account now and land it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import ExportFailed, GenesisEtlError
from genesis_etl.settings import Settings
from genesis_etl.text import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from genesis_etl.lake.commit import Capture

_TOLD: Final = ("error", "where", "advice")  # the columns of an error in a row


def _results(accounts: Sequence[str], landed: Sequence[Capture], failed: Mapping[str, GenesisEtlError]) -> pa.Table:
    """Return a row per account: its capture, or what was seen instead, where, and what to do."""
    import pyarrow as pa

    from genesis_etl.lake.commit import CAPTURE_COLUMNS, capture_rows
    from genesis_etl.lake.schema import CAPTURES

    captures = {row["account"]: row for row in capture_rows(landed).to_pylist()}
    rows = []
    for name in accounts:
        if name in captures:
            rows.append({**captures[name], "status": "landed"})
        elif name in failed:
            error = failed[name]
            told = zip(_TOLD, (error.seen, error.where, error.advice), strict=True)
            row = {"account": name, "status": "failed", **{column: text and shown(text, 2000) for column, text in told}}
            rows.append(row)
        else:
            rows.append({"account": name, "status": "fresh"})
    account, status, *texts = (pa.field(name, pa.string()) for name in ("account", "status", *_TOLD))
    fields = [CAPTURES.field(name).with_nullable(True) for name in CAPTURE_COLUMNS if name != "account"]
    return pa.Table.from_pylist(rows, pa.schema([account, status, *fields, *texts]))


@click.command("export")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--allow-empty", is_flag=True, help="Believe an API that suddenly lists nothing.")
@click.option("--without-snapshots", is_flag=True, help="Do not read /snapshots, nor /instances.")
@click.option("--if-older-than", metavar="D", help="Leave out accounts whose newest capture is younger, such as 10m.")
@click.option("--no-publish", is_flag=True, help="Do not write the tables; `publish` does it later.")
@click.option("--no-compact", is_flag=True, help="Do not compact, however many captures are loose.")
@lake_option
@row_options
@common_options
def command(
    config: str | None,
    output: Output,
    accounts: tuple[str, ...],
    allow_empty: bool,
    without_snapshots: bool,
    if_older_than: str | None,
    no_publish: bool,
    no_compact: bool,
    lake: str | None,
) -> None:
    """Capture every configured account now and land it in the lake, then in its tables.

    All accounts are tried; each has its row, and a failed one its error in it. One that --if-older-than leaves out
    is `fresh`: nothing was asked for it.

    \b
    Example:  GENESISCLOUD_TOKEN=… genesis-etl export
    """
    from genesis_etl.pipeline import export
    from genesis_etl.settings import duration_of

    patience = duration_of("--if-older-than", if_older_than)
    settings = Settings.load(config, lake=lake)
    names = [account.name for account in settings.chosen(accounts)]
    failed: ExportFailed | None = None
    with output.progress_bar() as progress:
        try:
            landed = export(
                settings,
                accounts,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
                if_older_than=patience,
                publishes=not no_publish,
                compacts=not no_compact,
                progress=progress,
                notice=output.say,
            )
        except ExportFailed as error:
            landed, failed = error.landed, error
    results = _results(names, landed, failed.failed if failed else {})
    if output.is_table:  # for people: what no account has is no column
        results = results.select([name for name in results.column_names if results[name].null_count < len(results)])
    try:
        output.print_rows(results)
    except GenesisEtlError as error:
        if failed is None:
            raise
        output.warn(str(error))  # the accounts' errors come first
    if failed is not None:
        raise failed
    if settings.heartbeat is None:
        return
    from genesis_etl.checks.alerts import ping_heartbeat

    ping_heartbeat(settings, lambda text: output.say(f"warning: {text}"))  # whoever waits for it will ask
