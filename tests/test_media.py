"""What every medium of a lake promises, method by method, on a disk and on an object store that is a real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.lake.storage import Patience, Storage, open_storage
from genesis_etl.lake.storage.s3 import S3Storage
from tests.stores import FaultyStore, keys

ON_A_STORE = [pytest.mark.slow, pytest.mark.xdist_group("s3")]
FILE = "store/rows/a/2026/20261101T000000000000Z-00000000-0123456789abcdef.parquet"
NEIGHBOUR = "store/rows/a/2026/20261102T000000000000Z-00000000-0123456789abcdef.parquet"


@pytest.fixture(params=["disk", pytest.param("store", marks=ON_A_STORE)])
def lake(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty lake on each medium."""
    if request.param == "disk":
        return "a lake"
    return str(request.getfixturevalue("url"))


@pytest.fixture
def storage(lake: str) -> Storage:
    """Return each medium."""
    return open_storage(lake)


@pytest.fixture
def names(lake: str, request: pytest.FixtureRequest) -> Callable[[], set[str]]:
    """Return what tells every name that there is on the medium below the lake, folders included."""

    def told() -> set[str]:
        if not lake.startswith("s3://"):
            return {str(path.relative_to(lake)) for path in Path(lake).rglob("*")}
        root = lake.split("/", 3)[3] + "/"
        return {key.removeprefix(root) for key in keys(request.getfixturevalue("store")) if key.startswith(root)}

    return told


def everywhere(path: str) -> bool:
    """Look into every folder."""
    return True


def test_a_lake_that_is_not_there_lists_nothing(storage: Storage) -> None:
    """list answers with nothing where there is no such folder."""
    assert storage.list("store/rows", everywhere) == []


def test_list_tells_paths_in_order_sizes_and_times(storage: Storage) -> None:
    """list tells all that is below a folder, by path, and nothing of a folder whose name begins alike."""
    storage.write("store/rows2/a/2026/c", b"c")
    storage.write("store/rows/b/2026/b", b"bb")
    storage.write("store/rows/a/2026/ä b", b"")
    found = storage.list("store/rows", everywhere)
    assert [(entry.path, entry.size) for entry in found] == [("store/rows/a/2026/ä b", 0), ("store/rows/b/2026/b", 2)]
    assert not any(entry.is_folder for entry in found)
    assert [entry.written_at for entry in found] == pytest.approx([os.stat(".").st_mtime] * 2, abs=600)


@pytest.mark.parametrize("size", [0, 1, 12_000_000])
def test_what_was_written_is_read(storage: Storage, size: int) -> None:
    """read returns the bytes that write was given: none, one, or more than an upload takes in one part."""
    data = os.urandom(size)
    storage.write(FILE, data)
    assert storage.read(FILE) == data


def test_a_write_makes_one_file_and_nothing_else(storage: Storage, names: Callable[[], set[str]]) -> None:
    """No temporary file, lock or marker lies beside what was written."""
    storage.write(FILE, b"data")
    assert {name for name in names() if "." in name or name.endswith("/")} == {FILE}


def test_a_replacement_takes_the_place_and_leaves_nothing_else(storage: Storage, names: Callable[[], set[str]]) -> None:
    """`replace` puts a file where none was and where one was; nothing but the new one lies there."""
    for data in (b"old", b"", b"new" * 100_000):
        storage.replace("tables/images/a.parquet", data)
        assert storage.read("tables/images/a.parquet") == data
        assert {name for name in names() if "." in name} == {"tables/images/a.parquet"}


def test_what_is_gone_is_not_found(storage: Storage) -> None:
    """read tells a missing file, and one that was deleted, from one that cannot be read."""
    storage.write(FILE, b"data")
    storage.delete(FILE)
    for path in (FILE, "store/nowhere/x"):
        with pytest.raises(FileNotFoundError):
            storage.read(path)


def test_delete_leaves_nothing_of_an_empty_folder(storage: Storage, names: Callable[[], set[str]]) -> None:
    """delete removes a file and the folders that it leaves empty, markers included, and no neighbour."""
    storage.write(FILE, b"data")
    storage.write(NEIGHBOUR, b"data")
    storage.delete(FILE)
    assert storage.read(NEIGHBOUR) == b"data"
    storage.delete(NEIGHBOUR)
    assert names() == set()


def test_deleting_what_is_gone_does_nothing(storage: Storage) -> None:
    """delete is well where a neighbour was faster, and where there never was such a folder."""
    storage.write(FILE, b"data")
    for path in (FILE, FILE, "store/nowhere/x"):
        storage.delete(path)
    assert storage.list("store", everywhere) == []


