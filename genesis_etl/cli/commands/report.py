"""`genesis-etl report`: a report over the lake."""

from __future__ import annotations

from typing import Any

import click

from genesis_etl.cli.options import common_options, lake_option, row_options
from genesis_etl.cli.output import Output
from genesis_etl.errors import ReportError
from genesis_etl.settings import Settings


@click.command("report")
@click.argument("name", required=False)
@click.option("--list", "is_list", is_flag=True, help="Name all reports.")
@click.option("--describe", "is_described", is_flag=True, help="Say what the report takes and what its columns mean.")
@click.option("--account", metavar="A", help="This account alone.")
@click.option("--region", metavar="R", help="This region alone.")
@click.option("--per-region", is_flag=True, help="Rows per region instead of totals.")
@click.option("--per-source", is_flag=True, help="Rows per source instance.")
@click.option("--total", is_flag=True, help="All accounts together.")
@click.option("--type", "type_", metavar="T", help="Images of this type.")
@click.option("--since", metavar="D", help="From this date or instant on.")
@click.option("--until", metavar="D", help="Up to this date, or before this instant.")
@click.option("--by", metavar="day|week|month", help="Length of a period.")
@click.option("--as-of", metavar="T", help="As it was then: captures up to this time only.")
@click.option("--older-than", metavar="D", help="stale-snapshots older than this, such as 90d.")
@click.option("--keep", multiple=True, metavar="D", help="retention of so many days, such as 30d; may be repeated.")
@click.option("--forecast", type=int, metavar="N", help="snapshot-growth goes on for so many periods.")
@click.option("--matrix", is_flag=True, help="region-coverage with a row per image and a column per region.")
@click.option("--newest-of-family", is_flag=True, help="region-coverage of the newest image of each family alone.")
@click.option("--engine", default="duckdb", show_default=True, metavar="duckdb|spark", help="What runs the SQL.")
@lake_option
@row_options
@common_options
def command(
    config: str | None,
    output: Output,
    name: str | None,
    is_list: bool,
    is_described: bool,
    lake: str | None,
    type_: str | None,
    engine: str,
    keep: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a report over the lake.

    \b
    Example:  genesis-etl report snapshot-growth --by week --per-region
              genesis-etl report snapshot-growth --forecast 30
              genesis-etl report changes --describe
    """
    import pyarrow as pa

    from genesis_etl.opened import open_lake
    from genesis_etl.query import forecast as future
    from genesis_etl.query.report import describe, find_report, report_names

    if is_list:
        titles = [find_report(each).title for each in report_names()]
        output.print_rows(pa.table({"report": report_names(), "shows": titles}))
        return
    if name is None:
        raise ReportError(f"name a report: {', '.join(report_names())}")
    if is_described:
        meanings = describe(name)
        output.say(find_report(name).summary)
        output.print_texts(meanings)
        return
    settings = Settings.load(config, lake=lake)
    opened = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month, engine=engine)
    rows = opened.report_rows(name, type=type_, keep=keep or None, **options)
    output.print_rows(rows)
    if not len(rows):
        output.say(f"no rows: {opened.why_empty(type=type_, region=options['region'])}")
    if options["forecast"] is not None:
        output.say(f"forecast: {future.METHOD}")
    if name == "snapshot-growth":
        output.sketch(rows)
