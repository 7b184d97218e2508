"""How a request leaves this machine: proxies and certificates of the environment, on real sockets and real TLS."""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from genesis_etl.api.hooks import ping_heartbeat
from genesis_etl.errors import ApiUnavailable, GenesisEtlError, SettingsError
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Hook
from tests.conftest import listing, settings_for, told
from tests.raw import TOKEN, Dying, Serve, addresses, answer, client_of, raw

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
SECRET = "pass-of-proxy"


@pytest.fixture(autouse=True)
def _no_ways_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and certificates of whoever runs the tests out of them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def write_certificate(folder: Path, owner: str) -> None:
    """Write a self-made certificate of api.test, its key, and the certificate under the name of its hash."""
    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("api.test"), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder(whose, whose, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "hashed").mkdir()
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(folder / "cert.pem")]
    hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (folder / "hashed" / f"{hashed}.0").write_bytes((folder / "cert.pem").read_bytes())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-made certificate of api.test and its key."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder, "api.test")
    return folder


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with another certificate of api.test, of somebody else."""
    folder = tmp_path_factory.mktemp("other")
    write_certificate(folder, "somebody else")
    return folder


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    """The server's side of that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    return context


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Find every host on this machine."""
    with addresses(monkeypatch, "127.0.0.1"):
        yield


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch, at_home: None) -> None:
    """Trust the certificate, as a user does through the environment, and find api.test on this machine."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "cert.pem"))


def pump(source: socket.socket, target: socket.socket, through: list[bytes]) -> None:
    """Carry bytes from one connection to another until it ends, and write them down."""
    with suppress(OSError):
        while data := source.recv(65536):
            through.append(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def tunnel(port: int, through: list[bytes]) -> Serve:
    """Return a proxy that lets everyone through to a port of this machine."""

    def connect(connection: socket.socket, request: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port)) as target:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(target, connection, through), daemon=True).start()
            pump(connection, target, through)

    return connect


def error_of(port: int = 443, host: str = "api.test", *, requests: int, deadline: float = 2.0) -> GenesisEtlError:
    """Return the error in which a read ends after so many requests; it tells neither token nor password."""
    with (
        client_of(port, host, "https", deadline=deadline) as client,
        pytest.raises(GenesisEtlError) as caught,
    ):
        client.page("images", 1)
    assert TOKEN not in told(caught.value)
    assert SECRET not in told(caught.value)
    assert client.requests == requests
    return caught.value


# --- certificates ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusted")
def test_tls(tls: ssl.SSLContext) -> None:
    """An endpoint whose certificate is trusted is read over TLS, the token in it."""
    with raw(answer(), tls=tls) as server, client_of(server.port, "api.test", "https") as client:
        assert client.page("images", 1).total_count == 3
        assert TOKEN.encode() in server.received[0]


