"""The page as its HTML: its figures, its limits, and names that would like to be elements."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shlex
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import genesis_etl
from genesis_etl import cli
from genesis_etl.dashboard import limits
from genesis_etl.dashboard.charts import ticks
from genesis_etl.dashboard.page import make_page, write_page
from genesis_etl.dashboard.words import ago, argument, coverage_level, number, signed, span
from genesis_etl.errors import SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query.sources import one_line
from genesis_etl.settings import Settings
from tests.conftest import full_disk
from tests.histories import at, land, land_all, row, rows
from tests.pages import NAMES, Page, grown, page_of

STATEMENTS = Path(genesis_etl.__file__).parent / "sql" / "page"


@pytest.fixture(scope="module")
def forty_days(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenLake, Page]:
    """Return a grown lake, which is only read, and its page; the tests of one xdist group share them."""
    url = tmp_path_factory.mktemp("grown")
    grown(url)
    return open_lake(str(url)), page_of(url)


@pytest.mark.xdist_group("forty days")
def test_the_headline_figures_are_those_of_the_reports_and_of_sql(forty_days: tuple[OpenLake, Page]) -> None:
    """Images, snapshots, GiB and regions equal the report's last row and a query that shares nothing with it."""
    lake, page = forty_days
    last = lake.report_rows("snapshot-growth").to_pylist()[-1]
    (counted,) = lake.sql_rows(
        "select count(distinct image_id) as images, count(distinct region) as regions, "
        "(select count(*) from (select distinct image_id from images where type = 'snapshot')) as snapshots, "
        "(select sum(size_gib) from (select distinct image_id, size_gib from images)) as gib from images"
    ).to_pylist()
    assert page.named("images")[0] == number(counted["images"]) == "46"
    assert page.named("snapshots")[0] == number(counted["snapshots"]) == number(last["closing"]) == "42"
    assert page.named("gib")[0] == number(counted["gib"]) == number(last["gib_closing"])
    assert page.named("regions") == [number(counted["regions"])]


@pytest.mark.xdist_group("forty days")
def test_the_figures_of_a_region_are_those_of_its_report(forty_days: tuple[OpenLake, Page]) -> None:
    """Narrowed to a region, the page shows what `--region` prints."""
    lake, page = forty_days
    for place, region in enumerate(["R1", "R2"], start=1):
        last = lake.report_rows("snapshot-growth", region=region).to_pylist()[-1]
        assert page.named("snapshots")[place] == number(last["closing"])
        assert page.named("gib")[place] == number(last["gib_closing"])


@pytest.mark.xdist_group("forty days")
def test_changes_are_against_thirty_days_before(forty_days: tuple[OpenLake, Page]) -> None:
    """One snapshot a day makes 30 more in 30 days, of the images too."""
    _, page = forty_days
    assert "30 more snapshots than 30 days ago, 42 now" in page.text
    assert page.text.count("+30 in 30 days") == 2


@pytest.mark.xdist_group("forty days")
@pytest.mark.parametrize(
    "report",
    [
        *("snapshot-growth", "usage", "sources", "retention", "stale-snapshots --older-than 30d"),
        *("releases", "region-coverage", "changes", "capture-health"),
    ],
)
def test_every_report_stands_on_the_page_with_its_command(forty_days: tuple[OpenLake, Page], report: str) -> None:
    """Each part names the command that prints its numbers, of this account."""
    _, page = forty_days
    assert any(f"genesis-etl report {report} --account default" in command for command in page.commands)


