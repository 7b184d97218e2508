"""How a command ends: one line and an exit code, whatever goes wrong and whoever stops it."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from typing import Final, TextIO, cast

import click

from genesis_etl.cli.signals import Stopped, stopped
from genesis_etl.errors import GenesisEtlError
from genesis_etl.redact import RedactedStream, redact
from genesis_etl.text import shown

_OBJECTS: Final = 50_000  # that are new when Python looks for cycles among them


def prepare() -> None:
    """Make streams of those that whoever started us has closed, let them take every character; look seldom for cycles.

    Items and rows come by the hundred thousand and hold no cycles: to look for some as often as Python does by itself
    takes a twentieth of an export or a report.
    """
    gc.set_threshold(_OBJECTS)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  it stays open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def ended(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Run a command and return its exit code; whatever goes wrong has been said in one line by then.

    Nothing that it says on stderr, in whatever library, holds a secret; stdout is for data.
    """
    with redirect_stderr(cast("TextIO", RedactedStream(sys.stderr))):
        return _ended(command, arguments)


def _ended(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    try:
        "".join(arguments).encode("utf-8")
    except UnicodeEncodeError:
        return _fail("an argument is not UTF-8, or the locale (LC_ALL, LANG) is not; set both right", 2)
    try:
        return command(arguments) or 0
    except BaseException as error:
        # A library may make an error of its own of whatever interrupts it; DuckDB does.
        return exit_code_of(stopped() or error, is_debug="--debug" in arguments)


def exit_code_of(error: BaseException, *, is_debug: bool = False) -> int:
    """Say in one line what went wrong and return the exit code that stands for it."""
    message, code = _line_of(error)
    return _fail(message, code, is_debug=is_debug)


def _line_of(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error (nothing, if there is nothing wrong) and the exit code."""
    match error:
        case Stopped():
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
            forget_stdout()
            return "", 0
        case OSError(errno=int(), filename=None):  # not one of a file, so one of our streams
            forget_stdout()
            return f"cannot write the output: {error.strerror or error}; see to where it goes", 2
        case _:  # a bug of ours is one line too, with the way to more
            return f"{type(error).__name__}: {error}; a bug, please report it with --debug's output", 1


def _fail(message: str, code: int, is_debug: bool = False) -> int:
    with suppress(OSError):
        if is_debug and message:
            click.echo(traceback.format_exc(), err=True)
        if message:
            click.echo(f"error: {shown(redact(' '.join(message.split())), 2000)}", err=True)
    return code


def forget_stdout() -> None:
    """Send what is left to nowhere, or Python would complain of it once more at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
