"""The faults: each as a client without any kindness sees it, byte by byte."""

import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from genesis_etl.sandbox import FAULTS, Fault, Sandbox
from genesis_etl.sandbox.faults import OPTIONS

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RESET = b"<reset>"  # stands for the RST at the end of what was received
ITEMS = [{"id": str(place), "name": "Größe"} for place in range(30)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of 30 items in each collection."""
    with Sandbox(rate=0, at=NOON, collections=lambda name, at: ITEMS) as sandbox:
        yield sandbox


def connect(sandbox: Sandbox, target: str = "/images", more: str = "Connection: close\r\n") -> socket.socket:
    """Send one request and return the connection, nothing read yet."""
    connection = socket.create_connection(("127.0.0.1", sandbox.port), timeout=10)
    head = f"GET {sandbox.path}{target} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {sandbox.token}\r\n{more}\r\n"
    connection.sendall(head.encode())
    return connection


def receive(connection: socket.socket) -> bytes:
    """Return every byte until the other side ends."""
    received = b""
    while True:
        try:
            data = connection.recv(1 << 20)
        except ConnectionResetError:
            return received + RESET
        if not data:
            return received
        received += data


def ask(sandbox: Sandbox, target: str = "/images") -> bytes:
    """Send one request and return all bytes of the answer."""
    with closing(connect(sandbox, target)) as connection:
        return receive(connection)


def read(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Take an answer apart: status, headers in lower case, body as sent."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def body(answer: bytes) -> Any:
    """Return the JSON of an answer."""
    return json.loads(read(answer)[2])


def join(chunks: bytes) -> tuple[bytes, bool]:
    """Return what a chunked body holds, and whether its end is there."""
    joined = b""
    while match := re.match(rb"([0-9a-f]+)\r\n", chunks):
        size = int(match[1], 16)
        joined += chunks[match.end() : match.end() + size]
        chunks = chunks[match.end() + size + 2 :]
        if not size:
            return joined, True
    return joined, False


def play(sandbox: Sandbox, text: str) -> bytes:
    """Script one fault and return the answer that it spoils."""
    sandbox.faults.append(Fault.parse(text))
    return ask(sandbox)


def test_every_kind_is_explained_and_has_options() -> None:
    """Each kind has one sentence of explanation, and its options."""
    assert list(FAULTS) == list(OPTIONS)
    assert all(sentence and "\n" not in sentence for sentence in FAULTS.values())


@pytest.mark.parametrize("status", [201, 206, 300, 400, 401, 403, 404, 408, 418, 422, 425, 429, 500, 501, 503, 599])
def test_status(sandbox: Sandbox, status: int) -> None:
    """Any status is answered, with the documented error body."""
    seen, headers, sent = read(play(sandbox, f"status={status}"))
    assert (seen, headers["content-length"]) == (status, str(len(sent)))
    assert json.loads(sent)["code"] == f"{status:05}"


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(sandbox: Sandbox, status: int) -> None:
    """204 and 304 have neither body nor length."""
    seen, headers, sent = read(play(sandbox, f"status={status}"))
    assert (seen, sent) == (status, b"")
    assert "content-length" not in headers


def test_status_with_body_and_headers(sandbox: Sandbox) -> None:
    """Body and headers of a status are free."""
    fault = Fault("status", status=500, body="<h1>", content_type="text/html", headers={"X-Y": "z"})
    sandbox.faults.append(fault)
    status, headers, sent = read(ask(sandbox))
    assert (status, headers["content-type"], headers["x-y"], sent) == (500, "text/html", "z", b"<h1>")


@pytest.mark.parametrize("after", ["0", "-5", "1.5", "86400", "soon", "", "Mon, 23 Nov 2026 12:00:00 GMT"])
def test_retry_after(sandbox: Sandbox, after: str) -> None:
    """A 429 says in Retry-After whatever it is told to."""
    status, headers, _ = read(play(sandbox, f"retry-after={after.replace(',', '%2C')}"))
    assert (status, headers["retry-after"]) == (429, after)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(sandbox: Sandbox, status: int) -> None:
    """A redirect names any target."""
    seen, headers, _ = read(play(sandbox, f"redirect={status},location=http://evil.example:1/x"))
    assert (seen, headers["location"]) == (status, "http://evil.example:1/x")


@pytest.mark.parametrize(
    "content", [b"", b"null", b"<html>", b'{"error": "x"}', b'{"a": 1e999}', "Größe".encode("latin-1")]
)
def test_body(sandbox: Sandbox, content: bytes) -> None:
    """The body is replaced by any bytes, with 200."""
    sandbox.faults.append(Fault("body", body=content))
    status, headers, sent = read(ask(sandbox))
    assert (status, sent, headers["content-length"]) == (200, content, str(len(content)))


def test_raw(sandbox: Sandbox) -> None:
    """What is sent need not be HTTP."""
    assert play(sandbox, "raw=SSH-2.0-x%0D%0A") == b"SSH-2.0-x\r\n"


@pytest.mark.parametrize(("kind", "end"), [("close", b""), ("reset", RESET)])
def test_close_and_reset(sandbox: Sandbox, kind: str, end: bytes) -> None:
    """The connection ends before any byte, inside the headers, or inside the body; with FIN or with RST."""
    whole = ask(sandbox)
    head = whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert play(sandbox, kind) == end
    assert play(sandbox, f"{kind},where=headers,bytes=17") == whole[:17] + end
    assert play(sandbox, f"{kind}=body,bytes=25") == whole[: len(head) + 25] + end
    assert [request.status for request in sandbox.requests] == [200, 0, 200, 200]


def test_close_ends_a_kept_connection(sandbox: Sandbox) -> None:
    """Also a connection that would be kept alive is closed."""
    sandbox.faults.append(Fault("close", where="body", bytes=5))
    with closing(connect(sandbox, more="")) as connection:
        assert receive(connection).endswith(b'{"ima')


def test_short_body(sandbox: Sandbox) -> None:
    """The body is shorter than its Content-Length by as many bytes as asked."""
    _, headers, sent = read(play(sandbox, "short-body=7"))
    assert int(headers["content-length"]) == len(sent) + 7


def test_cut_chunks(sandbox: Sandbox) -> None:
    """A chunked body stops without its last chunk."""
    _, headers, sent = read(play(sandbox, "cut-chunks=20"))
    assert headers["transfer-encoding"] == "chunked"
    assert join(sent) == (read(ask(sandbox))[2][:20], False)


def test_hang(sandbox: Sandbox) -> None:
    """The server takes the request and says nothing, then closes; the record has no status."""
    start = time.monotonic()
    assert play(sandbox, "hang=0.2") == b""
    assert 0.2 <= time.monotonic() - start < 5
    assert sandbox.requests[0].status == 0


def test_delay(sandbox: Sandbox) -> None:
    """A late answer is a whole answer."""
    start = time.monotonic()
    assert body(play(sandbox, "delay=0.2"))["images"] == ITEMS
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("part", ["headers", "body"])
def test_drip(sandbox: Sandbox, part: str) -> None:
    """Headers or body come some bytes at a time; the answer is whole in the end."""
    whole = ask(sandbox)
    start = time.monotonic()
    assert play(sandbox, f"drip={part},bytes=40,interval=0.02") == whole
    assert time.monotonic() - start >= 0.04
    start = time.monotonic()
    assert play(sandbox, f"drip={part},bytes=1,interval=0.05,seconds=0.2") == whole
    assert time.monotonic() - start < 5


def test_drip_of_space(sandbox: Sandbox) -> None:
    """White space drips before the body, which follows when the time is over."""
    sent, ended = join(read(play(sandbox, "drip=space,bytes=3,interval=0.02,seconds=0.1"))[2])
    assert sent.startswith(b"   {" if len(sent.split(b"{")[0]) == 3 else b"      ")
    assert json.loads(sent)["images"] == ITEMS
    assert ended


@pytest.mark.parametrize("of", ["items", "space"])
def test_endless(sandbox: Sandbox, of: str) -> None:
    """The body goes on for as long as anyone reads."""
    sandbox.faults.append(Fault("endless", of=of))
    received = 0
    with closing(connect(sandbox)) as connection:
        while received < 100 << 20:
            received += len(connection.recv(1 << 20))


def test_gzip(sandbox: Sandbox) -> None:
    """The body is packed as announced."""
    _, headers, sent = read(play(sandbox, "gzip"))
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(sent))["images"] == ITEMS


def test_gzip_invalid_and_cut(sandbox: Sandbox) -> None:
    """What is announced as gzip is none, or ends in the middle."""
    _, headers, sent = read(play(sandbox, "gzip-invalid"))
    assert headers["content-encoding"] == "gzip"
    assert json.loads(sent)["images"] == ITEMS
    _, headers, sent = read(play(sandbox, "gzip-cut"))
    assert (headers["content-encoding"], headers["content-length"]) == ("gzip", str(len(sent)))
    with pytest.raises(EOFError):
        gzip.decompress(sent)


def test_gzip_bomb(sandbox: Sandbox) -> None:
    """Some kilobytes unpack to as many megabytes as asked, and are still the list."""
    _, headers, chunks = read(play(sandbox, "gzip-bomb=40"))
    sent, ended = join(chunks)
    assert ended
    assert headers["content-encoding"] == "gzip"
    assert len(sent) < 1 << 20
    unpacked = zlib.decompress(sent, wbits=31)
    assert len(unpacked) > 40 << 20
    assert json.loads(unpacked)["images"] == ITEMS


def test_encoding(sandbox: Sandbox) -> None:
    """Any Content-Encoding is announced."""
    assert read(play(sandbox, "encoding=zstd"))[1]["content-encoding"] == "zstd"


@pytest.mark.parametrize("seconds", [-90000, 301, 0.5])
def test_date(sandbox: Sandbox, seconds: float) -> None:
    """The Date header is off by as many seconds as asked, the answer is right."""
    answer = play(sandbox, f"date={seconds}")
    moved = NOON + timedelta(seconds=int(seconds))
    assert parsedate_to_datetime(read(answer)[1]["date"]) == moved
    assert body(answer)["images"] == ITEMS


@pytest.mark.parametrize(("text", "echoed"), [("cap=7,times=0", 7), ("cap=7,echo=false,times=0", 20)])
def test_cap(sandbox: Sandbox, text: str, echoed: int) -> None:
    """The server's own limit holds for every page, and is echoed as per_page or hidden."""
    sandbox.faults.append(Fault.parse(text))
    pages = [body(ask(sandbox, f"/images?per_page=20&page={page}")) for page in range(1, 7)]
    assert [len(page["images"]) for page in pages] == [7, 7, 7, 7, 2, 0]
    assert [item for page in pages for item in page["images"]] == ITEMS
    assert {(page["per_page"], page["total_count"]) for page in pages} == {(echoed, 30)}


def test_capped_total(sandbox: Sandbox) -> None:
    """The total stops at a number, the pages do not."""
    sandbox.faults.append(Fault.parse("images:capped-total=20,times=0"))
    pages = [body(ask(sandbox, f"/images?per_page=10&page={page}")) for page in range(1, 5)]
    assert [(len(page["images"]), page["total_count"]) for page in pages] == [(10, 20), (10, 20), (10, 20), (0, 20)]
    assert body(ask(sandbox, "/snapshots"))["total_count"] == 30


def test_capped_total_above_the_list(sandbox: Sandbox) -> None:
    """A list shorter than the cap tells its own total."""
    assert body(play(sandbox, "capped-total=31"))["total_count"] == 30


@pytest.mark.parametrize("status", [400, 404])
def test_past_end(sandbox: Sandbox, status: int) -> None:
    """A page past the end is refused, every page of the list is as usual."""
    sandbox.faults.append(Fault.parse(f"past-end={status},times=0"))
    targets = [f"/images?per_page=15&page={page}" for page in (1, 2, 3, 99)]
    assert [read(ask(sandbox, target))[0] for target in targets] == [200, 200, status, status]


def test_past_the_end_of_nothing(sandbox: Sandbox) -> None:
    """The first page of an empty list is none past the end."""
    sandbox.collections = lambda name, at: []
    assert body(play(sandbox, "past-end"))["images"] == []


def test_close_after(sandbox: Sandbox) -> None:
    """A whole answer comes, and then the connection ends, though it was to be kept and more has been asked."""
    sandbox.faults.append(Fault.parse("close-after=0.1"))
    with closing(connect(sandbox, more="")) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        received = receive(connection)
    assert received.count(b"HTTP/1.1 ") == 1
    assert json.loads(read(received.removesuffix(RESET))[2])["images"] == ITEMS
    assert len(sandbox.requests) == 1


FRESH = "Cache-Control: max-age=0, No-Cache\r\nConnection: close\r\n"


def through(sandbox: Sandbox, more: str = "Connection: close\r\n", target: str = "/images") -> tuple[Any, ...]:
    """Return status, age, date and first id of an answer that may come out of a cache."""
    with closing(connect(sandbox, target, more)) as connection:
        answer = receive(connection)
    status, headers, _ = read(answer)
    content = body(answer)
    items = content.get(target[1:].partition("?")[0]) or [{"id": None}]
    return status, headers.get("age"), parsedate_to_datetime(headers["date"]), items[0]["id"]


def test_cache(sandbox: Sandbox) -> None:
    """The first answer to an address is kept and given again, with its Date and an Age, whatever is asked for."""
    sandbox.faults.append(Fault.parse("cache=90,times=0"))
    assert through(sandbox) == (200, None, NOON, "0")
    sandbox.collections = lambda name, at: ITEMS[1:]
    assert through(sandbox, target="/images?page=1") == (200, None, NOON, "1")
    sandbox.at = NOON + timedelta(seconds=10)
    assert through(sandbox) == (200, "100", NOON - timedelta(seconds=90), "0")
    assert through(sandbox, FRESH) == (200, "100", NOON - timedelta(seconds=90), "0")
    sandbox.faults.clear()
    assert through(sandbox) == (200, None, NOON + timedelta(seconds=10), "1")


def test_cache_that_obeys(sandbox: Sandbox) -> None:
    """Told to obey, a cache hands on who asks for no-cache, and keeps what it gets."""
    sandbox.faults.append(Fault.parse("cache,times=0,obey=true"))
    through(sandbox)
    sandbox.collections = lambda name, at: ITEMS[1:]
    assert through(sandbox)[1::2] == ("60", "0")
    assert through(sandbox, FRESH)[1::2] == (None, "1")
    assert through(sandbox)[1::2] == ("60", "1")


def test_cache_that_rewrites(sandbox: Sandbox) -> None:
    """The Date can be that of now, the Age any text, and a refusal can be kept."""
    sandbox.faults.append(Fault.parse("cache,times=0,date=now,text=5%2C 3"))
    through(sandbox)
    assert through(sandbox) == (200, "5, 3", NOON, "0")
    sandbox.faults[:] = [Fault.parse("cache,times=0,status=404")]
    assert [through(sandbox)[:2] for _ in range(2)] == [(404, None), (404, "60")]


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("field=total_count", lambda page: "total_count" not in page),
        ('field=total_count,value="30"', lambda page: page["total_count"] == "30"),
        ("field=total_count,value=true", lambda page: page["total_count"] is True),
        ("field=page,value=7", lambda page: page["page"] == 7),
        ("field=images,value=null", lambda page: page["images"] is None),
        ("field=images,value=[]", lambda page: (page["images"], page["total_count"]) == ([], 30)),
        ("field=id,index=3", lambda page: "id" not in page["images"][3] and "id" in page["images"][2]),
        (
            "field=regions,index=0,value=[null%2C%22%22]",
            lambda page: page["images"][0]["regions"] == [None, ""],
        ),
        ("field=id,index=99,value=1", lambda page: page["images"] == ITEMS),
    ],
)
def test_field(sandbox: Sandbox, text: str, check: Callable[[dict[str, Any]], bool]) -> None:
    """Any field of the body, or of one of its items, is set or removed; the next answer is right again."""
    assert check(body(play(sandbox, text)))
    assert body(ask(sandbox)) == {"images": ITEMS, "total_count": 30, "page": 1, "per_page": 50}


