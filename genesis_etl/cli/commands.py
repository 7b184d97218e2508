"""The commands: each parses, calls one function and prints.

What a command needs is imported within it, so that help comes at once and no command waits for another's libraries.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from genesis_etl import demo as demo_room
from genesis_etl.cli.output import Output, common_options, lake_option, row_options
from genesis_etl.cli.signals import Stopped
from genesis_etl.errors import ExportFailed, GenesisEtlError, ReportError, SettingsError
from genesis_etl.outfile import refuse_unwritable
from genesis_etl.settings import DEFAULT_CONFIG, SETTINGS, Settings, alarm_hook
from genesis_etl.text import shown
from genesis_etl.times import parse_duration, parse_time
from genesis_etl.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

    from genesis_etl.commit import Capture

_TOLD: Final = ("error", "where", "advice")  # the columns of an error in a row


def _results(accounts: Sequence[str], landed: Sequence[Capture], failed: Mapping[str, GenesisEtlError]) -> pa.Table:
    """Return a row per account: its capture, or what was seen instead, where, and what to do."""
    import pyarrow as pa

    from genesis_etl.commit import CAPTURE_COLUMNS, capture_rows
    from genesis_etl.rows import CAPTURES

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--config", type=click.Path(), metavar="FILE", help="Read settings from this file.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.version_option(__version__, prog_name="genesis-etl", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, /, **_: Any) -> None:
    """Keep the history of your Genesis Cloud images and snapshots, and query it.

    \b
    First steps:  genesis-etl demo
                  GENESISCLOUD_TOKEN=… genesis-etl export
                  genesis-etl report snapshot-growth
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command("export")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--allow-empty", is_flag=True, help="Believe an API that suddenly lists nothing.")
@click.option("--without-snapshots", is_flag=True, help="Do not read /snapshots.")
@click.option("--if-older-than", metavar="D", help="Leave out accounts whose newest capture is younger, such as 10m.")
@click.option("--no-compact", is_flag=True, help="Do not fold finished days, however many captures lie unfolded.")
@lake_option
@row_options
@common_options
def export_command(
    config: str | None,
    output: Output,
    accounts: tuple[str, ...],
    allow_empty: bool,
    without_snapshots: bool,
    if_older_than: str | None,
    no_compact: bool,
    lake: str | None,
) -> None:
    """Capture every configured account now and land it in the lake.

    All accounts are tried; each has its row, and a failed one its error in it. One that --if-older-than leaves out
    is `fresh`: nothing was asked for it.

    \b
    Example:  GENESISCLOUD_TOKEN=… genesis-etl export
    """
    from genesis_etl.pipeline import duration_of, export

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
    from genesis_etl.checks.check import beat

    beat(settings, lambda text: output.say(f"warning: {text}"))  # whoever waits for it will ask


