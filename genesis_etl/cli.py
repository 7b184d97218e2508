"""The command line: parse, call one function, print; errors become one line and an exit code."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast

import click
import pyarrow as pa

from genesis_etl import demo as demo_room
from genesis_etl.capture import Progress
from genesis_etl.errors import ExportFailed, GenesisEtlError, ReportError, SettingsError
from genesis_etl.export import export, live_rows
from genesis_etl.lake import CAPTURE_COLUMNS, capture_rows
from genesis_etl.render import FORMATS, render
from genesis_etl.reports import PERIODS, find_report, open_lake, report_names
from genesis_etl.settings import Settings
from genesis_etl.text import shown
from genesis_etl.times import parse_time
from genesis_etl.version import __version__

Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    code = 0
    try:
        code = cli.main(standalone_mode=False) or 0
    except click.exceptions.Exit as exit:
        code = exit.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except click.ClickException as error:
        code = _fail(error.format_message(), 2)
    except GenesisEtlError as error:
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:  # a bug of ours is one line too, with the way to more
        code = _fail(f"{type(error).__name__}: {error}; a bug, please report it with --debug's output", 1)
    sys.exit(code)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)


def _fail(message: str, code: int) -> int:
    if "--debug" in sys.argv:
        traceback.print_exc()
    click.echo(f"error: {shown(' '.join(message.split()), 2000)}", err=True)
    return code


def _everywhere(command: Command) -> Command:
    """Give a command the options that all have."""

    @click.option("--config", type=click.Path(), help="Read settings from this file.", metavar="FILE")
    @click.option("--quiet", is_flag=True, help="Say nothing but errors.")
    @click.option("--debug", is_flag=True, help="Show a traceback with an error.")
    @click.version_option(__version__, prog_name="genesis-etl", message="%(prog)s %(version)s")
    @functools.wraps(command)
    def wrapped(config: str | None, quiet: bool, debug: bool, **options: Any) -> Any:
        shared = click.get_current_context().find_root().ensure_object(dict)
        for name, value in (("config", config), ("quiet", quiet), ("debug", debug)):
            shared[name] = value or shared.get(name)
        return command(**options)

    return cast("Command", wrapped)


def _prints_data(command: Command) -> Command:
    """Give a command the options of those that print rows."""

    @click.option(
        "--format",
        "form",
        type=click.Choice(list(FORMATS)),
        default="table",
        show_default=True,
        help="Form of the rows.",
    )
    @click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write the rows there.")
    @functools.wraps(command)
    def wrapped(form: str, output: str | None, **options: Any) -> Any:
        shared = click.get_current_context().find_root().ensure_object(dict)
        shared["form"], shared["output"] = form, output
        if form == "parquet" and output is None and sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal; give --output FILE")
        return command(**options)

    return cast("Command", wrapped)


def _lake_option(command: Command) -> Command:
    return click.option("--lake", metavar="URL", help="Folder or URL of the lake.")(command)


def _shared(name: str) -> Any:
    return click.get_current_context().find_root().ensure_object(dict).get(name)


def _settings(**options: Any) -> Settings:
    return Settings.load(_shared("config"), **options)


def _say(text: str) -> None:
    if not _shared("quiet"):
        for line in text.split("\n"):
            click.echo(shown(line, 2000), err=True)


def _print(rows: pa.Table) -> None:
    output = _shared("output")
    is_terminal = output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else None
    data = render(rows, _shared("form"), width)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise SettingsError(f"cannot write {shown(output, 300)}: {error.strerror}") from None


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show the pages read so far, on a terminal alone."""
    if _shared("quiet") or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[tuple[str, int], Any] = {}

        def show(collection: str, done: int, pages: int, passes: int) -> None:
            key = (collection, passes)
            if key not in tasks:
                tasks[key] = bar.add_task(f"/{collection}, pass {passes}", total=pages)
            bar.update(tasks[key], completed=done, total=pages)

        yield show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(), metavar="FILE", help="Read settings from this file.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.version_option(__version__, prog_name="genesis-etl", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config: str | None, quiet: bool, debug: bool) -> None:
    """Keep the history of your Genesis Cloud images and snapshots, and query it.

    \b
    First steps:  genesis-etl demo
                  GENESISCLOUD_TOKEN=… genesis-etl export
                  genesis-etl report snapshot-growth
    """
    context.obj = {"config": config, "quiet": quiet, "debug": debug}


@cli.command("export")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--allow-empty", is_flag=True, help="Believe an API that suddenly lists nothing.")
@click.option("--without-snapshots", is_flag=True, help="Do not read /snapshots.")
@_lake_option
@_prints_data
@_everywhere
def export_command(accounts: tuple[str, ...], allow_empty: bool, without_snapshots: bool, lake: str | None) -> None:
    """Capture every configured account now and land it in the lake.

    \b
    Example:  GENESISCLOUD_TOKEN=… genesis-etl export
    """
    settings = _settings(lake=lake)
    failed: ExportFailed | None = None
    with _progress() as progress:
        try:
            landed = export(
                settings,
                accounts,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
                progress=progress,
                notice=_say,
            )
        except ExportFailed as error:
            landed, failed = error.landed, error
    if landed:
        _print(capture_rows(landed).select(CAPTURE_COLUMNS))
    if failed is not None:
        raise failed


