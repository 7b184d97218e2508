"""A lake on an object store: every command against a real S3 server process."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from pyarrow import fs

from genesis_etl import cli, open_lake
from genesis_etl.checks.check import check
from genesis_etl.errors import LakeError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.storage import Patience, open_storage
from genesis_etl.lake.storage.s3 import S3Storage
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Settings, Thresholds
from tests.conftest import WHOLE
from tests.histories import at, land, land_all, rows, snapshot_of
from tests.stores import KEYS, FaultyStore, keys

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]

STATES = {"2026-11-01 12:00": rows("a", "b"), "2026-11-02 12:00": rows("a"), "2026-11-03 12:00": rows("a", "b")}


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], url: str) -> Run:
    """Run a command over the test's lake within this process; Arrow writes to stderr by itself, and that counts."""

    def start(*arguments: str) -> Ended:
        capfd.readouterr()
        code = cli.run([*arguments, *(() if "--lake" in arguments else ("--lake", url))])
        return Ended(code, *capfd.readouterr())

    return start


@pytest.fixture
def api(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Serve an API that the settings of the environment lead to."""
    sandbox = serve(at=None, images=120)
    monkeypatch.setenv("GENESISCLOUD_ENDPOINT", sandbox.endpoint)
    monkeypatch.setenv("GENESISCLOUD_TOKEN", sandbox.token)
    return sandbox


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands give a store up that is not well for a moment."""
    monkeypatch.setattr(Patience, "__init__", functools.partialmethod(Patience.__init__, seconds=0.3))


def test_every_command_works_on_an_object_store(url: str, run: Run, api: Sandbox) -> None:
    """export, report, sql, compact and verify take an s3:// lake and tell what a folder would."""
    empty = run("report", "snapshot-growth")
    assert (empty.code, empty.err) == (6, f"error: no capture yet in {url}; run `genesis-etl export`\n")
    assert run("export").code == 0
    counted = run("sql", "select count(distinct image_id) as n from images", "--format", "json")
    assert json.loads(counted.out) == [{"n": 120}]
    for command in (["report", "snapshot-growth"], ["report", "region-coverage"], ["compact"], ["verify"]):
        done = run(*command, "--format", "json")
        assert done.code == 0, done.err
        assert json.loads(done.out)


def answers(url: str) -> list[dict[str, Any]]:
    return list(open_lake(url).sql_rows("select * from image_history order by all").to_pylist())


def test_compacting_changes_no_answer(url: str) -> None:
    """compact on an object store answers as on a folder and sweeps; no rename is needed."""
    land_all(Lake(url), STATES)
    land_all(Lake("lake"), STATES)
    assert answers(url) == answers("lake")
    compact(Lake(url), grace=timedelta(0), now=at("2026-11-05"))
    assert answers(url) == answers("lake")
    assert len(Lake(url).list("rows").files) == 1
    assert not has_failed(verify(url))


EXPORTER = """
import sys
from datetime import timedelta
from genesis_etl.lake.lake import Lake
from tests.histories import at, land, rows
for count in range(5):
    land(Lake(sys.argv[1]), at("2026-11-01") + timedelta(minutes=count), rows(f"{sys.argv[2]}-{count}"))
"""


def python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    root = os.path.dirname(os.path.dirname(__file__))
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": root})


def test_concurrent_commits_are_all_visible(url: str) -> None:
    """Three exporters that land five captures each at once leave fifteen."""
    exporters = [python(EXPORTER, url, str(who)) for who in range(3)]
    assert [each.wait(120) for each in exporters] == [0, 0, 0]
    assert open_lake(url).sql_rows("select * from captures").num_rows == 15
    assert not has_failed(verify(url))


UPLOAD = """
import os, signal, sys
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.storage.s3 import S3Storage
from tests.histories import at, land, rows
original, left = S3Storage.write, int(sys.argv[2])
def dying(self, path, data):
    global left
    left -= 1
    if left < 0:
        stream = self._files.open_output_stream(f"{self._root}/{path}")
        stream.write(data + bytes(11_000_000))  # more than a part: that one is sent
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, path, data)
S3Storage.write = dying
land(Lake(sys.argv[1]), at("2026-11-02"), rows("b"))
"""


@pytest.mark.parametrize("uploads", [0, 1])
def test_a_killed_upload_is_not_there(url: str, uploads: int) -> None:
    """A process killed in the middle of an upload leaves no part of it visible, and the next run needs no hand."""
    land(Lake(url), at("2026-11-01"), rows("a"))
    assert python(UPLOAD, url, str(uploads)).wait(60) == -signal.SIGKILL
    assert [each["image_id"] for each in answers(url)] == ["a"]
    assert len(Lake(url).list("captures").files) == 1
    land(Lake(url), at("2026-11-03"), rows("c"))
    assert [each["image_id"] for each in answers(url)] == ["a", "c"]
    assert not has_failed(verify(url))


def copied(source: Any, to: Any) -> None:
    """Copy a lake from one file system to another, object by object, commits first."""
    for dataset in ("store/captures", "store/rows"):
        fs.copy_files(
            f"{source[1]}/{dataset}", f"{to[1]}/{dataset}", source_filesystem=source[0], destination_filesystem=to[0]
        )


def test_a_lake_copied_to_a_store_and_back_is_the_same(url: str, store: str) -> None:
    """Copied from a folder to a bucket, within it, and back, a lake answers the same and is whole everywhere."""
    land_all(Lake("lake"), STATES)
    compact(Lake("lake"), now=at("2026-11-05"))
    land_all(Lake("lake"), STATES, "other")
    before = answers("lake")
    local = fs.LocalFileSystem()
    bucket = fs.S3FileSystem(endpoint_override=store.removeprefix("http://"), scheme="http")
    there, again = url.removeprefix("s3://"), url.removeprefix("s3://") + " again"
    for name in ("captures", "rows"):
        os.makedirs(f"back/store/{name}")
    copied((local, "lake"), (bucket, there))
    copied((bucket, there), (bucket, again))
    copied((bucket, again), (local, "back"))
    for copy in (url, f"{url} again", "back"):
        assert answers(copy) == before
        assert not has_failed(verify(copy))
    assert {name: data for name, data in snapshot_of("back").items() if data} == snapshot_of("lake")
    land(Lake(url), at("2026-11-06"), rows("new"))
    assert answers(f"{url} again") == before


def observed(url: str) -> list[dict[str, Any]]:
    return list(open_lake(url).sql_rows("select * from image_regions order by all").to_pylist())


class Died(BaseException):
    """Stands for the end of a process: whatever it still tries comes to nothing."""


@contextmanager
def dying(steps: int) -> Iterator[None]:
    """Let this process change a store so many times, and nothing after that."""
    left = steps

    def mortal(change: Callable[..., None]) -> Callable[..., None]:
        def changing(self: S3Storage, path: str, *data: bytes) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Died
            change(self, path, *data)

        return changing

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "delete"):
            patch.setattr(S3Storage, name, mortal(getattr(S3Storage, name)))
        yield


