"""genesis-etl: the history that Genesis Cloud's API does not keep, as Parquet files and SQL.

import genesis_etl
lake = genesis_etl.open_lake("data/lake")
lake.report("snapshot-growth", by="week")
"""

from genesis_etl.commit import Capture
from genesis_etl.errors import ExportFailed, GenesisEtlError
from genesis_etl.pipeline import export
from genesis_etl.reports import OpenLake, open_lake
from genesis_etl.settings import Settings
from genesis_etl.version import __version__

__all__ = [
    "Capture",
    "ExportFailed",
    "GenesisEtlError",
    "OpenLake",
    "Settings",
    "__version__",
    "export",
    "open_lake",
]
