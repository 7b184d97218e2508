"""How values are read: from a text of the environment, or as TOML and options have them. Pure.

A reader takes what stands there and returns the value; BadValue says what is wrong with it, and what to write instead.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from genesis_etl.errors import BadValue, SettingsError
from genesis_etl.settings.secret import Hook, is_loopback
from genesis_etl.text import seen, shown
from genesis_etl.times import CALENDAR, parse_duration, parse_time

Reader = Callable[[object], Any]

DEFAULT_ENDPOINT: Final = "https://api.genesiscloud.com/compute/v1"
AUTHS: Final = ("both", "x-auth-token", "bearer")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|(?:s3[an]?|file|gs|https?)//|//[^/]*@", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_A_LAKE: Final = "write a folder, such as data/lake, or s3://bucket/prefix"
# A variable of a shell, of Windows, of a template; a $ alone may be part of a name.
_UNFILLED = re.compile(r"(?:^|/)\$\w|\$[A-Z_{(]|`|%[A-Za-z_]\w*%|\{\{|\}\}")
_QUOTES: Final = "\"'“”„‘’‚«»‹›"


def s3_endpoint(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the object store's URL where the environment names another than AWS; SettingsError if it is none."""
    environ = os.environ if environ is None else environ
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            url = urlsplit(text)
            is_url = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            is_url = False
        if "@" in text:
            raise SettingsError(
                "a URL with a user or password in it",
                where=variable,
                advice="take them out; credentials have variables of their own, AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY",
            )
        if not is_url:
            raise SettingsError(
                "not the URL of an object store",
                where=variable,
                advice="write one that looks like https://s3.example.com",
            )
        return text
    return None


def lake_url(raw: object, where: str = "the lake") -> str:
    """Return where a lake lies, `~` expanded and `file://` taken off; SettingsError for what looks like no such place.

    `where` is what the text came from, for the error.
    """
    try:
        return read_lake(raw)
    except BadValue as error:
        raise refused(error, where) from None


def duration_of(where: str, duration: timedelta | str | None) -> timedelta | None:
    """Return a duration given as a timedelta or as `10m`; SettingsError, which says where, if it is not one."""
    if not isinstance(duration, str):
        return duration
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise SettingsError(str(error), where=where) from None


def refused(error: BadValue, where: str) -> SettingsError:
    """Make an error of a value that cannot be read; there is always something to do about one."""
    return SettingsError(error.seen, where=where, advice=error.advice or "mend it, or leave it out for the default")


def read_text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise BadValue(f"expected a text, got {seen(raw)}")
    return raw.strip()


def read_lake(raw: object) -> str:
    """Read a folder or `s3://bucket/prefix`.

    What looks like a URL, or like something that a shell should have replaced, is no folder of that name: captures
    would land where nobody looks for them.
    """
    text = read_text(raw)
    if text.startswith("s3://"):
        return _bucket(text)
    if text.startswith("file:///"):
        text = text.removeprefix("file://")  # the path as it stands: a % is one
    if _SCHEME.match(text):
        raise BadValue(*_no_lake(text))
    name = shown(text)
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise BadValue(f"{name} has quotes around it", "take them off")
    if _UNFILLED.search(text):
        raise BadValue(
            f"{name!r} holds a variable that nothing has filled in", "write the folder itself; a ~ before it is taken"
        )
    if text.startswith("\\") or not text.isprintable():
        raise BadValue(f"{name!r} is no folder of this machine", _A_LAKE)
    folder = os.path.expanduser(text)
    if folder.startswith("~"):
        raise BadValue(f"{name!r} names a user who has no home here", "write the folder itself")
    return folder


def _no_lake(text: str) -> tuple[str, str]:
    """Return what is wrong with something like a URL, and what to write; none of it where it may hold a password."""
    scheme = re.split("[:/]", text)[0].lower()
    name = "a URL with a user or password in it, or an @," if "@" in text else repr(shown(text))
    if scheme == "s3":
        return f"{name} does not begin with s3://", "write s3://bucket/prefix, as a text: a Path drops a slash"
    if scheme == "file":
        return f"{name} does not begin with file:///", "write file:///data/lake, or the folder alone"
    if "/" not in text and "\\" not in text:
        return f"{name} looks like a URL", "write ./ before a folder of this name"
    return (
        f"{name} is neither a folder nor s3://bucket/prefix",
        f"{_A_LAKE}; AWS_ENDPOINT_URL names a store that speaks S3",
    )