@pytest.mark.parametrize("before", ["2026-11-02", pytest.param("", marks=WHOLE)])
def test_forgetting_that_dies_at_any_step_leaves_a_whole_lake(url: str, before: str) -> None:
    """Dead before any upload or removal, each capture is as it was or gone, and another run ends the work."""
    store = open_storage(url)
    land_all(Lake("lake"), STATES)
    compact(Lake("lake"), now=at("2026-11-05"))
    land(Lake("lake"), at("2026-11-01"), rows("x"), "other")
    everything, files = observed("lake"), snapshot_of("lake")
    stays = [
        each for each in everything if each["account"] == "other" or (before and each["captured_at"] >= at(before))
    ]
    end = at(before) if before else None
    for step in range(20):
        for entry in store.list("store", lambda path: True):
            store.delete(entry.path)
        for name, data in files.items():
            store.write(name, data)
        has_died = False
        try:
            with dying(step):
                forget(Lake(url), "default", end, now=at("2026-11-06"))
        except Died:
            has_died = True
        if before:
            told = observed(url)
            assert [each for each in everything if each in told] == told
            assert [each for each in stays if each in told] == stays
            assert not has_failed(verify(url))
        else:
            Lake(url).contents("other").refuse_damage()
        if "default" in Lake(url).accounts():
            forget(Lake(url), "default", end, now=at("2026-11-06"))
        assert observed(url) == stays
        assert not has_failed(verify(url))
        if not has_died:
            break
    assert not has_died
    assert step >= (5 if before else 8)


