"""What the wire does to a request: every fault ends in the same capture as without it, or in one clear refusal."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
import random
import resource
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.api.client import Client
from genesis_etl.api.stop import Stop
from genesis_etl.errors import ApiUnavailable, AuthError, BadPage, CollectionRefused, ExportFailed, GenesisEtlError
from genesis_etl.lake.lake import Lake
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import fewer, files_of, listing, refused, settings_for, told
from tests.raw import BODY, TOKEN, addresses, answer, chunks, client_of, deaf, failure, raw

WORDS = ("GET /images page 2, attempt ",)


@pytest.fixture
def sandbox(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox of 250 images and 120 snapshots, with a capture already in the lake."""
    sandbox = serve(collections=listing())
    export(settings_for(sandbox))
    sandbox.requests.clear()
    return sandbox


# --- what passes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    fewer(
        [
            *(
                Fault("retry-after", after=after)
                for after in ("0", "0.01", "-5", "soon", "", "1e3", "Thu, 99 Foo 2026")
            ),
            Fault("retry-after", after="Fri, 20 Nov 2026 11:00:00 GMT"),  # in the past of the sandbox's Date
            *(Fault("status", status=status) for status in (408, 425, 429, 500, 502, 503, 504, 507, 520, 599)),
            Fault("retry-after", status=503, after="0.01"),
            *(
                Fault(kind, where=where, bytes=9)
                for kind in ("close", "reset")
                for where in ("start", "headers", "body")
            ),
            Fault("short-body"),
            Fault("cut-chunks"),
            Fault("raw", body=b"SSH-2.0-OpenSSH\r\n"),
            Fault("gzip-invalid"),
            Fault("gzip-cut"),
            Fault("gzip"),
            Fault("encoding", encoding="x-unknown"),
            Fault("encoding", encoding="br"),
            Fault("hang", seconds=0.1),
            Fault("delay", seconds=0.1),
        ],
        12,
    ),
    ids=lambda fault: "-".join([fault.kind, *map(str, fault.options.values())])[:40],
)
def test_what_passes_leaves_no_trace(sandbox: Sandbox, fault: Fault) -> None:
    """After a fault that passes, the rows are those of a capture without it, and the repeats are counted."""
    fault.collection, fault.page = "images", 2
    sandbox.faults.append(fault)
    (capture,) = export(settings_for(sandbox, "another"))
    before, after = (
        next(path for path in files_of(lake) if path.startswith("store/rows")) for lake in ("lake", "another")
    )
    assert files_of("lake")[before] == files_of("another")[after]
    repeated = 0 if fault.kind in ("gzip", "delay") else 1
    assert (capture.retries, capture.requests) == (repeated, 11 + repeated)
    assert len(sandbox.requests) == capture.requests


@pytest.mark.parametrize(("kind", "options"), [("status", {"status": 503}), ("reset", {"where": "body"})])
def test_three_failures_pass_and_four_do_not(sandbox: Sandbox, kind: str, options: dict[str, Any]) -> None:
    """A page is asked for at most four times."""
    sandbox.faults.append(Fault(kind, "images", 2, times=3, **options))
    assert export(settings_for(sandbox))[0].retries == 3
    sandbox.faults[:] = [Fault(kind, "images", 2, times=0, **options)]
    sandbox.requests.clear()
    refused(settings_for(sandbox), sandbox.token, 4, *WORDS, "attempt 4 of 4", "try again later")
    asked = [request.query["page"] for request in sandbox.requests if request.path.endswith("/images")]
    assert asked.count("2") == 4


def test_a_429_is_no_attempt(sandbox: Sandbox) -> None:
    """Twenty answers of 429 in a row cost time, not attempts."""
    sandbox.faults.append(Fault("retry-after", "images", 2, times=20, after="0"))
    assert export(settings_for(sandbox))[0].retries == 20


def test_a_retry_after_holds_every_thread() -> None:
    """While one page waits as a 429 asked, no other page leaves."""
    with Sandbox(rate=0, collections=listing(900, 0)) as sandbox:
        sandbox.faults.append(Fault("retry-after", "images", 3, after="0.6"))
        export(settings_for(sandbox, now=datetime.now(UTC)))
        sent = sorted(request.received_at for request in sandbox.requests)
        (throttled,) = (request.received_at for request in sandbox.requests if request.status == 429)
    assert max(later - earlier for earlier, later in itertools.pairwise(sent)) >= 0.5
    assert not [at for at in sent if throttled + 0.1 < at < throttled + 0.5]


