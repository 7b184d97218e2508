"""Makes any text harmless to show: on a terminal, in a message, in a log."""

from __future__ import annotations

import re
from typing import Final


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


class Redactor:
    """Takes a secret out of texts: plain, escaped as JSON, Python, URLs or HTML do, or cut short by `shown`."""

    _LEAST: Final = 4  # characters of a cut secret that are worth hiding

    def __init__(self, secret: str) -> None:
        self._characters = [_forms(character) for character in secret]
        self._whole = re.compile("".join(self._characters))

    def __call__(self, text: str) -> str:
        text = self._whole.sub("***", text)
        for cut in reversed([match.start() for match in re.finditer("…", text)]):
            text = self._without_start(text, cut)
        return text

    def _without_start(self, text: str, cut: int) -> str:
        """Take out a beginning of the secret that reaches to the cut, or to the escape that was cut in two there."""
        for start in range(max(0, cut - 400), cut):
            end = start
            for known, character in enumerate(self._characters):
                match = re.compile(character).match(text, end, cut)
                if match is None:
                    if known >= self._LEAST and "\\%&".find(text[end : end + 1]) >= 0 and cut - end <= _LONGEST_ESCAPE:
                        return f"{text[:start]}***{text[cut:]}"
                    break
                end = match.end()
                if end == cut and known + 1 >= self._LEAST:
                    return f"{text[:start]}***{text[cut:]}"
        return text


_LONGEST_ESCAPE: Final = 9


def _forms(character: str) -> str:
    """Return a pattern for every usual way to write a character."""
    code = ord(character)
    named = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}.get(character)
    # The longer forms first: where the secret itself holds a `%`, an encoded one is not to be taken for it.
    forms = [
        rf"\\{{1,4}}(?:{re.escape(character)}|(?i:u00{code:02x}|x{code:02x}))",
        f"%(?:25)?(?i:{code:02x})",
        f"&#0{{0,4}}(?:{code}|(?i:x0{{0,4}}{code:x}));",
        *([f"&{named};"] if named else []),
        re.escape(character),
    ]
    return f"(?:{'|'.join(forms)})"
