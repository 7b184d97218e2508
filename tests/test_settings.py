"""Option over environment over toml over default; one helpful line for whatever is wrong; no token shown."""

from __future__ import annotations

import copy
import os
import pickle
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_etl import cli, redact
from genesis_etl.errors import SettingsError
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import DEFAULT_ENDPOINT, SETTINGS, Account, Secret, Settings, s3_endpoint
from genesis_etl.settings.example import example
from tests.conftest import settings_for

VARIABLES = {name: each.variable for name, each in SETTINGS.items()}
EXAMPLE = Path(__file__).parent.parent / "genesis-etl.example.toml"
TOKEN = "gc-1a2b3c4d5e6f"
LOCAL = "http://127.0.0.1:8080/compute/v1"

# setting: its default, then what option, environment and toml say, each with what is read of it
SOURCES: dict[str, tuple[Any, tuple[Any, Any], tuple[str, Any], tuple[str, Any]]] = {
    "endpoint": (
        DEFAULT_ENDPOINT,
        ("https://o.example/v1/", "https://o.example/v1"),
        ("https://e.example", "https://e.example"),
        ('"http://localhost:1"', "http://localhost:1"),
    ),
    "auth": ("both", ("bearer", "bearer"), ("x-auth-token", "x-auth-token"), ('"bearer"', "bearer")),
    "lake": ("data/lake", ("o", "o"), (" e ", "e"), ('"s3://t/x"', "s3://t/x")),
    "rate": (10.0, (1, 1.0), ("2.5", 2.5), ("3", 3.0)),
    "regions": ((), (["b", "a"], ("a", "b")), (" X-1, Y-2 ,,X-1", ("X-1", "Y-2")), ('["Z-3"]', ("Z-3",))),
    "price_gib_month": (None, (0, 0.0), ("0.05", 0.05), ("1", 1.0)),
    "currency": (None, ("EUR", "EUR"), ("USD", "USD"), ('"NOK"', "NOK")),
    "now": (
        None,
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-22T12:00:00Z", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00+01:00", datetime(2026, 11, 21, 11, tzinfo=UTC)),
    ),
    "page": ("page.html", ("a.html", "a.html"), (" b.html ", "b.html"), ('"c.html"', "c.html")),
    "page_url": (
        None,
        ("https://o.example/p", "https://o.example/p"),
        ("http://e.example/p?a=1", "http://e.example/p?a=1"),
        ('"https://t.example"', "https://t.example"),
    ),
    "workers": (8, (1, 1), ("2", 2), ("3", 3)),
    "dask": (None, ("tcp://o:1", "tcp://o:1"), ("tcp://e:1", "tcp://e:1"), ('"tcp://t:1"', "tcp://t:1")),
    "deadline": (30.0, (1, 1.0), ("2", 2.0), ("3.5", 3.5)),
    "attempts": (4, (1, 1), ("2", 2), ("3", 3)),
    "backoff": (1.0, (0, 0.0), ("0.5", 0.5), ("2", 2.0)),
    "capture_deadline": (900.0, (1, 1.0), ("2", 2.0), ("3", 3.0)),
    "max_age": (
        timedelta(hours=2),
        ("30m", timedelta(minutes=30)),
        (" 1d ", timedelta(days=1)),
        ('"3h"', timedelta(hours=3)),
    ),
    "retired": ((), (["b", "a"], ("a", "b")), ("x, y", ("x", "y")), ('["z"]', ("z",))),
    "webhook": (
        None,
        ("https://o.example/x?k=1", "https://o.example/x?k=1"),
        (" https://e.example/x ", "https://e.example/x"),
        ('"http://localhost:1"', "http://localhost:1"),
    ),
    "heartbeat": (
        None,
        ("https://o.example/x", "https://o.example/x"),
        ("https://e.example/x", "https://e.example/x"),
        ('"http://127.0.0.1:1"', "http://127.0.0.1:1"),
    ),
}


def value(settings: Settings, name: str) -> Any:
    found = settings.accounts[0].endpoint if name == "endpoint" else getattr(settings, name)
    return found.reveal() if isinstance(found, Secret) else found


def toml(text: str) -> Path:
    path = Path("genesis-etl.toml")
    path.write_text(text, encoding="utf-8")
    return path


