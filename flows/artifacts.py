"""What a run shows in Prefect: Markdown, tables and a link; shortened, and none of it able to fail the run.

captures          what landed, what failed and what to do then      Markdown, after every export-images
checks            a row per check, what to do where one failed      Markdown, after every check-lake
folding           why compact-lake failed, and what to do           Markdown
snapshot-growth   the report, at most 500 rows                      table
region-coverage   the report, at most 500 rows                      table
page              the way to the page; why publish-page failed      link; Markdown
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from genesis_etl import Settings, open_lake
from genesis_etl.errors import GenesisEtlError
from genesis_etl.render import render
from genesis_etl.text import shown

REPORTS: Final = ("snapshot-growth", "region-coverage")
ROWS: Final = 500  # Prefect keeps every artifact for ever, and its page draws every row
_COLUMNS: Final = ("account", "captured_at", "images", "snapshots", "rows", "requests", "retries", "passes")
_ADVICE: Final = {
    2: "mend the settings, or the clock, as the line says; no later run can succeed before that",
    3: "give the account a token that the API accepts; no later run can succeed before that",
    4: "wait: the next run tries again; if it stays so, look whether the API is up and the endpoint right",
    5: "wait: the next run tries again; if it stays so, the answer that the line shows is what to report",
    6: "see to the lake's disk and run `genesis-etl verify`",
}


def show_captures(landed: Sequence[Mapping[str, Any]], failed: Mapping[str, GenesisEtlError]) -> None:
    """Show what an export has landed, and for each failed account its error and what to do."""
    parts = [f"{len(landed)} landed, {len(failed)} failed."]
    if landed:
        rows = [{name: row[name] for name in _COLUMNS} for row in landed]
        parts.append(_markdown(pa.Table.from_pylist(rows)))
    if failed:
        rows = [{"account": name, **_told(error)} for name, error in failed.items()]
        parts += ["## What failed", _markdown(pa.Table.from_pylist(rows))]
        parts.append("What has landed stays. `genesis-etl check` says what is well.")
    _show_markdown("captures", parts, "What the run has landed, and what it could not")


@contextmanager
def showing_failure(key: str) -> Iterator[None]:
    """Show the error that ends a run, and what to do; the error goes on."""
    try:
        yield
    except GenesisEtlError as error:
        rows = pa.Table.from_pylist([_told(error)])
        _show_markdown(key, ["The run failed.", _markdown(rows)], "Why the run failed, and what to do")
        raise


def show_checks(rows: pa.Table) -> None:
    """Show the rows of `check`, those that failed first."""
    failed = pc.equal(rows["status"], "failed")
    bad = rows.filter(failed)
    parts = [f"{len(bad)} of {len(rows)} checks failed." if len(bad) else f"{len(rows)} checks, none failed."]
    if len(bad):
        parts.append(_markdown(bad.slice(0, ROWS)))
    well = rows.filter(pc.invert(failed)).drop_columns(["where", "advice"])
    if len(well):
        parts += ["## The others", _markdown(well.slice(0, ROWS))]
    _show_markdown("checks", parts, "Is everything well?")


def show_reports(settings: Settings) -> None:
    """Show both reports as tables; a lake that cannot be read is a warning in the log."""
    lake = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month)
    for name in REPORTS:
        with _never_failing(name):
            rows = lake.report_rows(name)
            told = f"the first {ROWS} of {len(rows):,} rows" if len(rows) > ROWS else f"{len(rows):,} rows"
            table = json.loads(render(rows.slice(0, ROWS), "json"))
            cells = [{column: _cell(value) for column, value in row.items()} for row in table]
            create_table_artifact(key=name, table=cells, description=f"`genesis-etl report {name}`, {told}")


def show_page(settings: Settings) -> None:
    """Show the way to the page, once there is one."""
    page = Path(settings.page).resolve()
    if settings.page_url is None and not page.is_file():
        return
    with _never_failing("page"):
        create_link_artifact(
            key="page",
            link=settings.page_url or page.as_uri(),
            link_text="the page",
            description="Growth, coverage, changes and what is stale, as publish-page wrote it last",
        )


def _told(error: GenesisEtlError) -> dict[str, str]:
    """Return what an error saw, where, and what to do now and about later runs."""
    later = _ADVICE.get(error.exit_code, "see the line, and the run's log")
    advice = "; ".join(filter(None, (error.advice, later)))
    return {"error": shown(error.seen, 400), "where": shown(error.where or "", 400), "what to do": shown(advice, 400)}


def _cell(value: Any) -> Any:
    return shown(", ".join(value), 200) if isinstance(value, list) else value


def _markdown(rows: pa.Table) -> str:
    return render(rows, "markdown").decode()


def _show_markdown(key: str, parts: Sequence[str], description: str) -> None:
    with _never_failing(key):
        create_markdown_artifact(key=key, markdown="\n\n".join(parts), description=description)


@contextmanager
def _never_failing(key: str) -> Iterator[None]:
    """Log what hinders an artifact: whatever it is about has happened already, and is no worse for that."""
    try:
        yield
    except Exception as error:  # Prefect's own of many kinds, or a lake that cannot be read
        get_run_logger().warning("nothing to see of %s in Prefect: %s", key, shown(str(error), 400))
