"""Makes any text harmless to show: on a terminal, in a message, in a log."""

from __future__ import annotations


def shown(text: str, limit: int = 80) -> str:
    """Return the text on one line, what does not print escaped (`\\x1b`), cut to `limit` characters with `…`."""
    cut = text[: limit + 1]
    safe = cut if cut.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in cut)
    return safe if len(safe) <= limit and len(text) <= limit else safe[: limit - 1] + "…"


def seen(value: object, limit: int = 80) -> str:
    """Return how a value of any kind, size and depth looks, made harmless to show."""
    try:
        return shown(repr(value), limit)
    except (RecursionError, ValueError):  # ValueError: an integer of more than 4,300 digits
        return f"something of type {type(value).__name__} that is too deep or too long to show"


def counted(number: int, word: str) -> str:
    """Return `1 capture`, `1,200 captures`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