@cli.command("images")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--type", "type_", metavar="T", help="Images of this type, such as base-os or snapshot.")
@click.option("--region", metavar="R", help="Images of this region.")
@_prints_data
@_everywhere
def images_command(accounts: tuple[str, ...], type_: str | None, region: str | None) -> None:
    """List the live images, one row per image × region, without touching the lake.

    \b
    Example:  genesis-etl images --type snapshot --region NORD-NO-KRS-1
    """
    settings = _settings()
    tables = []
    for account in settings.chosen(accounts):
        with _progress() as progress:
            rows = live_rows(settings, account, type=type_, region=region, progress=progress)
        for note in rows.notes:
            _say(f"account {account.name}: {note}")
        tables.append(rows.table)
    _print(pa.concat_tables(tables))


@cli.command("report")
@click.argument("name", required=False)
@click.option("--list", "is_list", is_flag=True, help="Name all reports.")
@click.option("--account", metavar="A", help="This account alone.")
@click.option("--region", metavar="R", help="This region alone.")
@click.option("--per-region", is_flag=True, help="Rows per region instead of totals.")
@click.option("--type", "type_", metavar="T", help="Images of this type.")
@click.option("--since", metavar="D", help="From this date or instant on.")
@click.option("--until", metavar="D", help="Up to this date, or before this instant.")
@click.option("--by", metavar="|".join(PERIODS), help="Length of a period.")
@click.option("--as-of", metavar="T", help="As it was then: captures up to this time only.")
@click.option("--matrix", is_flag=True, help="region-coverage with a row per image and a column per region.")
@_lake_option
@_prints_data
@_everywhere
def report_command(name: str | None, is_list: bool, lake: str | None, type_: str | None, **options: Any) -> None:
    """Run a report over the lake.

    \b
    Example:  genesis-etl report snapshot-growth --by week --per-region
    """
    if is_list:
        titles = [find_report(each).title for each in report_names()]
        _print(pa.table({"report": report_names(), "shows": titles}))
        return
    if name is None:
        raise ReportError(f"name a report: {', '.join(report_names())}")
    settings = _settings(lake=lake)
    opened = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month)
    _print(opened.report_rows(name, type=type_, **options))


@cli.command("sql")
@click.argument("statement")
@_lake_option
@_prints_data
@_everywhere
def sql_command(statement: str, lake: str | None) -> None:
    """Run one SELECT or EXPLAIN over the lake's tables.

    The tables are images (now), image_history (runs), image_regions (everything observed) and captures.

    \b
    Example:  genesis-etl sql "select region, count(*) as images from images group by all order by all"
    """
    settings = _settings(lake=lake)
    _print(open_lake(settings.lake).sql_rows(statement))


@cli.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="Port; 0 for a free one.")
@click.option("--images", type=click.IntRange(0, 100_000), metavar="N", help="Exactly this many entries.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another seed, another account.")
@click.option("--generation", type=click.Choice(["seed", "middle", "newest"]), default="newest", show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Requests a second; 0: no limit.",
)
@click.option("--at", metavar="T", help="Freeze the account at this time.")
@_everywhere
def sandbox_command(port: int, images: int | None, seed: int, generation: str, rate: float, at: str | None) -> None:
    """Serve an account to play with, until interrupted.

    \b
    Example:  genesis-etl sandbox --port 8080 --generation middle
    """
    from genesis_etl.sandbox import Sandbox

    try:
        moment = None if at is None else parse_time(at)
        sandbox = Sandbox(port=port, images=images, seed=seed, generation=generation, rate=rate, at=moment)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"cannot listen on port {port}: {error.strerror}; choose another --port") from None
    with sandbox:
        click.echo(f"GENESISCLOUD_ENDPOINT={sandbox.endpoint}\nGENESISCLOUD_TOKEN={sandbox.token}")
        sys.stdout.flush()
        sandbox.serve_forever()


@cli.command("demo")
@click.option("--days", type=click.IntRange(1, 3650), default=120, show_default=True, help="Days to simulate.")
@click.option("--lake", default=demo_room.LAKE, show_default=True, metavar="URL", help="Folder of the demo's lake.")
@_everywhere
def demo_command(days: int, lake: str) -> None:
    """Fill a lake from the sandbox, day by simulated day, and show both reports.

    \b
    Example:  genesis-etl demo --days 120
    """
    is_shown = sys.stderr.isatty() and not _shared("quiet")

    def show(done: int, missing: int) -> None:
        if is_shown:
            click.echo(f"\rday {done} of {missing}" + ("\n" if done == missing else ""), err=True, nl=False)

    result = demo_room.run_demo(lake, days, show)
    _say(f"{result.captured} days captured into {lake}, {result.kept} were there already")
    opened = open_lake(lake)
    for name, options in demo_room.REPORTS:
        click.echo(f"\n{find_report(name).title}\n")
        sys.stdout.flush()
        sys.stdout.buffer.write(render(opened.report_rows(name, **options), "table"))
        sys.stdout.buffer.flush()
    _say("\n".join(["", "try next:", *(f"  {line}" for line in demo_room.next_commands(lake))]))
