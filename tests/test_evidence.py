"""One file of a lake after the other is spoilt: no answer changes in silence, and what is left can be mended.

The one exception is the newest loose commit of an account: nobody in the lake has known it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from genesis_etl.errors import LakeError
from genesis_etl.lake.evidence import Held, losses
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile, new_file, new_name
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.times import format_time
from tests.conftest import WHOLE, fewer, figure
from tests.histories import NOTHING, Row, at, commit_files, land, land_all, rows, rows_files

STATES: dict[str, list[Row]] = {
    "2025-11-30 12:00": rows("a"),
    "2025-12-31 12:00": rows("a", "b"),
    "2026-11-01 12:00": rows("b", "c"),
    "2026-11-02 12:00": rows("c"),
}
LATER: dict[str, list[Row]] = {
    "2026-11-10 12:00": rows("d"),
    "2026-11-11 12:00": rows("d", "e"),
    "2026-11-12 12:00": [],
}
BETWEEN = at("2026-11-03")
ACCOUNTS = ("one", "two")


def build(kind: str, url: str) -> None:
    """Make a lake of two accounts and years.

    `loose`; `grace`: compacted, and what was replaced still there; `compacted`: alone, with loose captures after it;
    `once`: everything compacted; `forgotten`: as `compacted`, the first year forgotten.
    """
    for account in ACCOUNTS:
        land_all(Lake(url), STATES, account)
    if kind != "loose":
        compact(Lake(url), grace=timedelta(days=7) if kind == "grace" else NOTHING, now=BETWEEN)
    if kind == "forgotten":
        for account in ACCOUNTS:
            forget(Lake(url), account, at("2025-12-31"), now=BETWEEN)
    for account in ACCOUNTS:
        land_all(Lake(url), LATER, account)
    if kind == "once":
        compact(Lake(url), grace=NOTHING, now=at("2026-11-13"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 8
    file.write_bytes(data)


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def renamed(file: Path) -> None:
    file.rename(file.with_name(f"{file.stem} (1).parquet"))


def into_the_other_year(file: Path) -> None:
    to = file.parent.with_name("2025" if file.parent.name == "2026" else "2026") / file.name
    to.parent.mkdir(exist_ok=True)
    file.rename(to)


def into_another_account(file: Path) -> None:
    to = Path(str(file).replace("/one/", "/three/").replace("/two/", "/three/"))
    to.parent.mkdir(parents=True)
    file.rename(to)


def as_another_capture(file: Path) -> None:
    kind, hash = file.stem.split("-")[1:][:-1], file.stem.split("-")[-1]
    name = new_name(at("2026-11-05"), kind[0] if len(kind) > 1 else "capture")  # type: ignore[arg-type]
    file.rename(file.with_name(f"{name}-{hash}.parquet"))


SPOILS: dict[str, Callable[[Path], None]] = {
    "removed": Path.unlink,
    "renamed": renamed,
    "as another capture": as_another_capture,
    "another year": into_the_other_year,
    "another account": into_another_account,
    "cut": cut,
    "flipped": flip,
    "a folder": as_folder,
}
KINDS = ("loose", "grace", "compacted", "once", "forgotten")


Told = list[tuple[object, ...]]


def told(url: str, account: str | None = None, since: datetime | None = None) -> Told | None:
    """Return every capture of a lake (of one account, from a time on) with its images; None where that ends with 6."""
    lake = Lake(url)
    contents = lake.contents()
    try:
        contents.refuse_damage(account, since)
    except LakeError:
        return None
    found: Told = []
    for each in contents.captures.to_pylist():
        if account in (None, each["account"]) and (since is None or each["captured_at"] >= since):
            runs = pq.read_table(each["path"], partitioning=None).to_pylist()
            at = each["captured_at"]
            images = sorted(run["image_id"] for run in runs if run["first_seen"] <= at <= run["last_seen"])
            found.append((each["account"], each["capture_id"], *images))
    return sorted(found, key=repr)


def is_newest_loose_commit(file: LakeFile, url: str) -> bool:
    """Tell whether nobody can know of the commit: no other one is younger."""
    stems = [each.stem for each in commit_files(url, file.account)]
    return file.dataset == "captures" and file.kind == "capture" and file.stem == max(stems)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return lakes of a kind, each made once and only read."""
    made: dict[str, Path] = {}

    def find(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            build(kind, str(made[kind]))
        return made[kind]

    return find


def hold(whole: Path, spoil: str, numbers: slice) -> int:
    """Spoil one file of a lake after the other, and hold what comes of it against what is promised; count them."""
    shutil.copytree(whole, "whole")
    before = told("whole")
    alone = {account: told("whole", account) for account in ACCOUNTS}
    files = [*commit_files("whole"), *rows_files("whole")][numbers]
    for number, file in enumerate(files):
        url = f"lake{number}"
        shutil.copytree("whole", url)
        path = Path(url, file.path)
        data = path.read_bytes()
        SPOILS[spoil](path)
        case = f"{file.path} {spoil}"
        is_newest = is_newest_loose_commit(file, "whole")
        found = told(url)
        findings = verify(url)
        figure("spoilt files")
        if found is None:
            assert has_failed(findings), case
            bad = [each for each in findings.to_pylist() if each["status"] in ("damaged", "missing")]
            assert any(each["account"] in (file.account, "three") for each in bad), case
            assert any("202" in each["file"] + each["detail"] for each in bad), case
        else:
            assert is_newest or found == before, case
        other = ACCOUNTS[file.account == "one"]
        assert told(url, other) == alone[other], case
        until = [each.until for each in Lake(url).contents().damage if each.account == file.account]
        last = at("2026-11-12 12:00")
        if found is None and until and max(until) < last:
            assert is_newest or told(url, file.account, last) == told("whole", file.account, last), case
        is_damaged = told(url, file.account) is None
        # Nothing that is needed to mend it is swept, however old it is.
        for each in Path(url).rglob("*"):
            os.utime(each, (1, 1))
        with contextlib.suppress(LakeError):
            compact(Lake(url), grace=NOTHING, now=at("2026-12-01"))
        if is_damaged and not is_newest:
            for each in Path(url).rglob("*"):
                if each.name.endswith(" (1).parquet") or (each.is_dir() and each == path):
                    each.unlink() if each.is_file() else each.rmdir()
            shutil.rmtree(Path(url, "store/captures/three"), ignore_errors=True)
            shutil.rmtree(Path(url, "store/rows/three"), ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            known = {*commit_files("whole"), *rows_files("whole")}
            for each in (*commit_files(url), *rows_files(url)):
                if each not in known and each.hash == file.hash:
                    Path(url, each.path).unlink()
            assert told(url) == before, case
            assert not has_failed(verify(url)), case
        shutil.rmtree(url)
    return len(files)


FEW = {"compacted": slice(1, 10, 5), "grace": slice(2, 40, 20)}


@pytest.mark.parametrize(("spoil", "kind"), fewer(zip(SPOILS, itertools.cycle(FEW), strict=False), 4))
def test_some_files_spoilt_change_no_answer_in_silence(built: Callable[[str], Path], spoil: str, kind: str) -> None:
    """Some files of two lakes, spoilt in eight ways: answers stay or end with 6, and `verify` says why."""
    assert hold(built(kind), spoil, FEW[kind]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "spoil"), fewer(itertools.product(KINDS, SPOILS), 9, WHOLE))
def test_every_file_spoilt_changes_no_answer_in_silence(built: Callable[[str], Path], kind: str, spoil: str) -> None:
    """Every file of five lakes, spoilt in eight ways, more than 500 cases."""
    assert hold(built(kind), spoil, slice(None)) >= 8


# --- and what is no loss


def held(url: str) -> bool:
    """Tell whether nothing is said to be lost or damaged, by readers and `verify` alike."""
    return not Lake(url).contents().damage and not has_failed(verify(url))


def test_late_captures_and_compactions_between_them_are_no_loss() -> None:
    """Captures that land out of order know newer ones, and their numbers fit at every moment."""
    lake = Lake("lake")
    times = [at("2026-11-01") + timedelta(hours=hours) for hours in (5, 1, 9, 3, 2, 8, 7, 0, 20, 4)]
    for number, moment in enumerate(times):
        land(lake, moment, rows(f"{number}"))
        if number % 3 == 2:
            compact(lake, grace=NOTHING, now=at("2026-12-01") + timedelta(hours=number))
        assert held("lake")
    for end in (2, 6, 30):
        forget(lake, "default", at("2026-11-01") + timedelta(hours=end))
        land(lake, at("2026-11-01") + timedelta(hours=end - 1, minutes=1), rows("late"))
        assert held("lake")
        forget(lake, "default", at("2026-11-01") + timedelta(hours=end))
        assert held("lake")


@pytest.mark.parametrize("step", fewer(range(5), 3))
def test_lakes_laid_together_after_anything_are_no_loss(built: Callable[[str], Path], step: int) -> None:
    """Two copies that were captured, compacted and forgotten apart are one lake without a loss."""
    for url in ("one", "two"):
        shutil.copytree(built("grace"), url)
    works: list[Callable[[], object]] = [
        lambda: land(Lake("one"), at("2026-11-13"), rows("x"), "one"),
        lambda: compact(Lake("two"), grace=NOTHING, now=at("2026-12-01")),
        lambda: forget(Lake("one"), "one", at("2026-11-02")),
        lambda: land(Lake("two"), at("2026-11-14"), rows("y"), "one"),
        lambda: forget(Lake("two"), "one", at("2026-11-11")),
    ]
    for work in works[: step + 1]:
        work()
    shutil.copytree("two", "one", dirs_exist_ok=True)
    assert held("one")


def test_an_account_forgotten_beside_a_landing_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that knew what was forgotten just before it was written says so no longer."""
    land_all(Lake("lake"), STATES)
    write = LocalStorage.write

    def forgetting(self: LocalStorage, path: str, data: bytes) -> None:
        monkeypatch.setattr(LocalStorage, "write", write)
        forget(Lake("lake"), "default")
        write(self, path, data)

    monkeypatch.setattr(LocalStorage, "write", forgetting)
    land(Lake("lake"), at("2026-11-05"), rows("new"))
    assert len(commit_files("lake")) == 1
    assert held("lake")


def forgotten() -> list[tuple[datetime, int]]:
    """Return what the marks in the lake say: captures before this time, so many."""
    marks = (commit.facts.forgot for commit in Lake("lake").commits()[0])
    return [(mark.before, mark.captures) for mark in marks if mark]


def test_forgetting_tells_its_time_and_number_and_covers_what_was_lost() -> None:
    """The mark says what went; captures before it are no loss any more, one after it that is lost still is."""
    lake = Lake("lake")
    land_all(lake, {**STATES, **LATER})
    for path in [
        each for each in commit_files("lake") if each.time in (at("2025-12-31 12:00"), at("2026-11-10 12:00"))
    ]:
        lake.remove(path)
    assert len([each for each in Lake("lake").contents().damage if each.is_lost]) == 2
    forget(lake, "default", at("2026-11-02"))
    assert forgotten() == [(at("2026-11-02"), 3)]
    (damage,) = Lake("lake").contents().damage
    assert damage.until == at("2026-11-10 12:00")
    forget(lake, "default", at("2026-11-11"))
    assert forgotten() == [(at("2026-11-02"), 3), (at("2026-11-11"), 2)]
    assert held("lake")
    assert len(Lake("lake").contents().captures) == 2
    forget(lake, "default")
    assert not Path("lake/store/captures").exists()


@pytest.mark.parametrize(
    ("holds", "captures", "listed", "is_lost"),
    [
        ("1 2 3", 3, "", True),
        ("1 2 3", 3, "1 2 3", False),
        ("1 3", 3, "1 3", True),  # one between them, which its runs do not tell
        ("1 2 3", 3, "2 3", True),
        ("1 2 3", 3, "0", True),
        ("1 2 3", 3, "0 1", False),  # a copy that ends at 1
        ("3 4", 2, "1 2 3", False),
        ("3 4", 2, "1 2 3 5", True),
        ("1 3 5", 3, "2 3 4", True),
    ],
)
def test_a_compaction_without_a_commit_is_a_loss_unless_a_copy_ends_in_it(
    holds: str, captures: int, listed: str, is_lost: bool
) -> None:
    """All of its captures are listed, or those that are not are later than all that is: a copy under way."""
    instants = tuple(at(f"2026-11-1{day}") for day in holds.split())
    times = {f"c{day}": at(f"2026-11-1{day}") for day in listed.split()}
    file = new_file("rows", "one", 2026, new_name(instants[0], "compacted"), b"")
    found = losses([], times, {file: Held(captures, instants)})
    assert [(each.path, each.since, each.until) for each in found] == [(file.path, instants[0], instants[-1])] * is_lost
    span = f"{format_time(instants[0])} to {format_time(instants[-1])}"
    assert all(each.seen.startswith(f"it holds {captures} captures from {span}, ") for each in found)


def test_a_compaction_that_cannot_be_read_is_one_damage_of_its_whole_year() -> None:
    """What it listed is not told as lost a second time, and may have been of any day since the year began."""
    lake = Lake("lake")
    land_all(lake, STATES)
    compact(lake, grace=NOTHING, now=at("2026-11-03"))
    land(lake, at("2026-11-03 12:00"), rows("x"))
    (file,) = (each for each in commit_files("lake") if each.is_compacted and each.year == 2026)
    Path("lake", file.path).write_bytes(b"")
    (damage,) = Lake("lake").contents().damage
    assert (damage.path, damage.since, damage.is_lost) == (file.path, at("2026-01-01"), False)


def test_a_commit_knows_captures_that_only_a_compaction_lists() -> None:
    """What was compacted is counted as what is loose is."""
    lake = Lake("lake")
    land_all(lake, STATES)
    compact(lake, grace=NOTHING, now=at("2026-11-03"))
    assert not [each for each in commit_files("lake") if each.kind == "capture"]
    newest = land(lake, at("2026-11-03 12:00"), rows("x"))
    (commit,) = (each for each in Lake("lake").commits()[0] if each.file.name == newest.capture_id)
    known = commit.facts.known
    assert known is not None
    assert (known.captured_at, known.captures) == (at("2026-11-02 12:00"), 4)


def test_loose_captures_are_those_before_a_time_that_no_compaction_lists() -> None:
    """They are counted without opening any rows."""
    lake = Lake("lake")
    land_all(lake, STATES)
    assert [lake.loose("default", at(day)) for day in ("2026-11-02", "2026-11-03")] == [3, 4]
    compact(lake, now=at("2026-11-02"))
    land_all(lake, LATER)
    assert [lake.loose("default", at(day)) for day in ("2026-11-02", "2026-11-03", "2026-12-01")] == [
        0,
        1,
        1 + len(LATER),
    ]


TIDY = """
import sys
from datetime import datetime, timedelta, UTC
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget
from genesis_etl.errors import SettingsError
from genesis_etl.lake.lake import Lake
from tests.histories import at, land, rows
who, turns = int(sys.argv[1]), int(sys.argv[2])
for turn in range(turns):
    moment = at("2026-01-01") + timedelta(hours=turn, seconds=who)
    if who == 0:
        forget(Lake("lake"), "default", moment - timedelta(hours=5))
    else:
        if who == 1:
            land(Lake("lake"), moment, rows("a", f"{turn}"))
        notices = []
        compact(Lake("lake"), grace=timedelta(0), notice=notices.append)
"""


@pytest.mark.parametrize("turns", [4, pytest.param(100, marks=WHOLE)])
def test_tidying_beside_tidying_never_fails(turns: int) -> None:
    """Two compactions at no grace, one of which lands, and `forget`, each a process: no failure and nothing lost."""
    land(Lake("lake"), at("2026-01-01") - timedelta(days=1), rows("a"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    commands = [[sys.executable, "-c", TIDY, str(who), str(turns)] for who in range(3)]
    running = [subprocess.Popen(each, env=environment, stderr=subprocess.PIPE, text=True) for each in commands]
    ended = [(each.communicate()[1], each.returncode) for each in running]
    figure("tidied beside each other", 3 * turns)
    assert [code for _, code in ended] == [0, 0, 0], ended
    assert held("lake")
    times = Lake("lake").contents().captures["captured_at"].to_pylist()
    kept = at("2026-01-01") + timedelta(hours=turns - 6)
    assert sum(each >= kept for each in times) == len([n for n in range(turns) if n >= turns - 6])
