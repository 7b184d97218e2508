"""What people read of the settings, made of their declarations: the example file, and the rows of docs/settings.md."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import Final

from genesis_etl.settings.settings import SETTINGS, THRESHOLDS, Setting

_WIDTH: Final = 118
_HEAD: Final = """\
Settings of genesis-etl, read from ./genesis-etl.toml. Take the `#` off what you want to change. An option beats the \
environment, which beats this file, which beats the default; defaults stand here, and examples where there is none. A \
token has no place here: it is read from the environment, from GENESISCLOUD_TOKEN, else GENESISCLOUD_API_KEY."""
_THRESHOLDS: Final = "What an account may have before `check` fails; nothing is watched that is not named here:"
_ACCOUNTS: Final = """\
Where accounts are named, only they exist. Each names the variable that holds its token, or the Prefect Secret block \
that the flows read it from, and its endpoint if that is another. A name is 1 to 63 of a-z, 0-9 and '-'; a renamed \
account is a new one."""
_SOME_ACCOUNTS: Final = """\
# [accounts.prod]
# token_env = "GENESISCLOUD_TOKEN_PROD"

# [accounts.lab]
# token_env = "GENESISCLOUD_TOKEN_LAB"
# endpoint = "https://lab.example.com/compute/v1"

# [accounts.shop]
# token_block = "genesis-token-shop"
"""
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def example() -> str:
    """Return the text of `genesis-etl.example.toml`: every setting with its sentence, commented out."""
    parts = [_comment(_HEAD)]
    parts += [
        f"{_comment(f'{each.sentence} {each.variable}')}\n# {each.name} = {each.example or default_of(each)}"
        for each in SETTINGS.values()
    ]
    watched = "; ".join(each.help for each in THRESHOLDS.values())
    lines = [f"# {each.name} = {each.example}" for each in THRESHOLDS.values()]
    parts += ["\n".join([_comment(f"{_THRESHOLDS} {watched}."), "# [thresholds]", *lines])]
    parts += [f"{_comment(_ACCOUNTS)}\n{_SOME_ACCOUNTS}"]
    return "\n\n".join(parts)


def default_of(setting: Setting) -> str:
    """Return a default as TOML writes it; `none` where there is none."""
    value = setting.default
    if value is None or value == ():
        return "none"
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
        return f'"{seconds // size}{unit}"'
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def documented() -> str:
    """Return the tables of docs/settings.md."""
    rows = [
        f"| `{each.name}` | `{each.variable}` | {_code(default_of(each))} | {each.help} |" for each in SETTINGS.values()
    ]
    watched = [f"| `{each.name} = {each.example}` | {each.help} |" for each in THRESHOLDS.values()]
    settings = ["| setting | environment | default | means |", "|---|---|---|---|", *rows]
    thresholds = ["| `[thresholds]` in the settings file | `check` fails when an account has |", "|---|---|", *watched]
    return "\n".join([*settings, "", *thresholds])


def _code(text: str) -> str:
    return text if text == "none" else f"`{text.strip(chr(34))}`"


def _comment(text: str) -> str:
    return "\n".join(
        f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    )
