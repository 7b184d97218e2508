"""`genesis-etl init`: a settings file to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from genesis_etl.cli.options import common_options
from genesis_etl.cli.output import Output
from genesis_etl.settings import DEFAULT_CONFIG, Settings


@click.command("init")
@common_options
def command(config: str | None, output: Output) -> None:
    """Write a settings file to start from, and try the token.

    One request is sent, if there is a token. The file is genesis-etl.toml, or the one that --config names; one that
    is there is left as it is.

    \b
    Example:  genesis-etl init
    """
    from genesis_etl.checks.check import try_token
    from genesis_etl.cli.starter import write_settings

    path = DEFAULT_CONFIG if config is None else Path(config)
    write_settings(path)
    output.say(f"wrote {path}: every setting stands in it, commented out")
    settings = Settings.load(path)
    (account,) = settings.accounts
    export_it = shlex.join(["genesis-etl", "export", *(["--config", str(path)] if path != DEFAULT_CONFIG else [])])
    if account.secret is None or not account.secret.reveal().strip():
        output.say(f"next: put your token into the variable {account.token_source}, then `{export_it}`")
        return
    try_token(settings, account)
    output.say(f"the token in {account.token_source} is accepted; next: `{export_it}`")
