"""Small changes to a room's code, and whether the room's own tests notice them: `make mutants`.

cosmic-ray makes the changes, one at a time, in copies of this checkout that are thrown away in the end. Of the places
that it would change, some are drawn, always the same ones, and of the changes at each place, one.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import MutationVisitor, mutate_and_test
from cosmic_ray.operators.exception_replacer import ExceptionReplacer
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkResult

Position = tuple[int, int]  # line, column
ROOT = Path(__file__).parent.parent
GOAL = 85  # % of the changes that a room's own tests are to notice
COPIES = 2  # tests run side by side, one a core
# Which code is a room, and which tests are its own, the quickest first.
ROOMS = {
    "reading": (["reading/"], ["capture", "drift", "steps", "export"]),
    "rows": (["rows/"], ["table"]),
    "lake": (["lake/"], ["storage", "media", "lake", "strangers", "evidence", "upgrade", "publish"]),
    "maintenance": (["maintenance/"], ["verify", "compact", "forget", "strangers", "evidence"]),
    "pipeline": (["pipeline.py", "guards.py"], ["steps", "fresh", "export", "cache", "instances"]),
}
SLOW = {"s3"}  # its tests need an object store and are slow, all of them
# `a is None` and `a == None` are one and the same for whatever we compare.
HARMLESS = re.compile(r"core/ReplaceComparisonOperator_(Is_Eq|IsNot_NotEq|Eq_Is|NotEq_IsNot)$")


def main() -> int:
    """Print for each room what was changed, how much of it was noticed, and what was not; 1 below the goal."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("-n", type=int, default=30, help="changes per room (default: 30)")
    options = parser.parse_args()
    if unknown := set(options.rooms) - ROOMS.keys():
        parser.error(f"no room {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        origin = Path(folder, "origin")
        copy_checkout(origin)
        shares = [try_room(name, options.n, origin) for name in options.rooms or ROOMS]
    return int(min(shares) < GOAL)


def copy_checkout(into: Path) -> None:
    """Copy what git would commit, as it lies here; and let tests import and leave behind nothing outside the copy."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)
    os.environ["TMPDIR"] = str(into.parent)


def try_room(name: str, number: int, origin: Path) -> float:
    """Change a room `number` times, print what its tests said, and return how many % they noticed."""
    sources, tests = ROOMS[name]
    began = time.monotonic()
    unchanged = subprocess.run(command(tests), cwd=origin, env={**os.environ, "PYTHONPATH": str(origin)}, check=False)
    if unchanged.returncode:
        raise SystemExit(f"{name}: its tests fail without a change")
    # Whatever takes so much longer has been brought to a standstill, which is noticed too.
    try_one = partial(try_change, tests=tests, timeout=60 + 3 * (time.monotonic() - began))
    mutations = draw(list(find(sources, origin)), number)
    noticed = stuck = 0
    with ProcessPoolExecutor(COPIES, initializer=enter_copy, initargs=(origin,)) as processes:
        for result in processes.map(try_one, mutations):
            if result.diff is None or result.test_outcome is TestOutcome.INCOMPETENT:
                raise SystemExit(f"{name}: cosmic-ray failed: {result.output}")
            noticed += result.is_killed
            stuck += result.output == "timeout"
            if not result.is_killed:
                print(result.diff, flush=True)
    share = 100 * noticed / len(mutations)
    print(
        f"\n{name}: {len(mutations)} mutants, {noticed} noticed, {share:.0f} % ({stuck} by a standstill)\n", flush=True
    )
    return share


def command(tests: list[str]) -> list[str]:
    """Return the command that runs the quick tests of these files until one fails."""
    files = [f"tests/test_{test}.py" for test in tests]
    return [sys.executable, "-m", "pytest", "-n", "0", "-x", "-m", "not slow", "-p", "no:cacheprovider", *files]


def find(sources: list[str], origin: Path) -> Iterator[MutationSpec]:
    """Yield every change of these sources, but for those that nobody could notice."""
    with closing(WorkDB(":memory:", WorkDB.Mode.create)) as found:
        for source in sources:
            path = origin / "genesis_etl" / source
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            init([file for file in files if file.stem not in SLOW], found, {})
            for item in found.work_items:
                (mutation,) = item.mutations
                spans = harmless_spans(mutation.module_path)
                is_harmless = HARMLESS.match(mutation.operator_name) or any(
                    begin <= mutation.start_pos < end for begin, end in spans
                )
                if not is_harmless and can_be_made(mutation):
                    yield mutation


def can_be_made(mutation: MutationSpec) -> bool:
    """Tell whether cosmic-ray can make a change: it fails on `except pa.ArrowException`, a name with a dot."""
    if not mutation.operator_name.endswith("/ExceptionReplacer"):
        return True
    code = mutation.module_path.read_text(encoding="utf-8")
    with suppress(AttributeError):
        return MutationVisitor.mutate_code(code, ExceptionReplacer(), mutation.occurrence) is not None
    return False


@cache
def harmless_spans(path: Path) -> list[tuple[Position, Position]]:
    """Return where a file says types, which nothing evaluates, or asserts what holds: `strict=True`, `frozen=True`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    parts = [getattr(node, name, None) for node in nodes for name in ("annotation", "returns")]
    parts += [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    parts += [node for node in nodes if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen")]
    return [
        ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
        for part in parts
        if isinstance(part, ast.expr | ast.stmt | ast.keyword)
    ]


def draw(mutations: list[MutationSpec], number: int) -> list[MutationSpec]:
    """Draw places of the code, and of the changes at each of them one, so that `|` with its eleven counts once."""
    places = defaultdict(list)
    for mutation in mutations:
        places[mutation.module_path, mutation.start_pos].append(mutation)
    drawn = random.Random(0)
    return [drawn.choice(places[place]) for place in drawn.sample(sorted(places), min(number, len(places)))]


def enter_copy(origin: Path) -> None:
    """Let this process work on a copy of its own."""
    copy = Path(tempfile.mkdtemp(prefix="copy-", dir=origin.parent))
    shutil.copytree(origin, copy, dirs_exist_ok=True)
    os.environ["PYTHONPATH"] = str(copy)
    os.chdir(copy)


def try_change(mutation: MutationSpec, tests: list[str], timeout: float) -> WorkResult:
    """Make one change in this process's copy and run the tests, those named after the module that is changed first."""
    path = Path(*mutation.module_path.parts[mutation.module_path.parts.index("genesis_etl") :])
    here = MutationSpec(path, mutation.operator_name, mutation.occurrence, mutation.start_pos, mutation.end_pos)
    return mutate_and_test([here], shlex.join(command(sorted(tests, key=lambda test: test != path.stem))), timeout)


if __name__ == "__main__":
    sys.exit(main())
