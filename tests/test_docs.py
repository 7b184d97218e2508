"""The documentation says what the product does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbclient
import nbformat
import pytest

from genesis_etl import settings
from genesis_etl.cli.group import cli
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.schema import CAPTURES, IMAGES, TABLE_SCHEMAS
from genesis_etl.opened import open_lake
from genesis_etl.publish.publish import publish_after
from genesis_etl.query.report import find_report, report_names
from genesis_etl.sandbox import FAULTS
from genesis_etl.settings.example import documented, example
from tests.commands import Run
from tests.conftest import WHOLE, files_of
from tests.histories import Row, at, land_all, row, rows

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in FILES}
README = PAGES["README.md"]
_BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
_COMMAND = re.compile(r"^\$ (genesis-etl [^\n]*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
# What docs/lake.md shows is of lakes that its own tests make.
SHOWN = [
    (name, *pair)
    for name, text in PAGES.items()
    if name != "lake.md"
    for block in _BLOCK.findall(text)
    for pair in _COMMAND.findall(block)
]
MADE = {
    "faults": lambda: "\n".join(
        ["| fault | what the server does |", "|---|---|", *(f"| `{kind}` | {told} |" for kind, told in FAULTS.items())]
    ),
    "settings": documented,
}


def output_of(command: str) -> str:
    """Run a command of the documentation as a newcomer would, without settings or token."""
    done = subprocess.run(
        [sys.executable, "-m", "genesis_etl", *shlex.split(command)[1:]],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("GENESIS")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def renewed(text: str) -> str:
    """Return a page with the output of every command, and every part that is made, as they are now."""

    def block(match: re.Match[str]) -> str:
        return _COMMAND.sub(lambda found: f"$ {found[1]}\n{output_of(found[1])}", match[0])

    for name, make in MADE.items():
        part = re.compile(rf"(?<=<!-- {name} -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
        text = part.sub(lambda _, make=make: make(), text) if f"<!-- {name} -->" in text else text
    return _BLOCK.sub(block, text)


@pytest.mark.parametrize(("page", "command", "output"), SHOWN, ids=[command[12:60] for _, command, _ in SHOWN])
def test_pages_show_real_output(
    page: str, command: str, output: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every `genesis-etl` command of the documentation prints what is shown below it."""
    monkeypatch.chdir(ROOT)
    ended = run(*shlex.split(command)[1:])
    told = ended.out.decode("utf-8") + ended.err
    assert told == output, f"run `python -m tests.test_docs` and read what has changed in {page}"


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_is_in_its_page(name: str) -> None:
    """The tables of settings and of the sandbox's faults are those of the code."""
    (page,) = [page for page, text in PAGES.items() if f"<!-- {name} -->" in text]
    assert MADE[name]() in PAGES[page], "run `python -m tests.test_docs` and read what has changed"


def test_the_example_file_is_made_of_the_declarations() -> None:
    """genesis-etl.example.toml is what `init` writes."""
    text = (ROOT / "genesis-etl.example.toml").read_text(encoding="utf-8")
    assert text == example(), "run `python -m tests.test_docs` and read what has changed"


def test_the_readme_is_short_and_names_every_command() -> None:
    """The README has under 200 lines, and a row for each command of the program."""
    assert len(README.splitlines()) < 200
    assert set(cli.commands) <= set(re.findall(r"^\| `([a-z]+)", README, re.MULTILINE))


def test_links_lead_somewhere() -> None:
    """Every relative link of the documentation names a file, and a heading of it where it says so."""
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", text):
            path, _, heading = target.partition("#")
            file = (folder / path) if path else folder / name
            assert file.exists(), (name, target)
            if heading:
                found = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}, (
                    name,
                    target,
                )


def test_the_settings_page_loads() -> None:
    """The accounts and thresholds of docs/settings.md, written into a file, are settings."""
    text = PAGES["settings.md"]
    thresholds = re.findall(r"^\| `(\w+ = [^`]+)` \|", text, re.MULTILINE)
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    Path("genesis-etl.toml").write_text("\n".join([toml, "[thresholds]", *thresholds]), encoding="utf-8")
    loaded = settings.Settings.load(environ={})
    assert [account.name for account in loaded.accounts] == ["prod", "lab"]
    assert None not in vars(loaded.thresholds).values()
    assert len(thresholds) == len(vars(loaded.thresholds))


