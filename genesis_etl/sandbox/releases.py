"""Release the public images: each line every month, reaching the regions one by one, withdrawn in time."""

from datetime import UTC, datetime
from typing import NamedTuple

from genesis_etl.sandbox.clock import DAY, HOUR, draw, draw_id, instant, minute_of, stamp
from genesis_etl.sandbox.regions import ALL, eras


class Line(NamedTuple):
    """What is released month by month."""

    type: str
    family: str
    slug: str
    title: str


class Release(NamedTuple):
    """One public image as it stands at one instant."""

    id: str
    name: str
    line: Line
    regions: list[str]
    versions: list[str]
    created_at: str
    updated_at: str


LINES = (
    Line("cloud-image", "ubuntu", "ubuntu-20.04", "Ubuntu 20.04 LTS"),
    Line("cloud-image", "ubuntu", "ubuntu-22.04", "Ubuntu 22.04 LTS"),
    Line("cloud-image", "ubuntu", "ubuntu-24.04", "Ubuntu 24.04 LTS"),
    Line("cloud-image", "ubuntu", "ubuntu-24.04-nvidia", "Ubuntu 24.04 LTS (NVIDIA)"),
    Line("cloud-image", "debian", "debian-12", "Debian 12"),
    Line("cloud-image", "rocky", "rocky-9", "Rocky Linux 9"),
    Line("cloud-image", "almalinux", "almalinux-9", "AlmaLinux 9"),
    Line("base-os", "ubuntu", "ubuntu-20.04", "Ubuntu 20.04"),
    Line("base-os", "ubuntu", "ubuntu-22.04", "Ubuntu 22.04"),
    Line("base-os", "debian", "debian-12", "Debian 12"),
    Line("preconfigured", "pytorch", "pytorch-2", "PyTorch 2"),
    Line("preconfigured", "tensorflow", "tensorflow-2", "TensorFlow 2"),
    Line("preconfigured", "jupyter", "jupyterlab-4", "JupyterLab 4"),
)
FRESH = 40 * DAY  # a release older than that is not brought to a region that opens
KEPT = 3  # releases of a line that stay beside each other; one more for the days of the change


def releases(seed: int, types: tuple[str, ...], minute: int) -> list[Release]:
    """Return the public images of these types that are listed at that minute."""
    at = _month(minute)
    return [
        release
        for line in LINES
        if line.type in types
        for month in range(at - KEPT - 1, at + 1)
        if (release := _release(seed, line, month, minute))
    ]


def _release(seed: int, line: Line, month: int, minute: int) -> Release | None:
    born = _born(seed, line, month)
    withdrawn = _born(seed, line, month + KEPT) + 3 * DAY
    if not born <= minute < withdrawn:
        return None
    key = (seed, "release", line.type, line.slug, month)
    luck = draw(*key, "luck")
    changes, regions = _reach(key, line, born, minute)
    date = f"{month // 12}-{month % 12 + 1:02}"
    versions = [f"{date}.0"] if line.type == "cloud-image" else []
    patched = born + 11 * DAY + luck % DAY
    if versions and luck % 4 == 0 and patched <= minute:
        versions.append(f"{date}.1")
        changes.append(patched)
    return Release(
        id=draw_id(*key),
        name=f"{line.title} {date}",
        line=line,
        regions=regions,
        versions=versions,
        created_at=stamp(born, luck),
        updated_at=stamp(max([born, *changes]), luck),
    )


def _reach(key: tuple[object, ...], line: Line, born: int, minute: int) -> tuple[list[int], list[str]]:
    """Return when the release reached or left a region until that minute, and where it is then."""
    changes, regions = [], []
    order = sorted(ALL, key=lambda region: draw(*key, "order", region))
    for place, region in enumerate(order):
        if place and draw(*key[:4], "never", region) % 9 == 0:
            continue  # some lines are never offered in some regions: a gap that the coverage report shows
        # One region tries a release out, the others follow in pairs.
        wave = (place + 1) // 2
        luck = draw(*key, "reach", wave)
        # The first region takes more than a day: a daily capture meets the release without any region.
        reached = born + 26 * HOUR + luck % (8 * HOUR) + wave * (18 * HOUR + luck % DAY)
        for opens, closes in eras(region, born, minute):
            arrival = max(reached, opens + 2 * HOUR + luck % (9 * DAY))
            too_old = opens > born + FRESH
            if too_old or arrival > minute or arrival >= closes:
                continue
            changes.append(arrival)
            if closes <= minute:
                changes.append(closes)
            else:
                regions.append(region)
    return changes, sorted(regions)


def _month(minute: int) -> int:
    return instant(minute).year * 12 + instant(minute).month - 1


def _born(seed: int, line: Line, month: int) -> int:
    first = minute_of(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC))
    return first + (1 + draw(seed, line.type, line.slug, month) % 12) * DAY + draw(line.slug, month) % DAY
