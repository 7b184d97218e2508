"""What a command prints and where it goes: rows, notes, and what only a terminal gets."""

from __future__ import annotations

import functools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from genesis_etl.cli.process import forget_stdout
from genesis_etl.outfile import replace_file
from genesis_etl.text import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from genesis_etl.reading import Progress

# What `render` makes, which is slow to import.
FORMS: Final = ("table", "csv", "json", "markdown", "parquet", "xlsx")
BINARY: Final = {"parquet": "Parquet", "xlsx": "a sheet of Excel"}  # not for a terminal
_FINDING: Final = 1000  # characters of a cell of `check` or `verify`
_LOWER_BOUND: Final = (
    "before the first capture (basis created_at) only what still existed then is known: there were at least as many"
)
_SKETCHES: Final = 12  # series that are drawn on a terminal


class Output:
    """Prints what one command has to say: made once from its options and handed to whatever prints, on any thread."""

    def __init__(self, *, is_quiet: bool = False, form: str = "table", path: Path | None = None) -> None:
        self.is_quiet = is_quiet
        self.is_table = form == "table"
        self._form = form
        self._path = path  # None is stdout
        self._lock = threading.Lock()
        self._print: Callable[[str], None] = functools.partial(click.echo, err=True)

    def say(self, text: str) -> None:
        """Put a note on stderr, unless --quiet."""
        if not self.is_quiet:
            self._tell(*(shown(line, 2000) for line in text.split("\n")))

    def warn(self, text: str) -> None:
        """Say what has to be heard even where only errors are."""
        self._tell(f"warning: {shown(text, 2000)}")

    def _tell(self, *lines: str) -> None:
        with self._lock:  # lines of several threads stay lines
            for line in lines:
                self._print(line)

    def print_rows(self, rows: pa.Table, longest: int = 60) -> None:
        """Put rows where --output says, in the form that --format says."""
        from genesis_etl.render import render

        self.print_bytes(render(rows, self._form, self._width, longest))

    def print_bytes(self, data: bytes) -> None:
        """Put text or a file's bytes where --output says; on a terminal with nothing it would obey."""
        from genesis_etl.render import escaped

        if self._path is not None:
            replace_file(self._path, data)
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(escaped(data) if sys.stdout.isatty() else data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # the reader has seen enough; how the command ends is not for it to say
            forget_stdout()

    def print_texts(self, rows: pa.Table) -> None:
        """Print rows of texts; where they make a table on a terminal, a long last column goes on below."""
        self.print_rows(self._wrapped(rows) if self.is_table else rows)

    def print_findings(self, rows: pa.Table) -> None:
        """Print rows of texts of which nothing may be cut, however long."""
        is_narrow = self.is_table and self._width is not None
        self.print_rows(self._wrapped(rows) if is_narrow else rows, _FINDING)

    def _wrapped(self, rows: pa.Table) -> pa.Table:
        from genesis_etl.render import wrapped

        return wrapped(rows, self._width)

    @property
    def _width(self) -> int | None:
        """How wide a table may be; None where it goes to no terminal."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() and self._path is None else None

    def sketch(self, growth: pa.Table) -> None:
        """Draw the closings of snapshot-growth below its table, a line per series; for eyes on a terminal alone."""
        if self.is_quiet or not self.is_table or self._width is None or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.text import Text

        from genesis_etl.render import sparkline

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
            self.say(f"and {len(series) - _SKETCHES} more")
        if "created_at" in growth["basis"].to_pylist():
            self.say(_LOWER_BOUND)

    @contextmanager
    def progress_bar(self) -> Iterator[Progress | None]:
        """Show the pages read so far, on a terminal alone; whoever reads calls what this yields, on any thread."""
        if self.is_quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import TaskID

        console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        with Bar(console=console, transient=True) as bar:
            tasks: dict[str, TaskID] = {}

            def show(collection: str, done: int, pages: int, passes: int) -> None:
                with self._lock:
                    doing = f"/{collection}, pass {passes}"
                    if collection not in tasks:
                        tasks[collection] = bar.add_task(doing, total=pages)
                    bar.update(tasks[collection], description=doing, completed=done, total=pages)

            plain, self._print = self._print, console.print  # notes go above the bars
            try:
                yield show
            finally:
                self._print = plain
