"""genesis-etl: the history that Genesis Cloud's API does not keep, as Parquet files and SQL.

import genesis_etl
genesis_etl.images()                             # what is there now
genesis_etl.export(genesis_etl.Settings.load())  # a capture of it
lake = genesis_etl.open_lake("data/lake")
lake.report("snapshot-growth", by="week")

Nothing is imported before it is used: the command line has to heed signals before that, and its help comes at once.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from genesis_etl.errors import ExportFailed, GenesisEtlError
    from genesis_etl.lake.commit import Capture
    from genesis_etl.live import images
    from genesis_etl.opened import OpenLake, open_lake
    from genesis_etl.pipeline import export
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
    "images",
    "open_lake",
]
_ROOMS = {
    "Capture": "lake.commit",
    "ExportFailed": "errors",
    "GenesisEtlError": "errors",
    "OpenLake": "opened",
    "Settings": "settings",
    "__version__": "version",
    "export": "pipeline",
    "images": "live",
    "open_lake": "opened",
}


if not TYPE_CHECKING:  # who checks types has the names above, and has to hear of any other

    def __getattr__(name: str) -> object:
        """Import what is asked for, once."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
