"""The command line: parse, call one function, print; errors become one line and an exit code."""

from __future__ import annotations

import functools
import io
import os
import shlex
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar, cast

import click
import pyarrow as pa

from genesis_etl import demo as demo_room
from genesis_etl import forecast as future
from genesis_etl.capture import Progress
from genesis_etl.commit import CAPTURE_COLUMNS, Capture, capture_rows
from genesis_etl.errors import ExportFailed, GenesisEtlError, ReportError, SettingsError
from genesis_etl.export import export, live_rows
from genesis_etl.lake import NO_CAPTURE, Lake
from genesis_etl.render import FORMATS, escaped, render, sparkline, wrapped
from genesis_etl.reports import ENGINES, PERIODS, describe, find_report, open_lake, report_names
from genesis_etl.settings import DEFAULT_CONFIG, Settings, alarm_hook, redacted
from genesis_etl.table import CAPTURES
from genesis_etl.text import shown
from genesis_etl.times import parse_duration, parse_time
from genesis_etl.version import __version__

_PATIENCE: Final = 2.0  # seconds that a stopped command gets to end in order
_FINDING: Final = 1000  # characters of a cell of `check` or `verify`
_LOWER_BOUND: Final = (
    "before the first capture (basis created_at) only what still existed then is known: there were at least as many"
)
_SKETCHES: Final = 12  # series that are drawn on a terminal

Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    _heed_signals()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  it stays open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong has been said in one line by then."""
    try:
        "".join(arguments).encode("utf-8")
    except UnicodeEncodeError:
        return _fail("an argument is not UTF-8, or the locale (LC_ALL, LANG) is not; set both right", 2)
    try:
        return cli.main(arguments, prog_name="genesis-etl", standalone_mode=False) or 0
    except BaseException as error:
        # DuckDB makes an error of its own of whatever interrupts it.
        message, code = _line_of(_stops[0] if _stops else error)
        return _fail(message, code, is_debug="--debug" in arguments)


def _line_of(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error (nothing, if there is nothing wrong) and the exit code."""
    match error:
        case _Stopped():
            return f"stopped by {error}; what has landed stays, run it again for the rest", error.exit_code
        case KeyboardInterrupt() | click.Abort():  # without the handlers of `main`
            return "stopped by SIGINT; what has landed stays, run it again for the rest", 130
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "genesis-etl"
            return f"{error.format_message().rstrip('.')}; see `{command} --help`", 2
        case click.ClickException():
            return error.format_message(), 2
        case GenesisEtlError():
            return str(error), error.exit_code
        case BrokenPipeError() | SystemExit():  # click makes the second of the first
            # The reader, `head` perhaps, has seen enough.
            _forget_stdout()
            return "", 0
        case OSError(errno=int(), filename=None):  # not one of a file, so one of our streams
            _forget_stdout()
            return f"cannot write the output: {error.strerror or error}; see to where it goes", 2
        case _:  # a bug of ours is one line too, with the way to more
            return f"{type(error).__name__}: {error}; a bug, please report it with --debug's output", 1


class _Stopped(BaseException):
    """A signal asks the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


_stops: list[_Stopped] = []


def _heed_signals() -> None:
    """Let SIGINT and SIGTERM end the process: in order if it can, at once where a library does not let go."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        _stops.append(_Stopped(signum))
        raise _stops[-1]

    def watch() -> None:
        signum = os.read(reader, 1)[0]
        # Python's handlers wait for C code to return, and a query of DuckDB's can take hours.
        time.sleep(_PATIENCE)
        _fail(f"stopped by {signal.Signals(signum).name}", 128 + signum)
        os._exit(128 + signum)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=watch, name="signals", daemon=True).start()


def _fail(message: str, code: int, is_debug: bool = False) -> int:
    with suppress(OSError):
        if is_debug and message:
            click.echo(redacted(traceback.format_exc()), err=True)
        if message:
            click.echo(f"error: {shown(redacted(' '.join(message.split())), 2000)}", err=True)
    return code


