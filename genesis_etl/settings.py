"""What the user decided: option over environment over toml over default, read once and then frozen.

    settings = Settings.load(lake="data/lake")
    settings.accounts[0].token.reveal()      # the only way to a token's text

Whatever is secret in them is kept from every text as soon as it is read (`redact`).
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from genesis_etl.errors import BadValue, SettingsError
from genesis_etl.redact import keep_environment, keep_secret, keep_url, keep_userinfo
from genesis_etl.text import seen, shown
from genesis_etl.times import CALENDAR, parse_duration, parse_time

DEFAULT_CONFIG: Final = Path("genesis-etl.toml")
DEFAULT_ENDPOINT: Final = "https://api.genesiscloud.com/compute/v1"
DEFAULT_ACCOUNT: Final = "default"
TOKEN_VARIABLES: Final = ("GENESISCLOUD_TOKEN", "GENESISCLOUD_API_KEY")
AUTHS: Final = ("both", "x-auth-token", "bearer")

_ACCOUNT_NAME = re.compile(r"[a-z0-9-]{1,63}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOUD_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_BLOCK_NAME = re.compile(r"[a-z0-9-]{1,100}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|(?:s3[an]?|file|gs|https?)//|//[^/]*@", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_AN_ACCOUNT: Final = 'it needs token_env = "NAME_OF_A_VARIABLE"'
_A_LAKE: Final = "write a folder, such as data/lake, or s3://bucket/prefix"


class Secret:
    """A text that no repr, format, pickle or traceback shows, and from now on no message either."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        keep_secret(text)

    def reveal(self) -> str:
        """Return the text itself, for the request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled; read it from the environment where it is needed")


class Hook(Secret):
    """A URL that is told of something; whoever knows it can use it, so it is kept like a token."""

    __slots__ = ()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        keep_url(text)

    @property
    def host(self) -> str:
        """Return the host, which may be shown."""
        return urlsplit(self.reveal()).hostname or ""

    @property
    def is_local(self) -> bool:
        """Tell whether it is on this machine."""
        return _is_loopback(self.host)


@dataclass(frozen=True)
class Thresholds:
    """What an account may have before `check` fails; nothing is watched that is None or empty."""

    snapshots: int | None = None
    gib: float | None = None
    growth_pct_week: float | None = None
    snapshot_age: timedelta | None = None
    images_everywhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """One API token's view, under a short name."""

    name: str
    endpoint: str = DEFAULT_ENDPOINT
    token_variable: str = TOKEN_VARIABLES[0]
    secret: Secret | None = None
    token_block: str | None = None  # the Prefect Secret block that holds the token; only flows read it

    @property
    def token(self) -> Secret:
        """Return the token, trimmed; SettingsError where there is none or it cannot be sent in a header."""
        text = "" if self.secret is None else self.secret.reveal().strip()
        if not text and self.token_block is not None:
            raise SettingsError(
                f"no token for account {self.name}: none was read from the Prefect block {self.token_source}, which "
                "flows alone can read",
                advice="commands need a variable, named as token_env",
            )
        if not text:
            raise SettingsError(f"no token for account {self.name}", advice=f"set the variable {self.token_source}")
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            raise SettingsError(
                f"the token of account {self.name}, from {self.token_source}, has quotes around it",
                advice="take them off",
            )
        if _TOKEN.fullmatch(text) is None:
            raise SettingsError(
                f"the token of account {self.name}, from the {'block' if self.token_block else 'variable'} "
                f"{self.token_source}, has a space, a line break or a character outside ASCII",
                advice="copy it again",
            )
        return Secret(text)

    @property
    def token_source(self) -> str:
        """Return the name of the variable, or of the block, that holds the token."""
        if self.token_block is not None:
            return self.token_block
        # Someone may have put the token itself where the name of its variable belongs.
        is_name = _LOUD_NAME.fullmatch(self.token_variable) is not None
        return self.token_variable if is_name else "that its token_env names"

    @property
    def is_local(self) -> bool:
        """Tell whether the endpoint is on this machine (the sandbox)."""
        return _is_loopback(urlsplit(self.endpoint).hostname or "")


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs to know; docs/settings.md has a row for each field."""

    accounts: tuple[Account, ...] = (Account(DEFAULT_ACCOUNT),)
    auth: str = "both"
    lake: str = "data/lake"
    page: str = "page.html"
    page_url: str | None = None
    rate: float = 10.0
    workers: int = 8
    dask: str | None = None
    regions: tuple[str, ...] = ()
    price_gib_month: float | None = None
    currency: str | None = None
    now: datetime | None = None
    deadline: float = 30.0
    attempts: int = 4
    backoff: float = 1.0
    capture_deadline: float = 900.0
    max_age: timedelta = timedelta(hours=2)
    retired: tuple[str, ...] = ()
    webhook: Hook | None = None
    heartbeat: Hook | None = None
    thresholds: Thresholds = Thresholds()

    @classmethod
    def load(
        cls, config: str | Path | None = None, environ: Mapping[str, str] | None = None, **options: Any
    ) -> Settings:
        """Read options, the environment and the toml; SettingsError names the one that is wrong.

        `config` must exist where it is given; without it `./genesis-etl.toml` is read if there is one.
        """
        environ = os.environ if environ is None else environ
        keep_environment(environ)
        _check_keys(options, list(_READERS), "the options")
        path = Path(config) if config is not None else DEFAULT_CONFIG
        toml = _read_toml(path, environ, is_required=config is not None)
        # What is refused may be a secret that stands where it does not belong.
        for given in (options, toml):
            for name in given.keys() & {"webhook", "heartbeat"}:
                keep_url(str(given[name]))
            for raw in given.values():
                if isinstance(raw, str) and "@" in raw:
                    keep_userinfo(raw)
        values: dict[str, Any] = {}
        for name, read in _READERS.items():
            variable = _variable(name)
            for source, raw in (
                (f"--{name.replace('_', '-')}", options.get(name)),
                (variable, environ.get(variable, "").strip() or None),
                (f"{name} in {path}", toml.get(name)),
            ):
                # What the file says has to be right even where it does not count.
                if raw is not None and (name not in values or source != variable):
                    try:
                        value = read(raw) if source == variable else _typed(read, raw)
                    except BadValue as error:
                        raise _refused(error, source) from None
                    values.setdefault(name, value)
        endpoint = values.pop("endpoint", DEFAULT_ENDPOINT)
        return cls(accounts=_accounts(toml, path, endpoint, environ), thresholds=_thresholds(toml, path), **values)

    def chosen(self, names: tuple[str, ...] = ()) -> tuple[Account, ...]:
        """Return the accounts of these names in the order of the settings, or all of them."""
        known = {account.name: account for account in self.accounts}
        for name in names:
            if name not in known:
                raise SettingsError(f"no account {seen(name)}", advice=f"the settings name {', '.join(known)}")
        if len(set(names)) != len(names):
            raise SettingsError("an account is named twice", advice="name each once")
        return tuple(account for account in self.accounts if not names or account.name in names)


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
        return _lake(raw)
    except BadValue as error:
        raise _refused(error, where) from None


def _refused(error: BadValue, where: str) -> SettingsError:
    """Make an error of a value that cannot be read; there is always something to do about one."""
    return SettingsError(error.seen, where=where, advice=error.advice or "mend it, or leave it out for the default")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise BadValue(f"expected a text, got {seen(raw)}")
    return raw.strip()


def _lake(raw: object) -> str:
    """Read a folder or `s3://bucket/prefix`.

    What looks like a URL, or like something that a shell should have replaced, is no folder of that name: captures
    would land where nobody looks for them.
    """
    text = _text(raw)
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


# A variable of a shell, of Windows, of a template; a $ alone may be part of a name.
_UNFILLED = re.compile(r"(?:^|/)\$\w|\$[A-Z_{(]|`|%[A-Za-z_]\w*%|\{\{|\}\}")
_QUOTES: Final = "\"'“”„‘’‚«»‹›"


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
            f"{name} has a port in it", "write s3://bucket/prefix; the store's own address stands in AWS_ENDPOINT_URL"
        )
    if _BUCKET.fullmatch(bucket) is None:
        raise BadValue(f"{name} has a bucket that cannot be one", "write s3://bucket/prefix")
    if text.endswith("//") or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
        raise BadValue(f"{name} has an empty part, . or .. in it", "write the prefix as it is, s3://bucket/prefix")
    if not prefix.isprintable() or "?" in prefix or "#" in prefix or _UNFILLED.search(text):
        raise BadValue(f"{name} has more in it than a bucket and a prefix", "write s3://bucket/prefix")
    return f"s3://{bucket}/{prefix}".rstrip("/")


def _endpoint(raw: object) -> str:
    # A refusal does not repeat the text, for it may hold a password, or be the token in the wrong variable.
    text = _text(raw).rstrip("/")
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
    if url.scheme == "http" and not _is_loopback(host):
        raise BadValue(f"http would show the token to everyone on the way to {shown(host)}", "use https")
    return text


@dataclass(frozen=True)
class _Number:
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


def _typed(read: Callable[[object], Any], raw: object) -> Any:
    """Read a value from where a number is not written as a text."""
    if isinstance(read, _Number) and isinstance(raw, str):
        raise BadValue(f"expected a number, got {seen(raw)}")
    return read(raw)


def _names(kind: str, raw: object) -> tuple[str, ...]:
    names = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadValue(f"expected {kind}, got {seen(raw)}")
    return tuple(sorted({name.strip() for name in names if name.strip()}))


def _page_url(raw: object) -> str:
    text = _text(raw)
    if re.fullmatch(r"https?://[^\s\"'<>()\[\]\\]+", text) is None:
        raise BadValue(f"expected a URL such as https://intranet.example.com/page.html, got {seen(raw)}")
    return text


def _auth(raw: object) -> str:
    if raw not in AUTHS:
        raise BadValue(f"expected one of {', '.join(AUTHS)}, got {seen(raw)}")
    return str(raw)


def _now(raw: object) -> datetime:
    moment = parse_time(raw.isoformat() if isinstance(raw, date) else _text(raw))
    if not CALENDAR[0] <= moment.date() < CALENDAR[1]:
        raise BadValue(f"expected a time from {CALENDAR[0]} on and before {CALENDAR[1]}, got {seen(raw)}")
    return moment


def _duration(raw: object) -> timedelta:
    if not isinstance(raw, str):
        raise BadValue(f'expected a duration such as "30m", "2h" or "7d", got {seen(raw)}')
    return parse_duration(raw)


def _hook(raw: object) -> Hook:
    # As with an endpoint, a refusal does not repeat the text.
    text = _text(raw)
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


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "endpoint": _endpoint,
    "auth": _auth,
    "lake": _lake,
    "page": _text,
    "page_url": _page_url,
    "rate": _Number(0.01, 10_000),
    "workers": _Number(1, 1000, is_whole=True),
    "dask": _text,
    "regions": partial(_names, "region ids"),
    "price_gib_month": _Number(0, 1e9),
    "currency": _text,
    "now": _now,
    "deadline": _Number(0.01, 300),
    "attempts": _Number(1, 10, is_whole=True),
    "backoff": _Number(0, 2),
    "capture_deadline": _Number(0.1, 900),
    "max_age": _duration,
    "retired": partial(_names, "names of accounts"),
    "webhook": _hook,
    "heartbeat": _hook,
}
_THRESHOLDS: Final[dict[str, Callable[[object], Any]]] = {
    "snapshots": _Number(0, 1e9, is_whole=True),
    "gib": _Number(0, 1e12),
    "growth_pct_week": _Number(0, 1e6),
    "snapshot_age": _duration,
    "images_everywhere": partial(_names, "types of images"),
}


def _variable(name: str) -> str:
    return "GENESISCLOUD_ENDPOINT" if name == "endpoint" else f"GENESIS_ETL_{name.upper()}"


def variables() -> dict[str, str]:
    """Return setting → environment variable, for the documentation and its test."""
    return {name: _variable(name) for name in _READERS}


def alarm_hook(environ: Mapping[str, str] | None = None) -> Hook | None:
    """Return the webhook of the environment, for the case that the settings cannot be read; None if it is no URL."""
    environ = os.environ if environ is None else environ
    try:
        return _hook(environ.get(_variable("webhook")))
    except ValueError:
        return None


def _check_keys(table: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise SettingsError(f"unknown key {seen(key)}", where=where, advice=hint)


def _read_toml(path: Path, environ: Mapping[str, str], *, is_required: bool) -> dict[str, Any]:
    where = shown(str(path), 300)
    try:
        toml = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if is_required:
            example = shlex.join(["genesis-etl", "init", "--config", where])
            advice = f"name the right one with --config, or write one to start from with `{example}`"
            raise SettingsError("no such file", where=where, advice=advice) from None
        return {}
    except OSError as error:
        advice = "see to it, or name another with --config"
        raise SettingsError(f"cannot read it: {error.strerror or error}", where=where, advice=advice) from None
    except (ValueError, RecursionError) as error:  # what is no TOML is a ValueError, and so is a huge number
        advice = 'mend that line, as in `lake = "data/lake"`; `genesis-etl init --config new.toml` writes an example'
        raise SettingsError(f"cannot read it: {shown(str(error), 300)}", where=where, advice=advice) from None
    for table in _tables(toml):
        keep_secret(environ.get(str(table.get("token_env")), ""))
    _refuse_token(toml, where)
    _check_keys(toml, [*_READERS, "accounts", "thresholds"], where)
    return toml


def _tables(toml: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of accounts, as far as they are any."""
    accounts = toml.get("accounts")
    return [table for table in accounts.values() if isinstance(table, dict)] if isinstance(accounts, dict) else []


