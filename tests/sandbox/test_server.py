"""The server: what the documentation says, sentence by sentence, seen over a real socket."""

import itertools
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import Any, NamedTuple

import pytest

from genesis_etl.sandbox import Sandbox
from genesis_etl.sandbox.account import GENERATIONS

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOKEN = "sandbox-0123456789"

# The two images of the documentation, as they stand there.
DOCUMENTED = [
    {
        "id": "string",
        "name": "string",
        "type": "snapshot",
        "regions": ["ARC-IS-HAF-1"],
        "created_at": "2020-03-16T16:01:12.954Z",
    },
    {
        "id": "string",
        "name": "string",
        "type": "base-os",
        "regions": ["ARC-IS-HAF-1", "NORD-NO-KRS-1"],
        "created_at": "2020-03-06T14:07:18.311Z",
    },
]


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def ask(
    sandbox: Sandbox,
    target: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> Reply:
    """Send one request below the endpoint, with the right token where no headers are given."""
    connection = HTTPConnection("127.0.0.1", sandbox.port, timeout=10)
    try:
        headers = {"X-Auth-Token": sandbox.token} if headers is None else headers
        connection.request(method, sandbox.path + target, body=body, headers=headers)
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        connection.close()


def number(count: int) -> list[dict[str, Any]]:
    """Return so many images."""
    return [DOCUMENTED[index % 2] | {"id": f"{index:04}"} for index in range(count)]


@pytest.fixture(scope="module")
def documented() -> Iterator[Sandbox]:
    """A sandbox that lists the two documented images."""
    with Sandbox(rate=0, token=TOKEN, collections=lambda name, at: DOCUMENTED) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def numbered() -> Iterator[Sandbox]:
    """A sandbox that lists 250 images."""
    with Sandbox(rate=0, token=TOKEN, collections=lambda name, at: number(250)) as sandbox:
        yield sandbox


def refused(reply: Reply, status: int) -> bool:
    """Say whether a reply is the documented error: a code of digits with leading zeros, and a message."""
    code, message = reply.json["code"], reply.json["message"]
    assert set(reply.json) == {"code", "message"}
    assert isinstance(message, str)
    assert message
    return reply.status == status and code.isdigit() and code.startswith("0") and len(code) == 5


def test_documented_response(documented: Sandbox) -> None:
    """GET /compute/v1/images answers 200 with the documented body: images, total_count, page, per_page."""
    reply = ask(documented, "/images?per_page=10&page=1")
    assert reply.status == 200
    assert reply.json == {"images": DOCUMENTED, "total_count": 2, "page": 1, "per_page": 10}
    assert list(reply.json) == ["images", "total_count", "page", "per_page"]
    assert reply.headers["Content-Type"] == "application/json"
    assert documented.endpoint == f"http://127.0.0.1:{documented.port}/compute/v1"


@pytest.mark.parametrize(("type", "found"), [("base-os", [1]), ("snapshot", [0]), ("preconfigured", [])])
def test_documented_filter(documented: Sandbox, type: str, found: list[int]) -> None:
    """`type` filters the list, and total_count counts what is left."""
    reply = ask(documented, f"/images?type={type}")
    assert reply.json["images"] == [DOCUMENTED[place] for place in found]
    assert reply.json["total_count"] == len(found)


@pytest.mark.parametrize("type", ["cloud-image", "nonsense", "", "Base-OS", "base-os%00", "%C3%BC"])
def test_unknown_type_is_an_empty_list(documented: Sandbox, type: str) -> None:
    """A type that no image has is no error."""
    reply = ask(documented, f"/images?type={type}")
    assert (reply.status, reply.json["images"], reply.json["total_count"]) == (200, [], 0)


@pytest.mark.parametrize("collection", ["snapshots", "instances"])
def test_only_images_have_a_filter(documented: Sandbox, collection: str) -> None:
    """/snapshots and /instances answer under their own names and ignore `type`, like any key they do not know."""
    reply = ask(documented, f"/{collection}?type=base-os&type=x&sort=name")
    assert (reply.json[collection], reply.json["total_count"]) == (DOCUMENTED, 2)


def test_documented_defaults(numbered: Sandbox) -> None:
    """Without page and per_page it is page 1 of 50."""
    reply = ask(numbered, "/images")
    assert [item["id"] for item in reply.json["images"]] == [f"{index:04}" for index in range(50)]
    assert (reply.json["page"], reply.json["per_page"], reply.json["total_count"]) == (1, 50, 250)


@pytest.mark.parametrize("collection", ["images", "snapshots", "instances"])
@pytest.mark.parametrize(
    ("page", "per_page", "ids"),
    [(1, 1, (0, 1)), (250, 1, (249, 250)), (3, 100, (200, 250)), (2, 99, (99, 198)), (6, 50, (250, 250))],
)
def test_pages_are_cut_where_they_should(
    numbered: Sandbox, collection: str, page: int, per_page: int, ids: tuple[int, int]
) -> None:
    """Page p of k holds the items from (p-1)k on, the last page the rest, any page past the end nothing."""
    reply = ask(numbered, f"/{collection}?page={page}&per_page={per_page}").json
    assert [item["id"] for item in reply[collection]] == [f"{index:04}" for index in range(*ids)]
    assert (reply["page"], reply["per_page"], reply["total_count"]) == (page, per_page, 250)


def test_page_far_past_the_end_is_empty(numbered: Sandbox) -> None:
    """A page number of twenty digits is a page past the end as well."""
    assert ask(numbered, f"/images?page={10**19}").json["images"] == []


@pytest.mark.parametrize("collection", ["images", "snapshots", "instances"])
@pytest.mark.parametrize(
    "query",
    [
        *(f"per_page={value}" for value in ("0", "101", "-1", "1.0", "1e1", "", "x", "%2B5", "+5", "0x10")),
        *(f"page={value}" for value in ("0", "-1", "1.5", "", "x", "9" * 400, "%D9%A3", "%C2%B2", "1_0", "%201")),
        "page=1&page=1",
        "per_page=5&per_page=6",
    ],
)
def test_other_pages_are_400(numbered: Sandbox, collection: str, query: str) -> None:
    """What is not one positive integer of ASCII digits, per_page at most 100, is 400 with the error body."""
    assert refused(ask(numbered, f"/{collection}?{query}"), 400)


def test_repeated_type_is_400(numbered: Sandbox) -> None:
    """Two types are no type."""
    assert refused(ask(numbered, "/images?type=snapshot&type=base-os"), 400)


@pytest.mark.parametrize("path", ["", "/", "/regions", "/images/", "/images/1", "/volumes", "/Images", "/../images"])
def test_unknown_paths_are_404(numbered: Sandbox, path: str) -> None:
    """Whatever is not one of the three collections is 404 with the error body."""
    assert refused(ask(numbered, path), 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_405(numbered: Sandbox, method: str) -> None:
    """Only GET is answered; the rest is told so, body or not."""
    reply = ask(numbered, "/images", method=method, body=b"x" * 1000)
    assert refused(reply, 405)
    assert reply.headers["Allow"] == "GET"


def test_head_is_405_without_body(numbered: Sandbox) -> None:
    """HEAD is another method too, and has no body."""
    reply = ask(numbered, "/images", method="HEAD")
    assert (reply.status, reply.headers["Allow"], reply.body) == (405, "GET", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-Token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}"},
        {"X-Auth-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"},
    ],
)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_either_header_opens(generation: str, headers: dict[str, str]) -> None:
    """Every generation takes X-Auth-Token, Authorization: Bearer, or both."""
    with Sandbox(generation=generation, images=1, token=TOKEN, at=NOON) as sandbox:
        assert ask(sandbox, "/images", headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Auth-Token": ""},
        {"X-Auth-Token": "wrong-token"},
        {"X-Auth-Token": "wröng"},
        {"X-Auth-Token": TOKEN.upper()},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}", "X-Auth-Token": "wrong-token"},
        {"Authorization": "Bearer wrong-token", "X-Auth-Token": TOKEN},
    ],
)
def test_missing_or_wrong_token_is_401(numbered: Sandbox, headers: dict[str, str]) -> None:
    """Without a right token, or with a wrong one beside it, it is 401; neither token comes back."""
    reply = ask(numbered, "/images", headers)
    assert refused(reply, 401)
    assert TOKEN.encode() not in reply.body
    assert b"wrong-token" not in reply.body


