"""What the user decided: option over environment over toml over default, read once and then frozen.

    settings = Settings.load(lake="data/lake")
    settings.accounts[0].token.reveal()      # the only way to a token's text

Each setting is declared once, as a field: its default, how it is read, and what it means; the example file,
docs/settings.md and the help of options are made of that. Whatever is secret is kept from every text (`redact`).
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from genesis_etl.errors import BadValue, SettingsError
from genesis_etl.redact import keep_environment, keep_secret, keep_url, keep_userinfo
from genesis_etl.settings import readers
from genesis_etl.settings.accounts import (
    DEFAULT_ACCOUNT,
    Account,
    account_tables,
    chosen,
    read_accounts,
    refuse_token,
)
from genesis_etl.settings.keys import check_keys
from genesis_etl.settings.readers import DEFAULT_ENDPOINT, Number, Reader
from genesis_etl.settings.secret import Hook
from genesis_etl.text import seen, shown

DEFAULT_CONFIG: Final = Path("genesis-etl.toml")
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What a setting is: its default, how it is read, what it means, and what an example of it looks like in TOML."""

    name: str
    default: object
    read: Reader
    help: str
    example: str | None = None

    @property
    def variable(self) -> str:
        """Return the name of its environment variable."""
        return "GENESISCLOUD_ENDPOINT" if self.name == "endpoint" else f"GENESIS_ETL_{self.name.upper()}"

    @property
    def sentence(self) -> str:
        """Return what it means as a sentence."""
        return f"{self.help[0].upper()}{self.help[1:]}."


def _declared(default: T, read: Reader, help: str, example: str | None = None) -> T:
    declared: T = field(default=default, metadata={"read": read, "help": help, "example": example})
    return declared


