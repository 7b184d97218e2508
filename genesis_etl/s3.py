"""A lake on an object store: every file is one upload, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from genesis_etl.errors import LakeError
from genesis_etl.redact import redact
from genesis_etl.settings import s3_endpoint
from genesis_etl.storage import Entry
from genesis_etl.text import shown

_SEE_TO: Final = "see to the bucket and the AWS settings"


class S3Storage:
    """A prefix of a bucket; credentials, region and endpoint come from the usual AWS environment.

    Files never change under their name, so what was read once is kept in a temporary folder until the
    process ends, and DuckDB reads it there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = url.removeprefix("s3://").rstrip("/")
        self._kept: tempfile.TemporaryDirectory[str] | None = None
        with _mapped("open", url):
            # Arrow reads the credentials and the region itself, but not the endpoint.
            endpoint = urlsplit(s3_endpoint() or "")
            override = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
            self._files: Any = fs.S3FileSystem(**override)

    def entries(self, below: str) -> list[Entry]:
        """List every object below a prefix, by path; none where there is no such prefix."""
        selector = fs.FileSelector(f"{self._root}/{below}", recursive=True, allow_not_found=True)
        with _mapped("list", f"{self.url}/{below}"):
            found = [info for info in self._files.get_file_info(selector) if info.type == fs.FileType.File]
        start = len(self._root) + 1
        return sorted(
            (Entry(info.path[start:], info.size, info.mtime.timestamp()) for info in found),
            key=lambda entry: entry.path,
        )

    def read(self, path: str) -> bytes:
        """Return an object's bytes; FileNotFoundError where it is gone."""
        with _mapped("read", f"{self.url}/{path}"), self._files.open_input_file(f"{self._root}/{path}") as file:
            data: bytes = file.read()
            return data

    def write(self, path: str, data: bytes) -> None:
        """Upload a new object; it is visible when the upload has been completed, never before."""
        with _mapped("write", f"{self.url}/{path}"):
            if self._files.get_file_info(f"{self._root}/{path}").type != fs.FileType.NotFound:
                raise FileExistsError(17, "an object of this name is there already")
            stream = self._files.open_output_stream(f"{self._root}/{path}")
            stream.write(data)
            stream.close()

    def delete(self, path: str) -> None:
        """Remove an object; nothing happens where it is gone already."""
        with _mapped("delete", f"{self.url}/{path}"), contextlib.suppress(FileNotFoundError):
            self._files.delete_file(f"{self._root}/{path}")

    def lacks(self, path: str) -> bool:
        """Return False: a store may complete an upload after we gave it up, so nothing is certain of it."""
        return False

    def local(self, path: str, data: bytes | None = None) -> str:
        """Return a path of this machine under which the object can be opened."""
        data = self.read(path) if data is None else data
        try:
            if self._kept is None:
                self._kept = tempfile.TemporaryDirectory(prefix="genesis-etl-")
            file = Path(self._kept.name) / path.replace("/", "_")
            if not file.exists():
                part = file.with_suffix(".part")
                part.write_bytes(data)
                part.replace(file)
            return str(file)
        except OSError as error:
            where = f"cannot keep a copy of {shown(f'{self.url}/{path}', 300)}"
            advice = "see to the temporary folder (TMPDIR)"
            raise LakeError(error.strerror or str(error), where=where, advice=advice) from None


@contextlib.contextmanager
def _mapped(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        if verb == "read":
            raise
        raise LakeError("it is gone", where=f"cannot {verb} {shown(path, 300)}", advice=_SEE_TO) from None
    except (OSError, pa.ArrowException) as error:
        reason = shown(redact(" ".join(str(error).split())), 300)
        raise LakeError(reason, where=f"cannot {verb} {shown(path, 300)}", advice=_SEE_TO) from None
