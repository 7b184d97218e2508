"""What SIGINT and SIGTERM do to a command: it ends soon, with one line and 130 or 143, and never with a traceback.

They are heeded before anything is imported, so this module imports next to nothing itself.

- While the program is being imported nothing is under way, and the process ends at once.
- While a command runs, `Stopped` is raised in it, once, so that it ends in order. Not in the middle of an import,
  though: what an import of a library makes of an exception is not for us to say. A moment later it is tried again.
- Where nothing lets go of the main thread within `_PATIENCE`, the process ends all the same.
- Once the command has ended, its exit code stands: what comes then comes too late.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 2.0  # seconds that a stopped command gets to end in order
_PAUSE = 0.02
_IMPORT = "<frozen importlib._bootstrap>"


class Stopped(BaseException):
    """A signal asks the process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


_stops: list[Stopped] = []  # those raised so far, of which there is never more than one


def install_signal_handlers() -> None:
    """Let signals end the process at once, for so far nothing has been done."""
    for signum in _SIGNALS:
        signal.signal(signum, _end)


def stop_in_order() -> None:
    """Let signals raise `Stopped` in the main thread from now on, as soon as that can do no harm."""
    import threading

    def watch() -> None:
        import _thread
        import time

        signum = os.read(reader, 1)[0]
        for _ in range(int(_PATIENCE / _PAUSE)):
            time.sleep(_PAUSE)
            if not _stops:
                _thread.interrupt_main(signal.Signals(signum))
        # Python's handlers wait for C code to return, and a query of DuckDB's can take hours.
        _end(signum, None)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="signals", daemon=True).start()
    sys.unraisablehook = _unraisable
    for signum in _SIGNALS:
        signal.signal(signum, _stop)


def ignore_signals() -> None:
    """Let the exit code of a command that has ended stand, also while Python itself ends."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def stopped() -> Stopped | None:
    """Return what was raised, whatever a library has made of it since."""
    return _stops[0] if _stops else None


def _end(signum: int, frame: FrameType | None) -> None:
    try:  # noqa: SIM105  contextlib is not imported yet
        os.write(2, f"error: stopped by {signal.Signals(signum).name}; run it again\n".encode())
    except OSError:
        pass
    os._exit(128 + signum)


def _stop(signum: int, frame: FrameType | None) -> None:
    if _stops or _is_importing(frame):
        return
    _stops.append(Stopped(signum))
    raise _stops[0]


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Try again where `Stopped` was raised in a place that drops exceptions, a finalizer say."""
    if isinstance(problem.exc_value, Stopped):
        _stops.clear()
    else:
        sys.__unraisablehook__(problem)
