"""Every window of every SQL file is ordered by something unique, and so are the rows of every report.

DuckDB orders ties of one window otherwise than those of the next, so an order with ties tells wrong numbers. DuckDB's
own parser finds the windows; lakes drawn to be difficult show whether what they are ordered by is unique.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import genesis_etl
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.query.warehouse import Warehouse
from tests.conftest import fewer
from tests.lives import draw, live

pytestmark = pytest.mark.xdist_group("order")  # its lakes are made once, by one process
SQL = Path(genesis_etl.__file__).with_name("sql")
FILES = sorted(str(path.relative_to(SQL)) for path in SQL.rglob("*.sql"))
LANDED, COMPACTED = 3, 70  # seeds: eight small accounts, two larger ones
Node = dict[str, Any]
# What hangs on an order that it does not name, and what makes up for it.
UNORDERED = {"first", "last", "any_value", "arbitrary", "list", "array_agg", "string_agg", "group_concat"}
SORTED = {"list_sort", "array_sort", "list_reverse_sort"}
EXTREMES = {"arg_min", "arg_max", "arg_min_null", "arg_max_null", "argmin", "argmax", "min_by", "max_by"}
# Values of the parameters with which most rows pass each step; what is not named is null.
FLAGS = dict.fromkeys(("per_region", "per_source", "total", "newest_of_family"), False)
PARAMETERS: list[dict[str, Any]] = [
    {"by": "day", "window": 90, "type": "snapshot", "older_than": 0, "old_seconds": 0, "keep": "7,30", **FLAGS},
    {
        "by": "month",
        "window": 12,
        "type": "base-os",
        "older_than": 0,
        "old_seconds": 0,
        "keep": "0",
        **FLAGS,
        "per_region": True,
    },
    {"by": "week", "window": 13, "older_than": 0, "old_seconds": 0, "keep": "0,1", **dict.fromkeys(FLAGS, True)},
]


def nodes(tree: Any) -> Iterator[Node]:
    """Walk a parsed statement, every part before what it is made of."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(part)