def _forget_stdout() -> None:
    """Send what is left to nowhere, or Python would complain of it once more at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _everywhere(command: Command) -> Command:
    """Give a command the options that all have."""

    @click.option("--config", type=click.Path(), help="Read settings from this file.", metavar="FILE")
    @click.option("--quiet", is_flag=True, default=None, help="Say nothing but errors.")
    @click.option("--debug", is_flag=True, default=None, help="Show a traceback with an error.")
    @click.version_option(__version__, prog_name="genesis-etl", message="%(prog)s %(version)s")
    @functools.wraps(command)
    def wrapped(config: str | None, quiet: bool | None, debug: bool | None, **options: Any) -> Any:
        shared = click.get_current_context().find_root().ensure_object(dict)
        for name, value in (("config", config), ("quiet", quiet), ("debug", debug)):
            shared[name] = shared.get(name) if value is None else value
        return command(**options)

    return cast("Command", wrapped)


def _output(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Refuse a file that cannot be written before anything is done for it."""
    return None if value is None or value == "-" else _writable(value)


def _writable(value: str) -> Path:
    path = Path(value)
    if not value or path.is_dir():
        what = f"{shown(value, 300)!r} is a folder; name a file in it" if value else "a name is missing"
        raise click.BadParameter(what)
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {shown(str(path.parent), 300)}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{shown(value, 300)} cannot be written; choose another file")
    return path


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
    @click.option("--output", metavar="FILE", callback=_output, help="Write the rows there; - is stdout.")
    @functools.wraps(command)
    def wrapped(form: str, output: Path | None, **options: Any) -> Any:
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


def _warn(text: str) -> None:
    """Say what has to be heard even where only errors are."""
    click.echo(f"warning: {shown(text, 2000)}", err=True)


def _print(rows: pa.Table, longest: int = 60) -> None:
    output, form = _shared("output"), _shared("form")
    if output is None:
        _write(rows, form, longest)
        return
    try:
        output.write_bytes(render(rows, form, None, longest))
    except OSError as error:
        raise SettingsError(
            f"cannot write {shown(str(output), 300)}: {error.strerror}; choose another --output"
        ) from None


