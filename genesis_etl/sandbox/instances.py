"""Start and stop the account's instances: a new one every six days, half of them to stay since 2026."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from genesis_etl.sandbox.clock import DAY, draw, draw_id, minute_of
from genesis_etl.sandbox.regions import PERMANENT, era, youngest

EVERY = 6 * DAY
# Before, instances only came and went; since then the account grows by about one snapshot a day.
GROWS_SINCE = minute_of(datetime(2026, 1, 1, tzinfo=UTC))
LONGEST = 6 * 365 * DAY

# What an instance is for decides how it is backed up. The order spreads the roles evenly over time.
ROLES = ("web", "db", "train", "dev", "web", "api", "mail", "render")
NIGHTLY = {"web": 7, "db": 7, "api": 5, "mail": 7}  # nights that a snapshot is kept
WEEKLY = {"db": 6, "train": 4, "render": 4}  # weeks that a snapshot and its copy are kept
STARTS, STOPS = 5, 2  # minutes that an instance takes to be made, and to be deleted


class Instance(NamedTuple):
    """One virtual machine, from `born` until `ends` (minutes); its snapshots may stay longer."""

    id: str
    name: str
    role: str
    region: str
    born: int
    ends: int
    size_gib: int

    @property
    def type(self) -> str:
        """What it is rented as."""
        return "vcpu-4_memory-12g_nvidia-rtx-3090-1" if self.role in ("train", "render") else "vcpu-2_memory-4g"


def status_of(instance: Instance, minute: int) -> str:
    """Return its status at a minute at which it is listed."""
    if minute < instance.born + STARTS:
        return "creating"
    return "active" if minute < instance.ends - STOPS else "deleting"


def updated_at(instance: Instance, minute: int) -> int:
    """Return the minute of its last change of status, up to a minute at which it is listed."""
    changes = (instance.born, instance.born + STARTS, instance.ends - STOPS)
    return max(change for change in changes if instance.born <= change <= minute)


def instances(seed: int, since: int, until: int) -> list[Instance]:
    """Return the instances that ran at some minute between the two, oldest first."""
    slots = range((since - LONGEST) // EVERY - 1, until // EVERY + 1)
    every = (_instance(seed, slot) for slot in slots)
    return [one for one in every if one.born <= until and since < one.ends]


@lru_cache(maxsize=4096)
def _instance(seed: int, slot: int) -> Instance:
    luck = draw(seed, "instance", slot)
    role = ROLES[slot // 2 % len(ROLES)]
    born = slot * EVERY + luck % EVERY
    stays = slot % 2 == 0 and born >= GROWS_SINCE
    ends = born + (3 * 365 + luck % (3 * 365) if stays else 30 + luck % 70) * DAY
    region = PERMANENT[luck // 7 % len(PERMANENT)]
    if not stays and luck % 3 == 0:
        region = youngest(born)  # something is always tried out where it is new
    if span := era(region, born):
        ends = min(ends, span[1])
    return Instance(
        id=draw_id(seed, "instance", slot),
        name=f"{role}-{slot % 100:02}",
        role=role,
        region=region,
        born=born,
        ends=ends,
        size_gib=(20, 40, 80, 80, 160, 320)[luck // 11 % 6],
    )