def own(tree: Any) -> Iterator[Node]:
    """Walk the parts of a SELECT that belong to no other SELECT within."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        if not (isinstance(part, dict) and part.get("type") == "SELECT_NODE"):
            yield from own(part)


def parsed(sql: str) -> Node:
    """Return the one statement of a file as DuckDB understands it."""
    ((text,),) = duckdb.execute("select json_serialize_sql($1)", [sql]).fetchall()
    found: Node = json.loads(text)
    assert not found["error"], found
    (statement,) = found["statements"]
    return dict(statement["node"])


def written(node: Node) -> str:
    """Return a statement as SQL."""
    text = json.dumps({"error": False, "statements": [{"node": node, "named_param_map": []}]})
    ((sql,),) = duckdb.execute("select json_deserialize_sql($1)", [text]).fetchall()
    return str(sql)


def orders(sql: str) -> Iterator[tuple[str, str]]:
    """Yield everything that hangs on an order: what it is, and a SELECT of what has to be unique there."""
    top = parsed(sql)
    for select in nodes(top):
        if select.get("type") != "SELECT_NODE":
            continue
        parts = list(own({key: part for key, part in select.items() if key != "cte_map"}))
        sorted_ones = [
            id(each["expression"])
            for part in parts
            if part.get("function_name") in SORTED
            for each in part["arguments"]
        ]
        names = {each["alias"]: each for each in select["select_list"] if each.get("alias")}
        for part in parts:
            name = str(part.get("function_name", ""))
            if part.get("class") == "WINDOW":
                by = [each["expression"] for each in part["orders"]]
                assert by or part["type"] == "WINDOW_AGGREGATE", f"{name} over an order that is not told"
                assert by or part["start"] == "UNBOUNDED_PRECEDING", f"{name} over a frame without an order"
                if by:
                    yield f"{name} over (…)", _only(top, select, [*part["partitions"], *by])
            elif name in EXTREMES:
                yield (
                    f"{name}(…)",
                    _only(top, select, [*select["group_expressions"], part["arguments"][1]["expression"]]),
                )
            elif name in UNORDERED and part["class"] == "FUNCTION":
                assert part["order_bys"]["orders"] or id(part) in sorted_ones, f"{name} in an order that is not told"
        for modifier in select["modifiers"]:
            if modifier["type"] == "ORDER_MODIFIER":
                by = [each["expression"] for each in modifier["orders"]]
                by = [names.get(".".join(each.get("column_names", ())), each) for each in by]
                if by[0]["class"] == "STAR":  # order by all
                    by = select["select_list"]
                yield "order by", _only(top, select, by, is_of_result=True)


def _only(top: Node, select: Node, columns: list[Node], *, is_of_result: bool = False) -> str:
    """Return a SELECT of these columns from what a SELECT reads, or of its result, below all steps of its statement."""
    node = copy.deepcopy(select)
    node["cte_map"] = copy.deepcopy(top["cte_map"])
    node["modifiers"] = [each for each in node["modifiers"] if each["type"] == "DISTINCT_MODIFIER"]
    node["select_list"] = [{**copy.deepcopy(each), "alias": f"c{n}"} for n, each in enumerate(columns)]
    if not is_of_result and any(
        each.get("class") == "WINDOW" or each.get("function_name") in EXTREMES for each in own(select["select_list"])
    ):
        node["group_expressions"], node["group_sets"] = [], []
    keys = ", ".join(f"c{n}" for n in range(len(columns)))
    return f"select sum(n) - count(*) as ties from (select count(*) as n from ({written(node)}) group by {keys})"


@pytest.fixture(scope="module")
def lakes() -> Iterator[list[tuple[Contents, Warehouse]]]:
    """Lakes of several accounts, as landed and compacted, whose images of many regions go, come back and change."""
    with tempfile.TemporaryDirectory() as folder:
        next(live(f"{folder}/landed", draw(LANDED), LANDED))
        list(live(f"{folder}/compacted", draw(COMPACTED), COMPACTED))
        contents = [Lake(f"{folder}/{form}").contents() for form in ("landed", "compacted")]
        yield [(each, Warehouse(each, regions=("R1", "R9"))) for each in contents]


def ties(contents: Contents, opened: Warehouse, sql: str, parameters: dict[str, Any]) -> int:
    """Count the rows that are not the only ones of their order."""
    if "lake_commits" in sql:  # what the warehouse itself starts from
        with duckdb.connect() as connection:
            connection.register("lake_commits", contents.captures)
            return int(connection.execute(sql).fetchall()[0][0] or 0)
    given = {name: parameters.get(name) for name in opened.parameters(sql)}
    return int(opened.select(sql, given)["ties"][0].as_py() or 0)


@pytest.mark.parametrize("file", fewer(FILES, 5))
def test_every_order_is_total(file: str, lakes: list[tuple[Contents, Warehouse]]) -> None:
    """No two rows share their place in a window, an arg_min, or the result; lists are sorted."""
    for what, sql in orders((SQL / file).read_text(encoding="utf-8")):
        for contents, opened in lakes:
            for parameters in PARAMETERS:
                assert ties(contents, opened, sql, parameters) == 0, f"{file}: {what}: {sql[-300:]}"


TIED = [
    "select max(n) over (partition by path order by 1) as x from lake_captures",
    "select sum(n) over (partition by path order by stretch rows unbounded preceding) as x from lake_captures",
    "with x as (select is_newest as y from lake_captures) select lag(y) over w as n from x window w as (order by y)",
    "select account, arg_min(path, stretch) as first from lake_captures group by account",
    "select account from lake_captures order by account",
    "with x as (select distinct type, region from lake_runs) select type from x order by type",
    "select account, region from lake_runs order by all",
]


@pytest.mark.parametrize("sql", TIED)
def test_an_order_with_ties_is_found(sql: str, lakes: list[tuple[Contents, Warehouse]]) -> None:
    """An order that leaves two rows where they may lie is refused, in a step of a statement too."""
    assert any(ties(*lake, each, {}) for _, each in orders(sql) for lake in lakes)


@pytest.mark.parametrize(
    "sql",
    [
        "select lag(n) over () as x from lake_captures",
        "select list(n) as x from lake_captures",
        "select first(n) as x from lake_captures",
    ],
)
def test_an_order_that_is_not_told_is_found(sql: str) -> None:
    """A window function that needs an order and a list that has none are refused without looking at rows."""
    with pytest.raises(AssertionError, match="not told"):
        list(orders(sql))
