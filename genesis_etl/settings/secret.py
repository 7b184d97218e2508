"""Texts that nobody may see."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from genesis_etl.redact import keep_secret, keep_url


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
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
