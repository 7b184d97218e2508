"""The options that commands share; those that say what is printed and where make the command's `output`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from genesis_etl.cli.arrow import keep_small
from genesis_etl.cli.output import BINARY, FORMS, Output
from genesis_etl.errors import SettingsError
from genesis_etl.outfile import descriptor_of, refuse_unwritable
from genesis_etl.settings import SETTINGS
from genesis_etl.version import __version__

Command = TypeVar("Command", bound=Callable[..., Any])


def common_options(command: Command) -> Command:
    """Give a command the options that all have; it is called with `config`, the file named, and its `output`."""

    @click.option("--config", type=click.Path(), help="Read settings from this file.", metavar="FILE")
    @click.option("--quiet", is_flag=True, default=None, help="Say nothing but errors.")
    @click.option("--debug", is_flag=True, default=None, help="Show a traceback with an error.")
    @click.version_option(__version__, prog_name="genesis-etl", message="%(prog)s %(version)s")
    @functools.wraps(command)
    def wrapped(
        config: str | None,
        quiet: bool | None,
        debug: bool | None,  # process looks for it among the arguments
        form: str = "table",
        path: Path | None = None,
        **options: Any,
    ) -> Any:
        before = click.get_current_context().find_root().params  # what stood before the command's name
        is_quiet = bool(before.get("quiet") if quiet is None else quiet)
        if form in BINARY and path is None and sys.stdout.isatty():
            raise click.UsageError(f"{BINARY[form]} is not for a terminal; give --output FILE")
        output = Output(is_quiet=is_quiet, form=form, path=path)
        keep_small()
        return command(config=before.get("config") if config is None else config, output=output, **options)

    return cast("Command", wrapped)


def row_options(command: Command) -> Command:
    """Give a command the options of those that print rows; they make its `output`."""
    forms = click.Choice(FORMS)
    form = click.option("--format", "form", type=forms, default="table", show_default=True, help="Form of the rows.")
    return form(file_option("Write the rows there; - is stdout.")(command))


def file_option(help: str) -> Callable[[Command], Command]:
    """Give a command the option that names the file for what it prints; it goes into its `output`."""
    return click.option("--output", "path", metavar="FILE", callback=_path, help=help)


def lake_option(command: Command) -> Command:
    """Give a command the option of those that read or write a lake."""
    return click.option("--lake", metavar="URL", help=SETTINGS["lake"].sentence)(command)


def _path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the file of --output, None for stdout; one that cannot be written is refused before any work."""
    if value is None or value == "-":
        return None
    if not value:
        raise click.BadParameter("a name is missing")
    try:
        refuse_unwritable(value)
    except SettingsError as error:
        raise click.BadParameter(str(error)) from None
    return None if descriptor_of(value) == 1 else Path(value)
