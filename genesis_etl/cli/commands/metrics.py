"""`genesis-etl metrics`: levels, ages and checks for Prometheus."""

from __future__ import annotations

import click

from genesis_etl.cli.options import common_options, file_option, lake_option
from genesis_etl.cli.output import Output
from genesis_etl.settings import Settings


@click.command("metrics")
@file_option("Write the text there; - is stdout.")
@lake_option
@common_options
def command(config: str | None, output: Output, lake: str | None) -> None:
    """Print the newest levels, ages and checks as OpenMetrics text.

    For the textfile collector of Prometheus' node exporter, which reads a file that is written whole. Nothing is asked
    of the API.

    \b
    Example:  genesis-etl metrics --output genesis_etl.prom
    """
    from genesis_etl.checks.metrics import metrics

    output.print_bytes(metrics(Settings.load(config, lake=lake)))