@dataclass(frozen=True)
class Thresholds:
    """What an account may have before `check` fails; nothing is watched that is None or empty."""

    snapshots: int | None = _declared(None, Number(0, 1e9, is_whole=True), "more snapshots", "500")
    gib: float | None = _declared(None, Number(0, 1e12), "more GiB in them", "20000")
    orphaned_gib: float | None = _declared(None, Number(0, 1e12), "more GiB in snapshots whose instance is gone", "500")
    cost_per_month: float | None = _declared(
        None, Number(0, 1e12), "snapshots that cost more a month, at `price_gib_month`", "1000"
    )
    growth_pct_week: float | None = _declared(
        None, Number(0, 1e6), "so many per cent more snapshots than a week before", "25"
    )
    usage_pct_month: float | None = _declared(
        None,
        Number(0, 1e6),
        "so many per cent more GiB-months than the month before, at the mean of this one so far",
        "25",
    )
    snapshot_age: timedelta | None = _declared(None, readers.read_duration, "an older snapshot", '"90d"')
    images_everywhere: tuple[str, ...] = _declared(
        (),
        partial(readers.read_names, "types of images"),
        "an image of these types that a region lacks",
        '["cloud-image"]',
    )
    days_to_region: float | None = _declared(
        None, Number(0, 1e6), "a release that a region still lacks so many days after it came out", "7"
    )


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs to know."""

    accounts: tuple[Account, ...] = (Account(DEFAULT_ACCOUNT),)
    auth: str = _declared("both", readers.read_auth, "the headers that carry the token: both, x-auth-token or bearer")
    lake: str = _declared("data/lake", readers.read_lake, "where captures land: a folder, or s3://bucket/prefix")
    page: str = _declared("page.html", readers.read_text, "where `dashboard` and the flow publish-page write the page")
    page_url: str | None = _declared(
        None,
        readers.read_page_url,
        "where people open that page, for the links in Prefect; without it the file itself",
        '"https://intranet.example.com/genesis/page.html"',
    )
    rate: float = _declared(
        10.0, Number(0.01, 10_000), "requests a second for each account, shared by its threads, leaving evenly"
    )
    workers: int = _declared(8, Number(1, 1000, is_whole=True), "accounts captured side by side")
    dask: str | None = _declared(
        None,
        readers.read_text,
        "address of a Dask cluster that captures the flow's accounts instead",
        '"tcp://scheduler.example.com:8786"',
    )
    regions: tuple[str, ...] = _declared(
        (),
        partial(readers.read_names, "region ids"),
        "regions that count in coverage before they are first seen; in the variable, with commas between",
        '["NORD-NO-KRS-1", "ARC-IS-HAF-1"]',
    )
    price_gib_month: float | None = _declared(
        None, Number(0, 1e9), "what a GiB costs for a month; without it costs are null, never 0", "0.05"
    )
    currency: str | None = _declared(
        None, readers.read_text, "what the price is in: a label of the costs, nothing is converted", '"EUR"'
    )
    now: datetime | None = _declared(
        None,
        readers.read_now,
        "the time of captures and of `check`, only for simulations against a sandbox on this machine; "
        "the clock if left out",
        "2026-11-23T16:30:00Z",
    )
    deadline: float = _declared(30.0, Number(0.01, 300), "seconds for one attempt at a page, whatever drips in")
    attempts: int = _declared(4, Number(1, 10, is_whole=True), "attempts at a page")
    backoff: float = _declared(1.0, Number(0, 2), "seconds before the second attempt, then doubling, with jitter")
    capture_deadline: float = _declared(900.0, Number(0.1, 900), "seconds for a whole capture")
    max_age: timedelta = _declared(
        timedelta(hours=2),
        readers.read_duration,
        "for `check`: how old an account's newest capture may be, and how far it may lie from the one before",
    )
    retired: tuple[str, ...] = _declared(
        (),
        partial(readers.read_names, "names of accounts"),
        "accounts of the lake that are captured no more, on purpose; `check` does not call them stale",
        '["old-account"]',
    )
    webhook: Hook | None = _declared(
        None,
        readers.read_hook,
        "where `check` posts what failed, as JSON; https, except on this machine. Whoever knows such a URL can use it, "
        "so it is safer in the variable",
        '"https://hooks.example.com/a-secret-path"',
    )
    heartbeat: Hook | None = _declared(
        None,
        readers.read_hook,
        "what is asked for (GET) after each good run of `export`, so that whoever waits sees a dead scheduler; "
        "https, except on this machine",
        '"https://heartbeat.example.com/a-secret-path"',
    )
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
        check_keys(options, SETTINGS, "the options")
        path = Path(config) if config is not None else DEFAULT_CONFIG
        toml = _read_toml(path, environ, is_required=config is not None)
        _keep_secrets(options, toml)
        values: dict[str, Any] = {}
        for name, setting in SETTINGS.items():
            for source, raw in (
                (f"--{name.replace('_', '-')}", options.get(name)),
                (setting.variable, environ.get(setting.variable, "").strip() or None),
                (f"{name} in {path}", toml.get(name)),
            ):
                # What the file says has to be right even where it does not count.
                if raw is not None and (name not in values or source != setting.variable):
                    read = setting.read if source == setting.variable else partial(readers.typed, setting.read)
                    values.setdefault(name, _value(read, raw, source))
        endpoint = values.pop("endpoint", DEFAULT_ENDPOINT)
        accounts = read_accounts(toml, path, endpoint, environ)
        return cls(accounts=accounts, thresholds=_thresholds(toml, path), **values)

    def chosen(self, names: tuple[str, ...] = ()) -> tuple[Account, ...]:
        """Return the accounts of these names in the order of the settings, or all of them."""
        return chosen(self.accounts, names)


def _settings_of(kind: type) -> dict[str, Setting]:
    return {each.name: Setting(each.name, each.default, **each.metadata) for each in fields(kind) if each.metadata}


# Where an account names no endpoint of its own; so it is no field.
_ENDPOINT: Final = Setting(
    "endpoint", DEFAULT_ENDPOINT, readers.read_endpoint, "the API; https, except on this machine"
)
SETTINGS: Final = {_ENDPOINT.name: _ENDPOINT, **_settings_of(Settings)}
THRESHOLDS: Final = _settings_of(Thresholds)


def alarm_hook(environ: Mapping[str, str] | None = None) -> Hook | None:
    """Return the webhook of the environment, for the case that the settings cannot be read; None if it is no URL."""
    environ = os.environ if environ is None else environ
    try:
        return readers.read_hook(environ.get(SETTINGS["webhook"].variable))
    except ValueError:
        return None


def _value(read: Reader, raw: object, source: str) -> Any:
    try:
        return read(raw)
    except BadValue as error:
        raise readers.refused(error, source) from None


def _keep_secrets(*tables: Mapping[str, Any]) -> None:
    """Let no text show what may be a secret that stands where it does not belong."""
    for table in tables:
        for name in table.keys() & {"webhook", "heartbeat"}:
            keep_url(str(table[name]))
        for raw in table.values():
            if isinstance(raw, str) and "@" in raw:
                keep_userinfo(raw)


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
    for table in account_tables(toml):
        keep_secret(environ.get(str(table.get("token_env")), ""))
    refuse_token(toml, where)
    check_keys(toml, [*SETTINGS, "accounts", "thresholds"], where)
    return toml


def _thresholds(toml: Mapping[str, Any], path: Path) -> Thresholds:
    table = toml.get("thresholds", {})
    where = f"[thresholds] in {path}"
    if not isinstance(table, dict):
        advice = "write [thresholds] and keys below"
        raise SettingsError(f"expected a table, got {seen(table)}", where=where, advice=advice)
    check_keys(table, THRESHOLDS, where)
    values = {
        name: _value(partial(readers.typed, THRESHOLDS[name].read), raw, f"{where}: {name}")
        for name, raw in table.items()
    }
    return Thresholds(**values)
