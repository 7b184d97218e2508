"""The keys of a table: what is not known is refused, with the nearest that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from genesis_etl.errors import SettingsError
from genesis_etl.text import seen


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise SettingsError for a key that is not known."""
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise SettingsError(f"unknown key {seen(key)}", where=where, advice=hint)
