"""The commands as a user runs them: what they print and where, and what they end with."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import openpyxl
import pandas as pd
import pytest

from genesis_etl.cli.group import cli
from genesis_etl.cli.output import BINARY, FORMS
from genesis_etl.lake.lake import Lake
from genesis_etl.query import report
from genesis_etl.sandbox import Fault, Sandbox
from genesis_etl.version import __version__
from tests.commands import ERROR, ETL, Ended, Run, etl, refused
from tests.conftest import fewer, files_of, full_disk, listing, some_images, some_snapshots
from tests.histories import at, land, rows

COMMANDS = sorted(cli.commands)
HOUR = timedelta(hours=1)
DATA = [name for name in COMMANDS if any(option.name == "form" for option in cli.commands[name].params)]
TWO_LINES = re.compile(
    r"GENESISCLOUD_ENDPOINT=(http://127\.0\.0\.1:[0-9]+/compute/v1)\nGENESISCLOUD_TOKEN=([A-Za-z0-9_.-]{6,})\n"
)


@pytest.fixture
def lake(api: Callable[..., Sandbox], run: Run) -> Sandbox:
    """Fill `data/lake` with one capture."""
    sandbox = api()
    assert run("export").code == 0
    return sandbox


class Served(NamedTuple):
    """A sandbox that runs as a process, and the environment that points to it."""

    process: subprocess.Popen[bytes]
    environ: dict[str, str]


@pytest.fixture
def sandbox_process() -> Iterator[Callable[..., Served]]:
    """Start sandboxes as processes; they are killed at the end if they have not ended by then."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> Served:
        process = subprocess.Popen([*ETL, "sandbox", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        text = b"".join(process.stdout.readline() for _ in range(2)).decode()
        match = TWO_LINES.fullmatch(text)
        assert match is not None, text
        return Served(
            process,
            {**os.environ, "GENESISCLOUD_ENDPOINT": match[1], "GENESISCLOUD_TOKEN": match[2]},
        )

    yield start
    for process in processes:
        process.kill()
        process.communicate()


# processes


def test_a_token_and_two_commands(sandbox_process: Callable[..., Served]) -> None:
    """With what the sandbox prints, `export` lands a capture, `report` and `sql` answer from it, `images` shows it."""
    served = sandbox_process("--images", "250", "--rate", "0", "--generation", "seed")
    exported = etl("export", "--format", "json", env=served.environ)
    assert (exported.code, exported.err) == (0, "")
    (row,) = exported.rows
    assert (row["account"], row["status"], row["images"], row["error"]) == ("default", "landed", 250, None)
    report = etl("report", "snapshot-growth", "--format", "csv", env=served.environ)
    assert (report.code, report.err) == (0, "")
    assert len(list(csv.DictReader(io.StringIO(report.out.decode())))) == 90
    counted = etl("sql", "select count(distinct image_id) as n from images", "--format", "json", env=served.environ)
    assert counted.rows == [{"n": 250}]
    shown = etl("images", "--format", "json", env=served.environ)
    assert len({image["image_id"] for image in shown.rows}) == 250
    assert served.environ["GENESISCLOUD_TOKEN"] not in f"{exported}{report}{counted}{shown}"


@pytest.mark.parametrize(("number", "code"), fewer([(signal.SIGINT, 130), (signal.SIGTERM, 143)], 1))
def test_the_sandbox_ends_on_a_signal(sandbox_process: Callable[..., Served], number: int, code: int) -> None:
    """Its two lines come at once, it serves, and a signal, its usual end, is nothing to complain of."""
    served = sandbox_process()
    assert etl("images", "--quiet", env=served.environ).code == 0
    served.process.send_signal(number)
    out, err = served.process.communicate(timeout=10)
    assert (served.process.returncode, out, err.count(b"\n")) == (code, b"", 1)
    assert err.startswith(b"serving until Ctrl-C; `export` both lines in another shell")


@pytest.mark.parametrize(("number", "code"), fewer([(signal.SIGINT, 130), (signal.SIGTERM, 143)], 1))
def test_an_interrupted_export_says_so_and_lands_nothing(api: Callable[..., Sandbox], number: int, code: int) -> None:
    """A signal in the middle of a read ends it soon, with one line and without a file."""
    sandbox = api(faults=[Fault("hang", times=0, seconds=60)])
    process = subprocess.Popen([*ETL, "export"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not sandbox.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    refused(Ended(process.returncode, out, err.decode()), code, f"stopped by {signal.Signals(number).name}")
    assert not any(path.is_file() for path in Path("data").rglob("*"))


def test_a_signal_ends_a_query_that_does_not_listen() -> None:
    """A query that would take hours ends within seconds of a signal, with its code."""
    process = subprocess.Popen(
        [*ETL, "sql", "select count(*) from range(1000000000000) t(a) where a % 7 = 3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    refused(Ended(process.returncode, out, err.decode()), 130, "stopped by SIGINT")


def test_head_may_close_the_pipe() -> None:
    """A reader that has seen enough is no error: nothing on stderr, code 0."""
    command = [*ETL, "sql", "select * from range(300000)", "--format", "csv"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(10) == 0


@pytest.mark.parametrize(("command", "code"), fewer([("check", 1), ("export", 2), ("verify", 1)], 1))
def test_a_closed_pipe_hides_no_failure(command: str, code: int) -> None:
    """`genesis-etl check | head -1` ends as check does, or cron would never ring."""
    capture = land(Lake("lake"), at("2026-11-20"), rows("a"))
    Path("lake", capture.file).write_bytes(b"")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*ETL, command, "--lake", "lake"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert done.returncode == code
    assert "Traceback" not in done.stderr.decode()


def test_closed_streams_are_none_of_a_commands_business() -> None:
    """Whoever starts us without stdin, stdout or stderr gets the documented code."""
    land(Lake("lake"), at("2026-11-20"), rows("a"))
    command = shlex.join([*ETL, "forget", "--account", "default", "--lake", "lake"])
    done = subprocess.run(["sh", "-c", f"{command} <&-"], capture_output=True, timeout=60)
    refused(Ended(done.returncode, done.stdout, done.stderr.decode()), 2, "give --yes where nobody can answer")
    assert subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], timeout=60).returncode == 2


@pytest.mark.parametrize("arguments", [["sql", "select 1"], ["--help"]])
def test_a_full_disk_behind_stdout_is_one_line(arguments: list[str]) -> None:
    """Where the data goes can fail too, and then it says so."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*ETL, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60)
    refused(Ended(done.returncode, b"", done.stderr.decode()), 2, "No space left on device")


def test_a_terminal_gets_its_width_and_nothing_to_obey(api: Callable[..., Sandbox]) -> None:
    """On a terminal rows are as wide as it, and escape sequences in names are shown, in CSV too."""
    api(collections=lambda name, at: some_images(3, name="\x1b[31mred\u202e") if name == "images" else [])
    for form in ("table", "csv"):
        ours, its = pty.openpty()
        done = subprocess.Popen([*ETL, "images", "--format", form], stdout=its, env={**os.environ, "COLUMNS": "70"})
        os.close(its)
        text = b""
        while chunk := _read(ours):
            text += chunk
        assert done.wait(10) == 0
        lines = text.decode().replace("\r\n", "\n").split("\n")
        assert all(line.isprintable() for line in lines)
        assert "\\x1b[31mred\\u202e" in text.decode()
        assert form != "table" or max(map(len, lines)) <= 70


@pytest.mark.parametrize("form", BINARY)
def test_a_terminal_gets_no_file_of_bytes(form: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no text is refused there, before any work; in --output it is written."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    refused(run("sql", "select 1 as n", "--format", form), 2, "is not for a terminal; give --output FILE")
    assert run("sql", "select 1 as n", "--format", form, "--output", "out") == Ended(0, b"", "")
    assert Path("out").stat().st_size > 0


def test_a_terminal_sees_the_pages_go_by(api: Callable[..., Sandbox]) -> None:
    """While it reads, stderr shows the pages on a terminal; stdout has the row alone, and --quiet shows nothing."""
    api(collections=listing(images=250, snapshots=0))
    for quiet in ([], ["--quiet"]):
        ours, its = pty.openpty()
        command = [*ETL, "export", "--format", "json", *quiet]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, env={**os.environ, "TERM": "xterm"})
        os.close(its)
        text = b""
        while chunk := _read(ours):
            text += chunk
        assert process.stdout is not None
        assert [row["status"] for row in json.loads(process.stdout.read())] == ["landed"]
        assert process.wait(10) == 0
        assert text == b"" if quiet else b"/images, pass 1" in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side has ended
        return b""


def test_the_module_is_the_command() -> None:
    """`python -m genesis_etl` and the installed `genesis-etl` are one program."""
    script = Path(sys.executable).with_name("genesis-etl")
    if script.exists():
        done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
        assert done.stdout == f"genesis-etl {__version__}\n"
    assert etl("--version").out.decode() == f"genesis-etl {__version__}\n"


def test_output_that_is_not_utf8_still_comes() -> None:
    """A terminal of another encoding gets the help with escapes instead of an error."""
    ended = etl("export", "--help", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert ended.code == 0
    assert b"GENESISCLOUD_TOKEN=\\u2026 genesis-etl export" in ended.out


# help and misuse


def test_without_a_command_there_is_help(run: Run) -> None:
    """`genesis-etl` alone explains itself and names every command."""
    ended = run()
    assert ended.code == 0
    assert ended.out == run("--help").out
    assert all(re.search(rf"^  {name} ", ended.out.decode(), re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_teaches_by_example(run: Run, name: str) -> None:
    """It says in a sentence what the command does, shows an example that parses, and explains every option."""
    ended = run(name, "--help")
    text = ended.out.decode()
    assert (ended.code, ended.err) == (0, "")
    assert run(name, "-h").out == ended.out
    assert re.search(rf"Example:  (?:[A-Z_]+=\S+ )?genesis-etl {name}\b", text)
    assert re.search(r"^  [A-Z][^\n]+\.$", text, re.MULTILINE)
    for option in cli.commands[name].params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_options_of_all(name: str) -> None:
    """--config, --quiet, --debug and --version are everywhere, --format and --output where data is printed."""
    options = {text for option in cli.commands[name].params for text in option.opts}
    assert {"--config", "--quiet", "--debug", "--version"} <= options
    assert ({"--format", "--output"} <= options) == (name not in ("sandbox", "demo", "dashboard", "init", "metrics"))
    assert ("--lake" in options) == (name not in ("images", "sandbox", "init"))


@pytest.mark.parametrize("arguments", [["--version"], ["sql", "--version"], ["--quiet", "report", "--version"]])
def test_the_version_is_everywhere(run: Run, arguments: list[str]) -> None:
    """Before or after the command it is one line on stdout."""
    assert run(*arguments) == Ended(0, f"genesis-etl {__version__}\n".encode(), "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exprot"], ["No such command 'exprot'", "'export'", "genesis-etl --help"]),
        (["export", "--acount", "x"], ["No such option '--acount'", "'--account'", "genesis-etl export --help"]),
        (["--loud", "export"], ["No such option '--loud'"]),
        (["images", "--format", "jsn"], ["'jsn'", "'json'"]),
        (["export", "extra"], ["unexpected extra argument (extra)"]),
        (["sql"], ["Missing argument 'STATEMENT'"]),
        (["sql", "--lake"], ["--lake"]),
        (["report"], ["name a report: capture-health, changes, coverage-history, region-coverage"]),
        (["report", "snapshots"], ["no report 'snapshots'; there are", "snapshot-growth"]),
        (["report", "\x1b[31m"], ["no report", "x1b[31m'; there are"]),
        (["report", "../views/images"], ["no report"]),
        (["report", "snapshot-growth", "--by", "year"], ["day, week, month"]),
        (["report", "snapshot-growth", "--since", "soon"], ["--since: 'soon' is not a time"]),
        (["report", "snapshot-growth", "--as-of", "x"], ["--as-of: 'x' is not a time"]),
        (["report", "snapshot-growth", "--matrix"], ["has no --matrix"]),
        (["report", "region-coverage", "--by", "day"], ["region-coverage has no --by"]),
        (["sql", "select"], ["the statement failed"]),
        (["sql", ""], ["expected one statement"]),
        (["sql", "select 1; select 2"], ["expected one statement"]),
        (["sql", "select nothing from images"], ["nothing"]),
        (["sql", "create table t as select 1"], ["CREATE is refused"]),
        (["sql", "copy (select 1) to 'x.csv'"], ["COPY is refused"]),
        (["sql", "select * from read_csv('/etc/passwd')"], ["the statement failed"]),
        (["sql", "select \udcff"], ["not UTF-8"]),
        (["sql", "select 1", "--lake", ""], ["--lake: expected a text"]),
        (["export", "--account", "x"], ["no account 'x'; the settings name default"]),
        (["export", "--account", "default", "--account", "default"], ["named twice"]),
        (["images", "--account", "x"], ["no account 'x'"]),
        (["--config", "none.toml", "sql", "select 1"], ["none.toml: no such file"]),
        (["sql", "select 1", "--config", "none.toml"], ["none.toml: no such file"]),
        (["sql", "select 1", "--config", ""], ["cannot read"]),
        (["export", "--output", "none/x.csv"], ["--output", "there is no folder none"]),
        (["export", "--output", "/proc/x.csv"], ["--output", "cannot write /proc/x.csv"]),
        (["dashboard", "--output", "none/x.html"], ["there is no folder none"]),
        (["export", "--output", "."], ["--output", "is a folder"]),
        (["export", "--output", ""], ["--output"]),
        (["sandbox", "--at", "noon"], ["'noon' is not a time"]),
        (["sandbox", "--generation", "old"], ["'seed', 'middle', 'newest'"]),
        (["sandbox", "--port", "70000"], ["--port"]),
        (["sandbox", "--images", "-1"], ["--images"]),
        (["sandbox", "--rate", "nan"], ["rate is a number"]),
        (["sandbox", "--fault", "explode"], ["no kind 'explode'"]),
        (["demo", "--days", "0"], ["--days"]),
        (["demo", "--lake", " "], ["--lake is empty"]),
    ],
)
def test_misuse_is_one_line(run: Run, arguments: list[str], words: list[str]) -> None:
    """Whatever is unknown, missing or wrong ends with 2 and one line that says what would be right."""
    refused(run(*arguments), 2, *words)


def test_a_port_in_use_is_told(run: Run) -> None:
    """The sandbox names the port that it cannot have."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(run("sandbox", "--port", port), 2, f"cannot listen on port {port}", "choose another --port")


def test_a_bad_output_is_refused_before_anything_is_done(api: Callable[..., Sandbox], run: Run) -> None:
    """No capture lands whose row cannot be written, and no request is sent for it."""
    sandbox = api()
    refused(run("export", "--output", "none/x"), 2)
    assert sandbox.requests == []
    assert not Path("data").exists()


def test_a_bad_toml_is_told_by_every_command_that_reads_it(run: Run) -> None:
    """A mistyped key does not pass unseen because a command has no need of it."""
    Path("genesis-etl.toml").write_text("lakes = 'x'")
    for arguments in (["export"], ["images"], ["report", "snapshot-growth"], ["sql", "select 1"]):
        refused(run(*arguments), 2, "unknown key 'lakes'", "did you mean 'lake'?")


# the API's refusals


def test_without_a_token_nothing_is_asked(
    api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token is misuse, says which variable to set, and costs no request."""
    sandbox = api()
    monkeypatch.delenv("GENESISCLOUD_TOKEN")
    refused(run("images"), 2, "no token for account default; set the variable GENESISCLOUD_TOKEN")
    assert run("export").code == 2
    assert sandbox.requests == []


def test_a_wrong_token_is_not_shown(api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 ends with 3 after one request and names the variable; the token is nowhere, with --debug neither."""
    sandbox = api()
    monkeypatch.setenv("GENESISCLOUD_TOKEN", "wrong-token-123")
    ended = run("images")
    refused(ended, 3, "401", "the token is missing or unknown", "GENESISCLOUD_TOKEN was refused")
    assert len(sandbox.requests) == 1
    debugged = run("--debug", "images")
    assert "Traceback" in debugged.err
    assert "wrong-token-123" not in f"{ended}{debugged}"


def test_a_token_in_an_argument_is_not_shown_either(api: Callable[..., Sandbox], run: Run) -> None:
    """Whoever types the token where it does not belong does not read it back in the complaint."""
    sandbox = api()
    for arguments in (["sql", f"select {sandbox.token}"], ["export", sandbox.token], ["report", sandbox.token]):
        ended = run(*arguments, "--debug")
        assert ended.code == 2
        assert sandbox.token not in ended.err


def test_no_server_is_4(api: Callable[..., Sandbox], run: Run) -> None:
    """A refused connection is tried again, then told with what was asked, how often, and why it failed."""
    sandbox = api()
    sandbox.stop()
    refused(run("images"), 4, "GET /images page 1, attempt 4 of 4", "refused", "try again later")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ('status=400,body={"code":"02035"%2C"message":"not on this instance"}', 5, ["02035 not on this instance"]),
        ("status=403", 3, ["403", "GENESISCLOUD_TOKEN was refused"]),
        ("status=404", 2, ["404", "check the endpoint setting, it is http://127.0.0.1"]),
        ("status=503,times=0", 4, ["503", "attempt 4 of 4", "try again later"]),
        ("redirect=302", 5, ["redirects are never followed"]),
        ("body=<html>hello</html>", 5, ["<html>hello"]),
        ("field=total_count,value=true", 5, ["total_count"]),
    ],
)
def test_what_the_api_says_reaches_the_user(
    api: Callable[..., Sandbox], run: Run, fault: str, code: int, words: list[str]
) -> None:
    """Each kind of refusal has its code, and its line repeats the code and message of the error body."""
    api(faults=[Fault.parse(fault)])
    refused(run("images"), code, *words)


def test_the_sandbox_fails_as_told(sandbox_process: Callable[..., Served]) -> None:
    """`--fault` scripts what goes wrong, and the client reads on where it can."""
    served = sandbox_process("--fault", "images:status=503,times=1", "--images", "5", "--at", "2026-11-20")
    environ = {**served.environ, "GENESIS_ETL_NOW": "2026-11-20", "GENESIS_ETL_BACKOFF": "0.01"}
    ended = etl("export", "--format", "json", env=environ)
    assert (ended.rows[0]["retries"], ended.rows[0]["captured_at"]) == (1, "2026-11-20T00:00:00Z")


# reading an account


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_all_pages_are_read(api: Callable[..., Sandbox], run: Run, count: int) -> None:
    """However many pages a list has, every image of it is shown once per region."""
    api(collections=listing(images=count, snapshots=0))
    rows = run("images", "--format", "json").rows
    assert len(rows) == 2 * count
    assert len({row["image_id"] for row in rows}) == count


def test_an_image_has_a_row_for_each_region(api: Callable[..., Sandbox], run: Run) -> None:
    """Two regions are two rows, none is one row without a region."""
    both, none = some_images(2)
    none["regions"] = []
    api(collections=lambda name, at: [both, none] if name == "images" else [])
    rows = run("images", "--format", "json").rows
    assert [(row["account"], row["image_id"], row["region"]) for row in rows] == [
        ("default", both["id"], "ARC-IS-HAF-1"),
        ("default", both["id"], "NORD-NO-KRS-1"),
        ("default", none["id"], None),
    ]


@pytest.mark.parametrize("generation", fewer(["seed", "middle", "newest"], 1))
@pytest.mark.parametrize("kind", ["base-os", "snapshot", "preconfigured"])
def test_a_type_is_asked_of_the_api(api: Callable[..., Sandbox], run: Run, generation: str, kind: str) -> None:
    """`--type` is sent as the filter of /images; only for snapshots is /snapshots read, and only they are shown."""
    sandbox = api(generation=generation)
    everything = run("images", "--format", "json").rows
    sandbox.requests.clear()
    rows = run("images", "--type", kind, "--format", "json").rows
    assert rows == [row for row in everything if row["type"] == kind]
    assert kind != "snapshot" or rows
    assert {request.query.get("type") for request in sandbox.requests if request.path.endswith("/images")} == {kind}
    assert any(request.path.endswith("/snapshots") for request in sandbox.requests) == (kind == "snapshot")


def test_a_region_keeps_its_images(api: Callable[..., Sandbox], run: Run) -> None:
    """`--region` shows the rows of that region alone; one that nobody knows has none."""
    api()
    everything = run("images", "--format", "json").rows
    rows = run("images", "--region", "NORD-NO-KRS-1", "--format", "json").rows
    assert rows == [row for row in everything if row["region"] == "NORD-NO-KRS-1"]
    assert rows
    assert run("images", "--region", "MOON-1", "--format", "json") == Ended(0, b"[]\n", "")


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        (None, {"X-Auth-Token", "Authorization"}),
        ("both", {"X-Auth-Token", "Authorization"}),
        ("x-auth-token", {"X-Auth-Token"}),
        ("bearer", {"Authorization"}),
    ],
)
def test_the_token_goes_where_the_setting_says(
    api: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch, auth: str | None, headers: set[str]
) -> None:
    """Each generation's header works alone, and by default one request carries both."""
    sandbox = api()
    if auth is not None:
        monkeypatch.setenv("GENESIS_ETL_AUTH", auth)
    assert run("images").code == 0
    for request in sandbox.requests:
        assert {"X-Auth-Token", "Authorization"} & request.headers.keys() == headers


def test_images_leave_the_lake_alone(api: Callable[..., Sandbox], run: Run) -> None:
    """Looking at the live images writes nothing."""
    api()
    assert run("images").code == 0
    assert not Path("data").exists()


# several accounts


@pytest.fixture
def accounts(serve: Callable[..., Sandbox], api: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Configure four accounts: the second's token is wrong, the third's server gone, the fourth has no token."""
    sandbox = api()
    gone = serve()
    gone.stop()
    tables = [("zulu", "T_Z", sandbox), ("bad", "T_B", sandbox), ("away", "T_A", gone), ("mute", "T_M", sandbox)]
    Path("genesis-etl.toml").write_text(
        "".join(f'[accounts.{name}]\ntoken_env = "{token}"\nendpoint = "{of.endpoint}"\n' for name, token, of in tables)
    )
    for name, token in (("T_Z", sandbox.token), ("T_B", "wrong-token"), ("T_A", gone.token)):
        monkeypatch.setenv(name, token)
    return sandbox


def test_every_account_has_a_row_and_the_first_failure_the_code(accounts: Sandbox, run: Run) -> None:
    """All are tried in the toml's order: what can lands, each failure has its row, the code is the first one's."""
    ended = run("export", "--format", "json")
    assert ended.code == 3
    assert [(row["account"], row["status"]) for row in ended.rows] == [
        ("zulu", "landed"),
        ("bad", "failed"),
        ("away", "failed"),
        ("mute", "failed"),
    ]
    landed, *failed = ended.rows
    assert landed["error"] is None
    assert landed["captured_at"] == "2026-11-20T12:00:00Z"
    assert all(row["error"] and row["capture_id"] is None and row["rows"] is None for row in failed)
    assert ERROR.fullmatch(ended.err)
    assert all(f"account {name}: " in ended.err for name in ("bad", "away", "mute"))
    assert "wrong-token" not in f"{ended}"


@pytest.mark.parametrize(
    ("names", "code"), [(["mute", "away"], 4), (["mute"], 2), (["mute", "bad"], 3), (["zulu"], 0), (["away"], 4)]
)
def test_the_code_follows_the_order_of_the_toml(accounts: Sandbox, run: Run, names: list[str], code: int) -> None:
    """The order of the options does not matter, and who was not named is not tried."""
    ended = run("export", "--format", "csv", *(word for name in names for word in ("--account", name)))
    assert ended.code == code
    assert len(ended.out.decode().strip().split("\n")) == 1 + len(names)


def test_images_of_every_account_are_shown(accounts: Sandbox, run: Run) -> None:
    """One account's failure does not hide the others' images, and each row says whose it is."""
    ended = run("images", "--format", "json")
    assert ended.code == 3
    assert {row["account"] for row in ended.rows} == {"zulu"}
    assert ERROR.fullmatch(ended.err)


def test_a_result_keeps_its_types_when_all_fail(accounts: Sandbox, run: Run) -> None:
    """The columns of a capture are there, and null, where there is none."""
    ended = run("export", "--account", "bad", "--format", "parquet", "--output", "out.parquet")
    assert ended.code == 3
    frame = pd.read_parquet("out.parquet")
    assert list(frame.columns[:3]) == ["account", "status", "capture_id"]
    assert frame["captured_at"].isna().all()
    assert str(frame["captured_at"].dtype) == "datetime64[us, UTC]"


# several accounts and what they have to say


def configure(monkeypatch: pytest.MonkeyPatch, **sandboxes: Sandbox | tuple[Sandbox, str]) -> None:
    """Write a toml with an account for each sandbox, in this order; a text beside it is the token instead."""
    text = ""
    for name, given in sandboxes.items():
        sandbox, token = given if isinstance(given, tuple) else (given, given.token)
        text += f'[accounts.{name}]\ntoken_env = "T_{name.upper()}"\nendpoint = "{sandbox.endpoint}"\n'
        monkeypatch.setenv(f"T_{name.upper()}", token)
    Path("genesis-etl.toml").write_text(text)


def changed(**fields: Any) -> Callable[..., Any]:
    """Return collections of three images, the first of which has these fields, and two snapshots."""
    images = some_images(3)
    images[0].update(fields)
    return lambda name, at: images if name == "images" else listing(0, 2)("snapshots", at)


def test_of_five_accounts_three_land(
    api: Callable[..., Sandbox], serve: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad token and a dead endpoint fail, with names and the first one's code; notes cost the others nothing."""
    dead = serve()
    dead.stop()
    refusing = serve(collections=listing(3, 2), faults=[Fault("status", "snapshots", status=404, times=0)])
    strange = serve(collections=changed(zone="b"))
    configure(monkeypatch, bad=(api(), "wrong-token"), dead=dead, refused=refusing, strange=strange, good=serve())
    ended = run("export", "--format", "json")
    assert [(row["account"], row["status"]) for row in ended.rows] == [
        ("bad", "failed"),
        ("dead", "failed"),
        ("refused", "landed"),
        ("strange", "landed"),
        ("good", "landed"),
    ]
    assert ended.code == 3
    *notes, error = ended.err.splitlines(keepends=True)
    assert sorted(note.split(",")[0] for note in notes) == [
        "account refused: captured from /images alone",
        "account strange: /images has fields not known yet",
    ]
    assert ERROR.fullmatch(error)
    assert "account bad: " in error
    assert "account dead: " in error
    landed = run("sql", "select account from captures order by all", "--format", "json").rows
    assert [row["account"] for row in landed] == ["good", "refused", "strange"]


NOTES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "refused-403": ({"faults": [Fault("status", "snapshots", status=403, times=0)]}, [], "/snapshots was refused"),
    "refused-404": ({"faults": [Fault("status", "snapshots", status=404, times=0)]}, [], "/snapshots was refused"),
    "without-snapshots": ({}, ["--without-snapshots"], "captured from /images alone, as asked"),
    "unknown-field": ({"collections": changed(zone=1)}, [], "has fields not known yet, kept in extra: zone"),
    "null-regions": ({"collections": changed(regions=None)}, [], "1 images have null for regions"),
    "repeated-regions": ({"collections": changed(regions=["A", "A"])}, [], "1 images list a region twice"),
    "unknown-type": ({"collections": changed(type="new")}, [], "type not known yet, kept as it is: new"),
    "unknown-status": (
        {"collections": lambda name, at: some_snapshots(2, status="asleep") if name == "snapshots" else []},
        [],
        "status not known yet, kept as it is: asleep",
    ),
}


@pytest.mark.parametrize("kind", fewer(NOTES, 4))
def test_two_accounts_with_a_note_both_land(
    api: Callable[..., Sandbox], serve: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whatever there is to say of each of several accounts is said once for each, and both land."""
    options, arguments, note = NOTES[kind]
    configure(monkeypatch, one=api(**options), two=serve(**options))
    ended = run("export", "--format", "json", *arguments)
    assert [row["status"] for row in ended.rows] == ["landed", "landed"]
    assert ended.code == 0
    lines = sorted(ended.err.splitlines())
    assert [line.split(": ")[0] for line in lines] == ["account one", "account two"]
    assert all(note in line for line in lines)


def test_captures_that_cannot_be_compacted_cost_several_accounts_nothing(
    api: Callable[..., Sandbox], serve: Callable[..., Sandbox], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file of many old ones hinders compaction alone: both accounts land, and each says why."""
    configure(monkeypatch, one=api(), two=serve())
    for account in ("one", "two"):
        old = [land(Lake("data/lake"), at("2026-11-17") + n * HOUR, rows("a"), account) for n in range(50)]
        Path("data/lake", old[3].file).write_bytes(b"")
    ended = run("export", "--format", "json")
    assert [row["status"] for row in ended.rows] == ["landed", "landed"]
    assert ended.code == 0
    assert all(f"account {name}: not compacted: " in ended.err for name in ("one", "two"))


def test_several_accounts_on_a_terminal_with_notes_all_land(
    api: Callable[..., Sandbox], serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal each account's pages go by, and above them every note is there whole, on a line of its own."""
    names = [f"a{number}" for number in range(4)]
    first = api(collections=changed(zone=1))
    configure(monkeypatch, **dict.fromkeys(names, first))
    first.faults.append(Fault("status", "snapshots", status=403, times=0))
    ours, its = pty.openpty()
    command = [*ETL, "export", "--format", "json"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, env=environ)
    os.close(its)
    text = b""
    while chunk := _read(ours):
        text += chunk
    assert process.stdout is not None
    assert [row["status"] for row in json.loads(process.stdout.read())] == ["landed"] * 4
    assert process.wait(10) == 0
    for name in names:
        assert re.search(rb"[\nK]account %b: captured from /images alone" % name.encode(), text)
        assert f"/images of {name}, pass 1".encode() in text


@pytest.mark.parametrize("accounts", fewer([1, 3], 1))
def test_a_stderr_that_takes_nothing_costs_no_capture(
    api: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch, accounts: int
) -> None:
    """With notes to write and a full disk behind stderr, every account lands, and the code is 0."""
    sandbox = api(collections=changed(zone=1))
    configure(monkeypatch, **{f"a{number}": sandbox for number in range(accounts)})
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*ETL, "export", "--format", "json"], stdout=subprocess.PIPE, stderr=full, timeout=60)
    assert [row["status"] for row in json.loads(done.stdout)] == ["landed"] * accounts
    assert done.returncode == 0


# --output


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "parquet"])
def test_a_full_disk_leaves_the_output_of_before(run: Run, form: str) -> None:
    """Where the rows do not fit, one line says so, and yesterday's file is there whole and alone."""
    Path("out").write_bytes(b"yesterday's")
    arguments = ["sql", "select range as n from range(1000)", "--format", form, "--output", "out"]
    with full_disk(300):
        refused(run(*arguments), 2, "cannot write out: File too large; it is as it was, choose another file")
    assert files_of(".") == {"out": b"yesterday's"}
    assert run(*arguments) == Ended(0, b"", "")
    assert len(Path("out").read_bytes()) > 300