# --- what does not pass ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after", fewer(["86400", "9" * 400, format_datetime(datetime(2027, 1, 1, tzinfo=UTC), usegmt=True)], 2)
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_deadline_ends_the_capture_at_once(sandbox: Sandbox, after: str, status: int) -> None:
    """Whoever asks for more time than the capture has left is told so instead of being waited for."""
    sandbox.faults.append(Fault("retry-after", "images", 2, times=0, after=after, status=status))
    began = time.monotonic()
    refused(settings_for(sandbox), sandbox.token, 4, *WORDS, str(status), "asks to wait", "s left", "try again later")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("after", ["0", "soon"])
def test_a_429_for_ever_ends_with_the_capture(sandbox: Sandbox, after: str) -> None:
    """Being throttled without end is over when the time for one capture is, and the requests thin out."""
    sandbox.faults.append(Fault("retry-after", "images", 2, times=0, after=after))
    began = time.monotonic()
    refused(settings_for(sandbox, capture_deadline=1.0), sandbox.token, 4, *WORDS, "429")
    assert time.monotonic() - began < 5
    assert len(sandbox.requests) < 500


@pytest.mark.parametrize(
    ("fault", "exit_code", "words"),
    fewer(
        [
            (Fault("status", times=0, status=503), 4, ("503", "attempt 4 of 4")),
            *(
                (Fault("status", times=0, status=status), 5, (str(status),))
                for status in (400, 405, 422, 418, 501, 505)
            ),
            *(
                (Fault("status", times=0, status=status), 5, (str(status),))
                for status in (201, 202, 204, 206, 300, 304)
            ),
            (Fault("status", times=0, status=404), 5, ("404", "a page before could be read")),
            (Fault("status", times=0, status=403), 3, ("403", "GENESISCLOUD_TOKEN")),
            (Fault("status", times=0, status=401), 3, ("401", "GENESISCLOUD_TOKEN")),
            (Fault("close", times=0), 4, ("attempt 4 of 4",)),
            (Fault("reset", times=0, where="body"), 4, ("reset",)),
            (Fault("short-body", times=0), 4, ("attempt 4 of 4",)),
            (Fault("cut-chunks", times=0), 4, ("attempt 4 of 4",)),
            (Fault("raw", times=0, body=b"\x00" * 100), 4, ("attempt 4 of 4",)),
            (Fault("gzip-invalid", times=0), 5, ("unpacked",)),
            (Fault("gzip-cut", times=0), 5, ("may be cut",)),
            (Fault("encoding", times=0, encoding="x-unknown"), 5, ("x-unknown",)),
            (Fault("gzip-bomb", times=0, megabytes=300), 5, ("larger than 32 MiB",)),
            (Fault("endless", times=0, of="items"), 5, ("larger than 32 MiB",)),
            (Fault("endless", times=0, of="space"), 5, ("larger than 32 MiB",)),
            (Fault("hang", times=0), 4, ("no whole answer within 0.3 s",)),
            *((Fault("drip", times=0, part=part), 4, ("0.3 s",)) for part in ("headers", "body", "space")),
        ],
        8,
    ),
    ids=lambda value: f"{value.kind}-{next(iter(value.options.values()), '')}" if isinstance(value, Fault) else "",
)
def test_what_does_not_pass_is_refused(sandbox: Sandbox, fault: Fault, exit_code: int, words: tuple[str, ...]) -> None:
    """A page that fails for good fails the capture, with its name and the documented exit code."""
    fault.collection, fault.page = "images", 2
    sandbox.faults.append(fault)
    deadline = 5.0 if fault.kind in ("endless", "gzip-bomb") else 0.3
    began = time.monotonic()
    refused(settings_for(sandbox, deadline=deadline), sandbox.token, exit_code, *WORDS, *words)
    assert time.monotonic() - began < 20
    sandbox.faults.clear()
    export(settings_for(sandbox))


@pytest.mark.parametrize(("status", "exit_code"), [(401, 3), (403, 3), (404, 2), (400, 5), (405, 5), (422, 5)])
def test_a_refusal_is_not_asked_again(sandbox: Sandbox, status: int, exit_code: int) -> None:
    """What the API refuses for a reason costs one request."""
    sandbox.faults.append(Fault("status", "images", 1, times=0, status=status))
    words = {3: "GENESISCLOUD_TOKEN", 2: sandbox.endpoint, 5: str(status)}[exit_code]
    refused(settings_for(sandbox), sandbox.token, exit_code, "GET /images page 1, attempt 1 of 4", words)
    assert len(sandbox.requests) == 1