def test_a_local_path_can_be_opened(storage: Storage) -> None:
    """local_path names a file of this machine with the same bytes, those that are given to it included."""
    storage.write(FILE, b"data")
    storage.write(NEIGHBOUR, b"other")
    assert Path(storage.local_path(FILE)).read_bytes() == b"data"
    assert Path(storage.local_path(NEIGHBOUR, b"other")).read_bytes() == b"other"


def test_threads_share_a_storage(storage: Storage) -> None:
    """Eight threads that write, read, list and delete at once find what they wrote, and leave nothing."""

    def work(number: int) -> list[bytes]:
        path, data = f"store/rows/a/2026/{number}", os.urandom(1000)
        storage.write(path, data)
        assert path in {entry.path for entry in storage.list("store", everywhere)}
        found = [data, storage.read(path), Path(storage.local_path(path)).read_bytes()]
        storage.delete(path)
        return found

    with ThreadPoolExecutor(8) as threads:
        assert all(len(set(found)) == 1 for found in threads.map(work, range(24)))
    assert storage.list("store", everywhere) == []


def test_a_refused_write_names_the_path(storage: Storage, lake: str, request: pytest.FixtureRequest) -> None:
    """What the medium refuses is a LakeError of one line that says what could not be done, and with which path."""
    if lake.startswith("s3://"):
        request.getfixturevalue("faulty").fail(status=403)
    else:
        Path(lake).write_text("a file where the lake should be")
    with pytest.raises(LakeError, match="cannot write") as caught:
        storage.write(FILE, b"data")
    assert f"{lake}/{FILE}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_store_may_complete_what_failed(storage: Storage, lake: str) -> None:
    """A disk promises that a write that failed never appears; a store cannot."""
    assert storage.keeps_failed_writes == lake.startswith("s3://")