def test_every_column_of_the_lake_is_explained() -> None:
    """data/README.md names every column of the store and of the tables, and the files describe each of their own."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for field in [*IMAGES, *CAPTURES, *(field for schema in TABLE_SCHEMAS.values() for field in schema)]:
        assert field.metadata[b"description"]
        assert field.name == "listed_snapshots" or f"`{field.name}`" in text


@pytest.mark.parametrize("path", sorted((ROOT / "genesis_etl" / "sql").rglob("*.sql")), ids=lambda path: path.name)
def test_every_sql_file_has_its_header(path: Path) -> None:
    """A view says its grain and source, a report its title, grain, parameters and columns."""
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^-- grain: one row per .+", text, re.MULTILINE)
    if path.parent.name == "reports":
        assert re.match(r"-- title: .+", text)
        declared = re.findall(r"^-- parameter (\w+)|^-- (window):", text, re.MULTILINE)
        assert {name or window for name, window in declared} == set(re.findall(r"\$(\w+)", text))
    else:
        assert text.startswith(f"-- {path.stem}: ")


def test_reports_have_one_name_everywhere() -> None:
    """`snapshot-growth` is the same word in SQL, golden results and README, and so every other."""
    stems = {path.stem for path in (ROOT / "tests" / "golden").glob("*.csv") if "." not in path.stem}
    assert {name.replace("-", "_") for name in report_names()} == stems
    for name in report_names():
        assert f"genesis-etl report {name} --lake" in PAGES["reports.md"]
        assert f"\n## {name}\n" in PAGES["reports.md"]
        assert find_report(name).title in README


UNITS = dict(
    re.findall(
        r"`/etc/systemd/system/([a-z.-]+)`[^`]*(?:`[a-z]+`[^`]*)*\n\n```ini\n(.*?)```",
        (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """systemd understands the services and timers of docs/operations.md; the README shows parts of them."""
    assert len(UNITS) == 4
    for name, unit in UNITS.items():
        unit = unit.replace("/srv/genesis-etl/.venv/bin/genesis-etl", "/bin/true").replace("User=genesis\n", "")
        (tmp_path / name).write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in UNITS if name.endswith(".timer"))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr
    for unit in re.findall(r"```ini\n(.*?)```", README, re.DOTALL):
        lines = [line for line in unit.splitlines() if line and not line.startswith("#")]
        assert any(set(lines) <= set(whole.splitlines()) for whole in UNITS.values())


SAMPLE = open_lake(str(ROOT / "data" / "sample"))
# What each notebook must tell, asked of the tables in another way than its report does.
HEADLINES = {
    name: [str(column.iloc[0]) for _, column in SAMPLE.sql(statement).items()]
    for name, statement in {
        "snapshot_growth": """
            select count(distinct image_id) as closing, sum(size_gib) as gib
            from (select distinct image_id, size_gib from images where type = 'snapshot')
        """,
        "region_coverage": """
            select region, count(distinct image_id) as images
            from images where type = 'cloud-image' group by region order by all limit 1
        """,
        "explore_with_sql": """
            select
                (select count(*) from captures) as captures,
                (select count(distinct image_id) from images where type = 'snapshot') as still_there
        """,
        "library": "select count(distinct image_id) as images from images",
        "cost_and_cleanup": """
            select count(*) as freed, sum(old.size_gib) as gib
            from (select distinct account, image_id, source_instance_id, created_at, size_gib, captured_at
                  from images where type = 'snapshot') as old
            where old.captured_at - old.created_at > interval 30 day
                and exists (
                    select 1 from images as newer
                    where newer.type = 'snapshot' and newer.source_instance_id = old.source_instance_id
                        and newer.account = old.account and newer.created_at > old.created_at
                )
        """,
    }.items()
}


# Of two ways to the same numbers, plain SQL over the files of the tables the second.
SAME = re.compile(r"^the same as (?:the report|above): (\w+)$", re.MULTILINE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def outputs_of(notebook: nbformat.NotebookNode, folder: Path) -> list[nbformat.NotebookNode]:
    """Execute a notebook in this folder and return what its cells put out; an error of a cell raises."""
    done = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in done.cells for output in cell.get("outputs", [])]


def plain(word: str) -> str:
    """Return a number without the zeros that only its column has, and any other word as it is."""
    return word.rstrip("0").rstrip(".") if re.fullmatch(r"[0-9]+\.[0-9]+", word) else word


def outputs_on(path: Path, lake: Path, folder: Path, *cells: str) -> list[nbformat.NotebookNode]:
    """Execute a notebook on another lake, and more cells after its own; return what they put out."""
    notebook = nbformat.read(path, as_version=4)
    (chosen,) = (cell for cell in notebook.cells if cell.source.startswith("LAKE = "))
    chosen.source = f"LAKE = {str(lake)!r}"
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    return outputs_of(notebook, folder)


def said(outputs: list[nbformat.NotebookNode]) -> str:
    """Return what cells have printed; none of them warns."""
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem == "region_coverage" else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
)
def test_notebooks_run_and_are_stored_without_outputs(path: Path, tmp_path: Path) -> None:
    """A notebook runs from top to bottom on the sample, draws, tells what SQL tells, and is committed clean.

    Plain SQL over the files of the tables gives the same numbers, and the sample stays as it is.
    """
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    shutil.copytree(ROOT / "data" / "sample", tmp_path / "data" / "sample")
    shutil.copytree(path.parent, tmp_path / "notebooks")
    before = files_of(tmp_path / "data")
    outputs = outputs_of(notebook, tmp_path / "notebooks")
    assert files_of(tmp_path / "data") == before
    assert any("image/png" in output.get("data", {}) for output in outputs)
    told = " ".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    words = {plain(word) for word in told.split()}
    assert {plain(figure) for figure in HEADLINES[path.stem]} <= words
    assert SAME.findall(said(outputs)) == ["True"]


def images(*ids: str, **fields: object) -> list[Row]:
    """Return images of a type, each in two regions."""
    return [row(id, region, **{"type": "cloud-image", **fields}) for id in ids for region in ("R1", "R2")]


SNAPSHOT: dict[str, Any] = {"size_gib": 80.0, "created_at": at("2026-10-01")}
# Lakes of every kind that a newcomer may have: account → the days of its captures, each with its rows.
LAKES: dict[str, dict[str, dict[str, list[Row]]]] = {
    "no-capture": {},
    "one-capture": {"default": {"2026-11-20": images("i") + rows("a", "b", **SNAPSHOT)}},
    "no-snapshots": {"default": {f"2026-11-{day}": images("i", "j") for day in (10, 18, 20)}},
    "only-snapshots": {"default": {f"2026-11-{day}": rows("a", size_gib=None) for day in (10, 18, 20)}},
    "empty-captures": {"default": {"2026-11-10": [], "2026-11-20": []}},
    "two-accounts": {
        "prod": {
            f"2026-{month:02}-{day}": rows(*"abc"[: day % 3 + 1], **SNAPSHOT)
            for month in (9, 10)
            for day in (11, 19, 27)
        },
        "test": {"2026-11-19": images("i") + rows("a", "z"), "2026-11-20": images("i", "j")},
    },
}


@pytest.mark.parametrize(
    ("path", "lake"),
    [
        pytest.param(path, lake, id=f"{path.stem}-{lake}", marks=pytest.mark.slow if lake == "two-accounts" else WHOLE)
        for path in NOTEBOOKS
        for lake in LAKES
    ],
)
def test_notebooks_run_on_every_lake(path: Path, lake: str, tmp_path: Path) -> None:
    """On a lake without captures, of one, without snapshots, of two accounts: each account is shown, or a sentence."""
    for account, days in LAKES[lake].items():
        land_all(Lake(str(tmp_path / "lake")), days, account)
    publish_after(Lake(str(tmp_path / "lake")), LAKES[lake], pytest.fail)
    outputs = outputs_on(path, tmp_path / "lake", tmp_path)
    told = said(outputs)
    assert told.startswith(f"accounts: {', '.join(LAKES[lake]) or 'none, for '}")
    assert SAME.findall(told) == ["True"] * bool(LAKES[lake])
    shows_picture = any("image/png" in output.get("data", {}) for output in outputs)
    assert shows_picture or lake in ("no-capture", "empty-captures") or path.stem != "snapshot_growth"


@pytest.mark.slow
def test_plain_sql_that_does_not_give_the_numbers_is_seen(tmp_path: Path) -> None:
    """Where the tables lag behind the store, the notebook says that its two answers are not the same."""
    lake = Lake(str(tmp_path / "lake"))
    land_all(lake, {"2026-11-10": rows("a", "b", **SNAPSHOT)})
    publish_after(lake, ["default"], pytest.fail)
    land_all(lake, {"2026-11-11": rows("a", **SNAPSHOT)})
    for name in ("snapshot_growth", "explore_with_sql"):
        outputs = outputs_on(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "lake", tmp_path)
        assert SAME.findall(said(outputs)) == ["False"]


@pytest.mark.slow
def test_a_level_is_drawn_at_the_end_of_its_week_and_no_unknown_size_as_0(tmp_path: Path) -> None:
    """The newest week ends with the newest capture; a region whose sizes are unknown has no point on its line."""
    state = [row("a", "R1", **SNAPSHOT), row("b", "R2", **{**SNAPSHOT, "size_gib": None})]
    land_all(Lake(str(tmp_path / "lake")), dict.fromkeys(("2026-10-05", "2026-10-12", "2026-10-20"), state))
    publish_after(Lake(str(tmp_path / "lake")), ["default"], pytest.fail)
    look = """
        print("ends", *(f"{each:%m-%d}" for each in known["end"]), len(level.get_lines()[1].get_xdata()))
        for line in axes.get_lines():
            print(line.get_label(), *np.unique(line.get_ydata()))
    """
    path = ROOT / "notebooks" / "snapshot_growth.ipynb"
    told = said(outputs_on(path, tmp_path / "lake", tmp_path, "import numpy as np", dedent(look)))
    assert "default: of 2 snapshots now, 1 are of unknown size\n" in told
    assert "ends 10-12 10-19 10-20 3\n" in told
    assert "R1 80.0\n" in told
    assert "R2 nan\n" in told


if __name__ == "__main__":
    for path in FILES:
        if path.name != "lake.md":
            path.write_text(renewed(PAGES[path.name]), encoding="utf-8")
    (ROOT / "genesis-etl.example.toml").write_text(example(), encoding="utf-8")
