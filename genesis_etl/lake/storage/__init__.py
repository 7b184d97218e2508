"""Where the bytes of a lake lie: a folder on this machine, or a prefix of a bucket."""

from __future__ import annotations

from typing import Final

from genesis_etl.lake.storage.medium import Entry, Patience, Storage
from genesis_etl.settings import lake_url

__all__ = ["Entry", "Patience", "Storage", "most_landings", "open_storage"]

_BUCKET: Final = "s3://"
_MOST_IN_BUCKET: Final = 64
_MOST_ON_DISK: Final = 2


def open_storage(url: str, patience: Patience | None = None) -> Storage:
    """Return the storage behind a lake's folder or URL; SettingsError for what looks like no lake (`lake_url`).

    `patience` is for a store that cannot answer for the moment.
    """
    url = lake_url(url)
    if url.startswith(_BUCKET):
        from genesis_etl.lake.storage.s3 import S3Storage

        return S3Storage(url, patience)
    from genesis_etl.lake.storage.local import LocalStorage

    return LocalStorage(url)


def most_landings(url: str) -> int:
    """Return how many captures at a time may land in a lake before more make it slower.

    To land in a bucket is to wait for answers. On a disk it is work, and threads that want to work at the same time
    took a third of the processor from each other.
    """
    return _MOST_IN_BUCKET if lake_url(url).startswith(_BUCKET) else _MOST_ON_DISK