def test_patch(sandbox: Sandbox) -> None:
    """A function may make of the body what it likes."""
    sandbox.faults.append(Fault("patch", patch=lambda page: {"twice": [page["images"][0]] * 2}))
    assert body(ask(sandbox)) == {"twice": [ITEMS[0]] * 2}


def test_faults_count_what_matches(sandbox: Sandbox) -> None:
    """Of the requests that match collection and page, `skip` pass and `times` fail; no others count."""
    sandbox.faults.append(Fault("status", "images", 2, times=2, skip=1))
    targets = ["/images", "/images?page=2", "/snapshots?page=2", "/images?page=2", "/images?page=3"]
    targets += ["/images?page=2", "/images?page=2"]
    assert [read(ask(sandbox, target))[0] for target in targets] == [200, 200, 200, 503, 200, 503, 200]


def test_first_fault_with_something_to_say_answers(sandbox: Sandbox) -> None:
    """The order of the list decides, times=0 is for ever, and the list may change while it runs."""
    sandbox.faults += [Fault("status", status=500), Fault("status", "snapshots", status=502, times=0)]
    sandbox.faults.append(Fault("status", status=503))
    answers = [read(ask(sandbox, f"/{name}"))[0] for name in ("snapshots", "snapshots", "images", "snapshots")]
    assert answers == [500, 502, 503, 502]
    sandbox.faults.clear()
    assert read(ask(sandbox, "/snapshots"))[0] == 200