def _bucket(text: str) -> str:
    if "@" in text:
        raise BadValue(
            "an s3:// URL with a user or password in it, or an @",
            "write s3://bucket/prefix; credentials stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    name = repr(shown(text))
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    prefix = prefix.removesuffix("/")
    if not bucket:
        raise BadValue(f"{name} names no bucket", "a lake there is s3://bucket/prefix")
    if ":" in bucket:
        raise BadValue(
            "an s3:// URL with a : in it",
            "write s3://bucket/prefix; the store's own address stands in AWS_ENDPOINT_URL",
        )
    if _BUCKET.fullmatch(bucket) is None:
        raise BadValue(f"{name} has a bucket that cannot be one", "write s3://bucket/prefix")
    if text.endswith("//") or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
        raise BadValue(f"{name} has an empty part, . or .. in it", "write the prefix as it is, s3://bucket/prefix")
    if not prefix.isprintable() or "?" in prefix or "#" in prefix or _UNFILLED.search(text):
        raise BadValue(f"{name} has more in it than a bucket and a prefix", "write s3://bucket/prefix")
    return f"s3://{bucket}/{prefix}".rstrip("/")


def read_endpoint(raw: object) -> str:
    # A refusal does not repeat the text, for it may hold a password, or be the token in the wrong variable.
    text = read_text(raw).rstrip("/")
    like = f"write one that looks like {DEFAULT_ENDPOINT}"
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise BadValue("not a URL", like) from None
    if "@" in text:
        raise BadValue("a URL with a user or password in it", "take them out; the token has its own variable")
    if "?" in text or "#" in text:
        raise BadValue("a URL with a query or fragment", f"end it after the path, as in {DEFAULT_ENDPOINT}")
    if "://" not in text:
        raise BadValue("a URL without https:// before it", like)
    if url.scheme not in ("http", "https"):
        raise BadValue(f"{shown(url.scheme, 20)}:// is not https://", like)
    if not host or any(c.isspace() or not c.isprintable() for c in text):
        raise BadValue("a URL without a host or with blanks in it", like)
    try:
        host.encode("idna")
    except UnicodeError:
        raise BadValue("a URL with a host that cannot be one", like) from None
    if url.scheme == "http" and not is_loopback(host):
        raise BadValue(f"http would show the token to everyone on the way to {shown(host)}", "use https")
    return text


@dataclass(frozen=True)
class Number:
    """Reads a number within bounds; from a text in the environment, for there is nothing else."""

    least: float
    most: float
    is_whole: bool = False

    def __call__(self, raw: object) -> float | int:
        kind = "a whole number" if self.is_whole else "a number"
        try:
            if isinstance(raw, bool) or not isinstance(raw, int | float | str):
                raise ValueError
            number = float(raw)
        except (ValueError, OverflowError):
            raise BadValue(f"expected {kind}, got {seen(raw)}") from None
        is_right = math.isfinite(number) and self.least <= number <= self.most
        if not is_right or (self.is_whole and number != int(number)):
            raise BadValue(f"expected {kind} from {self.least:g} to {self.most:g}, got {seen(raw)}")
        return int(number) if self.is_whole else number


def typed(read: Callable[[object], Any], raw: object) -> Any:
    """Read a value from where a number is not written as a text."""
    if isinstance(read, Number) and isinstance(raw, str):
        raise BadValue(f"expected a number, got {seen(raw)}")
    return read(raw)


def read_names(kind: str, raw: object) -> tuple[str, ...]:
    names = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadValue(f"expected {kind}, got {seen(raw)}")
    return tuple(sorted({name.strip() for name in names if name.strip()}))


def read_page_url(raw: object) -> str:
    text = read_text(raw)
    if re.fullmatch(r"https?://[^\s\"'<>()\[\]\\]+", text) is None:
        raise BadValue(f"expected a URL such as https://intranet.example.com/page.html, got {seen(raw)}")
    return text


def read_auth(raw: object) -> str:
    if raw not in AUTHS:
        raise BadValue(f"expected one of {', '.join(AUTHS)}, got {seen(raw)}")
    return str(raw)


def read_now(raw: object) -> datetime:
    moment = parse_time(raw.isoformat() if isinstance(raw, date) else read_text(raw))
    if not CALENDAR[0] <= moment.date() < CALENDAR[1]:
        raise BadValue(f"expected a time from {CALENDAR[0]} on and before {CALENDAR[1]}, got {seen(raw)}")
    return moment


def read_duration(raw: object) -> timedelta:
    if not isinstance(raw, str):
        raise BadValue(f'expected a duration such as "30m", "2h" or "7d", got {seen(raw)}')
    return parse_duration(raw)


def read_hook(raw: object) -> Hook:
    # As with an endpoint, a refusal does not repeat the text.
    text = read_text(raw)
    hook = Hook(text)
    like = "write one that looks like https://hooks.example.com/a-secret-path"
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise BadValue("not a URL", like) from None
    if url.scheme not in ("http", "https") or not host or any(c.isspace() or not c.isprintable() for c in text):
        raise BadValue("not a URL with https:// and a host", like)
    if url.username is not None or url.password is not None:
        raise BadValue("a URL with a user or password in it", "what is secret belongs into its path or query")
    if url.scheme == "http" and not hook.is_local:
        raise BadValue(f"http would show it to everyone on the way to {shown(host)}", "use https")
    return hook
