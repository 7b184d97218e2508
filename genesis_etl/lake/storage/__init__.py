"""Where the bytes of a lake lie: a folder on this machine, or a prefix of a bucket."""

from __future__ import annotations

from genesis_etl.lake.storage.medium import Entry, Patience, Storage
from genesis_etl.settings import lake_url

__all__ = ["Entry", "Patience", "Storage", "open_storage"]


def open_storage(url: str, patience: Patience | None = None) -> Storage:
    """Return the storage behind a lake's folder or URL; SettingsError for what looks like no lake (`lake_url`).

    `patience` is for a store that cannot answer for the moment.
    """
    url = lake_url(url)
    if url.startswith("s3://"):
        from genesis_etl.lake.storage.s3 import S3Storage

        return S3Storage(url, patience)
    from genesis_etl.lake.storage.local import LocalStorage

    return LocalStorage(url)