def test_a_fault_of_instances_meets_them_alone(sandbox: Sandbox) -> None:
    """/instances fails as the others do, alone or with all, and its items may be changed."""
    sandbox.faults.append(Fault.parse("instances:status=403"))
    assert [read(ask(sandbox, f"/{name}"))[0] for name in ("images", "snapshots", "instances")] == [200, 200, 403]
    sandbox.faults[:] = [Fault.parse("instances:field=name,index=1,value=7")]
    assert [item["name"] for item in body(ask(sandbox, "/instances"))["instances"][:3]] == ["Größe", 7, "Größe"]
    sandbox.faults[:] = [Fault.parse("status=502,times=3")]
    assert [read(ask(sandbox, f"/{name}"))[0] for name in ("images", "snapshots", "instances")] == [502] * 3


def test_page_1_is_the_page_of_a_request_without_one(sandbox: Sandbox) -> None:
    """A fault of page 1 meets a request that names no page, and none that is unreadable."""
    sandbox.faults.append(Fault("status", page=1, times=0))
    assert [read(ask(sandbox, target))[0] for target in ("/images", "/images?page=x")] == [503, 400]


def test_wrong_token_comes_before_any_fault(sandbox: Sandbox) -> None:
    """A request that is refused for its token or the rate uses up no fault."""
    sandbox.faults.append(Fault("status"))
    with closing(connect(sandbox, more="Authorization: Bearer wrong\r\nConnection: close\r\n")) as connection:
        assert read(receive(connection))[0] == 401
    assert sandbox.faults[0].seen == 0
    assert read(ask(sandbox))[0] == 503


