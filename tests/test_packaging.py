"""What `pip install` brings: its pins, the files of sdist and wheel, and whether both work where nothing else is."""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import openpyxl
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import genesis_etl

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED: Final = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS: Final = {
    name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()
}
PINS: Final = {
    canonicalize_name(name): version
    for file in ("requirements.txt", "requirements-all.txt")
    for name, _, version in (line.partition("==") for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    if version
}
# What a user sees: a program of four lines, and every room of the package but those of extras.
FOUR_LINES: Final = """
    import genesis_etl

    (capture,) = genesis_etl.export(genesis_etl.Settings.load())
    lake = genesis_etl.open_lake("data/lake")
    growth = lake.report("snapshot-growth", by="month")
    assert len(genesis_etl.images()) == len(lake.images) > 0, "live images and those of the table differ"
    assert len(growth) > 1
    assert len(lake.captures) == 2
"""
EVERY_ROOM: Final = """
    import importlib, importlib.util, pkgutil

    import genesis_etl

    for name in ("prefect", "flows", "tests", "benchmarks"):
        assert importlib.util.find_spec(name) is None, name
    refused = set()
    for room in pkgutil.walk_packages(genesis_etl.__path__, "genesis_etl."):
        if not room.name.endswith("__main__"):
            try:
                importlib.import_module(room.name)
            except genesis_etl.GenesisEtlError:
                refused.add(room.name)
    assert refused == {"genesis_etl.publish.delta", "genesis_etl.query.spark"}, refused
"""
TYPED: Final = """
    import genesis_etl

    captures: list[genesis_etl.Capture] = genesis_etl.export(genesis_etl.Settings.load())
    names: list[str] = [capture.account for capture in captures]
    genesis_etl.open_lake(5)
"""


def lowest(requirement: Requirement) -> str:
    """Return the requirement as the lowest version that it allows."""
    (bound,) = (each.version for each in requirement.specifier if each.operator in (">=", "=="))
    return f"{requirement.name}=={bound}"


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command as a user without a checkout would; return its stdout."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean(environment), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def clean(environment: dict[str, str]) -> dict[str, str]:
    ours = ("GENESIS", "PYTHON", "VIRTUAL_ENV", "COV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | environment


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """Give a folder outside the checkout, on a disk: environments are too large for memory."""
    with tempfile.TemporaryDirectory(prefix="genesis-etl-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def checkout(room: Path) -> Path:
    """Copy what could get into a package, for a build leaves things where it is made."""
    copy = room / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "prefect.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, copy)
    for name in ("genesis_etl", "flows", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "lakes"))
    return copy


@pytest.fixture(scope="module")
def built(room: Path, checkout: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from nothing but the sdist."""
    call(sys.executable, "-m", "build", "--outdir", room / "dist", checkout, cwd=room)
    (sdist,) = (room / "dist").glob("*.tar.gz")
    (wheel,) = (room / "dist").glob("*.whl")
    return sdist, wheel


def other_python(version: str) -> str | None:
    """Return a Python of this version that is on this machine, None where there is none."""
    found = shutil.which(f"python{version}")
    there = [found] if found else []
    there += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    there += map(str, sorted(Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(f"versions/{version}.*/bin/python")))
    for python in there:
        if not subprocess.run([python, "-c", "import venv, ssl, sqlite3"], capture_output=True, check=False).returncode:
            return python
    return None


def installed(folder: Path, *wanted: str | Path, constraint: Path, of: str = sys.executable) -> Path:
    """Install into an empty environment of a Python; return the environment's."""
    call(of, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    call(*pip, "install", "--quiet", "--no-compile", "--constraint", constraint, *wanted, cwd=folder.parent)
    call(*pip, "check", cwd=folder.parent)
    return python


@pytest.fixture(scope="module")
def pinned(room: Path, built: tuple[Path, Path]) -> Path:
    """Install the wheel as `pip install` does, in the tested versions."""
    return installed(room / "pinned", built[1], constraint=ROOT / "requirements.txt")


@pytest.fixture(scope="module")
def oldest(room: Path, built: tuple[Path, Path]) -> Path:
    """Install the wheel with the lowest version of all that it asks for itself."""
    ours = {canonicalize_name(each.name) for each in NEEDED}
    others = room / "others.txt"
    others.write_text("\n".join(f"{name}=={version}" for name, version in PINS.items() if name not in ours))
    return installed(room / "oldest", built[1], *map(lowest, NEEDED), constraint=others)


@pytest.fixture(scope="module")
def newer(room: Path, built: tuple[Path, Path], request: pytest.FixtureRequest) -> Path:
    """Install the wheel for another Python, in the tested versions."""
    version: str = request.param
    python = other_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    return installed(room / version, built[1], constraint=ROOT / "requirements.txt", of=python)


@contextmanager
def sandbox_of(python: Path, cwd: Path) -> Iterator[dict[str, str]]:
    """Serve the sandbox of an installed package; give the environment that reaches it."""
    command = [str(python.parent / "genesis-etl"), "sandbox", "--port", "0", "--rate", "0", "--quiet"]
    with subprocess.Popen(command, cwd=cwd, env=clean({}), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = [server.stdout.readline().strip().partition("=") for _ in range(2)]
            yield {name: value for name, _, value in lines} | {"GENESIS_ETL_RATE": "1000"}
        finally:
            server.terminate()
        assert server.wait(60) == 143


def on_a_terminal(command: Sequence[str], cwd: Path, environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a command whose stderr is a terminal; return its code and what that has shown."""
    ours, its = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                shown.append(os.read(ours, 65536))
            except OSError:  # nobody has it open any more
                return

    with subprocess.Popen(command, cwd=cwd, env=clean(environment), stdout=subprocess.DEVNULL, stderr=its) as process:
        os.close(its)
        reader = threading.Thread(target=read)
        reader.start()
        code = process.wait(60)
        reader.join()
    os.close(ours)
    return code, b"".join(shown)


def test_the_pins_are_versions_that_the_package_allows() -> None:
    """`make setup` installs pins without asking the package, so all that it and its extras ask for is among them."""
    for requirement in [*NEEDED, *(each for extra in EXTRAS.values() for each in extra)]:
        if requirement.name != PROJECT["name"]:
            pin = PINS[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin), f"{requirement} does not allow {pin}"


def test_the_changelog_begins_with_this_version() -> None:
    """The newest section of the changelog is of the version that the package says, and has a date."""
    sections = re.findall(r"^## \[(.+)\](.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    version, dated = sections[0]
    assert version == genesis_etl.__version__
    assert date.fromisoformat(dated.removeprefix(" - "))


def test_prefect_comes_with_the_flows_alone() -> None:
    """Neither Prefect nor what it is pinned with is needed; `flows` brings them, and `dask` what `flows` does."""
    names = {extra: {each.name for each in wanted} for extra, wanted in EXTRAS.items()}
    assert names["flows"] >= {"prefect", "fastapi", "sqlalchemy"}
    assert not names["flows"] & {each.name for each in NEEDED}
    assert [each.extras for each in EXTRAS["dask"] if each.name == PROJECT["name"]] == [{"flows"}]


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
def test_the_wheel_is_the_package_and_the_sdist_makes_it(built: tuple[Path, Path], room: Path, checkout: Path) -> None:
    """The wheel holds each file of `genesis_etl` and its own metadata; from sdist or checkout it is the same.

    The sdist holds neither tests nor flows.
    """
    call(sys.executable, "-m", "build", "--wheel", "--outdir", room / "direct", checkout, cwd=room)
    (direct,) = (room / "direct").glob("*.whl")
    holds = []
    for wheel in (built[1], direct):
        with zipfile.ZipFile(wheel) as archive:
            holds.append({name: archive.read(name) for name in archive.namelist()})
    assert holds[0] == holds[1]
    files = (path for path in (ROOT / "genesis_etl").rglob("*") if path.is_file() and path.suffix != ".pyc")
    package = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}
    assert {name: data for name, data in holds[0].items() if name.startswith("genesis_etl/")} == package
    assert {name.split("/")[0] for name in holds[0]} == {"genesis_etl", f"{built[1].name.rsplit('-', 3)[0]}.dist-info"}
    with tarfile.open(built[0]) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    made = {"PKG-INFO", "setup.cfg", "genesis_etl.egg-info"}
    assert top - made == {"genesis_etl", "pyproject.toml", "README.md", "MANIFEST.in"}


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize("versions", ["pinned", "oldest"])
def test_an_installed_package_does_what_the_readme_says(versions: str, request: pytest.FixtureRequest) -> None:
    """In an empty environment, with tested or with the lowest versions: capture, report, page, tables, four lines."""
    does_what_the_readme_says(request.getfixturevalue(versions))


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.xdist_group("packaging")
@pytest.mark.parametrize("newer", ["3.12", "3.13"], indirect=True)
def test_an_installed_package_runs_on_newer_pythons(newer: Path) -> None:
    """The same on each newer Python that is on this machine."""
    does_what_the_readme_says(newer)


def does_what_the_readme_says(python: Path) -> None:
    """Try an installed package outside a checkout.

    Every room of the package can be imported, the two of extras say which one is missing, and nothing else is there.
    """
    etl = python.parent / "genesis-etl"
    folder = python.parents[1] / "work"
    folder.mkdir()
    call(python, "-c", dedent(EVERY_ROOM), cwd=folder)
    with sandbox_of(python, folder) as reach:
        code, shown = on_a_terminal([str(etl), "export"], folder, {**reach, "TERM": "xterm"})
        assert code == 0, shown
        assert b"\x1b[" in shown
        call(python, "-c", dedent(FOUR_LINES), cwd=folder, **reach)
        call(etl, "check", cwd=folder, **reach)
        live = pd.read_csv(io.StringIO(call(etl, "images", "--format", "csv", cwd=folder, **reach)))
    assert len(live) > 100
    lake = ("--lake", folder / "data" / "lake")
    growth = pd.read_csv(io.StringIO(call(etl, "report", "snapshot-growth", *lake, "--format", "csv", cwd=folder)))
    call(etl, "report", "snapshot-growth", *lake, "--format", "xlsx", "--output", "growth.xlsx", cwd=folder)
    sheet = openpyxl.load_workbook(folder / "growth.xlsx").active
    assert (sheet.max_row, sheet.max_column) == (len(growth) + 1, len(growth.columns))
    assert "account" in call(etl, "report", "region-coverage", *lake, cwd=folder)
    call(etl, "dashboard", *lake, "--output", "page.html", cwd=folder)
    assert (folder / "page.html").read_text(encoding="utf-8").count("<svg") > 2
    assert call(etl, "metrics", *lake, cwd=folder).endswith("# EOF\n")
    shutil.rmtree(folder / "data" / "lake" / "tables")
    call(etl, "publish", *lake, "--duckdb", "tables.duckdb", cwd=folder)
    assert len(pd.read_parquet(folder / "data" / "lake" / "tables" / "captures")) == 2
    assert (folder / "tables.duckdb").stat().st_size > 0
    call(etl, "verify", *lake, cwd=folder)


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
def test_an_installed_package_is_typed(pinned: Path, tmp_path: Path) -> None:
    """mypy finds the types of the installed package: it accepts right lines of a program and tells the wrong one."""
    (tmp_path / "program.py").write_text(dedent(TYPED).lstrip())
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.mypy", "program.py"]
    there = ("--python-executable", str(pinned))
    done = subprocess.run([*command, *there], cwd=tmp_path, env=clean({}), capture_output=True, text=True, timeout=300)
    told = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [(line.split(":")[1], line.split("[")[-1]) for line in told] == [("5", "arg-type]")], done.stdout