def test_a_wrong_token_is_refused(sandbox: Sandbox) -> None:
    """A token that the API does not know ends with 3 after one request."""
    error = refused(settings_for(sandbox, token="another-token"), "another-token", 3, "401", "GENESISCLOUD_TOKEN")
    assert isinstance(error.failed["default"], AuthError)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("status", fewer([301, 302, 303, 307, 308], 2))
@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/", "/compute/v1/images?page=1"])
def test_no_redirect_is_followed(sandbox: Sandbox, status: int, target: str) -> None:
    """No redirect leads the token anywhere, not even back to the same host."""
    with raw(answer()) as other:
        sandbox.faults.append(Fault("redirect", status=status, location=target.format(port=other.port)))
        refused(settings_for(sandbox), sandbox.token, 5, str(status), "redirects are never followed")
        assert other.received == []
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("location", "shown"),
    [("https://evil.example/x", "evil.example"), ("http://[::bad", "http://[::bad"), ("", "nowhere")],
)
def test_a_redirect_is_named_by_its_host(sandbox: Sandbox, location: str, shown: str) -> None:
    """The message says to which host an answer pointed."""
    sandbox.faults.append(Fault("redirect", location=location))
    refused(settings_for(sandbox), sandbox.token, 5, f"points to {shown};")


@pytest.mark.parametrize("status", fewer(["200 OK", "302 Found", "404 Not Found", "503 Busy"], 1))
def test_memory_stays_bounded(status: str) -> None:
    """A body that unpacks to 400 MB is refused, with whatever status it comes, before it takes them."""
    packer = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(packer.compress(b" " * 2**20) for _ in range(400)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = failure(answer(bomb, "Content-Encoding: gzip", "Location: http://x/", status=status))
    assert error.exit_code == {"2": 5, "3": 5, "4": 2, "5": 4}[status[0]]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.mark.parametrize("length", [b"-1", b"7fffffff"])
def test_chunks_of_absurd_length_stay_bounded(length: bytes) -> None:
    """A chunk that says -1 or two gigabytes, and never ends, is refused before it fills the memory."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(length + b"\r\n", "Transfer-Encoding: chunked"))
        while True:
            connection.sendall(b" " * 2**20)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = failure(serve, deadline=20.0)
    assert (error.exit_code, "larger than 32 MiB" in str(error)) == (5, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_nobody_listens() -> None:
    """A refused connection is tried again, then ends with 4 and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client_of(port) as client, pytest.raises(ApiUnavailable, match=r"attempt 2 of 2: Connection refused; try"):
        client.page("images", 1)
    assert (client.requests, client.retries) == (2, 1)


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without an address is tried again, then ends with 4 and the reason."""

    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with client_of(1, "nowhere.invalid", "https") as client, pytest.raises(ApiUnavailable, match="not known"):
        client.page("images", 1)
    assert client.requests == 2


def test_connecting_keeps_to_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three addresses that never answer cost one deadline together, not one each."""
    with deaf() as port, addresses(monkeypatch, *["127.0.0.1"] * 3), client_of(port, deadline=0.6, attempts=1) as one:
        began = time.monotonic()
        with pytest.raises(ApiUnavailable, match=r"attempt 1 of 1: .*timed out|no whole answer"):
            one.page("images", 1)
    assert 0.3 < time.monotonic() - began < 1.5


def test_the_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a host's first address refuses, its next one answers."""
    with raw(answer()) as server, addresses(monkeypatch, "::1", "127.0.0.1"), client_of(server.port) as client:
        assert client.page("images", 1).total_count == 3


def test_ipv6_loopback() -> None:
    """An endpoint on [::1] is on this machine and can be read over http."""
    with raw(answer(), "::1") as server:
        settings = Settings.load(environ={"GENESISCLOUD_ENDPOINT": f"http://[::1]:{server.port}"})
        assert settings.accounts[0].is_local
        with client_of(server.port, "[::1]") as client:
            assert client.page("images", 1).total_count == 3
        assert b"Host: [::1]:%d" % server.port in server.received[0]


# --- a server that is no friend of HTTP ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "served",
    [
        answer(chunks(BODY[:7], BODY[7:]), "Transfer-Encoding: chunked"),
        answer(gzip.compress(BODY), "Content-Encoding: gzip"),
        answer(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "Content-Encoding: GZIP"),
        answer(zlib.compress(BODY), "Content-Encoding: deflate"),
        answer(chunks(gzip.compress(BODY)), "Content-Encoding: x-gzip", "Transfer-Encoding: chunked"),
        answer(BODY, "Content-Encoding: identity"),
        answer(BODY, "X-Unframed: 1", version="1.0"),
        answer(BODY, "X-Unframed: 1", "Connection: close"),
        answer(BODY, version="1.0"),
        answer(BODY, f"Content-Length: {len(BODY)}", f"Content-Length: {len(BODY)}"),
        answer(chunks(BODY), "Transfer-Encoding: chunked", "Content-Length: 3"),
        answer(BODY, "Content-Length: x", version="1.0"),
        answer(BODY, "Content-Type: text/html; charset=utf-16"),
        answer(BODY, "Date: garbage", "Date: Fri, 20 Nov 2026 12:00:00 +9999", "Set-Cookie: a=b", "Set-Cookie: c"),
        answer(BODY, *(f"X-{place}: {'y' * 500}" for place in range(90))),
        answer(BODY, "X-Latin: Größe", status="200 Größe"),
        answer(BODY, status="200"),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + answer(),
        b"\r\n".join([b"HTTP/1.1 200 OK", b"X-Folded: a", b" b", b"Content-Length: %d" % len(BODY), b"", BODY]),
    ],
    ids=lambda value: "answer" if isinstance(value, bytes) else str(value),
)
def test_odd_answers_that_hold_a_page(served: bytes) -> None:
    """However an answer is framed and packed, a page inside is read as it is."""
    with raw(served) as server, client_of(server.port) as client:
        page = client.page("images", 1)
    assert (len(page.items), page.total_count, client.requests) == (3, 3, 1)