@pytest.mark.slow
def test_every_command_on_the_page_runs(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What the page names can be pasted into a shell, and prints something."""
    grown(tmp_path / "lake", days=8)
    for block in page_of(tmp_path / "lake").commands:
        for command in block.strip().splitlines():
            words = shlex.split(command)[1:]
            assert cli.run([*words, "--lake", str(tmp_path / "lake")]) == 0, command
            assert capsysbinary.readouterr().out


@pytest.mark.parametrize("name", sorted(path.stem for path in STATEMENTS.iterdir()))
def test_a_statement_of_the_page_fits_into_a_command(name: str) -> None:
    """It is one line without a comment and without what ends a word in double quotes."""
    text = one_line("page", name)
    assert text.startswith(("select ", "with "))
    assert not re.search(r'--|["$`\\\n]|  ', text)


@pytest.mark.xdist_group("forty days")
def test_changes_are_counted_as_their_report_does(forty_days: tuple[OpenLake, Page]) -> None:
    """The title of the list states how many rows its command prints."""
    lake, page = forty_days
    since = re.findall(r"--since ([0-9-]+)", " ".join(page.commands))[0]
    assert f"{len(lake.report_rows('changes', since=since))} changes since" in page.text


def test_costs_stand_there_with_a_price_alone(tmp_path: Path) -> None:
    """Without a price there is no cost, not a cost of 0."""
    grown(tmp_path, days=5)
    assert "cost a month" not in page_of(tmp_path).text
    page = make_page(open_lake(str(tmp_path), price=0.5), currency="<EUR>")
    assert "cost a month, &lt;EUR&gt;" in page


def test_an_empty_lake_has_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    """No capture is no error for the page: it names the command that makes one."""
    page = page_of(tmp_path / "none")
    assert "This lake holds no capture yet" in page.text
    assert "genesis-etl export" in page.commands[0]


def test_a_single_capture_makes_a_page(tmp_path: Path) -> None:
    """With one capture there is no growth and no forecast: what stands is drawn by its age, not as if it had grown."""
    land_all(Lake(str(tmp_path)), {"2026-11-20 12:00": rows("a", "b", created_at=at("2026-11-18"))})
    page = page_of(tmp_path)
    assert page.named("snapshots")[0] == "2"
    assert "Captured since 20 Nov 2026; of the time before, no growth is known." in page.text
    assert "Age: snapshots of today, by the month they were made" in page.text
    assert " came" not in page.text
    assert "Nothing to draw by day yet" in page.text
    assert "No forecast yet: it needs 5 whole days with captures" in page.text
    assert "no capture 30 days before" in page.text
    assert "Captured once, so no change is known yet" in page.text
    land_all(Lake(str(tmp_path)), {"2026-11-20 13:00": rows("a", "b", created_at=at("2026-11-18"))})
    page = page_of(tmp_path)
    assert "No change since the first capture" in page.text
    assert "A capture on the one day there is" in page.text


@pytest.mark.parametrize(
    "state", [[], [row("b", None, "base-os", created_at=at("2026-11-18"))]], ids=["nothing", "no region"]
)
def test_an_account_without_snapshots_or_regions_makes_a_page(tmp_path: Path, state: list[dict[str, Any]]) -> None:
    """A capture may hold nothing at all, or nothing with a region."""
    land(Lake(str(tmp_path)), at("2026-11-20 12:00"), state, snapshots=None)
    page = page_of(tmp_path)
    assert page.named("images")[0] == str(len(state))
    assert "/snapshots was not read" in page.text


@pytest.mark.parametrize(("newest", "figure"), [(rows("b", type="cloud-image"), "–"), (rows("a", "b"), "2")])
def test_snapshots_that_the_newest_capture_did_not_read_are_not_told(
    tmp_path: Path, newest: list[dict[str, Any]], figure: str
) -> None:
    """What an older capture counted is no level of today; what /images lists is."""
    land(Lake(str(tmp_path)), at("2026-11-19 12:00"), rows("a"))
    land(Lake(str(tmp_path)), at("2026-11-20 12:00"), newest, snapshots=None)
    page = page_of(tmp_path)
    assert page.named("snapshots")[0] == figure
    assert ("/snapshots was not read" in page.text) == (figure == "–")


def test_retired_regions_and_gaps_are_marked(tmp_path: Path) -> None:
    """A region without any image left is retired; one that lacks all of a family has a cross."""
    lake = Lake(str(tmp_path))
    before = [row(id, region, "base-os", family="f") for id, region in (("a", "R1"), ("b", "R2"), ("a", "R3"))]
    land_all(
        lake, {"2026-11-19 12:00": before, "2026-11-20 12:00": [*before[:2], row("c", "R2", "base-os", family="g")]}
    )
    page = page_of(tmp_path)
    assert "R3 (retired)" in page.text
    assert "✕ 0 / 1" in page.text
    assert "R1 lacks most: 2 of 3 base-os images" in page.text


def test_hostile_names_make_no_element(tmp_path: Path) -> None:
    """Whatever images, types, families and regions are called, the page has the elements it has without them."""
    harmless, hostile = tmp_path / "harmless", tmp_path / "hostile"
    for url, names in ((harmless, ["n1", "n2", "n3", "n4", "n5"]), (hostile, NAMES)):
        states = {
            f"2026-11-{day} 12:00": [
                row(
                    f"i{n}",
                    name,
                    name if n % 2 else "snapshot",
                    name=name,
                    family=name,
                    size_gib=1.0,
                    created_at=at("2026-01-01"),
                )
                for n, name in enumerate(names)
                if n != day % 5
            ]
            for day in range(11, 18)
        }
        land_all(Lake(str(url)), states)
    page = page_of(hostile)
    tags = [tag for tag, _ in page.elements]
    assert set(tags) == {tag for tag, _ in page_of(harmless).elements}
    assert tags.count("script") == 1
    assert "img" not in tags
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
        assert all(not (value or "").startswith("javascript:") for name, value in attributes.items() if name == "href")
    assert all(name in page.text for name in NAMES)
    assert "49" not in {text.strip() for text in page.texts}


def test_long_and_invisible_names_are_shortened_and_escaped(tmp_path: Path) -> None:
    """A name of a megabyte, control characters and directions do no harm."""
    name = "\x1b[31m\u202e\u2028" + "x" * 1_000_000
    land(Lake(str(tmp_path)), at("2026-11-20 12:00"), rows("a", name=name, region=name[:500]))
    page = make_page(open_lake(str(tmp_path)))
    assert len(page.encode()) < 300_000
    assert not {"\x1b", "\u202e", "\u2028"} & set(page)


def test_nothing_is_fetched_and_the_policy_allows_no_more(tmp_path: Path) -> None:
    """No element points elsewhere, and the policy names the hashes of the one style and the one script."""
    grown(tmp_path, days=6)
    html = make_page(open_lake(str(tmp_path)))
    for tag, attributes in Page(html).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "image", "use", "a") or (
            attributes.get("href") or ""
        ).startswith("#")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in html
    assert "default-src &#39;none&#39;" in html
    assert "style=" not in html


def test_the_page_tells_neither_path_nor_endpoint_nor_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page can be handed on: where the lake lies stays at home."""
    monkeypatch.setenv("GENESISCLOUD_TOKEN", "s3cr3t-token")
    grown(tmp_path, days=3)
    html = make_page(open_lake(str(tmp_path)))
    assert str(tmp_path) not in html
    assert "api.example" not in html
    assert "s3cr3t-token" not in html


def test_several_accounts_have_a_part_each(tmp_path: Path) -> None:
    """All accounts together come first, then each with figures and commands of its own, that of the most GiB first."""
    grown(tmp_path, days=3, account="lab")
    grown(tmp_path, days=6, account="prod")
    page = page_of(tmp_path)
    assert page.named("regions") == ["2", "2"]
    parts = [heading for heading in page.headings if heading.startswith(("All ", "Account "))]
    assert parts == ["All 2 accounts together", "Account prod", "Account lab"]
    parts = [attributes["data-account"] for _, attributes in page.elements if "data-account" in attributes]
    assert parts == ["0", "1", "2"]


def test_what_is_left_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limits the page shows the first and says how many there are."""
    monkeypatch.setattr(limits, "LISTED", 5)
    monkeypatch.setattr(limits, "SCOPES", 3)
    monkeypatch.setattr(limits, "HISTORIES", 2)
    monkeypatch.setattr(limits, "ACCOUNTS", 1)
    grown(tmp_path, days=12, account="lab")
    grown(tmp_path, days=3, account="prod")
    page = page_of(tmp_path)
    text = page.text
    assert "The first 5 of 8 changes; the command prints all." in text
    assert "Not shown here: the page has room for the growth of 3 accounts and regions." in text
    assert "The 1 accounts with the most GiB have a part of their own" in text
    assert sum("image-" in (each.get("id") or "") for _, each in page.elements) == 2


def test_damage_is_an_error_and_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 6, as reports do, and leaves no file."""
    grown(tmp_path / "lake", days=2)
    next((tmp_path / "lake" / "store" / "rows").rglob("*.parquet")).write_bytes(b"")
    assert cli.run(["dashboard", "--lake", str(tmp_path / "lake"), "--output", str(tmp_path / "page.html")]) == 6
    assert not (tmp_path / "page.html").exists()
    assert "error: " in capsys.readouterr().err


def test_the_command_writes_the_page_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing goes to stdout; the empty lake ends with 0."""
    assert cli.run(["dashboard", "--lake", str(tmp_path / "none")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "page.html" in err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert cli.run(["dashboard", "--lake", str(tmp_path / "none"), "--output", "-"]) == 2


def test_a_page_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    """Written again, the page that a link points to is the new one; the link is a link, no other file is left."""
    (tmp_path / "www").mkdir()
    (tmp_path / "page.html").symlink_to("www/page.html")
    for name in ("a", "b"):
        (tmp_path / "www" / "page.html").write_text(name)
        assert write_page(Settings(lake=str(tmp_path / "none"), page=str(tmp_path / "page.html"))).is_symlink()
        assert "genesis-etl export" in (tmp_path / "www" / "page.html").read_text()
    assert [path.name for path in (tmp_path / "www").iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """A disk that fills while the page is written costs one line, and yesterday's page is whole."""
    page = tmp_path / "page.html"
    page.write_text("yesterday's")
    with full_disk(1000), pytest.raises(SettingsError, match=r"cannot write .*page\.html: File too large; it is as it"):
        write_page(Settings(lake=str(tmp_path / "none"), page=str(page)))
    assert page.read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_for_a_device_leaves_the_device(tmp_path: Path) -> None:
    """`dashboard --output` names a pipe, and a reader of it gets the page; it is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert cli.run(["dashboard", "--lake", str(tmp_path / "none"), "--output", str(pipe)]) == 0
    reader.join(20)
    assert read[0].lower().startswith("<!doctype html>")
    assert pipe.is_fifo()


@pytest.mark.slow
def test_a_lake_of_many_images_makes_a_small_page_soon(tmp_path: Path) -> None:
    """20,000 images, all of them changed: under 1 MB, and far from slow."""
    lake = Lake(str(tmp_path))
    for day in (19, 20):
        state = [
            row(f"{day}-{n}", f"R{n % 8}", "snapshot" if n % 2 else "base-os", family=f"f{n % 70}", size_gib=1.0)
            for n in range(20_000)
        ]
        land(lake, at(f"2026-11-{day} 12:00"), state)
    started = time.monotonic()
    html = make_page(open_lake(str(tmp_path)))
    assert time.monotonic() - started < 20
    assert len(html.encode()) < 1_000_000
    text = Page(html).text
    assert "40,000 changes since" in text
    assert "40 of 72 types and families" in text


@pytest.mark.slow
def test_two_hundred_accounts_make_one_small_page(tmp_path: Path) -> None:
    """All together and the largest have a part each, all stand in one table, and the file stays under 3 MB."""
    for n in range(200):
        for day in (1, 40):
            state = [
                row(f"s{k}", f"R{k % 6}", size_gib=float(n + k), source_instance_id=f"i{k % 5}", name=NAMES[k % 5] * 3)
                for k in range(day, day + 30)
            ]
            state += [row(f"b{k}", "R0", "cloud-image", name=NAMES[k % 5] * 3) for k in range(9)]
            land(Lake(str(tmp_path)), at("2026-10-01") + timedelta(days=day), state, f"account-{n:03}")
    html = make_page(open_lake(str(tmp_path), price=0.1), currency="EUR")
    assert len(html.encode()) < 3_000_000
    page = Page(html)
    assert len(page.table("accounts").rows) == 200
    parts = [heading for heading in page.headings if heading.startswith(("All ", "Account "))]
    assert parts == ["All 200 accounts together", *(f"Account account-{n}" for n in range(199, 187, -1))]


@pytest.mark.parametrize(
    ("low", "high", "counts", "values"),
    [
        (0, 0, True, [0, 1]),
        (0, 3, True, [0, 1, 2, 3]),
        (0, 290, True, [0, 100, 200, 300]),
        (0, 30509.0, False, [0, 10000, 20000, 30000, 40000]),
        (0, 0.3, False, [0, 0.1, 0.2, 0.3]),
        (-7, 12, True, [-10, -5, 0, 5, 10, 15]),
        (0, 10**9, True, [0, 250_000_000, 500_000_000, 750_000_000, 1_000_000_000]),
    ],
)
def test_every_axis_begins_at_zero(low: float, high: float, counts: bool, values: list[float]) -> None:
    """No growth looks larger than it is: 0 is on each axis, with round steps, whole ones where things are counted."""
    assert ticks(low, high, counts=counts) == values


def test_what_came_before_the_first_capture_is_not_drawn_as_growth(tmp_path: Path) -> None:
    """The line, what came and what went begin at the first capture; the table of numbers says how the rest is known."""
    grown(tmp_path, days=5)
    page = page_of(tmp_path)
    (first, *_) = [
        int(each["data-first"] or 0)
        for tag, each in page.elements
        if tag == "figure" and each["data-table"] == "growth-0-all-day"
    ]
    table = page.table("snapshot-growth-default-by-day")
    bases = [cells[-1][0] for cells in table.rows][::-1]
    assert bases[:first] == ["created_at"] * first
    assert bases[first] == "partial"
    assert "4 came and 0 went in the last 4 days, as far as they were captured" in page.text


def test_the_same_lake_makes_the_same_page(tmp_path: Path) -> None:
    """But for the time at which it was made."""
    grown(tmp_path, days=6)
    first, second = (make_page(open_lake(str(tmp_path)), made_at=at("2026-11-20")) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1234, "1,234"), (1.5, "1.5"), (1234.5, "1,234"), (2.0, "2"), (-3, "−3"), (0.001, "0")],
)
def test_numbers_are_written_for_people(value: Any, text: str) -> None:
    """Thousands apart, no more digits than one reads, a real minus; null is a dash, never 0."""
    assert number(value) == text


def test_changes_carry_their_sign() -> None:
    """Growth has a plus, nothing has both."""
    assert [signed(value) for value in (3, 0, -3, None)] == ["+3", "±0", "−3", "–"]


def test_ages_are_told_in_one_unit() -> None:
    """A capture from the future, as clocks go, is 0 seconds old."""
    moment = at("2026-11-20 12:00")
    ages = [timedelta(seconds=5), timedelta(minutes=1), timedelta(hours=5), timedelta(days=2), -timedelta(days=1)]
    assert [ago(moment, moment + age) for age in ages] == ["5 seconds", "1 minute", "5 hours", "2 days", "0 seconds"]
    assert span(None) == "–"


@pytest.mark.parametrize(("images", "of", "level"), [(0, 9, 0), (1, 9, 1), (4, 9, 2), (8, 9, 3), (9, 9, 4), (0, 0, 4)])
def test_coverage_has_five_levels(images: int, of: int, level: int) -> None:
    """Nothing and all stand apart from what lies between."""
    assert coverage_level(images, of) == level


@pytest.mark.parametrize("name", ["R1", "it's", "$(date) `id`", "a\x1b[31m'b\\", "\u202e\n", "é 🚀"])
def test_a_shell_reads_what_a_command_says(name: str) -> None:
    """Whatever a region is called, bash hands on exactly that, and nothing that would not print is on the page."""
    assert argument(name).isprintable()
    said = subprocess.run(["bash", "-c", f"printf %s {argument(name)}"], capture_output=True, check=True)
    assert said.stdout.decode() == name
