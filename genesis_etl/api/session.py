"""How a request leaves this machine: through which proxy, and trusting whose certificates. Reads the environment.

    HTTPS_PROXY=http://user:…@proxy.example:3128        named in errors as: the proxy proxy.example:3128 of HTTPS_PROXY
    SSL_CERT_FILE=/etc/ssl/company.pem

What no waiting mends is a SettingsError here, before anything is sent.
"""

from __future__ import annotations

import os
import re
import ssl
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from genesis_etl.api.transport import TimedHTTPPool, TimedHTTPSPool, timed_context
from genesis_etl.errors import SettingsError
from genesis_etl.text import shown

_CONNECTIONS: Final = 16  # kept open; more threads than that only open more
_SOCKS: Final = ("socks4", "socks4a", "socks5", "socks5h")
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # the first that is set speaks alone
_OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # both speak, where no bundle does
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class Session(requests.Session):
    """A session for one URL's host.

    `proxy` is what an error calls the proxy in between, its host and port alone; None where there is none.
    `trust` names the variables whose certificates are trusted; empty where the built-in ones are.
    With `is_local` no proxy is used, for what stays on this machine needs none.
    Raises SettingsError for a proxy or a CA setting that cannot work.
    """

    def __init__(self, url: str, *, is_local: bool) -> None:
        super().__init__()
        self.trust_env = False  # it is read here; and requests would let ~/.netrc replace the token
        self.proxy: str | None = None
        self.trust: tuple[str, ...] = ()
        self.is_socks = False
        scheme = urlsplit(url).scheme
        proxy = None if is_local else _proxy_of(url)
        if proxy is not None:
            variable, address = proxy
            self.proxies = {scheme: address.url}
            self.proxy = f"the proxy {shown(address.netloc or '')} of {variable}"
            self.is_socks = address.scheme in _SOCKS
        context = None
        if scheme == "https" or (proxy is not None and proxy[1].scheme == "https"):
            context = timed_context()
            self.trust = _load_certificates(context)
        adapter = _TimedAdapter(context)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Know of no redirect: even one that is not followed requests would parse, and read its body into memory."""


class _TimedAdapter(HTTPAdapter):
    """Makes timed connections, all of which trust the certificates of one context."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        _use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        if urlsplit(proxy).scheme in _SOCKS:
            # A SOCKS proxy needs connections of its own kind; they keep to the deadline of each read alone.
            return super().proxy_manager_for(proxy, ssl_context=self._context, **options)
        manager = super().proxy_manager_for(
            proxy, ssl_context=self._context, proxy_ssl_context=self._context, **options
        )
        _use_timed_pools(manager)
        return manager

    def cert_verify(self, *_: Any) -> None:
        """Add nothing: the context knows what is trusted, and requests would add its own certificates."""


def _use_timed_pools(manager: Any) -> None:
    manager.pool_classes_by_scheme = {"http": TimedHTTPPool, "https": TimedHTTPSPool}


def _proxy_of(url: str) -> tuple[str, Url] | None:
    """Return the variable that names a proxy for this URL, and the proxy; None where there is none."""
    proxies = get_environ_proxies(url)
    text = select_proxy(url, proxies)
    if text is None:
        return None
    scheme = urlsplit(url).scheme
    key = scheme if proxies.get(scheme) == text else "all"
    variable = next(
        (name for name in (f"{key}_proxy", f"{key}_proxy".upper()) if os.environ.get(name) == text),
        f"the system's settings for {key}",
    )
    address = _read_proxy(text)
    if address is None:
        # Nothing of it is shown: where it cannot be read, nobody knows which part is the password.
        raise SettingsError(
            f"the proxy in {variable} cannot be read",
            advice="write it as http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with %2F for / and %40 for @",
        )
    if address.scheme not in ("http", "https", *_SOCKS):
        raise SettingsError(
            f"the proxy in {variable} has the scheme {shown(address.scheme or '', 20)}, which is unknown",
            advice="use http, https or socks5h",
        )
    if address.scheme in _SOCKS and find_spec("socks") is None:
        raise SettingsError(
            f"the proxy in {variable} speaks SOCKS, for which the package PySocks is missing",
            advice="run `pip install PySocks`, or name an http proxy",
        )
    return variable, address


def _read_proxy(text: str) -> Url | None:
    """Read `http://user:password@host:port`, the scheme and the login optional; None where it is no such thing."""
    text = text.strip()
    try:
        address = parse_url(text if "://" in text else f"http://{text}")
    except LocationParseError:
        return None
    # A password with a / in it ends the host too early; what stands before it may still look like one.
    behind = "".join(filter(None, (address.path, address.query, address.fragment)))
    return address if address.host and "@" not in behind else None


def _load_certificates(context: ssl.SSLContext) -> tuple[str, ...]:
    """Let a context trust what the environment names, else the built-in certificates; return the variables' names."""
    bundle = next((name for name in _BUNDLES if os.environ.get(name)), None)
    names = (bundle,) if bundle else tuple(name for name in _OPENSSL if os.environ.get(name))
    if not names:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    loaded: list[str] = []
    for name in names:
        failure = _load(context, os.environ[name], may_be_many=name == "SSL_CERT_DIR")
        if failure is None:
            loaded.append(name)
        elif not loaded:  # a folder beside a good file may be empty
            raise SettingsError(
                f"the certificates in {name} cannot be used: {failure}",
                advice=f"let {name} name a PEM file, or a folder that `openssl rehash` has gone over, or unset it",
            )
    return tuple(loaded)


def _load(context: ssl.SSLContext, path: str, *, may_be_many: bool) -> str | None:
    """Load a file or folder of certificates; return what hinders that."""
    # OpenSSL takes several folders, as in PATH, and looks past those that are not there.
    folders = path.split(os.pathsep) if may_be_many else [path]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    try:
        if not folders:
            context.load_verify_locations(cafile=path)
        elif not any(_HASHED.fullmatch(name) for folder in folders for name in os.listdir(folder)):
            return f"{shown(path, 300)} holds no certificate under the name of its hash"
        for folder in folders:
            context.load_verify_locations(capath=folder)
    except ssl.SSLError:
        return f"{shown(path, 300)} holds no certificate in PEM"
    except OSError as error:
        return f"{shown(path, 300)}: {error.strerror}"
    return None
