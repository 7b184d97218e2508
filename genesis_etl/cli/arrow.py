"""Keeps Arrow small and quick to start in the process of a command."""

from __future__ import annotations

import os
import sys


class _NoPandas:
    """Finds no pandas; for `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("not wanted now", name=name)


def keep_small() -> None:
    """Let pyarrow keep no memory that it has freed, and not import pandas.

    The first it reads from the environment, once, when it is imported; its other pools give back late. It does import
    pandas with the first list it is given, to know whether it is a Series: it asks once, and again only where
    somebody wants a DataFrame of it.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_NoPandas)
