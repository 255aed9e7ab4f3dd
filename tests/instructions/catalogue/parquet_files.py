"""Parquet: types, text and damage."""

import pyarrow as pa

from tests.instructions.catalogue.case import Case, invalid_text, parquet, parquet_of


def _deep(levels: int) -> pa.Array:
    value, kind = "a", pa.string()
    for _ in range(levels):
        value, kind = [value], pa.list_(kind)  # type: ignore[assignment]
    return pa.array([value] * 2, kind)


TEXT = pa.array(["a", "b"])
PARQUET = parquet(instruction=TEXT, output=TEXT)
# A thousand rows of 900 bytes in a file of two kilobytes.
_BOMB = parquet(prompt=pa.array(["a" * 900] * 1000).dictionary_encode(), completion=pa.array(["b"] * 1000))
PARQUET_FILES = [
    Case("parquet", "a.parquet", PARQUET, ["ok", "ok"]),
    Case("parquet without suffix", "rows", PARQUET, ["ok", "ok"]),
    Case(
        "parquet, dictionary",
        "a.parquet",
        parquet(prompt=TEXT.dictionary_encode(), completion=TEXT),
        ["ok", "ok"],
    ),
    Case(
        "parquet, null response",
        "a.parquet",
        parquet(prompt=TEXT, completion=pa.array(["a", None])),
        ["ok", "empty_response"],
    ),
    Case(
        "parquet, other columns",
        "a.parquet",
        parquet(prompt=TEXT, completion=TEXT, image=pa.array([b"\xff", b""])),
        ["ok", "ok"],
    ),
    Case(
        "parquet, integer for text",
        "a.parquet",
        parquet(instruction=TEXT, output=pa.array([1, 2])),
        "Column 'output'",
    ),
    Case(
        "parquet, struct for text",
        "a.parquet",
        parquet(instruction=TEXT, output=pa.array([{"a": 1}] * 2)),
        "Column 'output'",
    ),
    Case("parquet, text for turns", "a.parquet", parquet(messages=TEXT), "Column 'messages'"),
    Case(
        "parquet, invalid utf-8",
        "a.parquet",
        parquet(prompt=TEXT, completion=invalid_text(b"a", b"\xff")),
        ["ok", "invalid_utf8"],
    ),
    Case("parquet, nul", "a.parquet", parquet(prompt=TEXT, completion=pa.array(["a", "\0"])), ["ok", "nul"]),
    Case(
        "parquet, field too long",
        "a.parquet",
        parquet(prompt=TEXT, completion=pa.array(["a" * 1001, "b"])),
        ["field_too_long", "ok"],
    ),
    Case("parquet, truncated", "a.parquet", PARQUET[:-30], "damaged Parquet"),
    Case("parquet, wrong magic", "a.parquet", b"PAR2" + PARQUET[4:], "not a Parquet file"),
    Case("parquet, footer only", "a.parquet", b"PAR1", "damaged Parquet"),
    Case("parquet, no rows", "a.parquet", parquet(prompt=TEXT[:0], completion=TEXT[:0]), "has no rows"),
    Case("parquet, no known columns", "a.parquet", parquet(x=TEXT), ["unknown_shape"] * 2),
    Case("parquet named .jsonl", "a.jsonl", PARQUET, ["ok", "ok"]),
    Case(
        "parquet, length of the footer is a lie",
        "a.parquet",
        PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1",
        "damaged",
    ),
    Case("parquet, column twice", "a.parquet", parquet_of(["prompt", "prompt"], [TEXT, TEXT]), "two columns"),
    Case(
        "parquet, field twice in an object",
        "a.parquet",
        parquet(prompt=TEXT, completion=TEXT, x=pa.StructArray.from_arrays([TEXT, TEXT], names=["y", "y"])),
        ["ok", "ok"],
    ),
    Case("parquet, nothing but bytes", "a.parquet", parquet(x=pa.array([b"a", b"b"])), ["unknown_shape"] * 2),
    Case("parquet, deep", "a.parquet", parquet(prompt=TEXT, completion=TEXT, x=_deep(40)), ["ok", "ok"]),
    Case(
        "parquet, numbers that are none",
        "a.parquet",
        parquet(prompt=TEXT, completion=TEXT, x=pa.array([float("nan"), float("inf")])),
        ["ok", "ok"],
    ),
    Case("parquet, bomb by dictionary", "a.parquet", _BOMB, "times as large as the file"),
]