def test_tokens_are_made_and_checked() -> None:
    """A token of its own is new for each sandbox; a given one must be one that a shell can carry."""
    tokens = {Sandbox().token for _ in range(3)}
    assert len(tokens) == 3
    assert all(token.startswith("sandbox-") and len(token) == 24 for token in tokens)
    for token in ("short", "with space", "with\nnewline", "ünïcode", ""):
        with pytest.raises(ValueError, match="token"):
            Sandbox(token=token)


@pytest.mark.parametrize("options", [{"generation": "next"}, {"images": -1}, {"rate": -1}, {"at": datetime.min}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    """An option that makes no sense is a ValueError at once, before anything listens."""
    with pytest.raises(ValueError, match=r"is|lives"):
        Sandbox(**options)


def test_rate_is_a_bucket() -> None:
    """As many requests as the rate pass at once, more are 429 with Retry-After, a second later as many pass."""
    with Sandbox(images=1, at=NOON, rate=2) as sandbox:
        replies = [ask(sandbox, "/images") for _ in range(8)]
        assert [reply.status for reply in replies[:2]] == [200, 200]
        late = next(reply for reply in replies if reply.status != 200)
        assert refused(late, 429)
        assert late.headers["Retry-After"] == "1"
        time.sleep(1.05)
        assert [ask(sandbox, "/images").status for _ in range(2)] == [200, 200]


def test_rate_is_ten_unless_said() -> None:
    """Without another word the bucket holds ten requests; 0 is no limit."""
    for options, limited in (({}, True), ({"rate": 0}, False)):
        with Sandbox(images=1, at=NOON, **options) as sandbox, ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _, sandbox=sandbox: ask(sandbox, "/images").status, range(40)))
        assert statuses.count(200) >= 10
        assert (429 in statuses) == limited


