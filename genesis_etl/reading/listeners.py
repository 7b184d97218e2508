"""Those who hear of an export: whatever a listener raises costs no capture, on whichever thread it is called."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from genesis_etl.text import shown

_NAMES: Final = ("progress", "notice")

Notice = Callable[[str], None]
Function = TypeVar("Function", bound=Callable[..., Any])


def guards_listeners(function: Function) -> Function:
    """Guard the listeners that a function takes as `progress` and `notice`.

    What they raise is dropped, and told once per listener when the function ends, in order or not: by `notice`, as a
    RuntimeWarning where that is the one that fails. KeyboardInterrupt and the like, which ask to stop, are not held.
    """

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> Any:
        given = {name: options[name] for name in _NAMES if options.get(name) is not None}
        # One that is guarded already is told of by whoever guards it.
        listeners = {name: _Listener(name, each) for name, each in given.items() if not isinstance(each, _Listener)}
        try:
            return function(*arguments, **{**options, **listeners})
        finally:
            for listener in listeners.values():
                _tell(listener.failures, options.get("notice"))

    return cast("Function", guarded)


class _Listener:
    """A listener that never raises an Exception; it counts those of the one within."""

    def __init__(self, name: str, within: Callable[..., Any]) -> None:
        self._name = name
        self._within = within
        self._lock = threading.Lock()
        self._count = 0
        self._first = ""

    def __call__(self, *arguments: Any) -> None:
        try:
            self._within(*arguments)
        except Exception as error:
            with self._lock:
                self._count += 1
                self._first = self._first or f"{type(error).__name__}: {error}"

    @property
    def failures(self) -> str | None:
        """Return what is to be told in the end; None where nothing was raised."""
        if not self._count:
            return None
        times = "once" if self._count == 1 else f"{self._count} times"
        return f"the listener `{self._name}` failed {times}, which cost no capture: {shown(self._first, 300)}"


def unheard(text: str) -> None:
    """Hear a notice for which nobody asked."""


def _tell(failures: str | None, notice: Callable[[str], Any] | None) -> None:
    if failures is None:
        return
    try:
        if notice is not None:
            notice(failures)
            return
    except Exception:  # it is the one that fails
        pass
    with suppress(Warning):  # where warnings are errors, this one would cost what has landed
        warnings.warn(failures, RuntimeWarning, stacklevel=3)
