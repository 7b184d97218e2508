"""Rows as text that programs and pages take: CSV, JSON, Markdown."""

from __future__ import annotations

import re
from typing import Any, Final

import pyarrow as pa

from genesis_etl.render.values import FORMULA, is_number, json_text, plain, refuse_namesakes, tuples
from genesis_etl.text import shown

_MARKDOWN: Final = str.maketrans({c: f"&#{ord(c)};" for c in "\\<>&`*[]~"} | {"|": "\\|"})
# Within a word an underscore is only that.
_EMPHASIS: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


def to_csv(rows: pa.Table, *_: object) -> bytes:
    numbers = [is_number(field.type) for field in rows.schema]
    lines = [",".join(map(_text_cell, rows.column_names))]
    lines += [
        ",".join(
            plain(value) if number else _text_cell(plain(value)) for value, number in zip(row, numbers, strict=True)
        )
        for row in tuples(rows)
    ]
    if len(rows.columns) == 1:
        # A blank line would be no row to most readers.
        lines = [line if line.strip() else f'"{line}"' for line in lines]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _text_cell(text: str) -> str:
    if text.startswith(FORMULA):
        text = f"'{text}"
    # The csv module leaves a lone carriage return bare, and readers take it for a new row.
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def to_json(rows: pa.Table, *_: object) -> bytes:
    refuse_namesakes(rows)
    names = [json_text(name) for name in rows.column_names]
    lines = (
        "  {" + ", ".join(f"{name}: {json_text(value)}" for name, value in zip(names, row, strict=True)) + "}"
        for row in tuples(rows)
    )
    body = ",\n".join(lines)
    return f"[\n{body}\n]\n".encode() if body else b"[]\n"


def to_markdown(rows: pa.Table, *_: object) -> bytes:
    def cell(value: Any) -> str:
        return _EMPHASIS.sub("&#95;", shown(plain(value), 200).translate(_MARKDOWN))

    def line(values: Any) -> str:
        return "| " + " | ".join(map(cell, values)) + " |"

    rules = ["---:" if is_number(field.type) else "---" for field in rows.schema]
    lines = [line(rows.column_names), "| " + " | ".join(rules) + " |", *map(line, tuples(rows))]
    return ("\n".join(lines) + "\n").encode("utf-8")
