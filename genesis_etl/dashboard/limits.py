"""How much of each the page shows; what is left out it says, with the command that prints everything."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from genesis_etl.query.forecast import LEAST

ACCOUNTS: Final = 12  # with a part of their own
ACCOUNTS_LISTED: Final = 500
SCOPES: Final = 36  # accounts and regions of them whose growth is drawn
FAMILIES: Final = 40
COVERED: Final = 200  # rows of coverage in numbers
LISTED: Final = 15
LISTED_PER_REGION: Final = 5
TOP: Final = 4  # of a list at a glance
NAMES: Final = 8
PLACES: Final = 8  # regions that lack an image
RUNS: Final = 6  # of an image's history
HISTORIES: Final = 500  # images that have one
FORECAST_DAYS: Final = 30
FORECAST_NEEDS: Final = LEAST  # whole days captured
PERIODS: Final = {"day": 90, "week": 13, "month": 12}
LATELY: Final = timedelta(days=7)
BACK: Final = timedelta(days=30)
KEEP: Final = 30  # days: of the retention that the page lists, of those that the report tells