def test_refused_tokens_take_nothing_from_the_bucket() -> None:
    """The rate is the account's: requests without its token do not use it up."""
    with Sandbox(images=1, at=NOON, rate=1) as sandbox:
        assert [ask(sandbox, "/images", {}).status for _ in range(5)] == [401] * 5
        assert ask(sandbox, "/images").status == 200


def test_date_is_the_simulated_instant() -> None:
    """The Date header is the simulated instant; without one, the clock."""
    with Sandbox(images=1, at=NOON) as sandbox:
        assert parsedate_to_datetime(ask(sandbox, "/images").headers["Date"]) == NOON
        assert parsedate_to_datetime(ask(sandbox, "/nothing", {}).headers["Date"]) == NOON
        sandbox.at = None
        date = parsedate_to_datetime(ask(sandbox, "/images").headers["Date"])
        assert abs(datetime.now(UTC) - date) < timedelta(seconds=5)


def test_at_moves_the_account_while_it_runs() -> None:
    """Setting `at` changes what is listed from the next request on, and setting it back brings it back."""
    with Sandbox(at=NOON, rate=0) as sandbox:
        first = ask(sandbox, "/snapshots?per_page=100").json
        sandbox.at = NOON - timedelta(days=119)
        assert ask(sandbox, "/snapshots").json["total_count"] < first["total_count"]
        sandbox.at = NOON
        assert ask(sandbox, "/snapshots?per_page=100").json == first
        with pytest.raises(ValueError, match="1990"):
            sandbox.at = datetime.min


@pytest.mark.parametrize("generation", GENERATIONS)
def test_pages_together_are_the_account(generation: str) -> None:
    """All pages in a row are what the account lists, each entry once, in each generation."""
    with Sandbox(generation=generation, images=250, at=NOON, rate=0, seed=5) as sandbox:
        total = 0
        for name in ("images", "snapshots"):
            pages = [ask(sandbox, f"/{name}?page={page}&per_page=100").json for page in (1, 2, 3)]
            ids = [item["id"] for page in pages for item in page[name]]
            assert len(ids) == len(set(ids)) == pages[0]["total_count"]
            total += len(ids) if name == "images" or generation == "newest" else 0
        assert total == 250


@pytest.mark.slow
def test_large_account_answers_in_milliseconds() -> None:
    """After the first page, a page of 100,000 entries takes some milliseconds, wherever it lies."""
    with Sandbox(images=100_000, generation="seed", at=NOON, rate=0) as sandbox:
        assert ask(sandbox, "/images").json["total_count"] == 100_000
        taken = []
        for page in range(1, 1001, 37):
            start = time.perf_counter()
            assert len(ask(sandbox, f"/images?per_page=100&page={page}").json["images"]) == 100
            taken.append(time.perf_counter() - start)
        assert statistics.median(taken) < 0.05


def test_collections_are_read_once_for_each_request() -> None:
    """A list that is given from outside is asked for by name and instant, only where a request reads it."""
    calls: list[tuple[str, datetime]] = []

    def collections(name: str, at: datetime) -> list[dict[str, Any]]:
        calls.append((name, at))
        return number(len(calls))

    with Sandbox(collections=collections, at=NOON) as sandbox:
        totals = [
            ask(sandbox, target).json.get("total_count") for target in ("/images", "/images?page=0", "/snapshots")
        ]
        ask(sandbox, "/images", {})
    assert totals == [1, None, 2]
    assert calls == [("images", NOON), ("snapshots", NOON)]


