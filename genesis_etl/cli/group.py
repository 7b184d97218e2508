"""The group of all commands: one for every file in `commands`, which is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, cast

import click

from genesis_etl.cli import commands
from genesis_etl.version import __version__


class _Files(Mapping[str, click.Command]):
    """The commands by name: the names are known, a command's file is imported when the command is looked up."""

    def __init__(self) -> None:
        self._names = sorted(module.name for module in iter_modules(commands.__path__))

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._names:
            raise KeyError(name)
        command: click.Command = import_module(f"{commands.__name__}.{name}").command
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@click.group(
    commands=cast("MutableMapping[str, click.Command]", _Files()),  # which click only reads
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
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
