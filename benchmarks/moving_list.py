"""What is lost when the list moves: a plain loop, dlt's page-number paginator and ours read the same moving list.

    python benchmarks/moving_list.py [TRIALS]

The list has 250 images. While it is read, images are deleted near its start and as many are inserted at its end, so
`total_count` never changes. An image is lost if it was there during the whole read and is not in what was read.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator

from genesis_etl.api.client import Client
from genesis_etl.errors import ListMoved
from genesis_etl.reading import read_account
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Account, Secret, Settings

SIZE = 250
CHANCE = 0.3  # that the list moves before a request
STEPS = (1, 10, 30)


class MovingList:
    """Images that come and go between requests, always the same number of them, by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0
        self.images = [self._image() for _ in range(SIZE)]
        self.always = set(self.ids())

    def _image(self) -> dict[str, Any]:
        self._made += 1
        return {
            "id": f"image-{self._made:06}",
            "name": f"image {self._made}",
            "type": "base-os",
            "regions": ["NORD-NO-KRS-1"],
            "created_at": "2026-11-01T00:00:00.000Z",
        }

    def ids(self) -> list[str]:
        return [image["id"] for image in self.images]

    def __call__(self, collection: str, at: datetime) -> list[dict[str, Any]]:
        if collection != "images":
            return []
        if self._random.random() < CHANCE:
            for _ in range(self._random.choice(STEPS)):
                del self.images[self._random.randrange(100)]
                self.images.append(self._image())
            self.always &= set(self.ids())
        return list(self.images)


def plain_loop(sandbox: Sandbox) -> set[str]:
    """Read page after page until one has fewer than 100 images."""
    found: set[str] = set()
    page = 1
    with requests.Session() as session:
        while True:
            items = session.get(
                f"{sandbox.endpoint}/images",
                params={"page": page, "per_page": 100},
                headers={"X-Auth-Token": sandbox.token},
                timeout=30,
            ).json()["images"]
            found |= {item["id"] for item in items}
            if len(items) < 100:
                return found
            page += 1


def dlt_paginator(sandbox: Sandbox) -> set[str]:
    """Read with dlt's REST client and its page-number paginator."""
    client = RESTClient(
        base_url=sandbox.endpoint,
        headers={"X-Auth-Token": sandbox.token},
        paginator=PageNumberPaginator(base_page=1, total_path=None),
        data_selector="images",
    )
    return {item["id"] for page in client.paginate("/images", params={"per_page": 100}) for item in page}


def verified(sandbox: Sandbox) -> set[str]:
    """Read as `genesis-etl export` does; ListMoved where the list would not hold still."""
    account = Account("default", sandbox.endpoint, secret=Secret(sandbox.token))
    with Client(account, Settings(rate=10_000)) as client:
        return set(read_account(client).images)


READERS: dict[str, Callable[[Sandbox], set[str]]] = {
    "plain loop": plain_loop,
    "dlt": dlt_paginator,
    "genesis-etl": verified,
}


def main() -> None:
    """Print a row per reader."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| reader | reads | accepted | of these with a loss | images lost | refused |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, read in READERS.items():
        accepted = wrong = lost = refused = 0
        for seed in range(trials):
            moving = MovingList(seed)
            with Sandbox(rate=0, collections=moving) as sandbox:
                try:
                    found = read(sandbox)
                except ListMoved:
                    refused += 1
                    continue
            missed = moving.always - found
            accepted += 1
            wrong += bool(missed)
            lost += len(missed)
        print(f"| {name} | {trials} | {accepted} | {wrong} | {lost} | {refused} |")


if __name__ == "__main__":
    main()
