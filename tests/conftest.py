"""What most tests need: a sandbox on a real socket, and settings that point to it."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from genesis_etl import cli, redact
from genesis_etl.errors import ExportFailed
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from genesis_etl.settings import Account, Secret, Settings
from tests.commands import Ended, Run
from tests.listening import Listener
from tests.stores import BUCKET, KEYS, FaultyStore, moto

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


RAM = Path("/dev/shm")
ROOMY = 4 * 2**30  # bytes; the tests need a tenth of it


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the folders of tests in memory where there is room, for most of what landing takes is waiting for a disk.

    And heed Ctrl-C, which a shell lets its background jobs ignore; whoever runs the tests there would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and os.access(RAM, os.W_OK) and shutil.disk_usage(RAM).free > ROOMY:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(RAM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes a worker for long: the groups, of which the servers' wait more than they work."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


WHOLE = (pytest.mark.slow, pytest.mark.whole)


def fewer(cases: Iterable[Any], count: int, marks: Any = pytest.mark.slow) -> list[Any]:
    """Return cases for `parametrize`; all but so many, spread evenly, have marks that leave them to `make test-all`."""
    cases = list(cases)
    step = len(cases) / count
    quick = {int(step * place) for place in range(count)}
    return [
        pytest.param(*case if isinstance(case, tuple) else (case,), marks=() if place in quick else marks)
        for place, case in enumerate(cases)
    ]


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the environment and the working directory of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("GENESIS_ETL_", "GENESISCLOUD_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # What one test calls a secret may be a word of another's message.
    monkeypatch.setattr(redact, "_gate", redact._Gate())


@pytest.fixture
def serve() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes (frozen at `AT`, without a rate limit unless asked) that end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(**{"at": AT, "rate": 0, **options}))

        yield start


@pytest.fixture
def api(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sandbox]:
    """Serve an account and let the environment point to it, with short waits and dated at its instant."""

    def start(**options: Any) -> Sandbox:
        sandbox = serve(**options)
        assert sandbox.at is not None
        for name, value in {
            "GENESISCLOUD_ENDPOINT": sandbox.endpoint,
            "GENESISCLOUD_TOKEN": sandbox.token,
            "GENESIS_ETL_RATE": "10000",
            "GENESIS_ETL_BACKOFF": "0.01",
            "GENESIS_ETL_NOW": sandbox.at.isoformat(),
        }.items():
            monkeypatch.setenv(name, value)
        return sandbox

    return start


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command within this process, through the mapping of errors to a line and a code."""

    def start(*arguments: str) -> Ended:
        capsysbinary.readouterr()
        code = cli.run(list(arguments))
        captured = capsysbinary.readouterr()
        return Ended(code, captured.out, captured.err.decode("utf-8"))

    return start


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as on a disk that is full then."""
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Serve until the end of the test."""
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """Run an object store for all tests of this process, and return its URL; they keep to prefixes of their own."""
    pytest.importorskip("moto", reason="needs requirements-all.txt")
    with moto() as url:
        yield url


