"""A lake on an object store: every file is one upload, which appears whole or not at all.

Requests a call: `list` one LIST per 1,000 keys, `read` HEAD and GET, `write` one PUT (over 10 MB a multipart upload),
`delete` HEAD and DELETE. Arrow's AWS SDK takes credentials and region from the usual places, and sends checksums as
trailers unless AWS_REQUEST_CHECKSUM_CALCULATION=when_required says that the store refuses them.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from genesis_etl.errors import LakeError
from genesis_etl.lake.storage.medium import Entry, Patience
from genesis_etl.settings import s3_endpoint
from genesis_etl.text import shown

Answer = TypeVar("Answer")

_CONNECT_SECONDS: Final = 5.0
_SILENT_SECONDS: Final = 20.0  # without a byte; Arrow gives up after 3 unless told otherwise
_FIRST_PAUSE: Final = 0.25  # seconds
_LONGEST_PAUSE: Final = 5.0
# Arrow tells what happened in its text alone. 501 and 505 are for good.
_BUSY: Final = re.compile(
    r"AWS Error (?:INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING|REQUEST_TIMEOUT)\b"
    r"|HTTP status (?:408|425|429|50[02346-9]|5[1-9]\d)\b"
)
_NO_ANSWER: Final = re.compile(r"AWS Error NETWORK_CONNECTION\b")
_NO_TLS: Final = re.compile(r"curlCode: (?:35|51|58|59|60|66|77|80|82|83|90|91)\b")
_DENIED: Final = re.compile(r"AWS Error ACCESS_DENIED\b|HTTP status 403\b")


class S3Storage:
    """A prefix of a bucket; credentials, region and endpoint come from the usual AWS environment.

    Files never change under their name, so what was read once is kept in a temporary folder until the
    process ends, and DuckDB reads it there. Threads may share it.
    """

    keeps_failed_writes = True  # a store may complete an upload after we gave it up
    readers = 16

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url
        self._root = url.removeprefix("s3://").rstrip("/")
        self._patience = patience or Patience()
        self._failing: dict[str, tuple[float, float]] = {}  # verb → since when, and when last
        self._has_answered = False
        self._kept: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        # Arrow reads the credentials and the region itself, but not the endpoint.
        endpoint = urlsplit(s3_endpoint() or "")
        self._scheme = endpoint.scheme or "https"
        self._host = (endpoint.netloc + endpoint.path).rstrip("/")
        self._files = self._opened(self._host)
        self._folders: dict[str, Any] = {}

    def list(self, below: str, enters: Callable[[str], bool]) -> list[Entry]:
        """Return every object below a prefix, by path; nothing where there is no such prefix in the bucket.

        Objects named `folder/`, which other tools leave behind, are none.
        """
        # With `allow_not_found` a bucket that is not there would look like an empty one.
        selector = fs.FileSelector(f"{self._root}/{below}", recursive=True)
        try:
            found = self._asked("list", below, lambda: self._files.get_file_info(selector))
        except FileNotFoundError:
            return []
        start = len(self._root) + 1
        return sorted(
            (
                Entry(info.path[start:], info.size, info.mtime.timestamp())
                for info in found
                if info.type == fs.FileType.File
            ),
            key=lambda entry: entry.path,
        )

    def read(self, path: str) -> bytes:
        """Return an object's bytes; FileNotFoundError where it is gone."""

        def get() -> bytes:
            with self._files.open_input_file(f"{self._root}/{path}") as file:
                data: bytes = file.read()
                return data

        try:
            return self._asked("read", path, get)
        except _Refused as refusal:
            if refusal.is_denied and not self._is_there(path):
                raise FileNotFoundError(path) from None
            raise

    def write(self, path: str, data: bytes) -> None:
        """Upload a new object; it is visible when the upload has been completed, never before.

        Nobody looks first whether it is there: the name is one that nobody had before, and an upload that is tried
        again may find its own.
        """

        def put() -> None:
            with self._files.open_output_stream(f"{self._root}/{path}") as stream:
                stream.write(data)

        def put_aside() -> None:
            # Arrow uploads what a stream holds when it goes, nothing perhaps. On a thread no signal comes between.
            with ThreadPoolExecutor(1, thread_name_prefix="upload") as thread:
                thread.submit(put).result()

        self._asked("write", path, put_aside)

    def replace(self, path: str, data: bytes) -> None:
        """Upload an object in place of the one that has its name."""
        self.write(path, data)

    def delete(self, path: str) -> None:
        """Remove an object; nothing happens where it is gone already."""
        folder, _, name = f"{self._root}/{path}".rpartition("/")
        above, _, last = folder.rpartition("/")
        if folder not in self._folders:
            # Arrow puts an object `folder/` where one was deleted, lest the folder go with it; a bucket needs none.
            # So the folder is its bucket: with the bucket in the path, the URL that is asked is the same.
            host = self._host or _aws_host(self._files.region)
            self._folders[folder] = self._opened(f"{host}/{quote(above)}" if above else host)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._asked("delete", path, lambda: self._folders[folder].delete_file(f"{last}/{name}"))
        except _Refused as refusal:
            if not refusal.is_denied or self._is_there(path):
                raise

    def local_path(self, path: str, data: bytes | None = None) -> str:
        """Return a path of this machine under which the object can be opened."""
        data = self.read(path) if data is None else data
        try:
            with self._lock:
                if self._kept is None:
                    self._kept = tempfile.TemporaryDirectory(prefix="genesis-etl-")
            file = Path(self._kept.name) / path.replace("/", "_")
            if not file.exists():
                part = file.with_suffix(f".{os.urandom(4).hex()}.part")
                part.write_bytes(data)
                part.replace(file)
            return str(file)
        except OSError as error:
            raise LakeError(
                f"cannot keep a copy: {error.strerror or error}",
                where=shown(f"{self.url}/{path}", 300),
                advice="see to the temporary folder (TMPDIR)",
            ) from None

    def _opened(self, host: str) -> Any:
        """Return Arrow's file system for an endpoint (none: AWS); it tries nothing again, which is done here."""
        try:
            return fs.S3FileSystem(
                **({"endpoint_override": host, "scheme": self._scheme} if host else {}),
                connect_timeout=_CONNECT_SECONDS,
                request_timeout=_SILENT_SECONDS,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
                allow_delayed_open=True,  # one PUT in place of a multipart upload
                background_writes=False,
            )
        except (OSError, pa.ArrowException) as error:
            raise _Refused("open", self.url, " ".join(str(error).split()), None) from None

    def _is_there(self, path: str) -> bool:
        """Tell whether an object is listed, as a store may say 403 of one that is not there; yes where none tells."""
        try:
            return any(entry.path == path for entry in self.list(path.rpartition("/")[0], lambda folder: True))
        except LakeError:
            return True

    def _asked(self, verb: str, path: str, call: Callable[[], Answer]) -> Answer:
        """Call the store, and again where it cannot answer for the moment, as long as the patience lasts.

        A store that has never answered is tried for `Patience.seconds` only: its URL may be wrong. LakeError says what
        it answered last; FileNotFoundError where what is to be listed, read or deleted is not there.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = call()
            except (OSError, pa.ArrowException) as error:
                if isinstance(error, FileNotFoundError) and verb != "write":
                    self._answered(verb)
                    raise
                text = " ".join(str(error).split())
            else:
                self._answered(verb)
                return answer
            is_silent = _NO_ANSWER.search(text) is not None
            if not is_silent:
                self._has_answered = True
            now = time.monotonic()
            since, last = self._failing.get(verb, (now, now))
            since = now if now - last > self._patience.seconds else since
            self._failing[verb] = (since, now)
            end = self._patience.end(since, is_known=self._has_answered)
            is_passing = (is_silent and _NO_TLS.search(text) is None) or _BUSY.search(text) is not None
            wait = pause * random.uniform(0.5, 1)
            if not is_passing or now + wait > end or self._patience.wait(wait):
                raise _Refused(verb, f"{self.url}/{path}", text, now - since if is_passing else None)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _answered(self, verb: str) -> None:
        self._has_answered = True
        self._failing.pop(verb, None)


class _Refused(LakeError):
    """What the store answered, and after how many seconds of trying (None: it was not worth trying again)."""

    def __init__(self, verb: str, where: str, text: str, seconds: float | None) -> None:
        self.is_denied = _DENIED.search(text) is not None
        # What Arrow says before that names a bucket and a key, not always as the user knows them.
        reason = shown(text[max(text.find("AWS Error "), 0) :], 300)
        tried = f" (tried for {seconds:.0f} s)" if seconds else ""
        if self.is_denied:
            advice = "see to what these AWS keys may do in the bucket"
        elif seconds is not None:
            advice = "see whether the store is well and AWS_ENDPOINT_URL is right, and try again later"
        else:
            advice = "see to the bucket and the AWS settings"
        super().__init__(f"cannot {verb}: {reason}{tried}", where=shown(where, 300), advice=advice)


def _aws_host(region: str) -> str:
    return f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