@cli.command("images")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="This account alone; may be repeated.")
@click.option("--type", "type_", metavar="T", help="Images of this type, such as cloud-image or snapshot.")
@click.option("--region", metavar="R", help="Images of this region.")
@row_options
@common_options
def images_command(
    config: str | None, output: Output, accounts: tuple[str, ...], type_: str | None, region: str | None
) -> None:
    """List the images that are there now; nothing is stored.

    One row per image × region.

    \b
    Example:  genesis-etl images --type snapshot --region NORD-NO-KRS-1
    """
    import pyarrow as pa

    from genesis_etl.pipeline import live_rows

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
        names = pa.array([account.name] * len(rows.table), pa.string())
        tables.append(rows.table.add_column(0, "account", names))
    if tables:
        output.print_rows(pa.concat_tables(tables))
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
@click.option("--by", metavar="day|week|month", help="Length of a period.")
@click.option("--as-of", metavar="T", help="As it was then: captures up to this time only.")
@click.option("--older-than", metavar="D", help="stale-snapshots older than this, such as 90d.")
@click.option("--forecast", type=int, metavar="N", help="snapshot-growth goes on for so many periods.")
@click.option("--matrix", is_flag=True, help="region-coverage with a row per image and a column per region.")
@click.option("--engine", default="duckdb", show_default=True, metavar="duckdb|spark", help="What runs the SQL.")
@lake_option
@row_options
@common_options
def report_command(
    config: str | None,
    output: Output,
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
    import pyarrow as pa

    from genesis_etl.query import forecast as future
    from genesis_etl.query.open_lake import describe, find_report, open_lake, report_names

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
    rows = opened.report_rows(name, type=type_, **options)
    output.print_rows(rows)
    if not len(rows):
        output.say(f"no rows: {opened.why_empty(type=type_, region=options['region'])}")
    if options["forecast"] is not None:
        output.say(f"forecast: {future.METHOD}")
    if name == "snapshot-growth":
        output.sketch(rows)


@cli.command("sql")
@click.argument("statement")
@lake_option
@row_options
@common_options
def sql_command(config: str | None, output: Output, statement: str, lake: str | None) -> None:
    """Run one SELECT or EXPLAIN over the lake's tables.

    The tables are images (now), image_history (runs), image_regions (everything observed) and captures.

    \b
    Example:  genesis-etl sql "select region, count(*) as images from images group by all order by all"
    """
    from genesis_etl.query.open_lake import open_lake

    settings = Settings.load(config, lake=lake)
    output.print_rows(open_lake(settings.lake).sql_rows(statement))


@cli.command("dashboard")
@click.option(
    "--output", "page", metavar="FILE", help="Write the page there; the setting page, page.html, if left out."
)
@lake_option
@common_options
def dashboard_command(config: str | None, output: Output, page: str | None, lake: str | None) -> None:
    """Write the HTML page: one file, which fetches nothing.

    Under each picture stand its numbers and the command that prints them.

    \b
    Example:  genesis-etl dashboard --output page.html
    """
    from genesis_etl.dashboard.page import write_page
    from genesis_etl.lake import NO_CAPTURE, Lake

    if page == "-":
        raise click.UsageError("the page is for a file; name it with --output FILE")
    settings = Settings.load(config, lake=lake, page=page)
    refuse_unwritable(settings.page)
    output.say(f"the page is {shown(str(write_page(settings)), 300)}; open it in a browser")
    if not Lake(settings.lake).accounts():
        output.warn(NO_CAPTURE.format(url=settings.lake) + "; the page says so")


@cli.command("compact")
@click.option("--grace", default="7d", show_default=True, metavar="D", help="How long replaced files stay.")
@lake_option
@row_options
@common_options
def compact_command(config: str | None, output: Output, grace: str, lake: str | None) -> None:
    """Fold finished days into one file per account and year.

    Days are those of UTC. Answers stay the same, in far fewer bytes and files. Safe at any time, beside exports and
    readers; a grace shorter than a report takes makes that report start again.

    \b
    Example:  genesis-etl compact --grace 7d
    """
    from genesis_etl.compact import compact, foldings
    from genesis_etl.lake import Lake

    try:
        patience = parse_duration(grace)
    except ValueError as error:
        raise SettingsError(str(error), where="--grace") from None
    output.print_rows(foldings(compact(Lake(Settings.load(config, lake=lake).lake), grace=patience)))


@cli.command("verify")
@lake_option
@row_options
@common_options
def verify_command(config: str | None, output: Output, lake: str | None) -> None:
    """Hold every file of the lake against its hash and commit.

    A row per account whose files are whole, and one per file that is damaged, missing, orphaned or a stranger.
    Ends with 1 if anything is damaged, missing, or of a newer genesis-etl.

    \b
    Example:  genesis-etl verify --lake data/lake
    """
    from genesis_etl.verify import has_failed, verify

    rows = verify(Settings.load(config, lake=lake).lake)
    output.print_findings(rows)
    if has_failed(rows):
        raise click.exceptions.Exit(1)


@cli.command("check")
@click.option("--max-age", metavar="D", help=SETTINGS["max_age"].sentence)
@lake_option
@row_options
@common_options
def check_command(config: str | None, output: Output, max_age: str | None, lake: str | None) -> None:
    """Say whether all is well.

    Looks at tokens, the lake, the age and gaps of its captures, and the thresholds of the settings file. Prints a
    row per check; the failed ones are posted to the webhook, if there is one. Ends with 1 if any failed. With --quiet
    a table has the failed rows alone, and where all is well nothing is printed, which is what cron mails.

    \b
    Example:  genesis-etl check --max-age 2h
    """
    from genesis_etl.checks.check import alarm, check, failures, in_short, unusable

    try:
        settings = Settings.load(config, lake=lake, max_age=max_age)
        rows = check(settings)
    except SettingsError as error:
        rows = unusable(error)
        alarm(alarm_hook(), rows, output.warn)
        if not output.is_table:  # for people the error's line is enough
            output.print_rows(rows)
        raise
    failed = failures(rows)
    alarm(settings.webhook, rows, output.warn)
    if output.is_table:
        rows = in_short(failed if output.is_quiet else rows)
    if len(rows) or not output.is_table:
        output.print_findings(rows)
    if len(failed):
        raise click.exceptions.Exit(1)


@cli.command("init")
@common_options
def init_command(config: str | None, output: Output) -> None:
    """Write a settings file to start from, and try the token.

    One request is sent, if there is a token. The file is genesis-etl.toml, or the one that --config names; one that
    is there is left as it is.

    \b
    Example:  genesis-etl init
    """
    from genesis_etl.checks.check import try_token
    from genesis_etl.cli.starter import write_settings

    path = DEFAULT_CONFIG if config is None else Path(config)
    write_settings(path)
    output.say(f"wrote {path}: every setting stands in it, commented out")
    settings = Settings.load(path)
    (account,) = settings.accounts
    export_it = shlex.join(["genesis-etl", "export", *(["--config", str(path)] if path != DEFAULT_CONFIG else [])])
    if account.secret is None or not account.secret.reveal().strip():
        output.say(f"next: put your token into the variable {account.token_source}, then `{export_it}`")
        return
    try_token(settings, account)
    output.say(f"the token in {account.token_source} is accepted; next: `{export_it}`")


@cli.command("forget")
@click.option("--account", required=True, metavar="A", help="The account whose captures go.")
@click.option("--before", metavar="D", help="Only captures before this date or instant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@lake_option
@row_options
@common_options
def forget_command(
    config: str | None, output: Output, account: str, before: str | None, yes: bool, lake: str | None
) -> None:
    """Remove an account's captures from the lake, for ever.

    All of them, or those before a time. Asks first; where nobody can be asked, give --yes. Prints what went, a row
    per year. Stopped at any moment it leaves a whole lake, and another run ends the work.

    \b
    Example:  genesis-etl forget --account old --before 2025-01-01
    """
    from genesis_etl.forget import forget, forgettable, forgotten
    from genesis_etl.lake import Lake

    try:
        end = None if before is None else parse_time(before)
    except ValueError as error:
        raise SettingsError(str(error), where="--before") from None
    opened = Lake(Settings.load(config, lake=lake).lake)
    count = sum(each.captures for each in forgettable(opened, account, end))
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(
                "forget removes captures for ever and asks before", advice="give --yes where nobody can answer"
            )
        captures = "1 capture" if count == 1 else f"{count} captures"
        what = f"Remove {captures} of {account} from {opened.url}, for ever?"
        if not click.confirm(shown(what, 300), err=True):
            raise SettingsError("nothing was removed, as you answered")
    output.print_rows(forgotten(forget(opened, account, end)))


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
@common_options
def sandbox_command(
    output: Output,
    port: int,
    images: int | None,
    seed: int,
    generation: str,
    rate: float,
    at: str | None,
    faults: tuple[str, ...],
    **_: Any,
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
        raise SettingsError(f"cannot listen on port {port}: {error.strerror}", advice="choose another --port") from None
    try:
        click.echo(f"GENESISCLOUD_ENDPOINT={sandbox.endpoint}\nGENESISCLOUD_TOKEN={sandbox.token}")
        sys.stdout.flush()
        output.say(
            "serving until Ctrl-C; `export` both lines in another shell, and every command there reads this account"
        )
        sandbox.serve_forever()
    except Stopped as stop:  # its usual end, nothing to complain of
        raise click.exceptions.Exit(stop.exit_code) from None
    finally:
        sandbox.stop()


@cli.command("demo")
@click.option("--days", type=click.IntRange(1, 3650), default=120, show_default=True, help="Days to simulate.")
@click.option("--lake", default=demo_room.LAKE, show_default=True, metavar="URL", help="Folder of the demo's lake.")
@common_options
def demo_command(output: Output, days: int, lake: str, **_: Any) -> None:
    """Fill a lake from the sandbox and show both reports.

    It captures day by simulated day, those that the lake does not have.

    \b
    Example:  genesis-etl demo --days 120
    """
    from genesis_etl.query.open_lake import find_report, open_lake

    is_shown = sys.stderr.isatty() and not output.is_quiet

    def show(done: int, missing: int) -> None:
        if is_shown:
            click.echo(f"\rday {done} of {missing}" + ("\n" if done == missing else ""), err=True, nl=False)

    result = demo_room.run_demo(lake, days, show)
    output.say(f"{result.captured} days captured into {lake}, {result.kept} were there already")
    opened = open_lake(lake)
    for name, options in demo_room.REPORTS:
        click.echo(f"\n{find_report(name).title}\n")
        output.print_rows(opened.report_rows(name, **options))
    click.echo("\n".join(["", "try next:", *(f"  {line}" for line in demo_room.next_commands(lake))]))
    click.echo(f"and look at the page: {shown(str(demo_room.write_page(lake)), 300)}")
