"""Say which regions are open when: five that stay, two that open and close in turn."""

from genesis_etl.sandbox.clock import DAY, FOR_EVER, HOUR

PERMANENT = ("NORD-NO-KRS-1", "EUC-DE-MUC-1", "EUW-GB-MNC-1", "EUW-NL-AMS-1", "NA-CA-FTS-1")

# Each is open for 60 of 110 days, half a cycle apart: any 110 days see both open and both close, and nearly
# always one region of the recent past is closed. The anchor is any day.
CYCLE = 110 * DAY
OPEN_FOR = 60 * DAY
ANCHOR = 10 * DAY + 9 * HOUR
FLEETING = {"NA-CA-PRG-1": 0, "NA-CA-MNZ-1": CYCLE // 2}

ALL = (*PERMANENT, *FLEETING)

Era = tuple[int, int]


def eras(region: str, since: int, until: int) -> list[Era]:
    """Return the region's spans (opens, closes) between the minutes `since` and `until`, oldest first."""
    if region in PERMANENT:
        return [(-FOR_EVER, FOR_EVER)]
    start = ANCHOR + FLEETING[region]
    first = (since - OPEN_FOR - start) // CYCLE + 1
    last = (until - start) // CYCLE
    return [(start + n * CYCLE, start + n * CYCLE + OPEN_FOR) for n in range(first, last + 1)]


def era(region: str, minute: int) -> Era | None:
    """Return the span in which the region is open at that minute, or None while it is closed."""
    return next((span for span in eras(region, minute, minute) if span[0] <= minute < span[1]), None)


def youngest(minute: int) -> str:
    """Return the open region that opened last."""
    return max(ALL, key=lambda region: (era(region, minute) or (-FOR_EVER - 1, 0))[0])