@pytest.mark.parametrize(
    ("statement", "form"),
    [
        ("select 1 as a, 2 as a", "json"),
        ("select 1 as a, 2 as a", "parquet"),
        ("select 'infinity'::timestamptz as a", "csv"),
        ("select nothing", "csv"),
    ],
)
def test_rows_that_a_form_cannot_hold_leave_the_output_of_before(run: Run, statement: str, form: str) -> None:
    """An error of the statement, or while its rows are written out, touches no file."""
    Path("out").write_bytes(b"yesterday's")
    assert run("sql", statement, "--format", form, "--output", "out").code == 2
    assert files_of(".") == {"out": b"yesterday's"}


def test_an_output_that_fails_hides_no_accounts_failure(accounts: Sandbox, run: Run) -> None:
    """With a full disk behind --output the line of an export is still the accounts', and so is its code."""
    with full_disk(100_000):
        ended = run("export", "--format", "csv", "--output", "/dev/full")
    assert ended.code == 3
    assert "warning: cannot write /dev/full: No space left on device" in ended.err
    assert "error: account bad: " in ended.err


def test_an_output_named_stdout_goes_on_where_stdout_was() -> None:
    """`--output /dev/stdout >> log` adds to the log, as without --output."""
    Path("log").write_bytes(b"before\n")
    with open("log", "ab") as log:
        command = [*ETL, "sql", "select 1 as a", "--format", "csv", "--output", "/dev/stdout"]
        assert subprocess.run(command, stdout=log, timeout=60).returncode == 0
    assert Path("log").read_bytes() == b"before\na\n1\n"


