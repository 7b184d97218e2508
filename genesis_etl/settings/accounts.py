"""The accounts that settings name: each one token's view, under a short name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from genesis_etl.errors import BadValue, SettingsError
from genesis_etl.settings.keys import check_keys
from genesis_etl.settings.readers import DEFAULT_ENDPOINT, read_endpoint, refused
from genesis_etl.settings.secret import Secret, is_loopback
from genesis_etl.text import seen, shown

DEFAULT_ACCOUNT: Final = "default"
TOKEN_VARIABLES: Final = ("GENESISCLOUD_TOKEN", "GENESISCLOUD_API_KEY")

_ACCOUNT_NAME = re.compile(r"[a-z0-9-]{1,63}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOUD_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_BLOCK_NAME = re.compile(r"[a-z0-9-]{1,100}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_AN_ACCOUNT: Final = 'it needs token_env = "NAME_OF_A_VARIABLE"'


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
        return is_loopback(urlsplit(self.endpoint).hostname or "")


def chosen(accounts: tuple[Account, ...], names: tuple[str, ...]) -> tuple[Account, ...]:
    """Return the accounts of these names in the order of the settings, or all of them."""
    known = {account.name: account for account in accounts}
    for name in names:
        if name not in known:
            raise SettingsError(f"no account {seen(name)}", advice=f"the settings name {', '.join(known)}")
    if len(set(names)) != len(names):
        raise SettingsError("an account is named twice", advice="name each once")
    return tuple(account for account in accounts if not names or account.name in names)


def account_tables(toml: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of accounts, as far as they are any."""
    accounts = toml.get("accounts")
    return [table for table in accounts.values() if isinstance(table, dict)] if isinstance(accounts, dict) else []


def read_accounts(toml: Mapping[str, Any], path: Path, default: str, environ: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the accounts of a settings file; without any, the one of the environment. SettingsError names a bad one.

    `default` is the endpoint of those that name none.
    """
    tables = toml.get("accounts", {})
    if not isinstance(tables, dict):
        advice = 'write each as a table, [accounts.prod] and below it token_env = "VARIABLE"'
        raise SettingsError(
            f"expected tables of accounts, got {seen(tables)}", where=f"accounts in {path}", advice=advice
        )
    if not tables:
        variable = next((v for v in TOKEN_VARIABLES if environ.get(v, "").strip()), TOKEN_VARIABLES[0])
        return (Account(DEFAULT_ACCOUNT, default, variable, _secret(environ, variable)),)
    accounts = []
    for name, table in tables.items():
        where = f"[accounts.{shown(name)}] in {path}"
        if _ACCOUNT_NAME.fullmatch(name) is None:
            raise SettingsError("a name that no account can have", where=where, advice="1 to 63 of a-z, 0-9 and '-'")
        if not isinstance(table, dict):
            raise SettingsError(f"expected a table, got {seen(table)}", where=where, advice=_AN_ACCOUNT)
        refuse_token(table, where)
        check_keys(table, ["token_env", "token_block", "endpoint"], where)
        named, block = table.get("token_env"), table.get("token_block")
        if named is not None and block is not None:
            raise SettingsError("has token_env and token_block", where=where, advice="keep one of them")
        if block is not None and (not isinstance(block, str) or _BLOCK_NAME.fullmatch(block) is None):
            advice = 'token_block is the name of a Prefect Secret block, as "genesis-token"'
            raise SettingsError("a token_block that names no block", where=where, advice=advice)
        if block is None and (not isinstance(named, str) or _VARIABLE_NAME.fullmatch(named) is None):
            raise SettingsError("no variable for its token", where=where, advice=_AN_ACCOUNT)
        try:
            own = read_endpoint(table["endpoint"]) if "endpoint" in table else default
        except BadValue as error:
            raise refused(error, f"{where}: endpoint") from None
        secret = None if named is None else _secret(environ, named)
        accounts.append(Account(name, own, named or "", secret, block))
    return tuple(accounts)


def refuse_token(table: Mapping[str, Any], where: str) -> None:
    """Raise SettingsError where a table holds a token, which belongs into a variable."""
    for key in ("token", "api_key"):
        if key in table:
            raise SettingsError(
                "a token does not belong in a file",
                where=f"{key} in {where}",
                advice='put it into a variable, and the name of that into [accounts.NAME] as token_env = "VARIABLE"',
            )


def _secret(environ: Mapping[str, str], variable: str) -> Secret | None:
    return Secret(environ[variable]) if variable in environ else None
