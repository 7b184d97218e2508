"""The flow `publish-page`: the page is written anew; its first figures and what to do stand in Prefect as tables."""

from __future__ import annotations

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import flow

from flows.artifacts import show_decisions, show_page, show_reports, showing_failure
from flows.export_images import run_name
from genesis_etl import Settings
from genesis_etl.dashboard.page import write_page


@flow(name="publish-page", flow_run_name=run_name, retries=0)
def publish_page(page: str | None = None, config: str | None = None, lake: str | None = None) -> str:
    """Write the page whole under its name, replacing the one before, and show its figures, reports and the way to it.

    Args:
        page: File to write; that of the settings if left out.
        config: Settings file; `genesis-etl.toml` in the working directory if left out.
        lake: Folder or URL of the lake; that of the settings if left out.
    """
    with showing_failure("page"):
        settings = Settings.load(config, lake=lake, page=page)
        written = write_page(settings)
    show_reports(settings)
    show_decisions(settings)
    show_page(settings)
    return str(written)