def refusal(environ: dict[str, str] | None = None, **options: Any) -> str:
    """Return the one line that settings are refused with."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ=environ or {}, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_every_setting_is_in_the_table_above() -> None:
    """No setting is without a proof of its sources."""
    assert SOURCES.keys() == VARIABLES.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_option_beats_environment_beats_toml_beats_default(name: str) -> None:
    """Each source hides those behind it, and an empty variable is none."""
    default, (option, of_option), (text, of_environ), (literal, of_toml) = SOURCES[name]
    environ = {VARIABLES[name]: text}
    assert value(Settings.load(environ={}), name) == default
    toml(f"{name} = {literal}")
    assert value(Settings.load(environ={}), name) == of_toml
    assert value(Settings.load(environ={VARIABLES[name]: "  "}), name) == of_toml
    assert value(Settings.load(environ=environ), name) == of_environ
    assert value(Settings.load(environ=environ, **{name: option}), name) == of_option


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_token_in_quotes_is_refused_before_it_is_sent(quote: str) -> None:
    """Quotes that a file of variables kept are no part of a token."""
    (account,) = Settings.load(environ={"GENESISCLOUD_TOKEN": f"{quote}{TOKEN}{quote}"}).accounts
    with pytest.raises(SettingsError, match="from GENESISCLOUD_TOKEN, has quotes around it; take them off"):
        account.token.reveal()


def test_what_the_file_says_is_right_even_where_it_does_not_count() -> None:
    """A wrong value in the toml is told at once, not on the day on which the variable before it is gone."""
    toml('rate = "10"')
    for options in ({}, {"rate": 5}):
        with pytest.raises(SettingsError, match=r"rate in genesis-etl\.toml: expected a number"):
            Settings.load(environ={"GENESIS_ETL_RATE": "5"}, **options)


def test_a_token_in_a_prefect_block_is_named_but_not_read() -> None:
    """`token_block` is a source of its own: the name is kept, and a command says that only flows read it."""
    toml('[accounts.shop]\ntoken_block = "genesis-token-shop"')
    (account,) = Settings.load(environ={"GENESISCLOUD_TOKEN": "of-another-account"}).accounts
    assert (account.token_block, account.token_source, account.secret) == ("genesis-token-shop",) * 2 + (None,)
    with pytest.raises(SettingsError, match="from the Prefect block genesis-token-shop, which flows alone"):
        _ = account.token


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('token_block = "t"\ntoken_env = "T"', "keep one of them"),
        ('token_block = ""', "name of a Prefect Secret block"),
        ('token_block = "Not A Name"', "name of a Prefect Secret block"),
        ("token_block = 1", "name of a Prefect Secret block"),
        ("", 'needs token_env = "NAME_OF_A_VARIABLE"'),
    ],
)
def test_an_account_has_exactly_one_source_of_its_token(table: str, said: str) -> None:
    """Two sources, none, or a name that no block can have are refused."""
    toml(f"[accounts.shop]\n{table}")
    assert said in refusal()


@pytest.mark.parametrize("url", ["page.html", "javascript:alert(1)", "https://", "https://a b", "https://a/)[x](y"])
def test_the_address_of_the_page_is_one_that_a_link_can_carry(url: str) -> None:
    """Anything but http and https, and what would break out of a link in Markdown, is refused."""
    assert "expected a URL" in refusal(page_url=url)


def test_the_documented_variables_are_the_ones_that_are_read() -> None:
    """The contract's names of variables hold."""
    assert VARIABLES["endpoint"] == "GENESISCLOUD_ENDPOINT"
    for name in ("auth", "lake", "rate", "regions", "price_gib_month", "currency", "now"):
        assert VARIABLES[name] == f"GENESIS_ETL_{name.upper()}"


