"""The token: refused before it is sent where it cannot be, and told to nobody, not even when the API echoes it."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import pytest

from genesis_etl import cli
from genesis_etl import redact as gate
from genesis_etl.api.client import Client
from genesis_etl.cli import process
from genesis_etl.errors import (
    ApiUnavailable,
    BadValue,
    CollectionRefused,
    ExportFailed,
    GenesisEtlError,
    LakeError,
    SettingsError,
)
from genesis_etl.live import live_rows
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.redact import keep_secret, redact
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import fewer, files_of, listing, refused, settings_for, some_images, told
from tests.listening import Listener

ODD = r"""tok\en"with'all&<>%/+=chars-0123456789"""


def escaped(token: str) -> str:
    """Return a token as JSON may write it, every character escaped."""
    return "".join(f"\\u{ord(character):04x}" for character in token)


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda token: token,
    "header": lambda token: f"Authorization: Bearer {token}",
    "json": lambda token: json.dumps(token),
    "json in json": lambda token: json.dumps(json.dumps(token)),
    "escaped": escaped,
    "escaped upper": lambda token: escaped(token).upper().replace("U", "u"),
    "half escaped": lambda token: escaped(token[: len(token) // 2]) + token[len(token) // 2 :],
    "hex escapes": lambda token: "".join(f"\\x{ord(character):02x}" for character in token),
    "quoted": lambda token: quote(token, safe=""),
    "all quoted": lambda token: "".join(f"%{ord(character):02X}" for character in token),
    "quoted twice": lambda token: quote(quote(token, safe=""), safe=""),
    "html": html.escape,
    "entities": lambda token: "".join(f"&#{ord(character)};" for character in token),
    "hex entities": lambda token: "".join(f"&#x{ord(character):x};" for character in token),
    "repr": repr,
    "many": lambda token: token * 50,
}


def shapes(text: str, token: str) -> list[str]:
    """Return the parts of a token, ten characters and more, that stand in a text."""
    return [token[start : start + 10] for start in range(len(token) - 9) if token[start : start + 10] in text]


@pytest.mark.parametrize("token", fewer(["plain-token-0123456789abcdef", ODD, "x" * 600 + "0123456789" * 20], 2))
@pytest.mark.parametrize("echo", list(ECHOES))
def test_an_echo_is_taken_out(echo: str, token: str) -> None:
    """However the token is written, in the middle of a text or cut off at any place, none of it stays."""
    keep_secret(token)
    text = f"before {ECHOES[echo](token)} after"
    assert redact(text).startswith("before ")
    assert redact(text).endswith(" after")
    assert not shapes(redact(text), token)
    for cut in range(10, min(len(text), 400), 7):
        assert not shapes(redact(text[:cut] + "…"), token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "…",
        "nothing here…",
        "token-012345678",
        "\\u0074",
        "%74%6f…",
        "me@example.com wrote to a@b",
        "https://api.example.com:8080/v1?x=1#y",
        "https://api.example.com/a/long/pa…",
        "http://127.0.0.1:80…",
        "file:///data/me@home/lake",
        "write it as http://USER:PASSWORD@HOST:PORT",
        "data/me@home: 12:30 //",
        "25 % of C:\\x & more",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    """What is neither a secret nor a user in a URL is not touched."""
    keep_secret("token-0123456789")
    assert redact(text) == text
    assert str(LakeError(text, where=text, advice=text)) == (f"{text}: {text}; {text}" if text else "")


PASSWORD = "Pa55-of-proxy"
URLS = [
    "http://me:{}@h:1",
    "http://me:{}/x@h:1",
    "http://me:x/{}@h:1",
    "http://me:1/{}@h:1",
    "http://me:{}#x@h:1",
    "http://me:{}?x@h:1",
    "http://me:x@{}@h:1",
    "http://me:{}@h:99999",
    "http://me:{}@[::1",
    "http://me:{}@",
    "http://{}@h",
    "HTTP://me:{}@h",
    "http:/me:{}@h",
    "http:\\\\me:{}@h",
    "http:\\/\\/me:{}@h",
    "http%3A%2F%2Fme%3A{}%40h",
    "socks5h://me:{}@h:1",
    "s3://{}:secret@bucket/x",
    "s3://KEY:{}@bucket",
    "s3:/KEY:{}@bucket",
    "postgresql+asyncpg://me:{}@h/db",
    "//me:{}@h",
]


@pytest.mark.parametrize("url", URLS)
def test_a_user_in_a_url_is_taken_out(url: str) -> None:
    """No part of what stands before the @ of a URL is shown, whether it parses or not, and though nobody told of it."""
    text = f"Failed to parse ({url.format(PASSWORD)}): no"
    assert PASSWORD not in redact(text)
    assert not [part for part in ("me:", "KEY:", ":secret", "/x@", "x@***") if part in redact(text)]
    assert redact(text).startswith("Failed to parse (")
    assert redact(text).endswith(": no")
    for error in (ApiUnavailable(text), LakeError("x", where=text), SettingsError("x", advice=text), BadValue(text)):
        assert PASSWORD not in told(error)


def test_a_url_that_was_cut_before_its_host_shows_no_password() -> None:
    """Where a cut took the @ away, what may have been a password is not shown either."""
    for cut in range(len("http://me:"), len(f"http://me:{PASSWORD}")):
        assert redact(f"see http://me:{PASSWORD}@h"[: cut + 5] + "…") == "see http://***…"


def test_an_error_is_clean_however_it_was_made() -> None:
    """Fields that are set later, in a subclass, or that come through pickle, pass the gate too."""
    keep_secret("token-0123456789")
    error = CollectionRefused("x", status=404, exit_code=5)
    error.seen = error.where = error.advice = "a token-0123456789"
    failed = ExportFailed([], {"a": error, "b": error})
    for each in (error, failed, pickle.loads(pickle.dumps(error)), pickle.loads(pickle.dumps(failed))):
        assert "token-0123456789" not in told(each) + repr(vars(each))
        assert "a ***" in str(each)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GENESISCLOUD_TOKEN", "of-a-token-1"),
        ("DB_PASSWORD", "hunter2"),
        ("db_password", "hunter-two"),
        ("PGPASSWORD", "of-postgres"),
        ("MYSQL_PWD", "of-mysql"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjE=="),
        ("PREFECT_API_KEY", "pnu_0123456789"),
        ("PREFECT_SERVER_API_AUTH_STRING", "admin:of-prefect"),
        ("SMTP_PASS", "of-the-mail"),
        ("DJANGO_SECRET", "of-django"),
        ("MY_APIKEY", "'quoted-key'"),
        ("PRIVATE_KEY", "-----BEGIN-----\nQUJDREVGR0hJSktM\n-----END-----"),
        ("GENESIS_ETL_WEBHOOK", "https://hooks.example.com/services/T0/a-long-secret"),
    ],
)
def test_the_environment_is_known(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in a variable whose name says that it is secret is shown by no error, whoever set it and when."""
    redact("before")
    monkeypatch.setenv(name, value)
    for part in value.strip("'").split("\n"):
        assert part not in str(LakeError(f"refused: {part}"))
    if "://" in value:
        assert str(LakeError("no answer to /services/T0/a-long-secret")) == "no answer to /***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GENESIS_ETL_AUTH", "bearer"),
        ("PWD", "/data/lake"),
        ("OLDPWD", "/data/lake"),
        ("SSH_AUTH_SOCK", "/data/lake"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/data/lake"),
        ("SSL_KEY_FILE", "/data/lake"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("KEYBOARD", "german"),
        ("HTTPS_PROXY", "http://proxy.example.com:8080"),
    ],
)
def test_a_variable_that_is_no_secret_may_be_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a word or an address is not hidden for the name of its variable."""
    monkeypatch.setenv(name, value)
    assert redact(f"see {value}") == f"see {value}"


@pytest.mark.parametrize("variable", fewer(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"], 2))
@pytest.mark.parametrize("url", [*(url for url in URLS if "http" in url and url[-1] != "@"), "me:{}@127.0.0.1:1"])
def test_the_password_of_a_proxy_is_shown_nowhere(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams, rows, a traceback and the webhook are without it, whatever the libraries make of the proxy's URL."""
    for name, value in {
        variable: url.format(PASSWORD).replace("@h", "@127.0.0.1"),
        "GENESISCLOUD_ENDPOINT": "https://api.example.invalid/v1",
        "GENESISCLOUD_TOKEN": "token-0123456789",
        "GENESIS_ETL_ATTEMPTS": "1",
        "GENESIS_ETL_WEBHOOK": listener.url,
    }.items():
        monkeypatch.setenv(name, value)
    assert cli.run(["export", "--format", "json", "--debug"]) != 0
    assert cli.run(["check", "--format", "json"]) == 1
    said = "".join(capsys.readouterr()) + str(listener.received)
    assert "Traceback" in said
    assert len(listener.received) == 1
    assert not shapes(said, PASSWORD)
    assert "token-0123456789" not in said


def test_stderr_lets_no_secret_through_whoever_writes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's warning, a log, the traceback of a thread and a bug of ours are all told without it."""
    monkeypatch.setenv("GENESISCLOUD_TOKEN", "token-0123456789")

    def command(_: list[str]) -> int:
        print("printed token-0123456789", file=sys.stderr)
        sys.stderr.writelines(["lines token-0123456789\n"])
        click.echo("echoed token-0123456789", err=True)
        logging.lastResort.handle(logging.makeLogRecord({"msg": "logged token-0123456789"}))  # type: ignore[union-attr]
        thread = threading.Thread(target=int, args=("token-0123456789",))
        monkeypatch.setattr(threading, "excepthook", lambda args: traceback.print_exception(args.exc_value))
        thread.start()
        thread.join()
        raise RuntimeError("raised token-0123456789")

    assert process.ended(command, ["--debug"]) == 1
    said = capsys.readouterr().err
    for word in (
        "printed ***",
        "lines ***",
        "echoed ***",
        "logged ***",
        "literal for int() with base 10: '***'",
        "raised ***",
    ):
        assert word in said
    assert "token-0123456789" not in said


def test_a_bug_tells_no_secret_in_python_either(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of ours keeps its kind, and loses the secret, in itself and in what it came from."""
    sandbox = serve(collections=listing(3, 2))

    def broken(*_: Any) -> None:
        try:
            raise OSError(RuntimeError(f"inner {sandbox.token}"))
        except OSError:
            raise KeyError(f"outer {sandbox.token}", 1)  # noqa: B904  the one before is its context

    monkeypatch.setattr(sys.modules["genesis_etl.pipeline"], "to_rows", broken)
    with pytest.raises(KeyError) as caught:
        export(settings_for(sandbox))
    assert "outer ***" in told(caught.value)
    assert "inner ***" in told(caught.value)
    assert sandbox.token not in told(caught.value)


def test_logs_hold_no_secret(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once logs are cleaned, as the flows do, neither text, argument nor traceback of a line holds a secret."""
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_0123456789")
    before = logging.getLogRecordFactory()
    try:
        gate.clean_logs()
        try:
            raise RuntimeError("raised pnu_0123456789")
        except RuntimeError:
            logging.getLogger("anyone").exception("logged %s", "pnu_0123456789")
        logging.getLogger("anyone").error("100 % of it")
    finally:
        logging.setLogRecordFactory(before)
    assert "logged ***" in caplog.text
    assert "RuntimeError: raised ***" in caplog.text
    assert "100 % of it" in caplog.text
    assert "pnu_0123456789" not in caplog.text + str([vars(record)["args"] for record in caplog.records])


def test_names_are_data(serve: Callable[..., Sandbox], capsys: pytest.CaptureFixture[str]) -> None:
    """An image that is called like a URL with a user, or holds a secret's text, keeps its name in every table."""
    name = "see http://me:word@h and token-0123456789"
    keep_secret("token-0123456789")
    export(settings_for(serve(collections=lambda which, at: some_images(1, name=name) if which == "images" else [])))
    assert open_lake("lake").sql("select name from images")["name"].tolist() == [name] * 2
    assert cli.run(["sql", "select distinct name from images", "--lake", "lake"]) == 0
    assert name in capsys.readouterr().out


def test_a_secret_is_looked_for_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand secrets none is prepared for the search before something like it stands in a text."""
    for number in range(1000):
        keep_secret(f"token-{number:010}-{number:010}")
    prepared: list[str] = []
    real = gate._forms
    monkeypatch.setattr(gate, "_forms", lambda character: prepared.append(character) or real(character))
    assert redact("GET /images page 1: 25 % of it … & more") == "GET /images page 1: 25 % of it … & more"
    assert prepared == []
    assert redact("a token-0000000007-0000000007") == "a ***"
    assert len(prepared) == len("token-0000000007-0000000007")


@pytest.mark.parametrize("place", ["message", "code", "body", "html", "reason", "page", "id", "Location", "encoding"])
@pytest.mark.parametrize("before", [0, 40, 70])
def test_the_api_echoes_the_token(serve: Callable[..., Sandbox], place: str, before: int) -> None:
    """Wherever an answer repeats the token, behind however much else, no part of it is told."""
    token = "echo-" + "".join(chr(65 + number % 26) + chr(97 + number % 26) for number in range(40))
    sandbox = serve(collections=listing(3, 2), token=token)
    text = "x" * before + " " + token
    page: dict[str, Any] = {"images": some_images(1), "total_count": 1, "page": 1, "per_page": 100}
    faults = {
        "message": Fault("status", status=400, body=json.dumps({"code": "1", "message": text})),
        "code": Fault("status", status=500, body=json.dumps({"code": [text], "message": {text: 1}})),
        "body": Fault("status", status=400, body=f"{escaped(text)}"),
        "html": Fault("body", body=f"<html>{text}"),
        "reason": Fault("raw", body=f"HTTP/1.1 400 {text}\r\nContent-Length: 0\r\n\r\n"),
        "page": Fault("body", body=json.dumps({**page, "page": text})),
        "id": Fault("body", body=json.dumps({**page, "images": [{"id": text}] * 2})),
        "Location": Fault("redirect", location=f"https://{token}.example/{text}"),
        "encoding": Fault("encoding", encoding=text),
    }
    fault = faults[place]
    fault.times = 0
    sandbox.faults.append(fault)
    error = refused(settings_for(sandbox), token, 4 if place == "code" else 5)
    assert not shapes(str(error), token)


@pytest.mark.parametrize("field", ["created_at", "name", "type", "regions", "id", "zone"])
def test_an_item_holds_the_token(serve: Callable[..., Sandbox], field: str, caplog: pytest.LogCaptureFixture) -> None:
    """An item that repeats the token is told without it, in errors and in notices."""
    caplog.set_level(logging.DEBUG)
    token = "item-" + "Ab1Cd2Ef3Gh4" * 6
    images = some_images(2)
    images[1] |= {"created_at": "never", field: {"regions": [token, 1]}.get(field, token)}
    sandbox = serve(collections=lambda name, at: images if name == "images" else [], token=token)
    error = refused(settings_for(sandbox), token, 5)
    assert not shapes(str(error), token)
    images[1]["created_at"] = images[0]["created_at"]
    said: list[str] = []
    if field in ("type", "zone"):
        export(settings_for(sandbox), notice=said.append)
        said += live_rows(settings_for(sandbox), settings_for(sandbox).accounts[0]).notes
        assert len(said) == 2
    assert not shapes("".join(said) + caplog.text, token)


@pytest.mark.parametrize(
    ("token", "word"),
    [
        (None, "no token"),
        ("", "no token"),
        (" \t\n", "no token"),
        ("line\nbreak-0123", "line break"),
        ("re\rturn-0123456", "line break"),
        ("schlüssel-01234", "outside ASCII"),
        ("two words-01234", "a space"),
        ("nul\x00nul-0123456", "outside ASCII"),
        ("emoji😀-01234567", "outside ASCII"),
    ],
)
def test_a_token_that_cannot_be_sent(serve: Callable[..., Sandbox], token: str | None, word: str) -> None:
    """A missing, blank or malformed token ends with 2 before any request, and is not printed."""
    sandbox = serve(collections=listing(3, 2))
    account = Account("default", sandbox.endpoint, "MY_VARIABLE", None if token is None else Secret(token))
    settings = replace(settings_for(sandbox), accounts=(account,))
    secret = token if token and token.strip() else "\0never"
    refused(settings, secret, 2, word, "MY_VARIABLE")
    assert sandbox.requests == []


def test_a_token_is_trimmed(serve: Callable[..., Sandbox]) -> None:
    """Blanks and line ends around a token are no part of it."""
    sandbox = serve(collections=listing(3, 2))
    export(settings_for(sandbox, token=f" {sandbox.token}\r\n"))


def test_a_token_is_in_no_repr() -> None:
    """Neither settings, account, client nor error show the token, and it is not pickled."""
    secret = "secret-0123456789"
    account = Account("default", secret=Secret(secret))
    settings = Settings((account,))
    with Client(account, settings) as client:
        for thing in (account, settings, account.token, client, vars(settings), [account]):
            assert secret not in f"{thing} {thing!r}"
    for thing in (account, settings, account.token):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize("fault", fewer(["status=401", "status=503", "redirect=302", "body=null", "reset", None], 2))
def test_the_command_tells_no_token(serve: Callable[..., Sandbox], tmp_path: Path, fault: str | None) -> None:
    """With --debug and a traceback, neither stream of the command, nor any file that it leaves, holds the token."""
    sandbox = serve(collections=listing(3, 2), at=None)
    if fault is not None:
        sandbox.faults.append(Fault.parse(f"{fault},times=0"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GENESISCLOUD_TOKEN": sandbox.token,
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "GENESIS_ETL_RATE": "1000",
        "GENESIS_ETL_BACKOFF": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, "-m", "genesis_etl", "export", "--debug"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    expected = {"status=401": 3, "status=503": 4, "redirect=302": 5, "body=null": 5, "reset": 4, None: 0}[fault]
    assert done.returncode == expected, done.stderr
    told_bytes = [done.stdout, done.stderr, *files_of(tmp_path).values()]
    for form in (sandbox.token, base64.b64encode(sandbox.token.encode()).decode()):
        assert not [data for data in told_bytes if form.encode() in data]
    if fault is not None:
        assert b"Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith(b"error: GET /images page 1")


def test_the_command_without_debug_says_one_line(serve: Callable[..., Sandbox], tmp_path: Path) -> None:
    """Without --debug a failure is one line on stderr, and leaves no file."""
    sandbox = serve(collections=listing(3, 2), at=None)
    environment = {
        "PATH": "/usr/bin:/bin",
        "GENESISCLOUD_TOKEN": "wrong-token-0123",
        "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, "-m", "genesis_etl", "export"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert b"wrong-token-0123" not in done.stdout + done.stderr
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"error: GET /images page 1, attempt 1 of 4: 401 Unauthorized")
    assert files_of(tmp_path) == {}


def test_the_libraries_log_no_token(serve: Callable[..., Sandbox], caplog: pytest.LogCaptureFixture) -> None:
    """With every library at its most talkative, no log line holds the token."""
    caplog.set_level(logging.DEBUG)
    sandbox = serve(collections=listing(3, 2))
    export(settings_for(sandbox))
    sandbox.faults.append(Fault("status", times=0, status=500))
    with pytest.raises(GenesisEtlError) as caught:
        export(settings_for(sandbox))
    assert caplog.records
    assert sandbox.token not in caplog.text + told(caught.value)


def test_a_header_that_echoes_the_token_is_logged_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A header line without a colon, which urllib3 would log, is in no log, however much of it is shown."""
    token = "token-9f3a1c2e4b-header"
    body = json.dumps({"images": some_images(1), "total_count": 1, "page": 1, "per_page": 100})
    snapshots = json.dumps({"snapshots": [], "total_count": 0, "page": 1, "per_page": 100})
    instances = snapshots.replace("snapshots", "instances")
    answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX-Auth-Token {}\r\n\r\n{}"
    faults = [
        Fault("raw", collection=name, body=answer.format(len(text), token, text).encode(), times=0)
        for name, text in (("images", body), ("snapshots", snapshots), ("instances", instances))
    ]
    with caplog.at_level(logging.DEBUG), Sandbox(rate=0, token=token, faults=faults) as sandbox:
        with contextlib.suppress(GenesisEtlError):
            export(settings_for(sandbox, now=None))
        assert sandbox.requests
    assert token not in caplog.text
    assert not any(token in str(record.args) + str(record.exc_info) for record in caplog.records)
