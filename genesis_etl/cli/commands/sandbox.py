"""`genesis-etl sandbox`: an account to play with."""

from __future__ import annotations

import sys
from typing import Any

import click

from genesis_etl.cli.options import common_options
from genesis_etl.cli.output import Output
from genesis_etl.cli.signals import Stopped
from genesis_etl.errors import SettingsError
from genesis_etl.times import parse_time


@click.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="Port; 0 for a free one.")
@click.option("--images", type=click.IntRange(0, 100_000), metavar="N", help="Exactly this many entries.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another seed, another account.")
@click.option(
    "--generation",
    type=click.Choice(["seed", "middle", "newest"]),
    default="newest",
    show_default=True,
    help="Of the API: the fields and types that it had then.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Requests a second; 0: no limit.",
)
@click.option("--at", metavar="T", help="Freeze the account at this time.")
@click.option("--fault", "faults", multiple=True, metavar="SCRIPT", help="Fail like this; may be repeated.")
@common_options
def command(
    output: Output,
    port: int,
    images: int | None,
    seed: int,
    generation: str,
    rate: float,
    at: str | None,
    faults: tuple[str, ...],
    **_: Any,
) -> None:
    """Serve an account to play with, until interrupted.

    \b
    Example:  genesis-etl sandbox --port 8080 --generation middle
              genesis-etl sandbox --fault "images?page=2:status=503,times=3"
    """
    from genesis_etl.sandbox import Fault, Sandbox

    try:
        sandbox = Sandbox(
            port=port,
            images=images,
            seed=seed,
            generation=generation,
            rate=rate,
            at=None if at is None else parse_time(at),
            faults=map(Fault.parse, faults),
        )
        sandbox.start()
    except ValueError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"cannot listen on port {port}: {error.strerror}", advice="choose another --port") from None
    try:
        click.echo(f"GENESISCLOUD_ENDPOINT={sandbox.endpoint}\nGENESISCLOUD_TOKEN={sandbox.token}")
        sys.stdout.flush()
        output.say(
            "serving until Ctrl-C; `export` both lines in another shell, and every command there reads this account"
        )
        sandbox.serve_forever()
    except Stopped as stop:  # its usual end, nothing to complain of
        raise click.exceptions.Exit(stop.exit_code) from None
    finally:
        sandbox.stop()
