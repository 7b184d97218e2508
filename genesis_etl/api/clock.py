"""Refuses to go on where the clock of this machine and that of the API are too far apart."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from genesis_etl.api.client import Client
from genesis_etl.errors import SettingsError
from genesis_etl.settings import Settings

TOLERANCE: Final = timedelta(minutes=5)


def refuse_clock(settings: Settings, client: Client) -> None:
    """Raise SettingsError where the API's `Date` header is further from our clock than `TOLERANCE`."""
    skew = client.clock_skew
    if settings.now is None and skew is not None and abs(skew) > TOLERANCE.total_seconds():
        raise SettingsError(
            f"the clock of this machine is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the API's",
            # An old Date may also be that of a copy which does not say so; one ahead of ours cannot.
            advice=f"set it right{'' if skew > 0 else ', or take the API out of a cache'}, nothing was written",
        )
