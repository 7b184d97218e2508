"""The one gate that every text of ours passes before it leaves: no password, token or key gets through.

    redact("Failed to parse: http://me:pass/word@proxy:99999")    # Failed to parse: http://***@proxy:99999

Out go the secrets that it was told of (`keep_secret` and its siblings), those that the environment holds under a name
that says so, and whatever stands before the `@` of something that looks like a URL, whether it parses or not.

Errors pass it when they are made, and stderr passes it as a whole, so that no place that makes a text can forget it.
What the API tells of images is data, not a text of ours: rows of the lake and of reports keep every name as it is.
"""

from __future__ import annotations

import base64
import html
import logging
import os
import re
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Final, TextIO
from urllib.parse import unquote

HIDDEN: Final = "***"
_LEAST: Final = 4  # characters: what is shorter is no secret, and would be taken out of every other word
_LEAST_GUESSED: Final = 6  # where only the name of a variable says that it is one
_LEAST_PART: Final = 12  # of a part of a secret URL
_START: Final = 3  # characters by which a secret is looked up
_LONGEST_ESCAPE: Final = 9  # characters that one may take, as `&#x00041;` does

# PASSWORD, TOKEN and the like wherever they stand in a name, what is short as a word of it alone.
_SECRET_NAME = re.compile(
    "PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|CREDENTIAL|WEBHOOK|HEARTBEAT"
    "|(?:^|_)(?:AUTH|KEYS?|PASS|PAT|PSW)(?:_|[0-9]*$)|_PWD?$"
)
_NO_SECRET_NAME = re.compile("(?:_FILE|_PATH|_DIR|_SOCK|_URL|_NAME|_ENV|_USER|_HOST|_TYPE|_TTL)$|^GENESIS_ETL_AUTH$")
_PROXY_NAME = re.compile("_PROXY$")

# `http://`, and what people write instead: one slash, backslashes, slashes escaped as JSON does, no scheme at all.
_BEFORE: Final = r"(?<![\w+.:/\\-])((?!file:///)[a-z][a-z0-9+.-]+:[/\\]++|//)"
# What an advice writes in their place is no user and password.
_USERINFO = re.compile(_BEFORE + r"(?!(?-i:USER:PASSWORD)@)(\S*)@", re.IGNORECASE)
_FEW_SLASHES = re.compile(r"^[a-z][a-z0-9+.-]+:[/\\]+", re.IGNORECASE)
_SCHEME = re.compile("[a-z][a-z0-9+.-]*", re.IGNORECASE)
_ENCODED_USERINFO = re.compile(r"(?<![\w+.%-])([a-z][a-z0-9+.-]+%3a(?:%2f)+)\S*(?:%40|@)", re.IGNORECASE)
_CUT_USERINFO = re.compile(_BEFORE + r"[^\s@/…]*:(?!\d*(?:/\S*)?…)[^\s@…]*…", re.IGNORECASE)
_ESCAPED_CHARACTER = re.compile(r"\\+(?:u00|x)([0-9a-f]{2})", re.IGNORECASE)