def test_the_example_lists_every_setting() -> None:
    """As shipped the example changes nothing; uncommented it loads, and names each setting and its variable."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text == example(), "write it anew: python -m tests.test_docs"
    assert tomllib.loads(text) == {}
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    settings_lines = [line for line in lines if line.startswith("[") or line.partition(" = ")[1]]
    body = "\n".join(settings_lines)
    assert tomllib.loads(body).keys() == {*VARIABLES, "accounts", "thresholds"}
    assert [account.name for account in Settings.load(toml(body), environ={}).accounts] == [
        "prod",
        "lab",
        "shop",
    ]
    for variable in [*VARIABLES.values(), "GENESISCLOUD_TOKEN", "GENESISCLOUD_API_KEY"]:
        assert variable in text


def test_the_examples_values_are_the_defaults() -> None:
    """What the example says beside a setting that has a default is that default."""
    lines = [line.removeprefix("# ") for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    body = "\n".join(line for line in lines[: lines.index("[accounts.prod]")] if line.split(" = ")[0] in VARIABLES)
    settings = Settings.load(toml(body), environ={})
    for name, (default, *_) in SOURCES.items():
        assert default in (None, (), value(settings, name)), name


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("max_age", "two hours", "is not a duration; write it as 30s, 45m, 2h or 7d"),
        ("webhook", f"http://hooks.example/{TOKEN}", "http would show it to everyone on the way to hooks.example"),
        ("webhook", f"hooks.example/{TOKEN}", "not a URL with https://"),
        ("webhook", f"ftp://hooks.example/{TOKEN}", "not a URL with https://"),
        ("webhook", f"https://hooks.example/{TOKEN} x", "not a URL with https://"),
        ("webhook", f"https://:99999/{TOKEN}", "not a URL"),
        ("heartbeat", f"https://user:{TOKEN}@beat.example", "user or password"),
        ("endpoint", "api.example.com/compute/v1", "without https://"),
        ("endpoint", "localhost:8080", "without https://"),
        ("endpoint", "ftp://api.example.com", "ftp:// is not https://"),
        ("endpoint", "file:///etc/passwd", "file:// is not https://"),
        ("endpoint", "https://", "looks like"),
        ("endpoint", "https:///compute", "without a host"),
        ("endpoint", "https://a..example.com", "a host that cannot be one"),
        ("endpoint", f"https://{'a' * 64}.example.com", "a host that cannot be one"),
        ("endpoint", f"https://user:{TOKEN}@api.example.com", "user or password"),
        ("endpoint", f"https://{TOKEN}@api.example.com", "user or password"),
        ("endpoint", f"user:{TOKEN}@api.example.com", "user or password"),
        ("endpoint", "https://api.example.com\\@127.0.0.1", "user or password"),
        ("endpoint", "https://api.example.com/v1?x=1", "query or fragment"),
        ("endpoint", "https://api.example.com/v1?", "query or fragment"),
        ("endpoint", "https://api.example.com/v1#top", "query or fragment"),
        ("endpoint", "https://api.example.com:99999", "not a URL"),
        ("endpoint", "https://[::1", "not a URL"),
        ("endpoint", "https://api.exa mple.com", "blanks"),
        ("endpoint", "https://api.\x1bexample.com", "blanks"),
        ("endpoint", "http://api.example.com", "use https"),
        ("endpoint", "http://127.0.0.1.example.com", "use https"),
        ("endpoint", "http://localhost.example.com", "use https"),
        ("endpoint", "http://10.0.0.1", "use https"),
        ("endpoint", "http://0.0.0.0", "use https"),
        ("endpoint", "http://2130706433", "use https"),
        ("auth", "basic", "both, x-auth-token, bearer"),
        ("auth", "Bearer", "both, x-auth-token, bearer"),
        ("rate", "fast", "expected a number"),
        ("rate", "0", "from 0.01"),
        ("rate", "-1", "from 0.01"),
        ("rate", "nan", "from 0.01"),
        ("rate", "inf", "from 0.01"),
        ("rate", "1e999", "from 0.01"),
        ("price_gib_month", "-0.01", "from 0"),
        ("price_gib_month", "0,05", "expected a number"),
        ("now", "today", "is not a time"),
        ("now", "0900-01-01", "expected a time from 1970-01-01 on"),
        ("now", "9999-12-31T23:59:59.999999", "and before 2100-01-01"),
        ("deadline", "0", "from 0.01"),
        ("attempts", "2.5", "a whole number"),
        ("attempts", "0", "from 1 to 10"),
        ("attempts", "11", "from 1 to 10"),
        ("backoff", "3", "from 0 to 2"),
        ("capture_deadline", "901", "to 900"),
    ],
)
def test_a_bad_value_in_the_environment_names_its_variable(name: str, text: str, said: str) -> None:
    """A value that cannot be is refused in one line, with the variable it came from and what was expected."""
    line = refusal({VARIABLES[name]: text})
    assert line.startswith(f"{VARIABLES[name]}: ")
    assert said in line
    assert TOKEN not in line


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "127.8.8.8:80", "[::1]:8080"])
def test_http_is_for_this_machine(address: str) -> None:
    """Without TLS only a loopback address is taken, and it counts as local."""
    account = Settings.load(environ={"GENESISCLOUD_ENDPOINT": f"http://{address}/compute/v1/"}).accounts[0]
    assert account.endpoint == f"http://{address}/compute/v1"
    assert account.is_local
    assert not Account("default").is_local


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lakes = "x"', "genesis-etl.toml: unknown key 'lakes'; did you mean 'lake'?"),
        ('end_point = "x"', "did you mean 'endpoint'?"),
        ("zzz = 1", "known are endpoint, auth, lake"),
        ('"\\u001b[31m" = 1', "unknown key '\\x1b[31m'"),
        ("lake = 5", "lake in genesis-etl.toml: expected a text, got 5"),
        ('lake = ""', "expected a text"),
        ('lake = "a\\u0000b"', "expected a text"),
        ('rate = "10"', "rate in genesis-etl.toml: expected a number, got '10'"),
        ("rate = true", "expected a number, got True"),
        ("rate = [1]", "expected a number"),
        (f"rate = 1{'0' * 400}", "expected a number"),
        (f"attempts = 0x{'f' * 9000}", "expected a whole number"),
        ("attempts = 1.5", "expected a whole number"),
        ("regions = 5", "expected region ids"),
        ('regions = ["a", 1]', "expected region ids"),
        ("auth = 1", "expected one of both"),
        ("currency = 1", "expected a text"),
        ("now = 5", "expected a text"),
        ("now = 10:00:00", "expected a text"),
        ("endpoint = 5", "expected a text"),
        ("lake = ", "genesis-etl.toml: cannot read it"),
        ("lake = 'a'\nlake = 'b'", "genesis-etl.toml: cannot read it"),
        (f"token = '{TOKEN}'", 'token_env = "VARIABLE"'),
        (f"api_key = '{TOKEN}'", 'token_env = "VARIABLE"'),
        ("max_age = 5", "max_age in genesis-etl.toml: expected a duration such as"),
        ("retired = [1]", "expected names of accounts"),
        ("thresholds = 5", "[thresholds] in genesis-etl.toml: expected a table"),
        ("[thresholds]\nsnapshot = 5", "[thresholds] in genesis-etl.toml: unknown key 'snapshot'"),
        ("[thresholds]\nsnapshots_age = '9d'", "did you mean 'snapshot_age'?"),
        ("[thresholds]\nsnapshots = '5'", "snapshots: expected a number, got '5'"),
        ("[thresholds]\nsnapshots = 1.5", "snapshots: expected a whole number"),
        ("[thresholds]\nsnapshots = true", "snapshots: expected a whole number"),
        ("[thresholds]\ngib = -1", "gib: expected a number from 0"),
        ("[thresholds]\ngrowth_pct_week = nan", "growth_pct_week: expected a number from 0"),
        ("[thresholds]\nsnapshot_age = 90", "snapshot_age: expected a duration such as"),
        ("[thresholds]\nsnapshot_age = '90'", "is not a duration"),
        ("[thresholds]\nimages_everywhere = true", "expected types of images"),
        ("accounts = 5", "[accounts.prod]"),
        ("[accounts.Prod]\ntoken_env = 'A'", "1 to 63 of a-z, 0-9 and '-'"),
        ("[accounts.pr_od]\ntoken_env = 'A'", "1 to 63"),
        ("[accounts.'']\ntoken_env = 'A'", "1 to 63"),
        ("[accounts.'../x']\ntoken_env = 'A'", "1 to 63"),
        ("[accounts.'a\\u000a']\ntoken_env = 'A'", "1 to 63"),
        ("[accounts.é]\ntoken_env = 'A'", "cannot read"),
        (f"[accounts.{'a' * 64}]\ntoken_env = 'A'", "1 to 63"),
        ("[accounts]\nprod = 5", "expected a table"),
        ("[accounts.prod]", 'token_env = "NAME_OF_A_VARIABLE"'),
        ("[accounts.prod]\ntoken_env = 5", 'token_env = "NAME_OF_A_VARIABLE"'),
        (f"[accounts.prod]\ntoken_env = '{TOKEN}'", 'token_env = "NAME_OF_A_VARIABLE"'),
        (f"[accounts.prod]\ntoken = '{TOKEN}'", 'token_env = "VARIABLE"'),
        ("[accounts.prod]\ntoken_env = 'A'\nendpont = 'x'", "did you mean 'endpoint'?"),
        ("[accounts.prod]\ntoken_env = 'A'\nendpoint = 'http://a.example'", "use https"),
        ("[accounts.prod]\ntoken_env = 'A'\n[accounts.prod]\ntoken_env = 'B'", "genesis-etl.toml: cannot read it"),
    ],
)
def test_a_bad_toml_is_refused(text: str, said: str) -> None:
    """An unknown key, a wrong type, a bad or repeated account, or a token in the file is one helpful line."""
    toml(text)
    line = refusal()
    assert said in line
    assert "genesis-etl.toml" in line
    assert TOKEN not in line


def test_the_named_file_is_read_and_must_exist() -> None:
    """`--config` takes the place of ./genesis-etl.toml; a missing, unreadable or binary one is refused."""
    toml('lake = "here"')
    Path("other.toml").write_text('\ufefflake = "there"', encoding="utf-8")
    assert Settings.load(environ={}).lake == "here"
    assert Settings.load("other.toml", environ={}).lake == "there"
    Path("latin.toml").write_bytes(b'lake = "\xe9"')
    Path("folder.toml").mkdir()
    for name, said in (("none.toml", "no such file"), ("latin.toml", "cannot read"), ("folder.toml", "cannot read")):
        assert said in refusal(config=name)


def test_an_unknown_option_of_python_is_refused() -> None:
    """A mistyped keyword of Settings.load is told, not passed over."""
    assert "the options: unknown key 'lakee'; did you mean 'lake'?" in refusal(lakee="x")


@pytest.mark.parametrize("environ", [{}, {"GENESISCLOUD_TOKEN": ""}, {"GENESISCLOUD_TOKEN": " \t\n "}])
def test_without_a_token_there_is_no_request(environ: dict[str, str]) -> None:
    """A missing, empty or blank token is refused and its variable named; the settings themselves load."""
    account = Settings.load(environ=environ).accounts[0]
    with pytest.raises(SettingsError, match="no token for account default; set the variable GENESISCLOUD_TOKEN"):
        _ = account.token


@pytest.mark.parametrize(
    "bad", ["two words", "line\nbreak", "line\r\nX-Evil: 1", "zażółć", "a\x00b", "tab\tbed", "\x7f"]
)
def test_a_token_that_no_header_can_carry_is_refused(bad: str) -> None:
    """Blanks, control and non-ASCII characters inside a token are refused without showing it."""
    account = Settings.load(environ={"GENESISCLOUD_TOKEN": bad}).accounts[0]
    with pytest.raises(SettingsError, match="from the variable GENESISCLOUD_TOKEN") as caught:
        _ = account.token
    assert bad not in str(caught.value)


def test_tokens_come_from_the_first_variable_that_has_one() -> None:
    """GENESISCLOUD_TOKEN beats GENESISCLOUD_API_KEY unless it is blank, and the ends are trimmed."""
    both = {"GENESISCLOUD_TOKEN": f" {TOKEN}\n", "GENESISCLOUD_API_KEY": "another"}
    assert Settings.load(environ=both).accounts[0].token.reveal() == TOKEN
    account = Settings.load(environ={**both, "GENESISCLOUD_TOKEN": " "}).accounts[0]
    assert (account.token.reveal(), account.token_variable) == ("another", "GENESISCLOUD_API_KEY")


def test_accounts_of_the_toml_are_all_there_are() -> None:
    """Named accounts keep their order, read their own variables, and their own endpoint beats the environment's."""
    toml(
        f'endpoint = "https://t.example"\n[accounts.zeta]\ntoken_env = "T_ZETA"\nendpoint = "{LOCAL}"\n'
        '[accounts.alpha]\ntoken_env = "T_ALPHA"\n'
    )
    environ = {"T_ZETA": TOKEN, "GENESISCLOUD_TOKEN": "other", "GENESISCLOUD_ENDPOINT": "https://e.example"}
    zeta, alpha = Settings.load(environ=environ).accounts
    assert (zeta.name, zeta.endpoint, zeta.token.reveal()) == ("zeta", LOCAL, TOKEN)
    assert (alpha.name, alpha.endpoint) == ("alpha", "https://e.example")
    with pytest.raises(SettingsError, match="no token for account alpha; set the variable T_ALPHA"):
        _ = alpha.token