def on_a_store(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs an object store."""
    for mark in ON_A_STORE:
        test = mark(test)
    return test


def refuse_waiting(seconds: float) -> bool:
    """Stand for a sleep that nobody may need."""
    raise AssertionError(f"it wants to wait for {seconds} s")


@on_a_store
def test_each_call_costs_as_few_requests_as_it_can(url: str, faulty: FaultyStore) -> None:
    """Write one PUT, read HEAD and GET, list LIST, delete HEAD and DELETE, each of them signed as it is sent."""
    storage = open_storage(url)
    for call, kinds in (
        (lambda: storage.write(FILE, b"data"), ["PUT"]),
        (lambda: storage.read(FILE), ["HEAD", "GET"]),
        (lambda: storage.list("store", everywhere), ["LIST"]),
        (lambda: storage.delete(FILE), ["HEAD", "DELETE"]),
    ):
        faulty.requests.clear()
        call()
        assert [request.kind for request in faulty.requests] == kinds
        assert all(request.is_signed for request in faulty.requests)


@on_a_store
@pytest.mark.parametrize("prefix", ["a b/c", "ä/+x&y=%20z", "a'(b)!*~,;:$", ""])
def test_a_delete_is_signed_whatever_the_prefix_is(
    url: str, store: str, faulty: FaultyStore, prefix: str, request: pytest.FixtureRequest
) -> None:
    """The path of a delete has the signature and the key of the upload's, whatever stands in it."""
    name = f"{request.node.name.encode().hex()}/x"
    storage = open_storage(f"{url[: url.index('/', 5)]}/{prefix}".rstrip("/"))
    storage.write(name, b"")
    storage.delete(name)
    put, head, delete = faulty.requests
    assert put.key == head.key == delete.key == f"{prefix}/{name}".lstrip("/")
    assert all(each.is_signed for each in faulty.requests)
    assert not [key for key in keys(store) if name.rstrip("x") in key]


@on_a_store
@pytest.mark.parametrize(("setting", "is_trailed"), [(None, True), ("when_required", False)])
def test_checksum_trailers_can_be_left_out(
    url: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch, setting: str | None, is_trailed: bool
) -> None:
    """AWS_REQUEST_CHECKSUM_CALCULATION=when_required sends uploads that stores without trailers take."""
    if setting is not None:
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", setting)
    open_storage(url).write(FILE, b"data")
    (put,) = faulty.asked("PUT")
    assert ("x-amz-trailer" in put.headers) == is_trailed
    assert ("aws-chunked" in put.headers.get("content-encoding", "")) == is_trailed


@on_a_store
@pytest.mark.parametrize(
    ("verb", "arguments"), [("read", (FILE,)), ("write", (FILE, b"")), ("delete", (FILE,)), ("list", ("x", everywhere))]
)
def test_what_the_store_refuses_is_told_by_bucket_and_key(
    url: str, faulty: FaultyStore, verb: str, arguments: tuple[Any, ...]
) -> None:
    """The error's fields say what could not be done and why, where, and what to look at."""
    faulty.fail(status=403)
    with pytest.raises(LakeError, match=f"cannot {verb}: AWS Error ACCESS_DENIED") as caught:
        getattr(open_storage(url), verb)(*arguments)
    assert caught.value.where == f"{url}/{arguments[0]}"
    assert caught.value.advice == "see to what these AWS keys may do in the bucket"


@on_a_store
@pytest.mark.parametrize("status", [400, 403, 404, 409, 501])
def test_what_waiting_cannot_mend_is_not_waited_for(url: str, faulty: FaultyStore, status: int) -> None:
    """A refusal that stands is told at once."""
    storage = open_storage(url, Patience(wait=refuse_waiting))
    faulty.fail(status=status)
    with pytest.raises(LakeError, match="cannot write"):
        storage.write(FILE, b"data")
    assert len(faulty.requests) == 1


@on_a_store
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("verb", ["read", "write", "delete", "list"])
def test_what_passes_is_waited_for(url: str, faulty: FaultyStore, status: int, verb: str) -> None:
    """A store that is busy twice is asked a third time, in every method, after waits that grow."""
    waits: list[float] = []
    storage = open_storage(url, Patience(wait=lambda seconds: bool(waits.append(seconds))))
    storage.write(FILE, b"data")
    fault = faulty.fail(status=status, times=2)
    arguments: dict[str, tuple[Any, ...]] = {"write": (NEIGHBOUR, b"data"), "list": ("store", everywhere)}
    getattr(storage, verb)(*arguments.get(verb, (FILE,)))
    assert fault.met == len(waits) == 2
    assert 0 < waits[0] <= 0.25 <= waits[1] <= 0.5


@on_a_store
def test_a_slow_answer_is_one(url: str, faulty: FaultyStore) -> None:
    """A list and an upload that take four seconds each are neither a failure nor asked for again."""
    storage = open_storage(url, Patience(wait=refuse_waiting))
    faulty.fail(status=None, delay=4)
    storage.write(FILE, b"data")
    assert [entry.path for entry in storage.list("store", everywhere)] == [FILE]
    assert [request.kind for request in faulty.requests] == ["PUT", "LIST"]


@on_a_store
def test_who_wants_an_end_is_not_kept_waiting(url: str, faulty: FaultyStore) -> None:
    """Where `wait` tells of an end, the call is given up, however long it might go on."""
    storage = open_storage(url, Patience(until=1e12, wait=lambda seconds: True))
    faulty.fail()
    with pytest.raises(LakeError, match="SLOW_DOWN"):
        storage.write(FILE, b"data")
    assert len(faulty.requests) == 1


@on_a_store
def test_a_signal_cuts_no_upload_short(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt after an upload has begun and before it has its bytes leaves the whole object or none."""
    storage = open_storage(url)
    assert isinstance(storage, S3Storage)
    files = storage._files

    class Interrupted:
        def open_output_stream(self, path: str) -> Any:
            stream = files.open_output_stream(path)
            signal.raise_signal(signal.SIGINT)
            return stream

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_files", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            storage.write(FILE, b"data")
    # The stand-in for a store keeps, once in many, the frame that the bytes were sent in; bytes that are cut have none.
    assert all(b"data" in storage.read(entry.path) for entry in storage.list("store", everywhere))


@on_a_store
def test_tls_that_cannot_be_had_is_told_at_once(url: str, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint of https that speaks something else ends the call without another try."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url.replace("http:", "https:"))
    with pytest.raises(LakeError, match="SSL connect error"):
        open_storage(url, Patience(wait=refuse_waiting)).list("store", everywhere)


@pytest.mark.parametrize("lake", ["s3://", "s3:///x"])
def test_a_lake_without_a_bucket_is_refused(lake: str) -> None:
    """The name of a bucket is part of a lake's URL."""
    with pytest.raises(SettingsError, match="names no bucket; a lake there is s3://bucket/prefix"):
        open_storage(lake)


@pytest.mark.parametrize("lake", ["s3://AKIA5:XYZZY@b/x", "s3://AKIA5:XYZ/XYZZY@b/x", "s3://AKIA5@b", "s3://:XYZZY"])
def test_keys_in_a_lakes_url_are_refused_and_not_shown(lake: str) -> None:
    """Whatever stands before an @ is no bucket, and no part of the URL is told."""
    with pytest.raises(SettingsError, match="write s3://bucket/prefix") as caught:
        open_storage(lake)
    assert not any(secret in repr(vars(caught.value)) for secret in ("AKIA5", "XYZ"))


def test_keys_in_an_endpoint_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and a password in AWS_ENDPOINT_URL are told to stand elsewhere."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://AKIA5:XYZZY@127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"AWS_ENDPOINT_URL: .*AWS_ACCESS_KEY_ID") as caught:
        open_storage("s3://bucket/lake")
    assert not any(secret in str(caught.value) for secret in ("AKIA5", "XYZZY"))