@pytest.mark.parametrize(
    ("served", "exit_code"),
    [
        (b"", 4),
        (b"HTTP/1.1", 4),
        (b"HTTP/1.1 abc OK\r\n\r\n", 4),
        (b"HTTP/1.1 20 OK\r\n\r\n", 4),
        (b"ICY 200 OK\r\n\r\n", 4),
        (b"<html>" * 20_000, 4),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 4),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", 4),
        (answer(BODY, "Content-Length: 10", "Content-Length: 20"), 4),
        (answer(BODY, "Content-Length: 10"), 5),
        (answer(BODY, f"Content-Length: {len(BODY) + 1}"), 4),
        (answer(BODY, "Content-Length: 99999999999999999999"), 4),
        (answer(b"zz\r\n" + BODY, "Transfer-Encoding: chunked"), 4),
        (answer(b"-5\r\n" + BODY, "Transfer-Encoding: chunked"), 4),
        (answer(b"5;" + b"x" * 200_000, "Transfer-Encoding: chunked"), 4),
        (answer(b"%x\r\n%s\r\n" % (len(BODY), BODY), "Transfer-Encoding: chunked"), 4),
        (answer(BODY[:-1], "X-Unframed: 1", version="1.0"), 5),
        (answer(b"", "X-Unframed: 1", version="1.0"), 5),
        (answer(gzip.compress(BODY)[:-20], "Content-Encoding: gzip"), 5),
        (answer(gzip.compress(BODY), "Content-Encoding: gzip, gzip"), 5),
        (answer(BODY, "Content-Encoding: zstd"), 5),
        (answer(b"", status="103 Early Hints"), 5),
        (answer(b"", status="101 Switching Protocols"), 5),
        (answer(b"", status="999 What"), 4),
        (answer(BODY, "Location: http://[", status="302 Found"), 5),
        (answer(b"\xff\xfe{\x00}\x00"), 5),
        (answer(b"\xef\xbb\xbf" + BODY), 5),
    ],
    ids=lambda value: "answer" if isinstance(value, bytes) else str(value),
)
def test_answers_that_hold_no_page(served: bytes, exit_code: int) -> None:
    """What is no answer to our question ends as an error of ours, whatever the libraries make of it."""
    assert failure(served).exit_code == exit_code