def test_a_token_in_the_place_of_its_variables_name_is_not_shown() -> None:
    """A token that looks like a variable's name does not come back in the complaint that it is not set."""
    toml("[accounts.prod]\ntoken_env = 'abcdef0123456789'")
    with pytest.raises(SettingsError) as caught:
        _ = Settings.load(environ={}).accounts[0].token
    assert "abcdef0123456789" not in str(caught.value)
    assert "token_env" in str(caught.value)


def test_accounts_are_chosen_in_the_order_of_the_toml() -> None:
    """Names choose accounts, each once; an unknown one or a repetition is refused."""
    settings = Settings(accounts=(Account("a"), Account("b"), Account("c")))
    assert [account.name for account in settings.chosen()] == ["a", "b", "c"]
    assert [account.name for account in settings.chosen(("c", "a"))] == ["a", "c"]
    with pytest.raises(SettingsError, match="no account 'x'; the settings name a, b, c"):
        settings.chosen(("x",))
    with pytest.raises(SettingsError, match="named twice"):
        settings.chosen(("a", "a"))


def test_no_form_of_the_settings_shows_the_token() -> None:
    """Repr, str, format and the copies that pickle and deepcopy would make are without it."""
    settings = Settings.load(environ={"GENESISCLOUD_TOKEN": TOKEN})
    secret = settings.accounts[0].token
    for thing in (
        settings,
        settings.accounts,
        settings.accounts[0],
        secret,
        vars(settings),
        vars(settings.accounts[0]),
    ):
        assert TOKEN not in f"{thing!r} {thing} {thing!s:>80}"
    for copied in (pickle.dumps, copy.deepcopy):
        for thing in (settings, secret):
            with pytest.raises(TypeError, match="a secret is not pickled"):
                copied(thing)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=6), st.text(), st.text())