class _Secret:
    """One secret, found however it is written: plain, escaped as JSON, Python, URLs or HTML do, or cut short by `…`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.decoded = _decoded(text)

    def is_in(self, text: str, decoded: str) -> bool:
        """Tell whether it may stand in the text, before anything is prepared to find it."""
        return self.text in text or self.decoded in decoded or ("…" in text and self.decoded[:_START] in decoded)

    def taken_out(self, text: str) -> str:
        """Return the text without it, and without a beginning of it where the text was cut."""
        text = self._whole.sub(HIDDEN, text)
        for cut in reversed([match.start() for match in re.finditer("…", text)]):
            text = self._without_start(text, cut)
        return text

    @cached_property
    def _characters(self) -> list[re.Pattern[str]]:
        return [re.compile(_forms(character)) for character in self.text]

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile("".join(pattern.pattern for pattern in self._characters))

    def _without_start(self, text: str, cut: int) -> str:
        """Take out a beginning of the secret that reaches to the cut, or to the escape that was cut in two there."""
        for start in range(max(0, cut - 400), cut):
            end = start
            for known, character in enumerate(self._characters):
                match = character.match(text, end, cut)
                if match is None:
                    if known >= _LEAST and text[end : end + 1] in ("\\", "%", "&") and cut - end <= _LONGEST_ESCAPE:
                        return f"{text[:start]}{HIDDEN}{text[cut:]}"
                    break
                end = match.end()
                if end == cut and known + 1 >= _LEAST:
                    return f"{text[:start]}{HIDDEN}{text[cut:]}"
        return text


class _Gate:
    """What is known to be secret in this process; it only ever learns."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may make an error while its own thread learns
        self._known: set[str] = set()
        self._by_start: dict[str, list[_Secret]] = {}
        self._environ: dict[Any, Any] = {}

    def keep(self, text: str, least: int = _LEAST) -> None:
        text = text.strip()
        if len(text) < least:
            return
        with self._lock:
            if text not in self._known:
                secret = _Secret(text)
                for start in {text[:_START], secret.decoded[:_START]}:
                    self._by_start[start] = [*self._by_start.get(start, []), secret]
                self._known.add(text)

    def secrets_in(self, text: str, decoded: str) -> list[_Secret]:
        """Return the secrets that may stand in a text, in no more time the more are known; the longest first.

        One secret may hold another, and what would be left of it tells its rest.
        """
        # Undecoded, as `os.environ` holds it, it takes no time to compare; to decode it takes longer than all the rest.
        environ = getattr(os.environ, "_data", os.environ)
        if environ != self._environ:
            keep_environment(os.environ)
            self._environ = dict(environ)
        known = self._by_start
        starts = {each[at : at + _START] for each in {text, decoded} for at in range(len(each) - _START + 1)}
        found = {id(secret): secret for start in starts if start in known for secret in known[start]}
        there = [secret for secret in found.values() if secret.is_in(text, decoded)]
        return sorted(there, key=lambda secret: -len(secret.text))


_gate = _Gate()


def redact(text: str) -> str:
    """Return the text with `***` for every secret in it."""
    decoded = _decoded(text)
    for secret in _gate.secrets_in(text, decoded):
        text = secret.taken_out(text)
    if "@" in text or "%40" in text:
        text = _ENCODED_USERINFO.sub(rf"\1{HIDDEN}@", _USERINFO.sub(rf"\1{HIDDEN}@", text))
    return _CUT_USERINFO.sub(rf"\1{HIDDEN}…", text) if "…" in text else text


def keep_secret(text: str) -> None:
    """Let no text show this one from now on; one of fewer than four characters is no secret."""
    _gate.keep(text)


def keep_userinfo(text: str) -> None:
    """Keep what stands before the `@` of every URL in a text, or of the text itself, which may be one without a scheme.

    It is kept whole and in the parts that parsers make of it, for a password is not always where the URL says so:
    `http://me:pass/word@host` has the port `pass`, says urllib3. A user alone is kept where there is no password.
    """
    scheme, slashes, rest = text.strip().partition("://")
    if _SCHEME.fullmatch(scheme) and not rest.startswith("/"):
        users = [rest.rpartition("@")[0]]
    elif slashes:
        users = [match[2] for match in _USERINFO.finditer(text)]
    else:
        user = _FEW_SLASHES.sub("", scheme).rpartition("@")[0]
        users = [user] if ":" in user else []
    for user in users:
        _, colon, password = user.partition(":")
        secret = password if colon else user
        for part in (user, secret, *re.split("[/?#@]", user), *re.split("[/?#@:]", secret)):
            if not part.isdigit():
                _gate.keep(part)
                _gate.keep(unquote(part))
        # What a proxy is sent, and may repeat.
        _gate.keep(base64.b64encode(unquote(user).encode("utf-8", "replace")).decode(), _LEAST_GUESSED)


