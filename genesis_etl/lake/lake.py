"""Captures as Parquet files: how they become visible, and which file speaks for which capture.

A capture belongs to the greatest stem whose commit lists it and whose rows file is whole; a file's rows speak for
no other.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from genesis_etl.errors import LakeError, LakeMoved
from genesis_etl.lake.commit import (
    Capture,
    Commit,
    Facts,
    Known,
    commit_bytes,
    parquet,
    parse_commit,
    parse_commits,
    parse_rows,
    reassigned,
)
from genesis_etl.lake.contents import Contents, Damage, lost_commit, read_contents
from genesis_etl.lake.evidence import Held
from genesis_etl.lake.known import held, known_captures, loose_captures, newest_capture, newest_known, telling
from genesis_etl.lake.layout import (
    Dataset,
    LakeFile,
    Listing,
    folder_of,
    is_account,
    is_of_earlier_layout,
    is_own_folder,
    listed,
    new_file,
    new_name,
    parsed,
)
from genesis_etl.lake.schema import CAPTURES, IMAGES, SCHEMA_VERSION, version_of_file
from genesis_etl.lake.storage import Patience, Storage, open_storage
from genesis_etl.rows import ROW

_LISTINGS: Final = 5


def no_capture(url: str) -> LakeError:
    """Return the error of a lake that holds nothing yet."""
    return LakeError(f"no capture yet in {url}", advice="run `genesis-etl export`")


class Lake:
    """A folder of captures, at a path or URL; `patience` is for a store that cannot answer for the moment."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url
        self.storage: Storage = open_storage(url, patience)
        # Files never change, so what was read once need not be read again.
        self._whole: dict[tuple[str, str], str] = {}
        self.older: set[str] = set()  # local paths of opened rows files that an earlier version wrote
        self._parsed: dict[LakeFile, Commit] = {}
        self.landed: dict[str, pa.Table] = {}  # rows (columns of `ROW`) of the last rows file written, by its sha256

    def land(self, rows: pa.Table, *, account: str, captured_at: datetime, **evidence: Any) -> Capture:
        """Write the rows of one capture (columns of `ROW`), then its commit; return the capture.

        `evidence` are the other fields of `Capture`. On an error nothing new is left.
        """
        captured_at = captured_at.astimezone(UTC)
        capture_id = new_name(captured_at)
        stamps = pa.repeat(pa.scalar(captured_at, IMAGES.field("first_seen").type), len(rows))
        whose = pa.repeat(pa.scalar(account, pa.string()), len(rows))
        row = {"account": account, "capture_id": capture_id, "captured_at": captured_at, "rows": len(rows), **evidence}
        commit = self.commit(
            pa.table([whose, stamps, stamps, *(rows[name] for name in ROW.names)], schema=IMAGES),
            pa.Table.from_pylist([{**row, "file": "", "sha256": ""}], schema=CAPTURES),
            Facts("capture"),
            year=captured_at.year,
            name=capture_id,
        )
        capture = Capture(**commit.captures.to_pylist()[0])
        self.landed = {capture.sha256: rows}
        return capture

    def commit(self, rows: pa.Table, captures: pa.Table, facts: Facts, *, year: int, name: str) -> Commit:
        """Write a rows file, then the commit that lists captures (of one account, schema `CAPTURES`) as held by it.

        What it knew of its account is added to `facts`.
        """
        account = captures["account"][0].as_py()
        listed, forgotten = known_captures(self, account)
        facts = replace(facts, known=newest_known(listed, forgotten))
        if facts.did == "compaction":
            rows = telling(rows, captures)
        data = parquet(rows)
        sha256 = hashlib.sha256(data).hexdigest()
        rows_file = new_file("rows", account, year, name, data)
        captures = reassigned(captures, rows_file.path, sha256)
        record = commit_bytes(captures, facts)
        file = new_file("captures", account, year, name, record)
        is_committing = False
        try:
            self.storage.write(rows_file.path, data)
            is_committing = True
            self.storage.write(file.path, record)
        except BaseException:
            # The commit may stand already, or yet come, whatever interrupted it; then its rows file stays.
            if not (is_committing and self._may_be_there(file)):
                with contextlib.suppress(LakeError):
                    self.storage.delete(rows_file.path)
            raise
        with contextlib.suppress(LakeError):
            if facts.known is not None and not self._still_lists(listed[facts.known.capture_id], facts.known):
                # It was forgotten meanwhile, and nobody may take it for lost.
                record = commit_bytes(captures, replace(facts, known=self.known(account, without=name)))
                earlier, file = file, new_file("captures", account, year, name, record)
                self.storage.write(file.path, record)
                self.storage.delete(earlier.path)
        return parse_commit(file, record)

    def mark(self, account: str, facts: Facts, moment: datetime) -> None:
        """Write a commit that lists no capture, and says what was done."""
        record = commit_bytes(CAPTURES.empty_table(), replace(facts, known=self.known(account)))
        name = new_name(moment, "forget")
        self.storage.write(new_file("captures", account, moment.year, name, record).path, record)

    def newest(
        self, account: str, *, having: str | None = None, notice: Callable[[str], None] | None = None
    ) -> Capture | None:
        """Return the account's newest capture that can be read, None before the first.

        With `having`, the newest that could read `snapshots`, or `instances`. A newer commit that cannot be read is
        told to `notice`; without one, and for a commit of a later version, LakeError. Stems sort by time and none holds
        a capture later than itself, so the last ones tell.
        """
        for _ in range(_LISTINGS):
            with contextlib.suppress(FileNotFoundError):  # compacted and swept since it was listed
                return newest_capture(self, account, having=having, notice=notice)
        raise self._moving()

    def known(self, account: str, *, without: str = "") -> Known | None:
        """Return the newest capture of an account and how many there are or were, as far as commits can be read now.

        `without` is the id of a capture that is left out.
        """
        listed, forgotten = known_captures(self, account)
        listed.pop(without, None)
        return newest_known(listed, forgotten)

    def loose(self, account: str, before: datetime) -> int:
        """Count the captures before a time that lie in files of their own and in no compacted one."""
        return len(loose_captures(self, account, before))

    def accounts(self) -> Sequence[str]:
        """Return the accounts that have files."""
        return sorted({file.account for dataset in _DATASETS for file in self.list(dataset).files})

    def list(self, dataset: Dataset, account: str | None = None) -> Listing:
        """List the files of a dataset, of one account or all."""
        if account is not None and not is_account(account):
            return Listing()  # no account has such a name, but a folder elsewhere may
        return listed(self.storage.list(folder_of(dataset, account), is_own_folder))

    def refuse_earlier_layout(self) -> None:
        """Raise LakeError where files lie here in the layout before the first release, which nobody reads."""
        for folder in ("captures", "images"):
            for entry in self.storage.list(folder, lambda path: path.count("/") <= 2):
                if is_of_earlier_layout(entry.path):
                    raise LakeError(
                        f"{self.url} is a lake of the earlier layout, which was never released ({entry.path})",
                        advice="choose another --lake and capture anew with `genesis-etl export`",
                    )

    def read(self, file: LakeFile) -> bytes:
        """Return a file's bytes; FileNotFoundError where it is gone."""
        return self.storage.read(file.path)

    def commits(self, account: str | None = None) -> tuple[Sequence[Commit], Sequence[Damage]]:
        """Read every commit, by stem, and tell which cannot be read. Files of other names are not looked at."""
        commits: list[Commit] = []
        damage: list[Damage] = []
        for file in self.list("captures", account).files:
            try:
                commits.append(self.parse(file))
            except FileNotFoundError:
                continue  # compacted and swept since it was listed
            except (ValueError, LakeError) as error:
                damage.append(lost_commit(file, error))
        return sorted(commits, key=lambda commit: commit.file.stem), damage

    def contents(self, account: str | None = None, *, opens_rows: bool = True) -> Contents:
        """Read the commits (of one account), check the rows files that they need, and say what can be told.

        Without `opens_rows` it is enough that the rows files are there, and `path` is that below the lake. Where a
        file has just gone, a compaction has replaced it: the lake is listed again.
        """
        for _ in range(_LISTINGS):
            contents, is_gone = read_contents(self, account, opens_rows=opens_rows)
            is_lost = any(damage.is_lost for damage in contents.damage)
            # What is gone, or listed nowhere, while nothing else has changed is missing, and told as damage.
            if not (is_gone or is_lost) or not self.changed_since(contents, account):
                break
        else:
            raise self._moving()
        if not len(contents.captures) and not contents.damage:
            self.refuse_earlier_layout()
        return contents

    def rows(self, file: LakeFile) -> pa.Table:
        """Return a rows file as it lies on the storage now, with the columns of `IMAGES`."""
        return parse_rows(self.storage.read(file.path), IMAGES)

    def held(self, file: LakeFile) -> Held | None:
        """Return what a compaction's rows file says it holds; None where it cannot be read, or is another's."""
        try:
            return held(file, self.storage.read(file.path))
        except (FileNotFoundError, LakeError):
            return None

    def holds(self, capture: Capture) -> bool:
        """Tell whether the rows of a capture can be read, whole."""
        file = parsed(capture.file)
        try:
            return file is not None and hashlib.sha256(self.read(file)).hexdigest() == capture.sha256
        except (FileNotFoundError, LakeError):
            return False

    def remove(self, file: LakeFile) -> None:
        """Remove a file."""
        self.storage.delete(file.path)
        self._parsed.pop(file, None)

    def changed_since(self, contents: Contents, account: str | None = None) -> bool:
        """Tell whether commits (of one account) have come or gone since its contents were read."""
        read = {file for file in contents.commit_files if account in (None, file.account)}
        return read != set(self.list("captures", account).files)

    def parse(self, file: LakeFile) -> Commit:
        """Return a listed commit; raises as `parse_commit`, FileNotFoundError where it is gone."""
        if file not in self._parsed:
            self._parsed[file] = parse_commit(file, self.storage.read(file.path))
        return self._parsed[file]

    def parse_many(self, files: Sequence[LakeFile]) -> None:
        """Parse listed commits together, which is faster; raises as `parse` where it would for any of them."""
        new = [file for file in files if file not in self._parsed]
        read = [(file, self.storage.read(file.path)) for file in new]
        if read:
            self._parsed.update(zip(new, parse_commits(read), strict=True))

    def open(self, commit: Commit) -> str:
        """Return a local path of the commit's rows file after checking its sha256 (once, for files never change)."""
        assert commit.rows_file is not None
        assert commit.sha256 is not None
        path = commit.rows_file.path
        if (path, commit.sha256) not in self._whole:
            data = self.storage.read(path)
            if hashlib.sha256(data).hexdigest() != commit.sha256:
                raise ValueError(f"the rows file {path} is damaged, its sha256 is another")
            version = version_of_file(data)
            self._whole[path, commit.sha256] = local = self.storage.local_path(path, data)
            if version < SCHEMA_VERSION:
                self.older.add(local)
        return self._whole[path, commit.sha256]

    def _still_lists(self, file: LakeFile, known: Known) -> bool:
        """Tell whether a capture that this commit listed is known still; its own commit needs no listing."""
        if file.kind == "capture":
            with contextlib.suppress(FileNotFoundError):
                self.read(file)
                return True
        return known.capture_id in known_captures(self, file.account)[0]

    def _may_be_there(self, file: LakeFile) -> bool:
        if self.storage.keeps_failed_writes:
            return True
        return file in self.list("captures", file.account).files

    def _moving(self) -> LakeMoved:
        return LakeMoved(
            f"in {_LISTINGS} listings, commits went before they could be read",
            where=self.url,
            advice="try again when no compaction with a short --grace runs beside",
        )


_DATASETS: Final[tuple[Dataset, ...]] = ("captures", "rows")
