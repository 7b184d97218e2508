"""What a run shows in Prefect: Markdown, tables and a link; shortened, and none of it able to fail the run.

captures          what landed, what failed and what to do then      Markdown, after every export-images
checks            a row per check, what to do where one failed      Markdown, after every check-lake
compaction        why compact-lake failed, and what to do           Markdown
snapshot-growth   the report, newest periods first                  table
region-coverage   the report                                        table
figures           what the page shows first, of all and of each     table, after every publish-page
retention         the report: what keeping only N days would free   table
can-go            the snapshots that 30 days would free             table
orphans           sources whose instance is gone                    table
missing           images that a region lacks                        table
page              the way to the page; why publish-page failed      link; Markdown

No table has more than 50 rows, and of each key only the newest artifact stays: Prefect itself would keep all for ever.
What failed is also told by the state of its run, for as long as Prefect keeps that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from genesis_etl import Settings, open_lake
from genesis_etl.dashboard.decisions import decisions
from genesis_etl.errors import GenesisEtlError
from genesis_etl.render import render
from genesis_etl.text import shown

REPORTS: Final = ("snapshot-growth", "region-coverage")
_FLOWS: Final = ("export-images", "check-lake", "compact-lake", "publish-page")
_NEWEST_FIRST: Final = {"snapshot-growth": [("period", "descending"), ("account", "ascending")]}
ROWS: Final = 50  # Prefect's page draws every row
_AT_ONCE: Final = 200  # older artifacts that one run removes; the next ones go on
_COLUMNS: Final = ("account", "captured_at", "images", "snapshots", "rows", "requests", "retries", "passes")
_ADVICE: Final = {
    2: "mend the settings, or the clock, as the line says; no later run can succeed before that",
    3: "give the account a token that the API accepts; no later run can succeed before that",
    4: "wait: the next run tries again; if it stays so, look whether the API is up and the endpoint right",
    5: "wait: the next run tries again; if it stays so, the answer that the line shows is what to report",
    6: "see to the lake's disk and run `genesis-etl verify`",
}


def show_captures(
    landed: Sequence[Mapping[str, Any]], failed: Mapping[str, GenesisEtlError], fresh: Sequence[str]
) -> None:
    """Show what an export has landed, and for each failed account its error and what to do."""
    parts = [f"{len(landed)} landed, {len(failed)} failed" + (f", {len(fresh)} fresh." if fresh else ".")]
    if landed:
        rows = [{name: row[name] for name in _COLUMNS} for row in landed]
        parts.append(_markdown(pa.Table.from_pylist(rows)))
    if fresh:
        parts.append(f"Fresh, so nothing was asked for them: {shown(', '.join(fresh), 400)}.")
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
        parts.append(_markdown(bad))
    well = rows.filter(pc.invert(failed)).drop_columns(["where", "advice"])
    if len(well):
        parts += ["## The others", _markdown(well)]
    _show_markdown("checks", parts, "Is everything well?")


def show_reports(settings: Settings) -> None:
    """Show both reports as tables; a lake that cannot be read is a warning in the log."""
    lake = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month)
    for name in REPORTS:
        with _never_failing(name):
            rows = lake.report_rows(name)
            if name in _NEWEST_FIRST:
                rows = rows.sort_by(_NEWEST_FIRST[name])
            _show_table(name, f"genesis-etl report {name}", rows)


def show_decisions(settings: Settings) -> None:
    """Show what the page shows first, and what it says to do, as tables; a lake that cannot be read is a warning."""
    lake = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month)
    with _never_failing("figures"):
        for key, (command, rows) in decisions(lake).items():
            with _never_failing(key):
                _show_table(key, command, rows)


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
            description="What it costs, why it grew, what can go and what is missing, as publish-page wrote it last",
        )


def _show_table(key: str, command: str, rows: pa.Table) -> None:
    told = _cut_at(rows) or f"{len(rows):,} rows"
    table = json.loads(render(rows.slice(0, ROWS), "json"))
    cells = [{column: _cell(value) for column, value in row.items()} for row in table]
    create_table_artifact(key=key, table=cells, description=f"`{command}`, {told}")


def _told(error: GenesisEtlError) -> dict[str, str]:
    """Return what an error saw, where, and what to do now and about later runs."""
    later = _ADVICE.get(error.exit_code, "see the line, and the run's log")
    advice = "; ".join(filter(None, (error.advice, later)))
    return {"error": shown(error.seen, 400), "where": shown(error.where or "", 400), "what to do": shown(advice, 400)}


def _cell(value: Any) -> Any:
    return shown(", ".join(value), 200) if isinstance(value, list) else value


def _markdown(rows: pa.Table) -> str:
    table = render(rows.slice(0, ROWS), "markdown").decode()
    return "\n".join(filter(None, (table, _cut_at(rows))))


def _cut_at(rows: pa.Table) -> str:
    return f"the first {ROWS} of {len(rows):,} rows" if len(rows) > ROWS else ""


def _show_markdown(key: str, parts: Sequence[str], description: str) -> None:
    with _never_failing(key):
        create_markdown_artifact(key=key, markdown="\n\n".join(parts), description=description)


@contextmanager
def _never_failing(key: str) -> Iterator[None]:
    """Show an artifact in the place of the older ones of its key, and log what hinders that.

    Whatever it is about has happened already, and is no worse for that.
    """
    try:
        yield
        _remove_older(key)
    except Exception as error:  # Prefect's own of many kinds, or a lake that cannot be read
        get_run_logger().warning("nothing to see of %s in Prefect: %s", key, shown(str(error), 400))


def _remove_older(key: str) -> None:
    """Remove what our flows have shown under the key before; another project's artifact of that name stays."""
    wanted = {
        "artifacts": {"key": {"any_": [key]}},
        "flows": {"name": {"any_": _FLOWS}},
        "sort": "CREATED_DESC",
        "offset": 1,
        "limit": _AT_ONCE,
    }
    with get_client(sync_client=True) as client:
        # `read_artifacts` cannot ask for the artifacts of a flow.
        for older in client.request("POST", "/artifacts/filter", json=wanted).json():
            with suppress(ObjectNotFound):  # a run beside this one was quicker
                client.delete_artifact(UUID(older["id"]))
