"""Writes the settings file that a user starts from: the example, every line of it explained and commented out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from genesis_etl.errors import SettingsError
from genesis_etl.settings.example import example
from genesis_etl.text import shown


def write_settings(path: Path) -> None:
    """Write the example as a new file, whole or not at all; SettingsError where there is one already."""
    where = shown(str(path), 300)
    try:
        with open(path, "x", encoding="utf-8") as file:
            try:
                file.write(example())
                file.flush()
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
    except FileExistsError:
        raise SettingsError(
            f"{where} is there already, and is left as it is",
            advice="`genesis-etl check` tries it, --config names another",
        ) from None
    except OSError as error:
        advice = "name another with --config"
        raise SettingsError(error.strerror or str(error), where=f"cannot write {where}", advice=advice) from None