TRUST = [
    *({name: "cert.pem"} for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")),
    *({name: "hashed"} for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")),
    {"SSL_CERT_DIR": "nothere:hashed"},
    {"SSL_CERT_FILE": "cert.pem", "SSL_CERT_DIR": "nothere"},
    {"SSL_CERT_FILE": "../others/cert.pem", "SSL_CERT_DIR": "hashed"},
    {"REQUESTS_CA_BUNDLE": "cert.pem", "CURL_CA_BUNDLE": "nothere", "SSL_CERT_FILE": "nothere"},
    {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "cert.pem", "SSL_CERT_FILE": "../others/cert.pem"},
]


def in_folder(certificates: Path, others: Path, paths: str) -> str:
    """Return these paths as they lie in the folder of certificates."""
    own = [
        str(others / path[10:]) if path.startswith("../others/") else str(certificates / path)
        for path in paths.split(":")
    ]
    return ":".join(own) if paths else ""


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("host", ["api.test", "localhost"])
@pytest.mark.parametrize("trust", TRUST, ids=str)
def test_certificates_of_the_environment(
    trust: dict[str, str],
    host: str,
    tls: ssl.SSLContext,
    certificates: Path,
    others: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each usual variable is honoured, on this machine too: a bundle before OpenSSL's two, which speak together."""
    for name, paths in trust.items():
        monkeypatch.setenv(name, in_folder(certificates, others, paths))
    with raw(answer(), tls=tls) as server, client_of(server.port, host, "https") as client:
        assert client.page("images", 1).total_count == 3


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    "trust", [{}, {"REQUESTS_CA_BUNDLE": "o", "SSL_CERT_FILE": "c"}, {"SSL_CERT_FILE": "o"}], ids=str
)
def test_a_certificate_that_is_not_trusted(
    trust: dict[str, str], tls: ssl.SSLContext, certificates: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not in the certificates that count ends with 4 at once; the message names the variable."""
    for name, whose in trust.items():
        monkeypatch.setenv(name, str((certificates if whose == "c" else others) / "cert.pem"))
    with raw(answer(), tls=tls) as server:
        error = error_of(server.port, requests=1)
        assert server.received == []
    assert isinstance(error, ApiUnavailable)
    assert error.seen.startswith("TLS failed: ")
    assert error.where == "GET /images page 1, attempt 1 of 2"
    named = f", trusted are those of {next(iter(trust))}" if trust else ""
    assert error.advice == f"check the endpoint and its certificate{named}, verification is never switched off"


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_another_host(tls: ssl.SSLContext) -> None:
    """A trusted certificate of another name ends with 4 at once, and nothing is sent."""
    with raw(answer(), tls=tls) as server:
        error = error_of(server.port, "other.test", requests=1)
        assert server.received == []
    assert (error.exit_code, "TLS failed" in error.seen) == (4, True)


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "No such file"),
        ("garbage", "no certificate in PEM"),
        ("empty", "no certificate in PEM"),
        ("folder", "hash"),
    ],
)
def test_certificates_that_cannot_be_used(
    name: str, kind: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA setting that no waiting mends is told as the setting that it is, before any request."""
    path = tmp_path / "company"
    if kind == "folder":
        path.mkdir()
        (path / "cert.pem").touch()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "-----BEGIN NONSENSE-----\n")
    monkeypatch.setenv(name, str(path))
    with pytest.raises(SettingsError) as caught:
        client_of(443, "api.test", "https")
    assert f"the certificates in {name} cannot be used: {path}" in caught.value.seen
    assert words in caught.value.seen
    assert name in (caught.value.advice or "")


def test_http_needs_no_certificates(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read without TLS does not care for a CA setting that is wrong."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nothere.pem")
    assert export(settings_for(serve(collections=listing(3, 0))))[0].images == 3


@pytest.mark.usefixtures("trusted")
def test_tls_that_is_cut_is_tried_again(tls: ssl.SSLContext) -> None:
    """A connection that ends in the middle of TLS is a connection that ended: tried again, then 4."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer()[:-5])
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    with raw(serve, tls=tls) as server:
        assert error_of(server.port, requests=2).exit_code == 4
        assert len(server.received) == 2


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("is_behind_proxy", [False, True])
def test_a_kept_tls_connection_that_dies_costs_no_attempt(
    is_behind_proxy: bool, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept connection with TLS, or a kept way through a proxy, that ends without a byte costs no attempt either."""
    dying = Dying(lambda connection: connection.shutdown(socket.SHUT_RDWR))
    with raw(dying, tls=tls) as server, raw(tunnel(server.port, [])) as proxy:
        if is_behind_proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        with client_of(server.port, "api.test", "https", attempts=1) as client:
            assert [client.page("images", 1).total_count for _ in range(2)] == [3, 3]
            assert (client.requests, client.retries) == (3, 1)
        assert len(proxy.received) == 2 * is_behind_proxy


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("drip", [b"", b"\x16\x03\x03\x40\x00"])
def test_a_handshake_keeps_to_the_deadline(drip: bytes) -> None:
    """A server that takes a connection and never finishes TLS costs one deadline."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(drip)
            while drip:
                time.sleep(0.05)
                connection.sendall(b"x")
            time.sleep(3)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            try:
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        error = error_of(listener.getsockname()[1], requests=2, deadline=0.5)
    assert (error.exit_code, error.seen) == (4, "no whole answer within 0.5 s")


# --- proxies ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", "", "HTTP://", " http://"])
def test_a_proxy_is_used_and_sees_no_token(
    name: str, scheme: str, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy of the environment TLS stays between us and the API: the proxy sees a host, no token."""
    through: list[bytes] = []
    with raw(answer(), tls=tls) as server, raw(tunnel(server.port, through)) as proxy:
        monkeypatch.setenv(name, f"{scheme}user:{SECRET}@127.0.0.1:{proxy.port}")
        with client_of(server.port, "api.test", "https") as client:
            assert client.page("images", 1).total_count == 3
        assert proxy.received[0].startswith(b"CONNECT api.test:")
        assert b"Proxy-Authorization: Basic " in proxy.received[0]
        assert TOKEN.encode() not in b"".join([*proxy.received, *through])
        assert TOKEN.encode() in server.received[0]


def test_the_variable_that_counts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several variables with the same proxy, the one is named that was read."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "ftp://h:1")
    with pytest.raises(SettingsError, match="the proxy in HTTPS_PROXY has"):
        client_of(443, "api.test", "https")
    monkeypatch.setenv("https_proxy", "ftp://h:2")
    with pytest.raises(SettingsError, match="the proxy in https_proxy has"):
        client_of(443, "api.test", "https")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_a_host_without_proxy(name: str, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that NO_PROXY names is asked directly, however wrong the proxy is."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://nowhere")
    monkeypatch.setenv(name, "elsewhere.test,.test")
    with raw(answer(), tls=tls) as server, client_of(server.port, "api.test", "https") as client:
        assert client.page("images", 1).total_count == 3


@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_speaks_tls(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https proxy is verified, too, and TLS to the API goes inside of TLS to the proxy."""
    with raw(answer(), tls=tls) as server, raw(tunnel(server.port, []), tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
        with client_of(server.port, "api.test", "https") as client:
            assert client.page("images", 1).total_count == 3
        assert proxy.received[0].startswith(b"CONNECT api.test:")


@pytest.mark.usefixtures("trusted")
def test_tls_inside_of_tls_keeps_to_the_deadline(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind an https proxy an API that drips costs one deadline an attempt."""

    def drip(connection: socket.socket, _: bytes) -> None:
        for byte in itertools.cycle(b"HTTP/1.1 200 OK"):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with raw(drip, tls=tls) as server, raw(tunnel(server.port, []), tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
        error = error_of(server.port, requests=2, deadline=0.6)
    assert (error.exit_code, error.seen) == (4, "no whole answer within 0.6 s")


@pytest.mark.usefixtures("at_home")
def test_tls_to_the_proxy_that_fails(tls: ssl.SSLContext, others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy whose certificate is not trusted is told as the proxy, and not asked again."""
    monkeypatch.setenv("SSL_CERT_FILE", str(others / "cert.pem"))
    with raw(b"", tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://user:{SECRET}@localhost:{proxy.port}")
        error = error_of(requests=1)
    assert error.exit_code == 4
    assert error.seen.startswith(f"the proxy localhost:{proxy.port} of HTTPS_PROXY: TLS failed: ")
    assert (error.advice or "").startswith("check the proxy and its certificate, trusted are those of SSL_CERT_FILE")


@pytest.mark.usefixtures("at_home")
def test_tls_behind_the_proxy_that_fails(tls: ssl.SSLContext, others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the certificate of the API itself is not trusted, the proxy in between is not blamed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(others / "cert.pem"))
    with raw(answer(), tls=tls) as server, raw(tunnel(server.port, [])) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        error = error_of(server.port, requests=1)
    assert (error.exit_code, error.seen[:10]) == (4, "TLS failed")
    assert "proxy" not in str(error)


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://u:{SECRET}/x@h:1",
        f"http://u:{SECRET}#x@h:1",
        f"http://u:{SECRET}?x@h:1",
        f"http://u:{SECRET}@h:99999",
        f"u:{SECRET}@h:port",
        f"http://{SECRET}@",
        f"http://u:1234/{SECRET}@h:1",
        f"http://u:1234?{SECRET}@h:1",
        f"http://[::1{SECRET}",
        "http://",
        "://",
        "http:// h:1",
    ],
)
def test_a_proxy_that_cannot_be_read(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is no URL is told as the variable that holds it, and no part of it is shown."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(SettingsError) as caught:
        client_of(443, "api.test", "https")
    assert caught.value.seen == "the proxy in HTTPS_PROXY cannot be read"
    assert "http://USER:PASSWORD@HOST:PORT" in (caught.value.advice or "")
    assert SECRET not in told(caught.value)
    assert "1234" not in told(caught.value)


@pytest.mark.parametrize(
    ("name", "proxy", "words"),
    [
        ("HTTPS_PROXY", f"ftp://user:{SECRET}@h:1", "the proxy in HTTPS_PROXY has the scheme ftp, which is unknown"),
        ("all_proxy", "socks9://h:1", "the proxy in all_proxy has the scheme socks9, which is unknown"),
        ("https_proxy", f"socks5h://user:{SECRET}@h:1", "the proxy in https_proxy speaks SOCKS, for which the package"),
        ("ALL_PROXY", "SOCKS4://h:1", "the proxy in ALL_PROXY speaks SOCKS, for which the package PySocks is missing"),
    ],
)
def test_a_proxy_that_no_waiting_mends(name: str, proxy: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown scheme, and SOCKS without its package, are told as the setting that they are, before any request."""
    monkeypatch.setattr("genesis_etl.api.session.find_spec", lambda _: None)
    monkeypatch.setenv(name, proxy)
    with pytest.raises(SettingsError) as caught:
        client_of(443, "api.test", "https")
    assert caught.value.seen.startswith(words)
    assert caught.value.advice
    assert SECRET not in told(caught.value)


@pytest.mark.usefixtures("at_home")
def test_a_proxy_that_wants_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """407 is a setting that no waiting mends: one request, 2, and the proxy's name without its login."""
    with raw(b"HTTP/1.1 407 Who are you\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        error = error_of(requests=1)
        assert len(proxy.received) == 1
    assert isinstance(error, SettingsError)
    assert error.seen == f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY wants a login (407)"
    assert error.where == "GET /images page 1, attempt 1 of 2"


def test_an_answer_of_407() -> None:
    """A 407 of a proxy that nobody has set is a matter of settings, too."""
    with raw(answer(b"", status="407 Login")) as server, client_of(server.port) as client:
        with pytest.raises(SettingsError, match=r"a proxy wants a login \(407 Login\)"):
            client.page("images", 1)
        assert len(server.received) == 1


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", "it answered 503 when asked for a way to the API"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "it answered 403 when asked for a way to the API"),
        (b"", "Remote end closed connection without response"),
        (b"garbage\r\n\r\n", "what came is no answer in HTTP"),
        (None, "no whole answer within 0.5 s"),
    ],
)
def test_a_proxy_that_fails(monkeypatch: pytest.MonkeyPatch, reply: bytes | None, words: str) -> None:
    """A proxy that refuses, hangs up, talks nonsense or drips is told as the proxy: tried again, then 4."""

    def serve(connection: socket.socket, _: bytes) -> None:
        if reply is not None:
            connection.sendall(reply)
            return
        for byte in itertools.cycle(b"HTTP/1.1 200 OK"):
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    with raw(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        error = error_of(requests=2, deadline=0.5)
    assert error.exit_code == 4
    assert error.seen == f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY: {words}"
    assert error.advice == "try again later, or check that proxy"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_dead(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens at the proxy, the proxy is named and not the API."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{SECRET}@127.0.0.1:{port}")
    error = error_of(requests=2)
    assert (error.exit_code, error.seen) == (4, f"the proxy 127.0.0.1:{port} of ALL_PROXY: Connection refused")


def test_a_proxy_of_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name of the proxy is not found, the proxy is named and not the API."""

    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("HTTPS_PROXY", "http://nowhere.test:3128")
    error = error_of(requests=2)
    assert error.seen == "the proxy nowhere.test:3128 of HTTPS_PROXY: Name or service not known"


@pytest.mark.parametrize("proxy", ["socks5://h:1", f"http://u:{SECRET}/@h:1"])
def test_a_hook_behind_a_proxy_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook that no proxy lets out is an error of the webhook, which costs no run."""
    monkeypatch.setattr("genesis_etl.api.session.find_spec", lambda _: None)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    hook = Hook(f"https://hooks.test/{TOKEN}")
    with pytest.raises(ApiUnavailable, match=r"hooks\.test: the proxy in HTTPS_PROXY") as caught:
        ping_heartbeat(hook)
    assert SECRET not in told(caught.value)
    assert TOKEN not in told(caught.value)
