"""Ctrl-C and SIGTERM at every instant of a command: one line, 130 or 143, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.sandbox import Sandbox
from tests.commands import ERROR
from tests.conftest import WHOLE
from tests.histories import at, land, land_all, rows

# Runs the command line and sends its own process a signal where the n-th module is looked for, counted from the first
# instruction of ours on; with 0 none is sent, and their number is told.
DRIVER = """
import atexit, os, signal, sys
number, place, told = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sys.argv = ["genesis-etl", *sys.argv[4:]]
found = []
def hear(event, arguments):
    if event == "import" and (found or arguments[0] == "genesis_etl.cli.process"):
        found.append(arguments[0])
        if len(found) == place:
            os.kill(os.getpid(), number)
sys.addaudithook(hear)
if not place:
    atexit.register(lambda: print(len(found), file=open(told, "w")))
from genesis_etl.cli import main
main()
"""


def drive(number: int, place: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that gets this signal where its module of this number is looked for."""
    command = [sys.executable, "-c", DRIVER, str(number), str(place), "count", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def is_stopped(done: subprocess.CompletedProcess[str], number: int) -> bool:
    """Tell whether a command ended as it should on a signal."""
    is_line = ERROR.fullmatch(done.stderr) is not None and f"stopped by {signal.Signals(number).name}" in done.stderr
    return is_line and done.returncode == 128 + number


@pytest.mark.parametrize(
    ("arguments", "instants"),
    [
        (["export"], 2),
        pytest.param(["export"], 100, marks=pytest.mark.slow),
        pytest.param(["dashboard", "--lake", "lake"], 100, marks=WHOLE),
        pytest.param(["report", "snapshot-growth", "--lake", "lake"], 100, marks=pytest.mark.slow),
        pytest.param(["check", "--lake", "lake"], 100, marks=WHOLE),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_signal_in_the_middle_of_any_import_is_one_line(
    api: Callable[..., Sandbox], arguments: list[str], instants: int
) -> None:
    """From our first instruction to the last library that a command loads, whatever it was just importing."""
    api()
    land(Lake("lake"), at("2026-11-20"), rows("a"))
    whole = drive(0, 0, *arguments)
    count = int(Path("count").read_text())
    assert count > 50
    numbers = [(signal.SIGINT, signal.SIGTERM)[index % 2] for index in range(instants)]
    places = [1 + index * (count - 2) // (instants - 1) for index in range(instants)]
    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda number, place: drive(number, place, *arguments), numbers, places))
    others = [done for done, number in zip(ended, numbers, strict=True) if not is_stopped(done, number)]
    # A signal in the last imports may come too late, and then the command has ended as ever.
    assert [done for done in others if (done.returncode, done.stderr) != (whole.returncode, whole.stderr)] == []
    assert len(others) <= instants / 2


def test_nothing_third_party_but_click_is_imported_for_help() -> None:
    """`import genesis_etl`, --help of all commands and --version load no other library: help comes at once."""
    code = """
import sys
import genesis_etl
from genesis_etl import cli
from genesis_etl.cli.group import cli as group
for arguments in (["--version"], ["--help"], *([name, "--help"] for name in group.commands)):
    cli.run(arguments)
for name, module in sorted(sys.modules.items()):
    if "site-packages" in (getattr(module, "__file__", None) or "") and "." not in name:
        print(name, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stderr.split() if not name.startswith(("__editable__", "_distutils_hack"))}
    assert ours == {"click"}


def test_importing_the_package_imports_nothing_else() -> None:
    """What `import genesis_etl` offers is imported when it is asked for, so that signals can be heeded before."""
    code = "import sys; before = set(sys.modules); import genesis_etl; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["genesis_etl"]


def test_an_export_imports_neither_a_database_nor_pandas(api: Callable[..., Sandbox]) -> None:
    """DuckDB is for questions and for compaction, pandas for notebooks; a capture that lands needs none of them."""
    api()
    code = "import sys; from genesis_etl import cli; cli.run(['export']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"duckdb", "jinja2", "pandas"}.isdisjoint(done.stdout.split())
    assert Path("data/lake").is_dir()


def test_a_report_does_not_import_pandas() -> None:
    """It takes as long as all that a report does; nor do the tables, the page or a verification need it."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    commands = ["report", "snapshot-growth"], ["publish"], ["dashboard", "--output", "page.html"], ["verify"]
    code = f"""
import sys
from genesis_etl import cli
for command in {commands}:
    assert cli.run([*command, "--lake", "lake"]) == 0, command
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_data_frames_are_to_be_had_after_an_export_without_them(api: Callable[..., Sandbox]) -> None:
    """In the process of a command that has kept pandas out, Arrow still makes DataFrames and reads them."""
    api()
    code = """
from genesis_etl import cli, open_lake
assert cli.run(["export"]) == 0
import pyarrow as pa
frame = open_lake("data/lake").sql("select image_id, region from images")
assert len(frame) == len(pa.Table.from_pandas(frame)) == len(pa.table(frame)) > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_export_gives_back_the_memory_that_it_has_freed(api: Callable[..., Sandbox]) -> None:
    """Arrow's own pools keep it, so the command takes the system's, unless the environment names another."""
    api()
    code = "import sys; from genesis_etl import cli; cli.run(['export']); import pyarrow as pa; "
    code += "print(pa.default_memory_pool().backend_name, file=sys.stderr)"
    for wanted, told in ((None, "system"), ("mimalloc", "mimalloc")):
        environment = {**os.environ, **({"ARROW_DEFAULT_MEMORY_POOL": wanted} if wanted else {})}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert done.stderr.split()[-1] == told


@pytest.mark.parametrize("order", ["import genesis_etl.pipeline", "from genesis_etl import pipeline", ""])
def test_a_name_means_one_thing(order: str) -> None:
    """`genesis_etl.export` is the function, whatever was imported before it; what there is not is an AttributeError."""
    code = f"""
{order}
import genesis_etl
assert all(name in dir(genesis_etl) for name in genesis_etl.__all__)
assert all(getattr(genesis_etl, name) is getattr(genesis_etl, name) for name in genesis_etl.__all__)
assert callable(genesis_etl.export) and genesis_etl.export.__module__ == "genesis_etl.pipeline"
assert not hasattr(genesis_etl, "nonsense")
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONWARNINGS": "error"})


def test_a_command_imports_no_other() -> None:
    """Of the files of commands only its own is imported, so a command never waits for what another one needs."""
    code = """
import sys
from genesis_etl import cli
cli.run(["verify", "--lake", "lake"])
print(*(name for name in sys.modules if name.startswith("genesis_etl.cli.commands.")), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "genesis_etl.cli.commands.verify"