def test_no_random_answer_breaks_out() -> None:
    """Three hundred answers with random bytes put in end in a page or an error of ours, never in another one."""
    chance = random.Random(7)
    templates = [
        answer(),
        answer(chunks(BODY), "Transfer-Encoding: chunked"),
        answer(gzip.compress(BODY), "Content-Encoding: gzip"),
        answer(b'{"code": "1"}', "Retry-After: 0", status="503 Busy"),
        answer(b"", "Location: http://x/", status="302 Found"),
    ]

    def serve(connection: socket.socket, _: bytes) -> None:
        data = bytearray(chance.choice(templates))
        for _ in range(chance.randint(0, 3)):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randint(1, 30)]
                case 2:
                    data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 20)))
                case _:
                    data[place:place] = chance.choice([b"\r\n", b"\r\n\r\n", b"-1\r\n", b": ", b"\x00", b"1e999"])
        connection.sendall(bytes(data))

    outcomes = {"page": 0, "error": 0}
    with raw(serve) as server, client_of(server.port, attempts=1, deadline=1.0) as client:
        for _ in range(300):
            try:
                client.page("images", 1)
                outcomes["page"] += 1
            except GenesisEtlError as error:
                outcomes["error"] += TOKEN not in told(error)
    assert sum(outcomes.values()) == 300
    assert min(outcomes.values()) > 10


# --- headers, secrets, proxies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "sent"),
    [("both", {"X-Auth-Token", "Authorization"}), ("x-auth-token", {"X-Auth-Token"}), ("bearer", {"Authorization"})],
)
def test_the_headers_of_each_generation(sandbox: Sandbox, auth: str, sent: set[str]) -> None:
    """The token is in both headers, or the one that the settings ask for, and in nothing else of a request."""
    export(settings_for(sandbox, auth=auth))
    for request in sandbox.requests:
        headers = {name for name, value in request.headers.items() if sandbox.token in value}
        assert headers == sent
        assert sandbox.token not in json.dumps(request.query) + request.path
        assert request.query == {"page": request.query["page"], "per_page": "100"}


def test_netrc_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password that ~/.netrc holds for the host does not replace the token, on this machine or elsewhere."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login eve password secret-of-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Account, "is_local", property(lambda _: False))
    with raw(answer()) as server, client_of(server.port) as client:
        client.page("images", 1)
        assert f"Authorization: Bearer {TOKEN}".encode() in server.received[0]
        assert b"Basic" not in server.received[0]


def test_cookies_are_not_kept() -> None:
    """A cookie that the API sets is not sent back."""
    with raw(answer(BODY, "Set-Cookie: spy=1; Path=/")) as server, client_of(server.port) as client:
        client.page("images", 1)
        client.page("images", 1)
        assert len(server.received) == 2
        assert b"cookie" not in server.received[1].lower()


