"""How a command ends: one line and an exit code, whatever goes wrong and whoever stops it."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from types import FrameType
from typing import Final, NoReturn, TextIO, cast

import click

from genesis_etl.errors import GenesisEtlError
from genesis_etl.redact import RedactedStream, redact
from genesis_etl.text import shown

_PATIENCE: Final = 2.0  # seconds that a stopped command gets to end in order


def prepare() -> None:
    """Heed signals, and make streams of those that whoever started us has closed."""
    _heed_signals()
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
        # DuckDB makes an error of its own of whatever interrupts it.
        message, code = _line_of(_stops[0] if _stops else error)
        return _fail(message, code, is_debug="--debug" in arguments)


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


class Stopped(BaseException):
    """A signal asks the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


_stops: list[Stopped] = []


def _heed_signals() -> None:
    """Let SIGINT and SIGTERM end the process: in order if it can, at once where a library does not let go."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        _stops.append(Stopped(signum))
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
            click.echo(traceback.format_exc(), err=True)
        if message:
            click.echo(f"error: {shown(redact(' '.join(message.split())), 2000)}", err=True)
    return code


def forget_stdout() -> None:
    """Send what is left to nowhere, or Python would complain of it once more at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
