"""Files that the user names: replaced whole or not at all; pipes, devices and streams are written as they are."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from genesis_etl.errors import SettingsError
from genesis_etl.outfile import refuse_unwritable, replace_file
from tests.conftest import files_of, full_disk

NEW = b"the new content\n" * 100


def write(path: str) -> subprocess.Popen[bytes]:
    """Start a process that replaces a file and ends itself by SIGKILL once the bytes are on their way."""
    code = f"""
import os, signal
from genesis_etl import outfile
outfile.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
outfile.replace_file({path!r}, {NEW!r})
"""
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize("before", [None, b"yesterday's"])
def test_a_full_disk_leaves_what_was_there(before: bytes | None) -> None:
    """A disk that is full in the middle costs one line; the file is whole, or missing as before, and alone."""
    if before is not None:
        Path("page.html").write_bytes(before)
    was = files_of(".")
    with (
        full_disk(100),
        pytest.raises(SettingsError, match=r"cannot write page\.html: File too large; it is as it was"),
    ):
        replace_file("page.html", NEW)
    assert files_of(".") == was


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_interrupted_write_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A signal, or a medium that fails at the last moment, leaves the old content and nothing beside it."""
    Path("rows.csv").write_bytes(b"yesterday's")

    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((SettingsError, KeyboardInterrupt)):
        replace_file("rows.csv", NEW)
    assert files_of(".") == {"rows.csv": b"yesterday's"}


def test_a_killed_write_leaves_what_was_there() -> None:
    """After SIGKILL between the first byte and the last the old content stands under its name."""
    Path("rows.csv").write_bytes(b"yesterday's")
    assert write("rows.csv").wait(20) == -signal.SIGKILL
    assert Path("rows.csv").read_bytes() == b"yesterday's"


def test_a_medium_that_cannot_sync_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Network and FUSE mounts that know no fsync take the file all the same."""

    def refuse(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    replace_file("rows.csv", NEW)
    assert files_of(".") == {"rows.csv": NEW}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_of_a_file_is_kept(mode: int) -> None:
    """Who could read the file before can read it afterwards, and nobody else."""
    Path("rows.csv").write_bytes(b"yesterday's")
    os.chmod("rows.csv", mode)
    replace_file("rows.csv", NEW)
    assert (stat.S_IMODE(os.stat("rows.csv").st_mode), Path("rows.csv").read_bytes()) == (mode, NEW)


def test_a_new_file_has_the_mode_of_any_new_file() -> None:
    """It is not the private one of a temporary file: the umask decides."""
    Path("other").touch()
    replace_file("rows.csv", NEW)
    assert os.stat("rows.csv").st_mode == os.stat("other").st_mode


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_followed(is_there: bool) -> None:
    """A link stays one, and what it points to, there already or not, has the new content."""
    Path("www").mkdir()
    Path("page.html").symlink_to("www/real.html")
    if is_there:
        Path("www/real.html").write_bytes(b"yesterday's")
    refuse_unwritable("page.html")
    replace_file("page.html", NEW)
    assert Path("page.html").is_symlink()
    assert files_of(".") == {"page.html": NEW, "www/real.html": NEW}


def test_a_reader_keeps_the_file_that_it_opened() -> None:
    """Whoever reads while the file is replaced reads the old one to its end."""
    Path("rows.csv").write_bytes(b"yesterday's")
    with open("rows.csv", "rb") as reader:
        replace_file("rows.csv", NEW)
        assert reader.read() == b"yesterday's"


def test_a_name_as_long_as_names_can_be_is_written() -> None:
    """What stands beside the file in the meantime has no longer name than the file system takes."""
    replace_file("x" * 255, NEW)
    assert files_of(".") == {"x" * 255: NEW}


def test_a_pipe_stays_a_pipe() -> None:
    """Its reader gets the bytes, and no file takes its place."""
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    refuse_unwritable("pipe")
    reader.start()
    replace_file("pipe", NEW)
    reader.join(20)
    assert read == [NEW]
    assert os.listdir() == ["pipe"]
    assert Path("pipe").is_fifo()


def test_a_device_stays_a_device() -> None:
    """/dev/null takes everything, /dev/full says why it does not."""
    for device in ("/dev/null", "/dev/full"):
        refuse_unwritable(device)
    replace_file("/dev/null", NEW)
    with pytest.raises(SettingsError, match="cannot write /dev/full: No space left on device"):
        replace_file("/dev/full", NEW)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_a_stream_of_ours_goes_on_where_it_was(name: str) -> None:
    """/dev/stdout and its like name what is open already, so what stands there stays, even where it is a file."""
    with open("log", "ab", buffering=0) as log:
        log.write(b"before\n")
        name = name.format(log.fileno())
        Path("link").symlink_to(f"/proc/self/fd/{log.fileno()}")
        refuse_unwritable(name)
        replace_file(name, b"data\n")
        log.write(b"after\n")
    assert Path("log").read_bytes() == b"before\ndata\nafter\n"


def test_a_stream_that_is_not_open_is_refused() -> None:
    """The number of no stream is told before any work."""
    with pytest.raises(SettingsError, match="cannot write /dev/fd/987: Bad file descriptor"):
        refuse_unwritable("/dev/fd/987")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (".", "'.' is a folder; name a file in it"),
        ("folder/", "'folder/' is a folder; name a file in it"),
        ("none/", "'none/' is a folder; name a file in it"),
        ("none/rows.csv", "there is no folder none; make it first"),
        ("file/rows.csv", "file/rows.csv: Not a directory"),
        ("dangling", "there is no folder /nowhere; make it first"),
        ("circle", "cannot write circle: Too many levels of symbolic links"),
        ("/proc/rows.csv", "cannot write /proc/rows.csv: No such file or directory"),
        ("x" * 256, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(path: str, words: str) -> None:
    """What stands in the way is named, and looking for it leaves nothing behind."""
    Path("folder").mkdir()
    Path("file").touch()
    Path("dangling").symlink_to("/nowhere/rows.csv")
    Path("circle").symlink_to("circle")
    was = sorted(os.listdir())
    with pytest.raises(SettingsError) as caught:
        refuse_unwritable(path)
    assert words in str(caught.value)
    assert sorted(os.listdir()) == was


def test_a_place_that_can_be_written_is_left_as_it_is() -> None:
    """Looking whether a file can be replaced changes neither it nor its folder's contents."""
    Path("rows.csv").write_bytes(b"yesterday's")
    refuse_unwritable("rows.csv")
    refuse_unwritable("new.csv")
    assert files_of(".") == {"rows.csv": b"yesterday's"}
