"""Makes any text harmless to show: on a terminal, in a message, in a log."""

from __future__ import annotations


def shown(text: str, limit: int = 80) -> str:
    """Return the text on one line, what does not print escaped (`\\x1b`), cut to `limit` characters with `…`."""
    cut = text[: limit + 1]
    safe = cut if cut.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in cut)
    return safe if len(safe) <= limit and len(text) <= limit else safe[: limit - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
