"""A lake on an object store: every command against a real S3 server process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from pyarrow import fs

from genesis_etl import open_lake
from genesis_etl.checks.check import check
from genesis_etl.compact import compact
from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.forget import forget
from genesis_etl.lake import Lake
from genesis_etl.s3 import S3Storage
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Settings, Thresholds
from genesis_etl.storage import open_storage
from genesis_etl.verify import has_failed, verify
from tests.histories import at, land, land_all, rows, snapshot_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]
pytest.importorskip("moto", reason="needs requirements-all.txt")

STATES = {"2026-11-01 12:00": rows("a", "b"), "2026-11-02 12:00": rows("a"), "2026-11-03 12:00": rows("a", "b")}
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **KEYS},
    )
    try:
        for _ in range(300):
            try:
                requests.put(f"{url}/lakes", timeout=5)
                break
            except requests.RequestException:
                assert process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return a prefix of its own for the test."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    return f"s3://lakes/{abs(hash(request.node.name)):x}/a lake"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "genesis_etl", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_command_works_on_an_object_store(url: str, serve: Callable[..., Sandbox]) -> None:
    """export, report, sql, compact and verify take an s3:// lake and tell what a folder would."""
    sandbox = serve(at=None, images=120)
    reach = {"GENESISCLOUD_ENDPOINT": sandbox.endpoint, "GENESISCLOUD_TOKEN": sandbox.token}
    empty = run("report", "snapshot-growth", "--lake", url)
    assert (empty.returncode, empty.stderr) == (6, f"error: no capture yet in {url}; run `genesis-etl export`\n")
    assert run("export", "--lake", url, **reach).returncode == 0
    counted = run("sql", "select count(distinct image_id) as n from images", "--lake", url, "--format", "json")
    assert json.loads(counted.stdout) == [{"n": 120}]
    for command in (["report", "snapshot-growth"], ["report", "region-coverage"], ["compact"], ["verify"]):
        done = run(*command, "--lake", url, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def answers(url: str) -> list[dict[str, Any]]:
    return list(open_lake(url).sql_rows("select * from image_history order by all").to_pylist())


def test_folding_changes_no_answer(url: str) -> None:
    """compact on an object store folds, sweeps and answers as on a folder; no rename is needed."""
    land_all(Lake(url), STATES)
    land_all(Lake("lake"), STATES)
    assert answers(url) == answers("lake")
    compact(Lake(url), grace=timedelta(0), now=at("2026-11-05"))
    assert answers(url) == answers("lake")
    assert len(Lake(url).files("images")) == 1
    assert not has_failed(verify(url))


EXPORTER = """
import sys
from datetime import timedelta
from genesis_etl.lake import Lake
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
from genesis_etl.lake import Lake
from genesis_etl.s3 import S3Storage
from tests.histories import at, land, rows
original, left = S3Storage.write, int(sys.argv[2])
def dying(self, path, data):
    global left
    left -= 1
    if left < 0:
        stream = self._files.open_output_stream(f"{self._root}/{path}")
        stream.write(data[: len(data) // 2])
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
    assert len(Lake(url).files("captures")) == 1
    land(Lake(url), at("2026-11-03"), rows("c"))
    assert [each["image_id"] for each in answers(url)] == ["a", "c"]
    assert not has_failed(verify(url))


def copied(source: Any, to: Any) -> None:
    """Copy a lake from one file system to another, object by object, commits first."""
    for dataset in ("captures", "images"):
        fs.copy_files(
            f"{source[1]}/{dataset}", f"{to[1]}/{dataset}", source_filesystem=source[0], destination_filesystem=to[0]
        )


def test_a_lake_copied_to_a_store_and_back_is_the_same(url: str, server: str) -> None:
    """Copied from a folder to a bucket, within it, and back, a lake answers the same and is whole everywhere."""
    land_all(Lake("lake"), STATES)
    compact(Lake("lake"), now=at("2026-11-05"))
    land_all(Lake("lake"), STATES, "other")
    before = answers("lake")
    local = fs.LocalFileSystem()
    store = fs.S3FileSystem(endpoint_override=server.removeprefix("http://"), scheme="http")
    there, again = url.removeprefix("s3://"), url.removeprefix("s3://") + " again"
    for name in ("captures", "images"):
        os.makedirs(f"back/{name}")
    copied((local, "lake"), (store, there))
    copied((store, there), (store, again))
    copied((store, again), (local, "back"))
    for copy in (url, f"{url} again", "back"):
        assert answers(copy) == before
        assert not has_failed(verify(copy))
    assert {name: data for name, data in snapshot_of("back").items() if data} == snapshot_of("lake")
    land(Lake(url), at("2026-11-06"), rows("new"))
    assert answers(f"{url} again") == before


FORGET = """
import os, signal, sys
from genesis_etl.forget import forget
from genesis_etl.lake import Lake
from genesis_etl.s3 import S3Storage
from tests.histories import at
left = int(sys.argv[3])
def mortal(name):
    original = getattr(S3Storage, name)
    def dying(self, path, *data):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, path, *data)
    setattr(S3Storage, name, dying)