def test_redacted_texts_hold_no_token(token: str, before: str, after: str) -> None:
    """Whatever stands around a token of the environment, it is gone from what is shown."""
    with patch.object(redact, "_gate", redact._Gate()):
        Settings.load(environ={"GENESISCLOUD_TOKEN": f" {token} "})
        assert token not in redact.redact(f"{before} {token} {after}").replace("***", "")


# what is no lake, and what the refusal says of it
NO_LAKES = {
    "s3:/b/l": "does not begin with s3://; write s3://bucket/prefix",
    "s3:b/l": "does not begin with s3://",
    "s3//b/l": "does not begin with s3://",
    "S3://b/l": "does not begin with s3://",
    "s3://": "names no bucket",
    "s3:///l": "names no bucket",
    "s3://b/a/../x": "an empty part, . or ..",
    "s3://b/./x": "an empty part, . or ..",
    "s3://b//x": "an empty part, . or ..",
    "s3://b//": "an empty part, . or ..",
    "s3://b:9000/x": "with a : in it",
    "s3://b!/x": "a bucket that cannot be one",
    "s3://b/x?region=y": "more in it than a bucket and a prefix",
    "s3://b/$STAGE/x": "more in it than a bucket and a prefix",
    f"s3://KEY:{TOKEN}@b/x": "with a user or password in it, or an @",
    f"s3:/KEY:{TOKEN}@b/x": "with a user or password in it, or an @",
    f"https://u:{TOKEN}@h": "with a user or password in it, or an @",
    f"//u:{TOKEN}@h/x": "with a user or password in it, or an @",
    "gs://b/l": "is neither a folder nor s3://bucket/prefix; write a folder",
    "http://h/l": "is neither a folder nor s3://bucket/prefix",
    "C:\\lake": "is neither a folder nor s3://bucket/prefix",
    "lake:prod": "looks like a URL; write ./ before a folder of this name",
    "file:/x": "does not begin with file:///; write file:///data/lake",
    "file://h/x": "does not begin with file:///",
    "$HOME/lake": "holds a variable that nothing has filled in",
    "file:///$HOME/lake": "holds a variable that nothing has filled in",
    "${LAKE}": "holds a variable that nothing has filled in",
    "data/lake-$STAGE": "holds a variable that nothing has filled in",
    "$(pwd)/lake": "holds a variable that nothing has filled in",
    "%USERPROFILE%\\lake": "holds a variable that nothing has filled in",
    "{{ lake }}": "holds a variable that nothing has filled in",
    '"data/lake"': "has quotes around it; take them off",
    "'data/lake'": "has quotes around it",
    "“data/lake”": "has quotes around it",
    "~nobody-of-this-name/lake": "names a user who has no home here",
    "\\\\host\\share": "is no folder of this machine",
    "data/\u200blake": "is no folder of this machine",
}