def test_loopback_takes_no_proxy(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """What stays on this machine does not go through a proxy of the environment."""
    with raw(answer()) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        export(settings_for(sandbox))
        assert proxy.received == []


# --- the clock, the pace, the end ------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-3600, 0, 90, 86400 * 400])
def test_the_skew_is_read_from_the_date(ahead: int) -> None:
    """`clock_skew` is how far the API's clock is ahead of ours."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    with raw(answer(BODY, f"Date: {date}")) as server, client_of(server.port) as client:
        client.page("images", 1)
    assert client.clock_skew == pytest.approx(ahead, abs=5)


@pytest.mark.parametrize("date", [(), ("Date: yesterday",), ("Date: Fri, 20 Nov 99999 12:00:00 GMT",), ("Date:",)])
def test_no_readable_date_is_no_skew(date: tuple[str, ...]) -> None:
    """A Date that is missing or unreadable tells nothing, and is no error."""
    with raw(answer(BODY, *date)) as server, client_of(server.port) as client:
        client.page("images", 1)
    assert client.clock_skew is None


def test_the_capture_deadline_is_kept() -> None:
    """A server that answers every page, slowly and without end, is left when the time for one capture is over."""
    with Sandbox(rate=0, collections=listing(100_000, 0)) as sandbox:
        settings = settings_for(sandbox, rate=50.0, capture_deadline=0.8)
        began = time.monotonic()
        refused(settings, sandbox.token, 4, "GET /images page ", "the time for one capture is over", "try again later")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("where", ["hang", "connect", "429", "drip"])
def test_an_interrupt_ends_a_capture_promptly(sandbox: Sandbox, where: str) -> None:
    """Ctrl-C is not made to wait for requests that hang, whatever they hang in."""
    settings = settings_for(sandbox, deadline=30.0)
    if where == "429":
        sandbox.faults.append(Fault("retry-after", times=0, after="30"))
    else:
        sandbox.faults.append(Fault("drip" if where == "drip" else "hang", times=0, skip=1))
    with deaf() as port:
        if where == "connect":
            account = Account("default", f"http://127.0.0.1:{port}", "GENESISCLOUD_TOKEN", Secret(TOKEN))
            settings = Settings((account,), deadline=30.0, lake=settings.lake, now=sandbox.at)
        before = files_of(settings.lake)
        interrupted_at: list[float] = []

        def interrupt() -> None:
            interrupted_at.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        timer = threading.Timer(0.5, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            export(settings)
        ended_at = time.monotonic()
        timer.join()
    assert ended_at - interrupted_at[0] < 1
    assert files_of(settings.lake) == before
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("page")]


def test_an_interrupt_ends_accounts_that_have_not_begun_to_ask(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is made after the others were stopped is stopped from the start."""
    one = settings_for(sandbox, deadline=30.0)
    accounts = tuple(replace(one.accounts[0], name=name) for name in ("quick", "slow"))
    sandbox.faults.append(Fault("hang", times=0))
    before = files_of(one.lake)
    is_over = threading.Event()
    newest = Lake.newest
    monkeypatch.setattr(
        Lake,
        "newest",
        lambda self, name, **options: (name == "slow" and is_over.wait(30), newest(self, name, **options))[1],
    )
    stop = Stop.set
    monkeypatch.setattr(Stop, "set", lambda self: (stop(self), is_over.set())[0])
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident or 0, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        export(replace(one, accounts=accounts))
    assert time.monotonic() - began < 5
    assert files_of(one.lake) == before


@pytest.mark.parametrize("host", ["*.example.com", ".example.com"])
def test_a_host_that_no_request_can_go_to_fails_its_account_alone(host: str) -> None:
    """What passes for a URL and is none is told as the setting that it is, beside the capture of the other account."""
    bad = Account("bad", f"https://{host}/compute/v1", "GENESISCLOUD_TOKEN", Secret(TOKEN))
    said = pytest.raises(ExportFailed, match=r"the endpoint of account bad, .* mend the endpoint setting")
    with Sandbox(rate=0) as now, said as caught:
        one = settings_for(now, now=None)
        export(replace(one, accounts=(bad, *one.accounts)))
    assert len(caught.value.landed) == 1
    assert caught.value.exit_code == 2


def test_a_stop_can_be_sent_to_a_cluster() -> None:
    """A flow's task is pickled with what it uses, and in another process there is nothing to stop yet."""
    stop = Stop()
    stop.set()
    assert not pickle.loads(pickle.dumps(stop)).event().is_set()
    assert stop.event().is_set()


def test_nothing_leaves_after_a_stop(sandbox: Sandbox) -> None:
    """A client that was stopped sends no further request."""
    with Client(settings_for(sandbox).accounts[0], settings_for(sandbox)) as client:
        client.stop()
        with pytest.raises(ApiUnavailable, match="stopped"):
            client.page("images", 1)
    assert sandbox.requests == []


def test_the_same_bytes_are_parsed_once(sandbox: Sandbox) -> None:
    """An answer that equals an earlier one of the same page gives that one back."""
    with Client(settings_for(sandbox).accounts[0], settings_for(sandbox)) as client:
        first = client.page("images", 1)
        assert client.page("images", 1, known=first) is first
        sandbox.collections = listing(249)
        assert client.page("images", 1, known=first).total_count == 249


def test_the_type_is_sent(sandbox: Sandbox) -> None:
    """The type goes to /images as the documented filter, whatever is in it."""
    with Client(settings_for(sandbox).accounts[0], settings_for(sandbox)) as client:
        assert client.page("images", 1, type="a&page=2 é").items == []
        assert client.page("images", 1, type="base-os").total_count == 250
    assert [request.query.get("type") for request in sandbox.requests] == ["a&page=2 é", "base-os"]


def test_a_collection_refused_says_its_status(sandbox: Sandbox) -> None:
    """403 and 404 for all of /snapshots are an error of their own, with status and exit code."""
    with Client(settings_for(sandbox).accounts[0], settings_for(sandbox)) as client:
        for status, exit_code in ((403, 3), (404, 5)):
            sandbox.faults[:] = [Fault("status", "snapshots", status=status)]
            with pytest.raises(CollectionRefused) as caught:
                client.page("snapshots", 1)
            assert (caught.value.status, caught.value.exit_code) == (status, exit_code)
            sandbox.faults[:] = [Fault("status", "snapshots", status=status)]
            with pytest.raises((AuthError, BadPage)):
                client.page("snapshots", 2)