def keep_url(url: str) -> None:
    """Keep a URL that whoever knows it can use: whole, its path and query, and every long part of them."""
    _gate.keep(url)
    keep_userinfo(url)
    path = url.strip().partition("://")[2].partition("/")[2]
    _gate.keep(path, _LEAST_PART)
    for part in re.split("[/?&=#]", path):
        _gate.keep(part, _LEAST_PART)


def keep_environment(environ: Mapping[str, str]) -> None:
    """Keep what variables hold whose names say so (PASSWORD, TOKEN, KEY, …), and the userinfo in any of them."""
    for name in list(environ):  # another thread may change it meanwhile
        value, loud = environ.get(name, ""), name.upper()
        if "@" in value and ("://" in value or _PROXY_NAME.search(loud)):
            keep_userinfo(value)
        if _SECRET_NAME.search(loud) and not _NO_SECRET_NAME.search(loud):
            # A file of variables may have left its quotes, and a key may be of many lines.
            for part in {value, value.strip().strip("\"'"), *value.splitlines()}:
                _gate.keep(part, _LEAST_GUESSED)
            if "://" in value:
                keep_url(value)


@contextmanager
def clean_errors() -> Iterator[None]:
    """Take secrets out of whatever is raised: our own errors hold none, but a library's, or a bug's, may."""
    try:
        yield
    except Exception as error:
        _clean(error)
        raise


def _clean(error: BaseException) -> None:
    """Clean the texts that an exception was made of, and those of every other that it holds or came from."""
    left, done = [error], set()
    while left:
        each = left.pop()
        if id(each) not in done:
            done.add(id(each))
            each.args = tuple(redact(part) if isinstance(part, str) else part for part in each.args)
            others = (*each.args, each.__cause__, each.__context__)
            left += [other for other in others if isinstance(other, BaseException)]


def clean_logs() -> None:
    """Let no log record of this process hold a secret, whoever logs, its traceback included."""
    make = logging.getLogRecordFactory()

    def record(*args: Any, **options: Any) -> logging.LogRecord:
        made = make(*args, **options)
        with suppress(TypeError, ValueError):  # arguments that do not fit the text are the handler's to tell
            made.msg, made.args = redact(made.getMessage()), ()
        if made.exc_info and made.exc_info[0] is not None:
            made.exc_text = redact("".join(traceback.format_exception(*made.exc_info))).rstrip("\n")
        return made

    logging.setLogRecordFactory(record)


class RedactedStream:
    """A text stream that lets no secret through; all else is that of the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without the secrets in it."""
        return self._stream.write(redact(text) if isinstance(text, str) else text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every line without the secrets in it."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _decoded(text: str) -> str:
    """Return the text with escapes of every usual kind undone, to look for a secret; it is not meant to be read."""
    if "&" in text:
        text = html.unescape(text)
    if "%" in text:
        text = unquote(unquote(text))
    if "\\" in text:
        text = _ESCAPED_CHARACTER.sub(lambda match: chr(int(match[1], 16)), text).replace("\\", "")
    return text


def _forms(character: str) -> str:
    """Return a pattern for every usual way to write a character."""
    code = ord(character)
    named = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}.get(character)
    quoted = "".join(f"%(?:25)?(?i:{byte:02x})" for byte in character.encode("utf-8", "surrogatepass"))
    # The longer forms first: where the secret itself holds a `%`, an encoded one is not to be taken for it.
    forms = [
        rf"\\{{1,4}}(?:{re.escape(character)}|(?i:u{code:04x}|x{code:02x}))",
        quoted,
        f"&#0{{0,4}}(?:{code}|(?i:x0{{0,4}}{code:x}));",
        *([f"&{named};"] if named else []),
        re.escape(character),
    ]
    return f"(?:{'|'.join(forms)})"
