"""Take snapshots of the instances: every night, every week with a copy elsewhere, and by hand."""

from collections.abc import Iterator
from typing import NamedTuple

from genesis_etl.sandbox.clock import DAY, HOUR, MONDAY, WEEK, day_name, draw, draw_id, instant, stamp
from genesis_etl.sandbox.instances import NIGHTLY, WEEKLY, Instance, instances
from genesis_etl.sandbox.regions import PERMANENT, era, youngest

FORGOTTEN = 400 * DAY  # the longest that a snapshot taken by hand is left lying about
NAMES = (
    "before upgrade {instance}",
    "{instance} golden image ✅",
    "vor dem Update: Größe ändern ({instance})",
    "{instance} do not delete!!",
    "Müllers Testdaten {day}",
    "release {day}",
    "{instance}  (kaputt?)",
    "copie de sécurité {instance}",
    "学習済みモデル {day}",
    "=final= {instance}",
)


class Snapshot(NamedTuple):
    """One snapshot as it stands at one instant."""

    id: str
    name: str
    region: str
    size_gib: int
    status: str
    instance_id: str
    source_id: str | None
    created_at: str
    updated_at: str


class Plan(NamedTuple):
    """The whole life of a snapshot, in minutes."""

    id: str
    name: str
    region: str
    size_gib: int
    instance: Instance
    source_id: str | None
    taken: int
    ends: int
    renamed: int | None = None


def snapshots(seed: int, minute: int) -> list[Snapshot]:
    """Return the snapshots that exist at that minute."""
    return [
        _stand(plan, minute)
        for instance in instances(seed, minute - FORGOTTEN, minute)
        for plan in _plans(instance, minute)
        if plan.taken <= minute < plan.ends
    ]


def _stand(plan: Plan, minute: int) -> Snapshot:
    luck = draw(plan.id)
    ready = plan.taken + 4 + luck % 9
    changes = [plan.taken, ready, plan.renamed or plan.taken, plan.ends - 6, plan.ends - 1]
    status = "creating" if minute < ready else "created"
    if minute >= plan.ends - 6:
        status = "pending_delete" if minute < plan.ends - 1 else "deleting"
    renamed = plan.renamed is not None and plan.renamed <= minute
    return Snapshot(
        id=plan.id,
        name=f"{plan.name} (keep)" if renamed else plan.name,
        region=plan.region,
        size_gib=plan.size_gib,
        status=status,
        instance_id=plan.instance.id,
        source_id=plan.source_id,
        created_at=stamp(plan.taken, luck),
        updated_at=stamp(max(change for change in changes if change <= minute), luck),
    )


def _plans(instance: Instance, minute: int) -> Iterator[Plan]:
    if instance.role in NIGHTLY:
        yield from _nightly(instance, NIGHTLY[instance.role], minute)
    if instance.role in WEEKLY:
        yield from _weekly(instance, WEEKLY[instance.role], minute)
    yield from _by_hand(instance, minute)


def _nightly(instance: Instance, nights: int, minute: int) -> Iterator[Plan]:
    luck = draw(instance.id, "nightly")
    for day in range(minute // DAY - nights - 1, minute // DAY + 1):
        taken = day * DAY + luck % (5 * HOUR) + draw(instance.id, day) % 9
        if instance.born < taken < instance.ends:
            name = f"nightly-{instance.name}-{day_name(taken)}"
            yield _plan(instance, name, taken, taken + nights * DAY + HOUR)


def _weekly(instance: Instance, weeks: int, minute: int) -> Iterator[Plan]:
    luck = draw(instance.id, "weekly")
    for week in range(minute // WEEK - weeks - 2, minute // WEEK + 1):
        taken = MONDAY + week * WEEK + luck % WEEK
        if not instance.born < taken < instance.ends:
            continue
        year, number, _ = instant(taken).isocalendar()
        name = f"weekly-{instance.name}-{year}-w{number:02}"
        source = _plan(instance, name, taken, taken + weeks * WEEK + 2 * HOUR)
        yield source
        copied = taken + 30 + luck % 90
        elsewhere = [region for region in PERMANENT if region != instance.region]
        # A few copies go to the region that opened last, and are lost when it closes.
        region = youngest(copied) if luck % 5 == 0 else elsewhere[luck % len(elsewhere)]
        if region != instance.region:
            yield _plan(instance, f"{name} (copy)", copied, taken + weeks * WEEK + 3 * HOUR, region, source)


def _by_hand(instance: Instance, minute: int) -> Iterator[Plan]:
    odds = 5 if instance.role == "dev" else 16
    first = max(instance.born, minute - FORGOTTEN) // WEEK
    for week in range(first, min(instance.ends, minute) // WEEK + 1):
        luck = draw(instance.id, "by hand", week)
        taken = week * WEEK + luck % WEEK
        if luck // 7 % odds or not instance.born < taken < instance.ends:
            continue
        name = NAMES[luck // 13 % len(NAMES)].format(instance=instance.name, day=day_name(taken))
        kept = 2 + luck // 17 % 28 if luck // 19 % 3 == 0 else 90 + luck // 23 % 300
        renamed = taken + (1 + luck // 29 % 40) * DAY if luck // 31 % 4 == 0 else None
        yield _plan(instance, name, taken, taken + kept * DAY)._replace(renamed=renamed)


def _plan(instance: Instance, name: str, taken: int, ends: int, region: str = "", source: Plan | None = None) -> Plan:
    region = region or instance.region
    span = era(region, taken)
    # Disks fill up: each new snapshot is a little larger, until it is three times the first.
    grown = min(max(taken - instance.born, 0) // (20 * DAY), 2 * instance.size_gib)
    return Plan(
        id=draw_id(instance.id, name, taken),
        name=name,
        region=region,
        size_gib=source.size_gib if source else instance.size_gib + grown,
        instance=instance,
        source_id=source.id if source else None,
        taken=taken,
        ends=min(ends, span[1]) if span else taken,
    )