@pytest.fixture
def faulty(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """Return what stands before the store and fails as told; the AWS variables lead there."""
    with FaultyStore(store) as faulty:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": faulty.url}.items():
            monkeypatch.setenv(name, value)
        yield faulty


@pytest.fixture
def url(faulty: FaultyStore, request: pytest.FixtureRequest) -> str:
    """Return the URL of a lake on the store that is the test's own."""
    return f"s3://{BUCKET}/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}/a lake"


def settings_for(sandbox: Sandbox, lake: Path | str = "lake", **changes: Any) -> Settings:
    """Return settings that read the sandbox fast, with short waits, dated at its instant."""
    token = changes.pop("token", sandbox.token)
    account = Account(changes.pop("account", "default"), sandbox.endpoint, "GENESISCLOUD_TOKEN", Secret(token))
    defaults: dict[str, Any] = {"rate": 10_000.0, "backoff": 0.01, "deadline": 5.0, "now": sandbox.at}
    return Settings(accounts=(account,), lake=str(lake), **{**defaults, **changes})


def later(settings: Settings, hours: int = 1) -> Settings:
    """Return the settings of a capture so many hours later."""
    assert settings.now is not None
    return replace(settings, now=settings.now + timedelta(hours=hours))


def some_images(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return so many images of the oldest generation, `fields` set in each."""
    return [
        {
            "id": f"{place:08}-0000-4000-8000-000000000000",
            "name": f"image {place}",
            "type": "base-os",
            "regions": ["ARC-IS-HAF-1", "NORD-NO-KRS-1"],
            "created_at": "2020-03-16T16:01:12.954Z",
            **fields,
        }
        for place in range(count)
    ]


def some_snapshots(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return so many snapshots of the newest generation, `fields` set in each."""
    return [
        {
            "id": f"{place:08}-0000-4000-8000-00000000000f",
            "name": f"snapshot {place}",
            "region": "NORD-NO-KRS-1",
            "size": 80,
            "status": "created",
            "created_at": "2025-03-16T16:01:12.954Z",
            **fields,
        }
        for place in range(count)
    ]


def some_instances(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return so many instances, `fields` set in each."""
    return [{"id": f"vm{place}", "name": f"instance {place}", "status": "active", **fields} for place in range(count)]


def listing(
    images: int = 250, snapshots: int = 120, instances: int = 0
) -> Callable[[str, datetime], list[dict[str, Any]]]:
    """Return collections of so many entries, as a sandbox takes them."""
    lists = {"images": some_images(images), "snapshots": some_snapshots(snapshots)}
    lists["instances"] = some_instances(instances)
    return lambda name, at: lists[name]


def files_of(folder: Path | str) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, whatever it is called."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def told(error: BaseException | None) -> str:
    """Return everything that an error and what it came from can show: text, repr, arguments, traceback."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


FIGURES: Counter[str] = Counter()


def figure(what: str, number: int = 1) -> None:
    """Count something that `make torture` prints in the end."""
    FIGURES[what] += number


@pytest.fixture(autouse=True)
def _figures(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Hand what a test has counted to whoever sums it up, across the processes of a run."""
    FIGURES.clear()
    yield
    for what, number in FIGURES.items():
        record_property(f"figure {what}", number)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", action="store_true", help="print what was tried and what came of it")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--figures"):
        return
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, number in report.user_properties:
                    totals[name.removeprefix("figure ")] += number if name.startswith("figure ") else 0
            elif getattr(report, "failed", False) and any(room in report.nodeid for room in ("lake", "compact")):
                totals["steps broken"] += 1
    terminalreporter.section("figures")
    for title, parts in TOLD.items():
        told = ", ".join(f"{totals[part]:,} {word}" for part, word in parts.items())
        terminalreporter.write_line(f"{title:<24} {told}")


TOLD = {
    "moving lists": {"drift": "trials", "drift wrong": "wrong", "drift refused": "refused"},
    "faults of the API": {"faults": "cases", "faults accepted": "silently accepted"},
    "steps of writing": {"steps": "failed or died at", "steps broken": "broken"},
    "queries during commits": {"queries": "queries", "commits": "commits", "bad queries": "failed or wrong"},
    "model": {"histories": "histories", "reports": "reports and tables", "disagreements": "disagreements"},
    "bit flips": {"flips": "flips", "flips found": "found"},
    "artefacts": {"artefacts": "searched", "tokens": "tokens found"},
}


def refused(settings: Settings, token: str, exit_code: int, *words: str, **options: Any) -> ExportFailed:
    """Run an export that must fail, hold it against what follows every failure, and return its error.

    The lake is byte for byte as it was; the token is in nothing said or written; the message is one line
    with these words; the exit code is this one.
    """
    before = files_of(settings.lake)
    said: list[str] = []
    error: ExportFailed | None = None
    try:
        export(settings, notice=said.append, **options)
    except ExportFailed as caught:
        error = caught
    figure("faults")
    figure("faults accepted", error is None)
    assert error is not None
    assert files_of(settings.lake) == before
    artefacts = [told(error), *map(told, error.failed.values()), *said, *map(str, before)]
    figure("artefacts", len(artefacts) + len(before))
    figure("tokens", sum(token in artefact for artefact in artefacts))
    assert not any(token in artefact for artefact in artefacts)
    assert not any(token.encode() in data for data in before.values())
    assert "\n" not in str(error)
    assert len(str(error)) < 1000
    assert error.exit_code == exit_code, str(error)
    for word in words:
        assert word in str(error)
    return error
