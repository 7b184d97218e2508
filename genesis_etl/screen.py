"""What a command prints and where it goes: the options that say so, rows, notes, and what only a terminal gets."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
import pyarrow as pa

from genesis_etl.capture import Progress
from genesis_etl.errors import SettingsError
from genesis_etl.process import forget_stdout
from genesis_etl.render import FORMATS, escaped, render, sparkline, wrapped
from genesis_etl.text import shown
from genesis_etl.version import __version__

_FINDING: Final = 1000  # characters of a cell of `check` or `verify`
_LOWER_BOUND: Final = (
    "before the first capture (basis created_at) only what still existed then is known: there were at least as many"
)
_SKETCHES: Final = 12  # series that are drawn on a terminal

Command = TypeVar("Command", bound=Callable[..., Any])


def common_options(command: Command) -> Command:
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
    return None if value is None or value == "-" else writable(value)


def writable(value: str) -> Path:
    """Return the path of a file that can be written; BadParameter says why it cannot."""
    path = Path(value)
    if not value or path.is_dir():
        what = f"{shown(value, 300)!r} is a folder; name a file in it" if value else "a name is missing"
        raise click.BadParameter(what)
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {shown(str(path.parent), 300)}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{shown(value, 300)} cannot be written; choose another file")
    return path


def row_options(command: Command) -> Command:
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


def lake_option(command: Command) -> Command:
    """Give a command the option of those that read or write a lake."""
    return click.option("--lake", metavar="URL", help="Folder or URL of the lake.")(command)


def asked(name: str) -> Any:
    """Return what the user gave for an option that commands share: config, quiet, debug, form or output."""
    return click.get_current_context().find_root().ensure_object(dict).get(name)


def say(text: str) -> None:
    """Put a note on stderr, unless --quiet."""
    if not asked("quiet"):
        for line in text.split("\n"):
            click.echo(shown(line, 2000), err=True)


def warn(text: str) -> None:
    """Say what has to be heard even where only errors are."""
    click.echo(f"warning: {shown(text, 2000)}", err=True)


def print_rows(rows: pa.Table, longest: int = 60) -> None:
    """Put rows where --output says, in the form that --format says."""
    output, form = asked("output"), asked("form")
    if output is None:
        write_rows(rows, form, longest)
        return
    try:
        output.write_bytes(render(rows, form, None, longest))
    except OSError as error:
        raise SettingsError(
            f"cannot write {shown(str(output), 300)}: {error.strerror}; choose another --output"
        ) from None


def width() -> int | None:
    """Return how wide a table may be; None where it goes to no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() and asked("output") is None else None


def print_findings(rows: pa.Table) -> None:
    """Print rows of texts of which nothing may be cut: where they make a table, the last column goes on below."""
    is_narrow = asked("form") == "table" and width() is not None
    print_rows(wrapped(rows, width()) if is_narrow else rows, _FINDING)


def write_rows(rows: pa.Table, form: str, longest: int = 60) -> None:
    """Put rows on stdout; on a terminal as wide as that, and with nothing in them that it would obey."""
    is_terminal = sys.stdout.isatty()
    data = render(rows, form, width(), longest)
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(escaped(data) if is_terminal else data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has seen enough; how the command ends is not for it to say
        forget_stdout()


def sketch(growth: pa.Table) -> None:
    """Draw the closings of snapshot-growth below its table, a line per series; for eyes on a terminal alone."""
    if asked("quiet") or asked("output") or asked("form") != "table":
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
        say(f"and {len(series) - _SKETCHES} more")
    if "created_at" in growth["basis"].to_pylist():
        say(_LOWER_BOUND)


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Show the pages read so far, on a terminal alone."""
    if asked("quiet") or not sys.stderr.isatty():
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