def test_forgetting_removes_each_commit_before_its_file(url: str, faulty: FaultyStore) -> None:
    """What stays is uploaded before anything goes, and no commit is ever there without its rows file."""
    land_all(Lake(url), STATES)
    compact(Lake(url), now=at("2026-11-05"))
    faulty.requests.clear()
    (done,) = forget(Lake(url), "default", at("2026-11-03"), now=at("2026-11-06"))
    assert (done.captures, done.rewritten, done.files) == (2, 1, 6)
    steps = [(each.kind, each.key.split("/")[3]) for each in faulty.asked("PUT", "DELETE")]
    rewritten, marked = [("PUT", "rows"), ("PUT", "captures")], [("PUT", "captures")]
    assert steps == rewritten + marked + [("DELETE", "captures"), ("DELETE", "rows")] * 3
    assert [each["captured_at"] for each in observed(url)] == [at("2026-11-03 12:00")] * 2
    assert not has_failed(verify(url))


def test_check_looks_at_a_lake_on_a_store(url: str) -> None:
    """All its rows are there, those of the thresholds too, which ask the files long after they were listed."""
    land_all(Lake(url), STATES)
    settings = Settings(accounts=(), lake=url, now=at("2026-11-03 13:00"), thresholds=Thresholds(snapshots=1))
    found = {(row["check"], row["status"]) for row in check(settings).to_pylist()}
    assert {("lake", "ok"), ("verify", "ok"), ("freshness", "ok"), ("snapshots", "failed")} <= found