mortal("write")
mortal("delete")
forget(Lake(sys.argv[1]), "default", at(sys.argv[2]) if sys.argv[2] else None, now=at("2026-11-06"))
"""


def observed(url: str) -> list[dict[str, Any]]:
    return list(open_lake(url).sql_rows("select * from image_regions order by all").to_pylist())


@pytest.mark.parametrize("before", ["2026-11-02", ""])
def test_forgetting_killed_at_any_step_leaves_a_whole_lake(url: str, before: str) -> None:
    """Killed before any upload or removal, each capture is as it was or gone, and another run ends the work."""
    store = open_storage(url)
    land_all(Lake("lake"), STATES)
    compact(Lake("lake"), now=at("2026-11-05"))
    land(Lake("lake"), at("2026-11-01"), rows("x"), "other")
    everything, files = observed("lake"), snapshot_of("lake")
    stays = [
        each for each in everything if each["account"] == "other" or (before and each["captured_at"] >= at(before))
    ]
    for step in range(20):
        for entry in [*store.entries("captures"), *store.entries("images")]:
            store.delete(entry.path)
        for name, data in files.items():
            store.write(name, data)
        died = python(FORGET, url, before, str(step)).wait(120)
        told = observed(url)
        assert [each for each in everything if each in told] == told
        assert [each for each in stays if each in told] == stays
        assert not has_failed(verify(url))
        if died == 0:
            break
        assert died == -signal.SIGKILL
        if "default" in Lake(url).accounts():
            forget(Lake(url), "default", at(before) if before else None, now=at("2026-11-06"))
        assert observed(url) == stays
    assert died == 0
    assert step >= (5 if before else 8)
    assert told == stays


def test_forgetting_removes_each_commit_before_its_file(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays is uploaded before anything goes, and no commit is ever there without its images file."""
    land_all(Lake(url), STATES)
    compact(Lake(url), now=at("2026-11-05"))
    steps: list[tuple[str, str]] = []

    def told(name: str) -> Callable[..., None]:
        original = getattr(S3Storage, name)

        def step(self: S3Storage, path: str, *data: bytes) -> None:
            original(self, path, *data)
            steps.append((name, path.split("/")[0]))

        return step

    for name in ("write", "delete"):
        monkeypatch.setattr(S3Storage, name, told(name))
    (done,) = forget(Lake(url), "default", at("2026-11-03"), now=at("2026-11-06"))
    assert (done.captures, done.rewritten, done.files) == (2, 1, 6)
    pairs = list(zip(steps[::2], steps[1::2], strict=True))
    assert (
        pairs == [(("write", "images"), ("write", "captures"))] + [(("delete", "captures"), ("delete", "images"))] * 3
    )
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
    with pytest.raises(LakeError, match=r"cannot keep a copy of s3://.*; see to the temporary folder \(TMPDIR\)"):
        lake.contents().refuse_damage()


@pytest.mark.parametrize("lake", ["s3://", "s3:///x"])
def test_a_lake_without_a_bucket_is_refused(lake: str) -> None:
    """The name of a bucket is part of a lake's URL."""
    with pytest.raises(SettingsError, match="names no bucket; a lake there is s3://bucket/prefix"):
        Lake(lake)


def test_a_store_that_is_not_there_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint where nothing listens ends with 6 and one line that names the lake."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(LakeError, match="cannot list s3://lakes/") as caught:
        Lake(url).contents()
    assert caught.value.exit_code == 6
