"""A file that the user names, outside the lake: replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from genesis_etl.errors import SettingsError
from genesis_etl.text import shown

_LINKS: Final = 40  # that the system follows
CANNOT_SYNC: Final = frozenset((errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))


def refuse_unwritable(path: str | Path) -> None:
    """Raise SettingsError if `replace_file` could not write there as things stand; nothing is left there."""
    where = shown(str(path), 300)
    try:
        if os.path.isdir(path) or str(path).endswith("/"):
            raise SettingsError(f"{where!r} is a folder", advice="name a file in it")
        if not _is_replaced(path):
            return
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            near = os.path.dirname(path) if not os.path.islink(path) else folder
            raise SettingsError(f"there is no folder {shown(near, 300)}", advice="make it first")
        if os.path.exists(target) and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        part = _part_of(target)
        try:
            os.close(_opened(part, 0o600))
        finally:
            with suppress(OSError):
                os.unlink(part)
    except OSError as error:
        raise _refusal(path, error) from None


def replace_file(path: str | Path, data: bytes) -> None:
    """Make these bytes the content of a file: all of them, or the file stays what it was, missing included.

    A link is followed, and the mode of a file that is there is kept. What is no file (a pipe, a device, one of our
    own streams such as /dev/stdout) is written as it is. SettingsError where that fails.
    """
    try:
        if _is_replaced(path):
            _replace(os.path.realpath(path), data)
            return
        own = descriptor_of(path)
        with open(path if own is None else own, "wb", closefd=own is None) as file:
            file.write(data)
    except BrokenPipeError:  # whoever reads has seen enough
        return
    except OSError as error:
        raise _refusal(path, error) from None


def descriptor_of(path: str | Path) -> int | None:
    """Return the number of our own stream that a path such as /dev/stdout or /dev/fd/3 names; None for any other."""
    path = os.fspath(path)
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if folder in (os.path.realpath("/proc/self/fd"), "/dev/fd") and name.isdecimal():
            return int(name)
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _is_replaced(path: str | Path) -> bool:
    """Tell whether a path is a file's, there or not, rather than a pipe's, a device's or a stream's; OSError."""
    own = descriptor_of(path)
    if own is not None:
        os.fstat(own)
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _replace(target: str, data: bytes) -> None:
    part = _part_of(target)
    before = os.stat(target) if os.path.exists(target) else None
    try:
        with open(_opened(part, 0o666 if before is None else 0o600), "wb") as file:
            if before is not None:
                with suppress(OSError):  # the owner is root's to give, and some media have no modes
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                with suppress(OSError):
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            sync(file.fileno())  # some media say only here that they are full
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _part_of(target: str) -> str:
    """Return a new name beside a file, short whatever its own is."""
    return os.path.join(os.path.dirname(target), f".genesis-etl.{uuid.uuid4().hex}.tmp")


def _opened(part: str, mode: int) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def sync(descriptor: int) -> None:
    """Wait until it is on disk; what the medium cannot sync at all is not a failure."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _refusal(path: str | Path, error: OSError) -> SettingsError:
    where = shown(str(path), 300)
    return SettingsError(
        f"cannot write {where}: {error.strerror or error}", advice="it is as it was, choose another file"
    )