@pytest.mark.parametrize("lake", NO_LAKES)
def test_what_looks_like_no_lake_is_never_a_folder_of_that_name(
    lake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By option, variable, toml and in Python it is 2, one line says what to write, and nothing is made."""
    monkeypatch.setenv("GENESISCLOUD_TOKEN", TOKEN)
    assert NO_LAKES[lake] in refusal(lake=lake)
    for command in (["export"], ["sql", "select 1"], ["verify"], ["check"], ["dashboard"], ["demo", "--days", "1"]):
        assert cli.run([*command, f"--lake={lake}"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: --lake: ")
        assert NO_LAKES[lake] in said.err
        assert TOKEN not in said.err
    with pytest.raises(SettingsError, match="the lake: ") as caught:
        open_lake(lake)
    assert NO_LAKES[lake] in f"{caught.value}"
    assert caught.value.advice
    monkeypatch.setenv("GENESIS_ETL_LAKE", lake)
    assert cli.run(["report", "snapshot-growth"]) == 2
    assert capsys.readouterr().err.startswith("error: GENESIS_ETL_LAKE: ")
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("lake", "place"),
    [
        ("~/lake", "home/lake"),
        ("file://{}/lake", "lake"),
        ("{}/quo'ted $5 [x]* 100%", "quo'ted $5 [x]* 100%"),
        ("./lake:prod", "lake:prod"),
        ("a/../lake", "lake"),
        ("me@home", "me@home"),
    ],
)
def test_a_folder_is_where_it_says(
    lake: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    """`~` and file:/// lead where they should, odd names stay as they are; every way opens the same lake."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("a").mkdir()
    lake = lake.format(tmp_path)
    settings = Settings.load(environ={"GENESIS_ETL_LAKE": lake})
    export(settings_for(serve(), settings.lake))
    assert (tmp_path / place).is_dir()
    for opened in (lake, tmp_path / place, settings.lake):
        assert len(open_lake(opened).sql("select * from captures")) == 1


def test_a_path_of_a_bucket_is_refused_with_what_to_do() -> None:
    """A Path has one slash less than the URL it was made of; that is told, not taken for a folder."""
    with pytest.raises(SettingsError, match=r"'s3:/bucket/lake' does not begin with s3://; .* a Path drops a slash"):
        open_lake(Path("s3://bucket/lake"))


def test_the_settings_are_frozen() -> None:
    """Nothing changes a setting once it is read."""
    with pytest.raises(AttributeError):
        Settings().rate = 5.0  # type: ignore[misc]
    assert Secret(TOKEN).reveal() == TOKEN


def test_a_hook_is_kept_like_a_token() -> None:
    """A webhook's URL is in no form of the settings, only its host may be told."""
    settings = Settings.load(environ={"GENESIS_ETL_WEBHOOK": f"https://hooks.example/{TOKEN}"})
    assert settings.webhook is not None
    assert (settings.webhook.host, settings.webhook.is_local) == ("hooks.example", False)
    assert TOKEN not in f"{settings!r} {settings} {settings.webhook!r} {vars(settings)}"


def test_the_object_store_is_the_environments() -> None:
    """Another object store than AWS is named as AWS's own tools name it."""
    assert s3_endpoint({}) is None
    assert s3_endpoint({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}) == "http://127.0.0.1:9000"
    both = {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "https://b.example:9000"}
    assert s3_endpoint(both) == "https://b.example:9000"


@pytest.mark.parametrize("text", ["nonsense", "ftp://x", "http://[::1", "https://", "http://x:99999"])
def test_an_object_store_that_is_no_url_is_refused(text: str) -> None:
    """Else its credentials would be sent to AWS."""
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL: not the URL of an object store"):
        s3_endpoint({"AWS_ENDPOINT_URL": text})