def test_only_what_is_queried_needs_a_temporary_folder(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Landing asks for none, and a query that finds no room in it says so."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    lake = Lake(url)
    land_all(lake, STATES)
    with pytest.raises(LakeError, match=r"s3://.*: cannot keep a copy: .*; see to the temporary folder \(TMPDIR\)"):
        lake.contents().refuse_damage()


def captures(url: str) -> int:
    return int(open_lake(url).sql_rows("select count(*) as n from captures").to_pylist()[0]["n"])


@pytest.mark.parametrize(
    ("status", "kinds"), [(503, ()), (500, ()), (503, ("PUT",)), (503, ("LIST",)), (503, ("HEAD", "GET"))]
)
def test_a_capture_waits_for_a_store_that_is_not_well(
    url: str, run: Run, api: Sandbox, faulty: FaultyStore, status: int, kinds: tuple[str, ...]
) -> None:
    """A store that refuses its next four requests, all or some kind of them, costs an export no capture."""
    land(Lake(url), at("2026-11-01"), rows("a"))
    fault = faulty.fail(*kinds, status=status, times=4)
    done = run("export", "--no-compact")
    assert (done.code, fault.met) == (0, 4), done.err
    assert captures(url) == 2


def test_a_capture_is_given_up_at_its_deadline(
    url: str, run: Run, api: Sandbox, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store takes no upload until the capture's time is over, 6 and the key; nothing has changed."""
    assert run("export").code == 0
    before = answers(url), keys(faulty.url)
    monkeypatch.setenv("GENESIS_ETL_CAPTURE_DEADLINE", "3")
    fault = faulty.fail("PUT")
    done = run("export")
    assert (done.code, done.err.count("\n")) == (6, 1), done.err
    assert f"{url}/store/rows/default/" in done.err
    assert fault.met > 2
    faulty.mend()
    assert (answers(url), keys(faulty.url)) == before
    assert run("export").code == 0
    assert captures(url) == 2


COMMANDS = [
    ("report", "snapshot-growth"),
    ("sql", "select * from images"),
    ("compact",),
    ("verify",),
    ("forget", "--account", "default", "--yes"),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [503, 403])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_store_that_refuses_everything_ends_a_command_with_6(
    url: str, run: Run, faulty: FaultyStore, command: tuple[str, ...], status: int
) -> None:
    """One line that names the lake, no secret and no traceback; and then everything is as it was."""
    land_all(Lake(url), STATES)
    before = answers(url)
    faulty.fail(status=status)
    done = run(*command)
    assert (done.code, done.out, done.err.count("\n")) == (6, "", 1), done
    assert done.err.startswith(f"error: {url}/store")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.err
    faulty.mend()
    assert answers(url) == before


@pytest.mark.usefixtures("impatient", "api")
@pytest.mark.parametrize("status", [503, 403])
def test_check_tells_of_a_store_that_refuses_everything(url: str, run: Run, faulty: FaultyStore, status: int) -> None:
    """Its row of the lake fails, and it ends with 1."""
    land_all(Lake(url), STATES)
    faulty.fail(status=status)
    done = run("check", "--format", "json")
    assert done.code == 1, done.err
    assert {"lake"} <= {row["check"] for row in json.loads(done.out) if row["status"] == "failed"}


@pytest.mark.usefixtures("impatient")
def test_files_that_cannot_be_read_are_not_waited_for_one_by_one(url: str, faulty: FaultyStore) -> None:
    """Once reading has failed for as long as the patience lasts, no further file is asked for again."""
    land_all(Lake(url), {f"2026-11-01 12:{minute:02}": rows("a") for minute in range(10)})
    faulty.requests.clear()
    faulty.fail("HEAD")
    with pytest.raises(LakeError, match="cannot read"):
        open_lake(url).sql_rows("select * from images")
    assert len({each.key for each in faulty.asked("HEAD")}) == 10
    assert len(faulty.asked("HEAD")) <= 2 * 10 + 4  # beside others, and once more alone


def test_a_landing_asks_for_no_more_than_it_needs(url: str, faulty: FaultyStore) -> None:
    """Two uploads, neither of them looked for before."""
    land(Lake(url), at("2026-11-01"), rows("a"))
    assert [each.key.split("/")[3] for each in faulty.asked("PUT")] == ["rows", "captures"]
    assert faulty.asked("HEAD", "GET", "POST", "DELETE") == []


@pytest.mark.usefixtures("api")
def test_403_for_what_is_not_there_breaks_nothing(url: str, run: Run, store: str, faulty: FaultyStore) -> None:
    """Where a HEAD of a missing key answers 403, export, report, compact and forget do what they do elsewhere."""
    faulty.fail("HEAD", status=403, where=lambda key: key not in keys(store))
    land_all(Lake(url), STATES)
    for command in (["export"], ["compact", "--grace", "0s"], ["report", "snapshot-growth"], ["verify"]):
        assert run(*command).code == 0
    storage = open_storage(url)
    with pytest.raises(FileNotFoundError):
        storage.read("store/rows/default/2026/gone.parquet")
    storage.delete("store/rows/default/2026/gone.parquet")
    assert run("forget", "--account", "default", "--yes").code == 0
    assert not [key for key in keys(faulty.url) if url.split("/", 3)[3] in key]


def test_where_deletes_are_refused_compact_still_compacts(url: str, run: Run, faulty: FaultyStore) -> None:
    """It ends with 0 and says what stays; the answers are the same, and another run changes nothing."""
    land_all(Lake(url), STATES)
    before = answers(url)
    faulty.fail("DELETE", status=403)
    for _ in range(2):
        done = run("compact", "--grace", "0s")
        assert done.code == 0, done.err
        assert f"could not be removed: {url}/store/captures/default/2026/" in done.err
        assert answers(url) == before
    assert sum(file.is_compacted for file in Lake(url).list("captures").files) == 1
    faulty.mend()
    assert run("compact", "--grace", "0s").code == 0
    assert (answers(url), len(Lake(url).list("rows").files)) == (before, 1)


def test_where_deletes_are_refused_forget_ends_with_6(url: str, run: Run, faulty: FaultyStore) -> None:
    """It names the object that it may not remove, and nothing is gone; only what says that it began is new."""
    land_all(Lake(url), STATES)
    before = answers(url)
    there = set(keys(faulty.url))
    faulty.fail("DELETE", status=403)
    done = run("forget", "--account", "default", "--yes")
    assert (done.code, done.err.count("\n")) == (6, 1), done.err
    assert f"{url}/store/captures/default/2026/" in done.err
    assert "cannot delete: AWS Error ACCESS_DENIED" in done.err
    assert answers(url) == before
    (mark,) = set(keys(faulty.url)) - there
    assert "-forget-" in mark
    assert there <= set(keys(faulty.url))


def test_forgetting_leaves_no_name_behind(url: str, run: Run, faulty: FaultyStore) -> None:
    """No object `folder/` is made, so no key of the account is left, and none of another is touched."""
    land_all(Lake(url), STATES, "secret-project")
    land(Lake(url), at("2026-11-01"), rows("x"), "other")
    faulty.fail("PUT", status=403, where=lambda key: key.endswith("/"))
    assert run("compact", "--grace", "0s").code == 0
    assert run("forget", "--account", "secret-project", "--yes").code == 0
    assert not [each for each in faulty.asked("PUT") if each.key.endswith("/")]
    left = [key for key in keys(faulty.url) if url.split("/", 3)[3] in key]
    assert not [key for key in left if "secret-project" in key]
    assert len(left) == 2 + 4  # the other account's file and commit, and its tables
    assert [each["image_id"] for each in answers(url)] == ["x"]


def test_objects_that_stand_for_folders_are_no_strays(url: str, run: Run, faulty: FaultyStore) -> None:
    """What a console or another tool leaves as `folder/` disturbs no command and is not told by verify."""
    land_all(Lake(url), STATES)
    bucket = fs.S3FileSystem(endpoint_override=faulty.url.removeprefix("http://"), scheme="http")
    for folder in ("store", "store/rows", "store/rows/default/2026", "store/captures/gone/2025"):
        bucket.create_dir(f"{url.removeprefix('s3://')}/{folder}", recursive=True)
    assert any(key.endswith("/gone/2025/") for key in keys(faulty.url))
    done = run("verify", "--format", "json")
    assert [row["status"] for row in json.loads(done.out)] == ["ok"]
    assert run("compact").code == 0
    assert Lake(url).accounts() == ["default"]


def test_a_bucket_that_is_not_there_is_named(run: Run, api: Sandbox, faulty: FaultyStore) -> None:
    """It is no empty lake: export ends with 6 before it asks the API, and a report says the same."""
    for command in (["export"], ["report", "snapshot-growth"], ["sql", "select 1"]):
        done = run(*command, "--lake", "s3://nowhere/lake")
        assert (done.code, done.err.count("\n")) == (6, 1), done
        assert "s3://nowhere/lake/store/captures" in done.err
        assert "NO_SUCH_BUCKET" in done.err


@pytest.mark.usefixtures("impatient", "api", "faulty")
@pytest.mark.parametrize(
    ("endpoint", "seen"),
    [("http://127.0.0.1:1", "Could not connect"), ("http://nowhere.invalid", "Could not resolve")],
)
def test_a_store_that_is_not_there_is_named(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch, endpoint: str, seen: str
) -> None:
    """An endpoint that nobody answers at ends with 6 and one line that names the lake and the setting."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    done = run("export")
    assert (done.code, done.err.count("\n")) == (6, 1), done
    assert done.err.startswith(f"error: {url}/store/captures")
    assert seen in done.err
    assert "AWS_ENDPOINT_URL" in done.err