def _width() -> int | None:
    """Return how wide a table may be; null where it goes to no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() and _shared("output") is None else None


def _print_findings(rows: pa.Table) -> None:
    """Print rows of texts of which nothing may be cut: where they make a table, the last column goes on below."""
    is_narrow = _shared("form") == "table" and _width() is not None
    _print(wrapped(rows, _width()) if is_narrow else rows, _FINDING)


def _write(rows: pa.Table, form: str, longest: int = 60) -> None:
    """Put rows on stdout; on a terminal as wide as that, and with nothing in them that it would obey."""
    is_terminal = sys.stdout.isatty()
    data = render(rows, form, _width(), longest)
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(escaped(data) if is_terminal else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has seen enough; how the command ends is not for it to say
        _forget_stdout()


def _sketch(growth: pa.Table) -> None:
    """Draw the closings of snapshot-growth below its table, a line per series; for eyes on a terminal alone."""
    if _shared("quiet") or _shared("output") or _shared("form") != "table":
        return
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)  # which heeds NO_COLOR
    series: dict[str, list[int]] = {}
    for row in growth.select(["account", "region", "closing"]).to_pylist():
        series.setdefault(" ".join(filter(None, (row["account"], row["region"]))), []).append(row["closing"])
    for label, closings in list(series.items())[:_SKETCHES]:
        ends = f"{closings[0]:,} → {closings[-1]:,}"
        name = shown(label, 40)
        bars = sparkline(closings, max(console.width - len(f"closing  {name}    {ends}"), 1))
        line = Text.assemble("closing  ", name, "  ", (bars, "cyan"), "  ", ends)
        console.print(line, no_wrap=True, crop=True)
    if len(series) > _SKETCHES:
        _say(f"and {len(series) - _SKETCHES} more")
    if "created_at" in growth["basis"].to_pylist():
        _say(_LOWER_BOUND)


def _results(accounts: Sequence[str], landed: Sequence[Capture], failed: Mapping[str, Exception]) -> pa.Table:
    """Return a row per account: its capture, or the error that there was instead."""
    captures = {row["account"]: row for row in capture_rows(landed).to_pylist()}
    rows = []
    for name in accounts:
        if name in captures:
            rows.append({**captures[name], "status": "landed"})
        else:
            rows.append({"account": name, "status": "failed", "error": shown(str(failed[name]), 2000)})
    texts = {name: pa.field(name, pa.string()) for name in ("account", "status", "error")}
    fields = [CAPTURES.field(name).with_nullable(True) for name in CAPTURE_COLUMNS if name != "account"]
    return pa.Table.from_pylist(rows, pa.schema([texts["account"], texts["status"], *fields, texts["error"]]))


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
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
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command("export")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--allow-empty", is_flag=True, help="Believe an API that suddenly lists nothing.")
@click.option("--without-snapshots", is_flag=True, help="Do not read /snapshots.")
@click.option("--no-compact", is_flag=True, help="Do not fold finished days, however many captures lie unfolded.")
@_lake_option
@_prints_data
@_everywhere
def export_command(
    accounts: tuple[str, ...], allow_empty: bool, without_snapshots: bool, no_compact: bool, lake: str | None
) -> None:
    """Capture every configured account now and land it in the lake.

    All accounts are tried; each has its row, and a failed one its error in it.

    \b
    Example:  GENESISCLOUD_TOKEN=… genesis-etl export
    """
    settings = _settings(lake=lake)
    names = [account.name for account in settings.chosen(accounts)]
    failed: ExportFailed | None = None
    with _progress() as progress:
        try:
            landed = export(
                settings,
                accounts,
                allow_empty=allow_empty,
                without_snapshots=without_snapshots,
                compacts=not no_compact,
                progress=progress,
                notice=_say,
            )
        except ExportFailed as error:
            landed, failed = error.landed, error
    results = _results(names, landed, failed.failed if failed else {})
    if _shared("form") == "table":  # for people: what no account has is no column
        results = results.select([name for name in results.column_names if results[name].null_count < len(results)])
    _print(results)
    if failed is not None:
        raise failed
    from genesis_etl.check import beat

    beat(settings, lambda text: _say(f"warning: {text}"))  # whoever waits for it will ask


@cli.command("images")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--type", "type_", metavar="T", help="Images of this type, such as cloud-image or snapshot.")
@click.option("--region", metavar="R", help="Images of this region.")
@_prints_data
@_everywhere
def images_command(accounts: tuple[str, ...], type_: str | None, region: str | None) -> None:
    """List the images that are there now; nothing is stored.

    One row per image × region.

    \b
    Example:  genesis-etl images --type snapshot --region NORD-NO-KRS-1
    """
    settings = _settings()
    tables: list[pa.Table] = []
    failed: dict[str, GenesisEtlError] = {}
    for account in settings.chosen(accounts):
        try:
            with _progress() as progress:
                rows = live_rows(settings, account, type=type_, region=region, progress=progress)
        except GenesisEtlError as error:
            failed[account.name] = error
            continue
        for note in rows.notes:
            _say(f"account {account.name}: {note}")
        names = pa.array([account.name] * len(rows.table), pa.string())
        tables.append(rows.table.add_column(0, "account", names))
    if tables:
        _print(pa.concat_tables(tables))
    if failed:
        raise ExportFailed(tables, failed)


@cli.command("report")
@click.argument("name", required=False)
@click.option("--list", "is_list", is_flag=True, help="Name all reports.")
@click.option("--describe", "is_described", is_flag=True, help="Say what the report takes and what its columns mean.")
@click.option("--account", metavar="A", help="This account alone.")
@click.option("--region", metavar="R", help="This region alone.")
@click.option("--per-region", is_flag=True, help="Rows per region instead of totals.")
@click.option("--type", "type_", metavar="T", help="Images of this type.")
@click.option("--since", metavar="D", help="From this date or instant on.")
@click.option("--until", metavar="D", help="Up to this date, or before this instant.")
@click.option("--by", metavar="|".join(PERIODS), help="Length of a period.")
@click.option("--as-of", metavar="T", help="As it was then: captures up to this time only.")
@click.option("--older-than", metavar="D", help="stale-snapshots older than this, such as 90d.")
@click.option("--forecast", type=int, metavar="N", help="snapshot-growth goes on for so many periods.")
@click.option("--matrix", is_flag=True, help="region-coverage with a row per image and a column per region.")
@click.option("--engine", type=click.Choice(ENGINES), default=ENGINES[0], show_default=True, help="What runs the SQL.")
@_lake_option
@_prints_data
@_everywhere
def report_command(
    name: str | None,
    is_list: bool,
    is_described: bool,
    lake: str | None,
    type_: str | None,
    engine: str,
    **options: Any,
) -> None:
    """Run a report over the lake.

    \b
    Example:  genesis-etl report snapshot-growth --by week --per-region
              genesis-etl report snapshot-growth --forecast 30
              genesis-etl report changes --describe
    """
    if is_list:
        titles = [find_report(each).title for each in report_names()]
        _print(pa.table({"report": report_names(), "shows": titles}))
        return
    if name is None:
        raise ReportError(f"name a report: {', '.join(report_names())}")
    if is_described:
        meanings = describe(name)
        _say(find_report(name).summary)
        is_table = _shared("form") == "table"
        _print(wrapped(meanings, _width()) if is_table else meanings)
        return
    settings = _settings(lake=lake)
    opened = open_lake(settings.lake, regions=settings.regions, price=settings.price_gib_month, engine=engine)
    rows = opened.report_rows(name, type=type_, **options)
    _print(rows)
    if not len(rows):
        _say(f"no rows: {opened.why_empty(type=type_, region=options['region'])}")
    if options["forecast"] is not None:
        _say(f"forecast: {future.METHOD}")
    if name == "snapshot-growth":
        _sketch(rows)


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


@cli.command("dashboard")
@click.option("--output", metavar="FILE", help="Write the page there; the setting page, page.html, if left out.")
@_lake_option
@_everywhere
def dashboard_command(output: str | None, lake: str | None) -> None:
    """Write the HTML page: one file, which fetches nothing.

    Under each picture stand its numbers and the command that prints them.

    \b
    Example:  genesis-etl dashboard --output page.html
    """
    from genesis_etl.dashboard import write_page

    if output == "-":
        raise click.UsageError("the page is for a file; name it with --output FILE")
    settings = _settings(lake=lake, page=output)
    _writable(settings.page)
    _say(f"the page is {shown(str(write_page(settings)), 300)}; open it in a browser")
    if not Lake(settings.lake).accounts():
        _warn(NO_CAPTURE.format(url=settings.lake) + "; the page says so")


@cli.command("compact")
@click.option("--grace", default="7d", show_default=True, metavar="D", help="How long replaced files stay.")
@_lake_option
@_prints_data
@_everywhere
def compact_command(grace: str, lake: str | None) -> None:
    """Fold finished days into one file per account and year.

    Days are those of UTC. Answers stay the same, in far fewer bytes and files. Safe at any time, beside exports and
    readers; a grace shorter than a report takes makes that report start again.

    \b
    Example:  genesis-etl compact --grace 7d
    """
    from genesis_etl.compact import compact, foldings

    try:
        patience = parse_duration(grace)
    except ValueError as error:
        raise SettingsError(f"--grace: {error}") from None
    _print(foldings(compact(Lake(_settings(lake=lake).lake), grace=patience)))


@cli.command("verify")
@_lake_option
@_prints_data
@_everywhere
def verify_command(lake: str | None) -> None:
    """Hold every file of the lake against its hash and commit.

    A row per account whose files are whole, and one per file that is damaged, missing, orphaned or a stranger.
    Ends with 1 if anything is damaged, missing, or of a newer genesis-etl.

    \b
    Example:  genesis-etl verify --lake data/lake
    """
    from genesis_etl.verify import has_failed, verify

    rows = verify(_settings(lake=lake).lake)
    _print_findings(rows)
    if has_failed(rows):
        raise click.exceptions.Exit(1)


@cli.command("check")
@click.option("--max-age", metavar="D", help="How old a newest capture may be; 2h, or as the settings say.")
@_lake_option
@_prints_data
@_everywhere
def check_command(max_age: str | None, lake: str | None) -> None:
    """Say whether all is well.

    Looks at tokens, the lake, the age and gaps of its captures, and the thresholds of the settings file. Prints a
    row per check; the failed ones are posted to the webhook, if there is one. Ends with 1 if any failed. With --quiet
    a table has the failed rows alone, and where all is well nothing is printed, which is what cron mails.

    \b
    Example:  genesis-etl check --max-age 2h
    """
    from genesis_etl.check import alarm, check, failures, in_short, unusable

    try:
        settings = _settings(lake=lake, max_age=max_age)
        rows = check(settings)
    except SettingsError as error:
        rows = unusable(error)
        alarm(alarm_hook(), rows, _warn)
        if _shared("form") != "table":  # for people the error's line is enough
            _print(rows)
        raise
    failed = failures(rows)
    alarm(settings.webhook, rows, _warn)
    is_table = _shared("form") == "table"
    if is_table:
        rows = in_short(failed if _shared("quiet") else rows)
    if len(rows) or not is_table:
        _print_findings(rows)
    if len(failed):
        raise click.exceptions.Exit(1)


@cli.command("init")
@_everywhere
def init_command() -> None:
    """Write a settings file to start from, and try the token.

    One request is sent, if there is a token. The file is genesis-etl.toml, or the one that --config names; one that
    is there is left as it is.

    \b
    Example:  genesis-etl init
    """
    from genesis_etl.check import try_token
    from genesis_etl.starter import write_settings

    path = DEFAULT_CONFIG if _shared("config") is None else Path(_shared("config"))
    write_settings(path)
    _say(f"wrote {path}: every setting stands in it, commented out")
    settings = Settings.load(path)
    (account,) = settings.accounts
    export_it = shlex.join(["genesis-etl", "export", *(["--config", str(path)] if path != DEFAULT_CONFIG else [])])
    if account.secret is None or not account.secret.reveal().strip():
        _say(f"next: put your token into the variable {account.token_source}, then `{export_it}`")
        return
    try_token(settings, account)
    _say(f"the token in {account.token_source} is accepted; next: `{export_it}`")


@cli.command("forget")
@click.option("--account", required=True, metavar="A", help="The account whose captures go.")
@click.option("--before", metavar="D", help="Only captures before this date or instant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_lake_option
@_prints_data
@_everywhere
def forget_command(account: str, before: str | None, yes: bool, lake: str | None) -> None:
    """Remove an account's captures from the lake, for ever.

    All of them, or those before a time. Asks first; where nobody can be asked, give --yes. Prints what went, a row
    per year. Stopped at any moment it leaves a whole lake, and another run ends the work.

    \b
    Example:  genesis-etl forget --account old --before 2025-01-01
    """
    from genesis_etl.forget import forget, forgettable, forgotten

    try:
        end = None if before is None else parse_time(before)
    except ValueError as error:
        raise SettingsError(f"--before: {error}") from None
    opened = Lake(_settings(lake=lake).lake)
    count = sum(each.captures for each in forgettable(opened, account, end))
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError("forget removes captures for ever and asks before; give --yes where nobody can answer")
        captures = "1 capture" if count == 1 else f"{count} captures"
        what = f"Remove {captures} of {account} from {opened.url}, for ever?"
        if not click.confirm(shown(what, 300), err=True):
            raise SettingsError("nothing was removed, as you answered")
    _print(forgotten(forget(opened, account, end)))


@cli.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="Port; 0 for a free one.")
@click.option("--images", type=click.IntRange(0, 100_000), metavar="N", help="Exactly this many entries.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another seed, another account.")
@click.option(
    "--generation",
    type=click.Choice(["seed", "middle", "newest"]),
    default="newest",
    show_default=True,
    help="Of the API: the fields and types that it had then.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Requests a second; 0: no limit.",
)
@click.option("--at", metavar="T", help="Freeze the account at this time.")
@click.option("--fault", "faults", multiple=True, metavar="SCRIPT", help="Fail like this; may be repeated.")
@_everywhere
def sandbox_command(
    port: int, images: int | None, seed: int, generation: str, rate: float, at: str | None, faults: tuple[str, ...]
) -> None:
    """Serve an account to play with, until interrupted.

    \b
    Example:  genesis-etl sandbox --port 8080 --generation middle
              genesis-etl sandbox --fault "images?page=2:status=503,times=3"
    """
    from genesis_etl.sandbox import Fault, Sandbox

    try:
        sandbox = Sandbox(
            port=port,
            images=images,
            seed=seed,
            generation=generation,
            rate=rate,
            at=None if at is None else parse_time(at),
            faults=map(Fault.parse, faults),
        )
        sandbox.start()
    except ValueError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"cannot listen on port {port}: {error.strerror}; choose another --port") from None
    try:
        click.echo(f"GENESISCLOUD_ENDPOINT={sandbox.endpoint}\nGENESISCLOUD_TOKEN={sandbox.token}")
        sys.stdout.flush()
        _say("serving until Ctrl-C; `export` both lines in another shell, and every command there reads this account")
        sandbox.serve_forever()
    except _Stopped as stop:  # its usual end, nothing to complain of
        raise click.exceptions.Exit(stop.exit_code) from None
    finally:
        sandbox.stop()


@cli.command("demo")
@click.option("--days", type=click.IntRange(1, 3650), default=120, show_default=True, help="Days to simulate.")
@click.option("--lake", default=demo_room.LAKE, show_default=True, metavar="URL", help="Folder of the demo's lake.")
@_everywhere
def demo_command(days: int, lake: str) -> None:
    """Fill a lake from the sandbox and show both reports.

    It captures day by simulated day, those that the lake does not have.

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
        _write(opened.report_rows(name, **options), "table")
    click.echo("\n".join(["", "try next:", *(f"  {line}" for line in demo_room.next_commands(lake))]))
    click.echo(f"and look at the page: {shown(str(demo_room.write_page(lake)), 300)}")
