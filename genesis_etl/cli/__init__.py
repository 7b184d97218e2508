"""The command line `genesis-etl`, which heeds signals before it imports anything else."""

from __future__ import annotations

import sys

from genesis_etl.cli import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    signals.install_signal_handlers()
    from genesis_etl.cli import (
        group,  # noqa: F401  while a signal may still end the process at once
        process,
    )

    process.prepare()
    try:
        signals.stop_in_order()
        code = run(sys.argv[1:])
        signals.ignore_signals()
    except signals.Stopped as stop:  # between two lines of these; of one within a command `run` has told
        code = process.exit_code_of(stop)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong has been said in one line by then."""
    import functools

    from genesis_etl.cli import process
    from genesis_etl.cli.group import cli

    return process.ended(functools.partial(cli.main, prog_name="genesis-etl", standalone_mode=False), arguments)
