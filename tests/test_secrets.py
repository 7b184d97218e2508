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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from genesis_etl.api import Client
from genesis_etl.errors import GenesisEtlError
from genesis_etl.pipeline import export, live_rows
from genesis_etl.redact import keep_secret, redact
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.conftest import files_of, listing, refused, settings_for, some_images, told

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


@pytest.mark.parametrize("token", ["plain-token-0123456789abcdef", ODD, "x" * 600 + "0123456789" * 20])
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


def test_other_texts_stay_as_they_are() -> None:
    """What is not the token is not touched."""
    keep_secret("token-0123456789")
    for text in ("", "…", "nothing here…", "token-012345678", "\\u0074", "%74%6f…"):
        assert redact(text) == text


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


@pytest.mark.parametrize("fault", ["status=401", "status=503", "redirect=302", "body=null", "reset", None])
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
    answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX-Auth-Token {}\r\n\r\n{}"
    faults = [
        Fault("raw", collection=name, body=answer.format(len(text), token, text).encode(), times=0)
        for name, text in (("images", body), ("snapshots", snapshots))
    ]
    with caplog.at_level(logging.DEBUG), Sandbox(rate=0, token=token, faults=faults) as sandbox:
        with contextlib.suppress(GenesisEtlError):
            export(settings_for(sandbox, now=None))
        assert sandbox.requests
    assert token not in caplog.text
    assert not any(token in str(record.args) + str(record.exc_info) for record in caplog.records)
