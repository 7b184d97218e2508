"""A local API that answers at once (or after a fixed latency): pages are rendered before the first request.

    python benchmarks/fast_server.py IMAGES [LATENCY_MS]      prints its endpoint, serves until ended

Every image stands in two or three regions, so 100,000 images are 250,000 rows.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

REGIONS = ("ARC-IS-HAF-1", "EUC-DE-MUC-1", "NORD-NO-KRS-1")
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
PER_PAGE = 100


def image(number: int) -> dict[str, object]:
    """Return an image of the middle generation."""
    created = FIRST + timedelta(minutes=number)
    return {
        "id": f"{number:08x}-5b1c-4f0e-9d6a-{number:012x}",
        "name": f"Ubuntu 22.04 LTS build {number}",
        "type": "base-os" if number % 2 else "preconfigured",
        "regions": list(REGIONS[: 2 + number % 2]),
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "updated_at": created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "family": "ubuntu",
        "slug": "ubuntu-22.04",
        "versions": ["v1"],
        "os_type": "linux",
    }


def pages(total: int) -> dict[int, bytes]:
    """Render every page of a collection of so many images."""
    rendered = {}
    for number in range(1, max(1, -(-total // PER_PAGE)) + 1):
        items = [image(index) for index in range((number - 1) * PER_PAGE, min(number * PER_PAGE, total))]
        body = {"images": items, "total_count": total, "page": number, "per_page": PER_PAGE}
        rendered[number] = json.dumps(body).encode()
    return rendered


def empty(name: str, number: int, total: int = 0) -> bytes:
    """Render a page with nothing on it: of an empty collection, or past the end of one of so many."""
    return json.dumps({name: [], "total_count": total, "page": number, "per_page": PER_PAGE}).encode()


class Server(asyncio.Protocol):
    """One connection; requests come one after the other on it."""

    def __init__(self, images: dict[int, bytes], total: int, latency: float) -> None:
        self._images = images
        self._total = total
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            url = urlsplit(head.split(b" ", 2)[1].decode())
            number = int(parse_qs(url.query).get("page", ["1"])[0])
            if url.path.endswith("/images"):
                body = self._images.get(number) or empty("images", number, self._total)
            else:
                body = empty(url.path.rpartition("/")[2], number)
            date = format_datetime(datetime.now(UTC), usegmt=True)
            answer = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode() + body
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)  # type: ignore[attr-defined]


async def serve(total: int, latency: float) -> None:
    """Serve until the process is ended."""
    rendered = pages(total)
    server = await asyncio.get_running_loop().create_server(lambda: Server(rendered, total, latency), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/compute/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))
