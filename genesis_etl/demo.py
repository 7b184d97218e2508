"""A lake to look at without a token: simulated days of the sandbox's account, captured over HTTP.

The command line imports this room for the names in it, so what is slow to import comes where it is used.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from genesis_etl.errors import SettingsError
from genesis_etl.outfile import refuse_unwritable
from genesis_etl.settings import DEFAULT_ACCOUNT, Account, Secret, Settings, lake_url
from genesis_etl.text import shown

if TYPE_CHECKING:
    from genesis_etl.sandbox import Sandbox

LAKE: Final = "data/lake-demo"
# No other sandbox serves this path, so a demo's lake can be told from every other.
PATH: Final = "/demo/compute/v1"
SEED: Final = 1
REPORTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("snapshot-growth", {"by": "week"}),
    ("region-coverage", {"type": "cloud-image"}),
)
_NOON: Final = time(12, tzinfo=UTC)


@dataclass(frozen=True)
class DemoResult:
    """How many days were captured, and how many had been before."""

    captured: int
    kept: int


@contextmanager
def demo_api() -> Iterator[Sandbox]:
    """Serve the demo's account, as of now, without a rate limit."""
    from genesis_etl.sandbox import Sandbox

    with Sandbox(seed=SEED, rate=0, path=PATH) as sandbox:
        yield sandbox


def demo_settings(sandbox: Sandbox, lake: str, now: datetime | None = None) -> Settings:
    """Return settings that read the demo's account and nothing of the user's."""
    account = Account(DEFAULT_ACCOUNT, sandbox.endpoint, "demo", Secret(sandbox.token))
    return Settings(accounts=(account,), lake=lake, rate=10_000, now=now)


def captured_days(url: str) -> set[date]:
    """Return the days that a demo's lake has captures of.

    SettingsError if it holds captures of another API, LakeError if something in it cannot be read.
    """
    from genesis_etl.lake.lake import Lake

    lake = Lake(url)
    commits, _ = lake.commits()
    for endpoint in sorted({each for commit in commits for each in commit.captures["endpoint"].to_pylist()}):
        if urlsplit(endpoint).path != PATH:
            raise SettingsError(
                f"{url} holds captures of {endpoint}", advice="give the demo a lake of its own with --lake"
            )
    contents = lake.contents()
    contents.refuse_damage()
    return {at.astimezone(UTC).date() for at in contents.captures["captured_at"].to_pylist()}


def run_demo(url: str, days: int, progress: Callable[[int, int], None] | None = None) -> DemoResult:
    """Capture the last `days` finished days, each at noon, but for those that the lake has already."""
    from genesis_etl.lake.lake import Lake
    from genesis_etl.pipeline import export
    from genesis_etl.publish.publish import publish_account

    if not url.strip():
        raise SettingsError("--lake is empty", advice="name a folder for the demo's lake")
    url = lake_url(url, "--lake")
    if "://" in url:
        advice = "name a folder with --lake"
        raise SettingsError(
            "the demo's lake is a folder, with its page beside it", where=f"--lake {shown(url)}", advice=advice
        )
    page = _page(url)
    if page.parent.is_dir():
        refuse_unwritable(page)
    today = datetime.now(UTC).date()
    done = captured_days(url)
    wanted = [today - timedelta(days=back) for back in range(days, 0, -1)]
    missing = [day for day in wanted if day not in done]
    if missing:
        with demo_api() as sandbox:
            for index, day in enumerate(missing):
                sandbox.at = datetime.combine(day, _NOON)
                export(demo_settings(sandbox, url, sandbox.at), publishes=False)
                if progress is not None:
                    progress(index + 1, len(missing))
    publish_account(Lake(url), DEFAULT_ACCOUNT)
    return DemoResult(len(missing), len(wanted) - len(missing))


def write_page(url: str) -> Path:
    """Write the page of the demo's lake beside it, and return where."""
    from genesis_etl.dashboard import page as dashboard

    url = lake_url(url, "--lake")
    return dashboard.write_page(Settings(lake=url, page=str(_page(url))))


def _page(url: str) -> Path:
    return Path(f"{url.rstrip('/')}.html")


def next_commands(url: str) -> list[str]:
    """Return three commands worth trying on the demo's lake."""
    lake = f"--lake {shlex.quote(url)}"
    return [
        f"genesis-etl report snapshot-growth {lake} --per-region --by month",
        f"genesis-etl report region-coverage {lake} --type cloud-image --matrix",
        f'genesis-etl sql {lake} "select type, count(distinct image_id) as images from images group by all"',
    ]


def plain_sql(url: str) -> list[str]:
    """Return a question to the files of the tables, for a shell: by DuckDB in this Python, and by its command line."""
    # To DuckDB a path is a pattern, and to a shell some characters mean something within double quotes, too.
    path = re.sub(r"([*?[])", r"[\1]", lake_url(url, "--lake")).replace("'", "''")
    sql = f"select region, count(*) as images from '{path}/tables/images/*.parquet' group by all order by all"
    argument = shlex.quote(sql) if set(sql) & set('$`"\\!') else f'"{sql}"'
    python = Path(sys.executable)
    python = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return [
        f'{shlex.quote(str(python))} -c "import duckdb, sys; print(duckdb.sql(sys.argv[1]))" {argument}',
        f"duckdb -c {argument}",
    ]


def closing_lines(url: str, folder: str = "") -> list[str]:
    """Write the page, and return what a demo ends with; `folder` stands before the name of our own command."""
    own = [f"  {folder}{command}" for command in next_commands(url)]
    python, duckdb = plain_sql(url)
    return [
        *("", "try next:", *own),
        f"and look at the page: {shown(str(write_page(url)), 300)}",
        *("", "or ask the Parquet files without genesis-etl, as any DuckDB can; a line for the shell:", f"  {python}"),
        *("the same where DuckDB's own command line is installed:", f"  {duckdb}"),
    ]