def test_names_of_any_text_arrive() -> None:
    """JSON is sent as UTF-8; a text that UTF-8 cannot carry is escaped."""
    names = ["Größe, 学習 🚀", "\u0000\u001b[31m\n", "\ud800", "x" * 100_000]
    items = [{"id": str(place), "name": name} for place, name in enumerate(names)]
    with Sandbox(collections=lambda name, at: items[: 1 if name == "images" else 4]) as sandbox:
        reply = ask(sandbox, "/images")
        assert "Größe, 学習 🚀".encode() in reply.body
        assert ask(sandbox, "/snapshots").json["snapshots"] == items


def test_requests_are_written_down() -> None:
    """Each request is recorded with its time, method, path, query, headers and status, until cleared."""
    with Sandbox(images=3, at=NOON) as sandbox:
        before = time.monotonic()
        ask(sandbox, "/images?page=2&type=snapshot", {"X-Auth-Token": sandbox.token, "User-Agent": "test"})
        ask(sandbox, "/nothing", method="POST")
        one, other = sandbox.requests
        assert (one.method, one.path, one.query) == (
            "GET",
            "/compute/v1/images",
            {"page": "2", "type": "snapshot"},
        )
        assert (one.status, one.headers["User-Agent"]) == (200, "test")
        assert before <= one.received_at <= other.received_at <= time.monotonic()
        assert (other.method, other.status) == ("POST", 404)
        sandbox.requests.clear()
        assert sandbox.requests == []


def test_connections_are_kept_alive(numbered: Sandbox) -> None:
    """One connection carries many requests, refused ones between them."""
    connection = HTTPConnection("127.0.0.1", numbered.port, timeout=10)
    statuses = []
    for target in ("/images", "/images?page=0", "/nothing", "/snapshots"):
        connection.request("GET", numbered.path + target, headers={"X-Auth-Token": TOKEN})
        reply = connection.getresponse()
        reply.read()
        statuses.append((reply.status, reply.version, reply.will_close))
    connection.close()
    assert statuses == [(status, 11, False) for status in (200, 400, 404, 200)]


def test_unreadable_requests_get_the_error_body(numbered: Sandbox) -> None:
    """What is not HTTP is answered with JSON as well, and the connection ends."""
    with socket.create_connection(("127.0.0.1", numbered.port), timeout=10) as connection:
        connection.sendall(b"GET /images HTTP/9.9.9\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"code":"00400"' in answer


def test_absolute_addresses_are_taken(numbered: Sandbox) -> None:
    """A request as it is sent to a proxy, with the whole address, is answered the same."""
    connection = HTTPConnection("127.0.0.1", numbered.port, timeout=10)
    connection.request("GET", f"{numbered.endpoint}/images", headers={"X-Auth-Token": TOKEN})
    assert connection.getresponse().status == 200
    connection.close()


def test_many_clients_at_once() -> None:
    """Two hundred connections at once all get the same answer."""
    with Sandbox(images=300, at=NOON, rate=0, generation="middle") as sandbox, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: ask(sandbox, "/images?per_page=100"), range(200)))
        assert {reply.body for reply in replies} == {replies[0].body}
        assert len(sandbox.requests) == 200


def test_stop_ends_everything_and_start_returns() -> None:
    """stop closes the port and idle connections, may be called twice; start takes the same port again."""
    sandbox = Sandbox(images=1, at=NOON)
    with pytest.raises(RuntimeError, match="no port"):
        _ = sandbox.endpoint
    sandbox.start()
    sandbox.start()
    endpoint = sandbox.endpoint
    idle = socket.create_connection(("127.0.0.1", sandbox.port), timeout=10)
    assert ask(sandbox, "/images").status == 200
    sandbox.stop()
    sandbox.stop()
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        ask(sandbox, "/images")
    with sandbox:
        assert sandbox.endpoint == endpoint
        assert ask(sandbox, "/images").status == 200


def test_serve_forever_blocks_until_stop() -> None:
    """serve_forever starts what is not started and returns when another thread stops it."""
    sandbox = Sandbox(images=1, at=NOON)
    thread = threading.Thread(target=sandbox.serve_forever)
    thread.start()
    for _ in itertools.takewhile(lambda _: not sandbox.port, range(500)):
        time.sleep(0.01)
    assert ask(sandbox, "/images").status == 200
    assert thread.is_alive()
    sandbox.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_path_is_free() -> None:
    """The path before the collections may be another one, or none."""
    for path, root in (("/v9/", "/v9"), ("", "")):
        with Sandbox(images=1, at=NOON, path=path) as sandbox:
            assert sandbox.endpoint.endswith(f":{sandbox.port}{root}")
            assert ask(sandbox, "/images").status == 200
