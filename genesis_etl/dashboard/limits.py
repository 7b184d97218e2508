"""How much of each the page shows; what is left out it says, with the command that prints everything."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from genesis_etl.query.forecast import LEAST

ACCOUNTS: Final = 12
CHARTS: Final = 45
FAMILIES: Final = 40
LISTED: Final = 15
LISTED_PER_REGION: Final = 10
NAMES: Final = 8
FORECAST_DAYS: Final = 30
FORECAST_NEEDS: Final = LEAST  # whole days captured
LATELY: Final = timedelta(days=7)
BACK: Final = timedelta(days=30)
STALE_DAYS: Final = 90
AGES: Final = ((90, 120), (120, 180), (180, 365), (365, None))