@pytest.mark.parametrize(
    "text", ["hang", "drip,interval=30", "drip=space,interval=0.01", "delay=60", "endless", "close-after=60"]
)
def test_stop_ends_what_takes_time(text: str) -> None:
    """A sandbox that stops does not wait for its slowest fault."""
    with Sandbox(images=5, at=NOON, faults=[Fault.parse(text)]) as sandbox:
        connection = connect(sandbox)
        while not sandbox.requests:
            time.sleep(0.01)
        start = time.monotonic()
    assert time.monotonic() - start < 2
    with closing(connection):
        receive(connection)


def test_text_says_the_same_as_python() -> None:
    """The textual form names collection, page, kind, main option, options, times and skip."""
    fault = Fault.parse("images?page=2:status=503,times=3,skip=1,body=a%2Cb%25=c")
    assert (fault.kind, fault.collection, fault.page, fault.times, fault.skip) == (
        "status",
        "images",
        2,
        3,
        1,
    )
    assert fault.options == OPTIONS["status"] | {"status": 503, "body": "a,b%=c"}
    assert repr(fault) == "Fault('status', 'images', 2, times=3, skip=1)"
    for text, place in [
        ("hang", (None, None)),
        ("snapshots:hang=2.5", ("snapshots", None)),
        ("instances?page=2:hang", ("instances", 2)),
        ("?page=3:hang", (None, 3)),
    ]:
        assert (Fault.parse(text).collection, Fault.parse(text).page) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "images",
        "volumes:hang",
        "images?page=x:hang",
        "images?page=1&type=x:hang",
        "status=often",
        "status=503,",
        "status=503,times",
        "status=503,times=x",
        "status=503,speed=1",
        "status=503,headers=[1]",
        'status=503,headers={"A":1}',
        'field=id,index="a"',
        "gzip=1",
        "cap=5,echo=maybe",
        "close=middle",
        "cache,date=yesterday",
        "cache,obey=perhaps",
        "cache=old",
        "field=total_count,value=x",
        "patch=print",
        "patch",
    ],
)
def test_faulty_text_is_one_line_of_help(text: str) -> None:
    """What cannot be read as a fault is a ValueError of one line that says what could."""
    with pytest.raises(ValueError, match=r"\A[^\n]*fault[^\n]*\Z"):
        Fault.parse(text)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nonsense", {}),
        ("hang", {"status": 5}),
        ("gzip", {"level": 9}),
        ("drip", {"part": "tail"}),
        ("patch", {}),
    ],
)
def test_unknown_kinds_and_options_are_refused(kind: str, options: dict[str, Any]) -> None:
    """A fault that could never happen as written is a ValueError when it is made, not when it is due."""
    with pytest.raises(ValueError, match="fault"):
        Fault(kind, **options)
    with pytest.raises(ValueError, match="volumes"):
        Fault("hang", "volumes")