def _accounts(toml: Mapping[str, Any], path: Path, endpoint: str, environ: Mapping[str, str]) -> tuple[Account, ...]:
    tables = toml.get("accounts", {})
    if not isinstance(tables, dict):
        advice = 'write each as a table, [accounts.prod] and below it token_env = "VARIABLE"'
        raise SettingsError(
            f"expected tables of accounts, got {seen(tables)}", where=f"accounts in {path}", advice=advice
        )
    if not tables:
        variable = next((v for v in TOKEN_VARIABLES if environ.get(v, "").strip()), TOKEN_VARIABLES[0])
        return (Account(DEFAULT_ACCOUNT, endpoint, variable, _secret(environ, variable)),)
    accounts = []
    for name, table in tables.items():
        where = f"[accounts.{shown(name)}] in {path}"
        if _ACCOUNT_NAME.fullmatch(name) is None:
            raise SettingsError("a name that no account can have", where=where, advice="1 to 63 of a-z, 0-9 and '-'")
        if not isinstance(table, dict):
            raise SettingsError(f"expected a table, got {seen(table)}", where=where, advice=_AN_ACCOUNT)
        _refuse_token(table, where)
        _check_keys(table, ["token_env", "token_block", "endpoint"], where)
        named, block = table.get("token_env"), table.get("token_block")
        if named is not None and block is not None:
            raise SettingsError("has token_env and token_block", where=where, advice="keep one of them")
        if block is not None and (not isinstance(block, str) or _BLOCK_NAME.fullmatch(block) is None):
            advice = 'token_block is the name of a Prefect Secret block, as "genesis-token"'
            raise SettingsError("a token_block that names no block", where=where, advice=advice)
        if block is None and (not isinstance(named, str) or _VARIABLE_NAME.fullmatch(named) is None):
            raise SettingsError("no variable for its token", where=where, advice=_AN_ACCOUNT)
        try:
            own = _endpoint(table["endpoint"]) if "endpoint" in table else endpoint
        except BadValue as error:
            raise _refused(error, f"{where}: endpoint") from None
        secret = None if named is None else _secret(environ, named)
        accounts.append(Account(name, own, named or "", secret, block))
    return tuple(accounts)


def _thresholds(toml: Mapping[str, Any], path: Path) -> Thresholds:
    table = toml.get("thresholds", {})
    where = f"[thresholds] in {path}"
    if not isinstance(table, dict):
        raise SettingsError(
            f"expected a table, got {seen(table)}", where=where, advice="write [thresholds] and keys below"
        )
    _check_keys(table, list(_THRESHOLDS), where)
    values: dict[str, Any] = {}
    for name, raw in table.items():
        try:
            values[name] = _typed(_THRESHOLDS[name], raw)
        except BadValue as error:
            raise _refused(error, f"{where}: {name}") from None
    return Thresholds(**values)


def _refuse_token(table: Mapping[str, Any], where: str) -> None:
    for key in ("token", "api_key"):
        if key in table:
            raise SettingsError(
                "a token does not belong in a file",
                where=f"{key} in {where}",
                advice='put it into a variable, and the name of that into [accounts.NAME] as token_env = "VARIABLE"',
            )


def _secret(environ: Mapping[str, str], variable: str) -> Secret | None:
    return Secret(environ[variable]) if variable in environ else None
