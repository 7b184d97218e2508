"""The tables of a lake as Delta tables, one folder each. The only importer of `deltalake`."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import urlsplit

from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.publish.made import Tables
from genesis_etl.settings import lake_url, s3_endpoint
from genesis_etl.text import shown

try:
    from deltalake import write_deltalake
    from deltalake.exceptions import DeltaError
except ImportError as error:
    raise SettingsError(f"--delta needs {error.name}", advice="install genesis-etl with its extra [delta]") from None

_LONGEST: Final = 300


def delta_url(text: str, lake: str) -> str:
    """Return where Delta tables are to lie; SettingsError for no such place, and for one in the lake itself.

    There, whoever reads a folder of the lake would count everything twice.
    """
    url = lake_url(text, "--delta")
    mine, its = (each if each.startswith("s3://") else os.path.realpath(each) for each in (url, lake))
    if f"{mine}/".startswith(f"{its.rstrip('/')}/"):
        raise SettingsError(f"{shown(url, _LONGEST)} lies in the lake", where="--delta", advice="choose another place")
    return url


def write_delta(tables: Tables, url: str) -> None:
    """Write every table below a folder or `s3://` URL, each in one new version.

    What a table held before is replaced, and stays readable as the version before. LakeError where the tables cannot
    be written.
    """
    for name, rows in tables.items():
        where = f"{url.rstrip('/')}/{name}"
        try:
            # Delta itself makes a folder that is missing, and nothing of a table that fails is seen.
            write_deltalake(
                where,
                rows,
                mode="overwrite",
                schema_mode="overwrite",
                name=name,
                storage_options=storage_options() if url.startswith("s3://") else None,
            )
        except (DeltaError, OSError, ValueError) as error:
            seen = f"cannot write the Delta table: {shown(' '.join(str(error).split()), _LONGEST)}"
            raise LakeError(seen, where=shown(where, _LONGEST), advice="see to it, and publish again") from None


def storage_options() -> dict[str, Any]:
    """Return what delta-rs does not take from the usual AWS environment by itself."""
    options = {}
    if (endpoint := s3_endpoint()) is not None:
        options["AWS_ENDPOINT_URL"] = endpoint
        if urlsplit(endpoint).scheme == "http":
            options["AWS_ALLOW_HTTP"] = "true"
    if "AWS_REGION" not in os.environ and (region := os.environ.get("AWS_DEFAULT_REGION")):
        options["AWS_REGION"] = region
    return options