def test_a_demo_whose_page_has_no_place_captures_nothing(run: Run) -> None:
    """A folder where the page would be is told before 120 days are captured."""
    Path("L.html").mkdir()
    refused(run("demo", "--lake", "L"), 2, "'L.html' is a folder")
    assert os.listdir() == ["L.html"]


# the lake


def test_an_empty_lake(run: Run) -> None:
    """A report over nothing is 6 and says how to begin; SQL knows the tables, without rows."""
    for name in ("snapshot-growth", "region-coverage"):
        refused(run("report", name), 6, "no capture yet in data/lake; run `genesis-etl export`")
    for table in ("images", "image_history", "image_regions", "captures"):
        ended = run("sql", f"select * from {table}", "--format", "csv")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.decode().startswith("account,")
        assert ended.out.count(b"\n") == 1


def test_the_lake_is_where_the_option_says(lake: Sandbox, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--lake beats GENESIS_ETL_LAKE beats the toml's."""
    count = ("sql", "select count(*) as n from captures", "--format", "json")
    Path("genesis-etl.toml").write_text("lake = 'of-toml'")
    assert run(*count).rows == [{"n": 0}]
    monkeypatch.setenv("GENESIS_ETL_LAKE", "data/lake")
    assert run(*count).rows == [{"n": 1}]
    assert run(*count, "--lake", "elsewhere").rows == [{"n": 0}]


def test_a_lake_that_cannot_be_written_is_6(api: Callable[..., Sandbox], run: Run) -> None:
    """Where a file stands in the lake's place, the line names it; the account's row says failed."""
    api()
    Path("file").write_text("")
    ended = run("export", "--lake", "file", "--format", "csv")
    assert ended.code == 6
    assert "file" in ended.err
    assert ended.out.decode().split("\n")[1].startswith("default,failed,")


def test_reports_are_listed(run: Run) -> None:
    """`report --list` names each with a line, without a lake, in any form."""
    rows = run("report", "--list", "--format", "json").rows
    assert {"snapshot-growth", "region-coverage"} <= {row["report"] for row in rows}
    assert all(row["shows"] for row in rows)


def test_prices_and_regions_reach_the_reports(lake: Sandbox, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are null until a price is set, and an expected region is there before it is seen."""
    growth = ("report", "snapshot-growth", "--by", "month", "--format", "json")
    assert {row["cost_per_month"] for row in run(*growth).rows} == {None}
    monkeypatch.setenv("GENESIS_ETL_PRICE_GIB_MONTH", "0.5")
    monkeypatch.setenv("GENESIS_ETL_REGIONS", "MOON-1")
    last = run(*growth).rows[-1]
    assert last["cost_per_month"] == pytest.approx(0.5 * last["gib_closing"])
    assert "MOON-1" in {row["region"] for row in run("report", "region-coverage", "--format", "json").rows}


@pytest.mark.parametrize(
    "arguments",
    [
        ["images"],
        ["report", "--list"],
        pytest.param(["export"], marks=pytest.mark.slow),
        pytest.param(["report", "snapshot-growth"], marks=pytest.mark.slow),
        pytest.param(["report", "region-coverage", "--matrix"], marks=pytest.mark.slow),
        pytest.param(["sql", "select * from image_history order by all"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_every_data_command_prints_every_form(lake: Sandbox, run: Run, arguments: Sequence[str]) -> None:
    """Each form holds the same rows and columns, on stdout or in --output, where stdout then stays empty."""
    rows = run(*arguments, "--format", "json").rows
    assert rows
    csv_rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").out.decode(), newline="")))
    assert [list(row) for row in csv_rows] == [list(row) for row in rows]
    assert len(run(*arguments, "--format", "markdown").out.decode().split("\n")) == len(rows) + 3
    assert len(run(*arguments, "--format", "table").out.decode().split("\n")) == len(rows) + 3
    frame = pd.read_parquet(io.BytesIO(run(*arguments, "--format", "parquet").out))
    assert (list(frame.columns), len(frame)) == (list(rows[0]), len(rows))
    sheet = openpyxl.load_workbook(io.BytesIO(run(*arguments, "--format", "xlsx").out)).active
    assert ([cell.value for cell in sheet[1]], sheet.max_row) == (list(rows[0]), len(rows) + 1)
    for form in FORMS:
        ended = run(*arguments, "--format", form, "--output", f"out.{form}")
        assert ended == Ended(0, b"", "")
        assert Path(f"out.{form}").stat().st_size > 0
    assert run(*arguments, "--output", "-").out == run(*arguments).out or arguments[0] == "export"


def test_the_data_commands_are_those_of_the_contract() -> None:
    """Whatever prints data has both options, so no command is forgotten above."""
    later = {"compact", "verify", "check", "forget", "publish"}
    assert set(DATA) - later == {"export", "images", "report", "sql"}


# quiet, debug


@pytest.mark.parametrize("arguments", [["--quiet", "export"], ["export", "--quiet"]])
def test_quiet_says_nothing_but_data_and_errors(api: Callable[..., Sandbox], run: Run, arguments: list[str]) -> None:
    """Notes go to stderr, and with --quiet, before or after the command, nowhere."""
    api(faults=[Fault("status", "snapshots", status=403, times=0)])
    loud = run("export")
    assert "account default: captured from /images alone" in loud.err
    quiet = run(*arguments)
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out


@pytest.mark.parametrize("arguments", [["--debug", "sql", "select"], ["sql", "select", "--debug"]])
def test_a_traceback_is_for_debugging(run: Run, arguments: list[str]) -> None:
    """--debug, before or after the command, shows where an error came from above its line."""
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.err.startswith("Traceback")
    assert ERROR.fullmatch(ended.err.splitlines(keepends=True)[-1])
    assert "Traceback" not in run("sql", "select").err


def test_a_config_of_either_place_is_read(run: Run) -> None:
    """--config counts before and after the command; the later one wins."""
    Path("a.toml").write_text("lake = 'a'")
    Path("b.toml").write_text("lake = 'b'")
    for arguments, lake in (
        (["--config", "a.toml", "report", "snapshot-growth"], "a"),
        (["report", "snapshot-growth", "--config", "b.toml"], "b"),
        (["--config", "a.toml", "report", "snapshot-growth", "--config", "b.toml"], "b"),
    ):
        refused(run(*arguments), 6, f"no capture yet in {lake};")


def test_a_bug_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is told in a line, with the way to more."""
    monkeypatch.setattr(report, "report_names", lambda: 1 / 0)
    refused(run("report", "--list"), 1, "ZeroDivisionError", "please report it with --debug's output")


def test_now_is_for_the_sandbox(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """GENESIS_ETL_NOW with an endpoint that is not on this machine is misuse, before any request."""
    monkeypatch.setenv("GENESIS_ETL_NOW", datetime(2026, 11, 20).isoformat())
    monkeypatch.setenv("GENESISCLOUD_TOKEN", "some-token")
    monkeypatch.setenv("GENESISCLOUD_ENDPOINT", "https://api.invalid/compute/v1")
    ended = run("export")
    assert ended.code == 2
    assert "GENESIS_ETL_NOW is for simulations" in ended.err
