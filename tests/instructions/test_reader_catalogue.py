"""Bad input, case by case: what comes out of each file is pinned here."""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.instructions.raw import SourceSpec, read_sources
from assets.instructions.rows import REASONS, Limits
from resources.errors import SultanaError

GOOD = b'{"instruction": "Add 2 and 3.", "input": "", "output": "5"}\n'
SMALL = Limits(row_bytes=4000, field_bytes=1000, unpacked_bytes=100_000, ratio=20, ratio_from_bytes=40_000)


@dataclass(frozen=True)
class Case:
    """`outcome`: per row "ok" or a reason; or a text that the error holds."""

    id: str
    file: str
    content: bytes
    outcome: list[str] | str
    format: str | None = None


def _lines(*rows: bytes) -> bytes:
    return b"".join(row if row.endswith(b"\n") else row + b"\n" for row in rows)


def _row(**fields: object) -> bytes:
    return orjson.dumps(fields)


def _alpaca(output: bytes) -> bytes:
    """A row whose output is given as JSON text."""
    return b'{"instruction": "a", "output": ' + output + b"}"


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def _parquet(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _invalid_text(*rows: bytes) -> pa.Array:
    """A string column that holds bytes as they are."""
    return pa.array(rows, pa.binary()).view(pa.string())


def _random(size: int) -> bytes:
    """Text that does not compress."""
    return b"".join(
        zlib.crc32(bytes([n % 256, n // 256])).to_bytes(4, "big").hex().encode() for n in range(size // 8)
    )


MANY = _lines(*[_row(instruction=f"Say {n}.", output=_random(80).decode()[:60] + str(n)) for n in range(200)])
GZ = gzip.compress(MANY)

JSONL = [
    Case("plain", "a.jsonl", GOOD * 2, ["ok", "ok"]),
    Case("invalid utf-8", "a.jsonl", _lines(GOOD, _alpaca(b'"caf\xe9"'), GOOD), ["ok", "invalid_utf8", "ok"]),
    Case("overlong utf-8", "a.jsonl", _lines(GOOD, _alpaca(b'"\xc0\xaf"')), ["ok", "invalid_utf8"]),
    Case("utf-8 surrogate", "a.jsonl", _lines(GOOD, _alpaca(b'"\xed\xa0\x80"')), ["ok", "invalid_utf8"]),
    Case("raw nul", "a.jsonl", _lines(GOOD, _alpaca(b'"a\0b"')), ["ok", "nul"]),
    Case("escaped nul", "a.jsonl", _lines(GOOD, _alpaca(b'"a\\u0000b"')), ["ok", "nul"]),
    Case(
        "escaped nul in a key",
        "a.jsonl",
        _lines(GOOD, b'{"instruction":"a","output":"b","\\u0000":1}'),
        ["ok", "nul"],
    ),
    Case("text about \\u0000", "a.jsonl", _lines(_alpaca(b'"a\\\\u0000b"')), ["ok"]),
    Case("lone high surrogate", "a.jsonl", _lines(GOOD, _alpaca(b'"\\ud800"')), ["ok", "lone_surrogate"]),
    Case("lone low surrogate", "a.jsonl", _lines(GOOD, _alpaca(b'"\\udc00x"')), ["ok", "lone_surrogate"]),
    Case("surrogate pair", "a.jsonl", _lines(_alpaca(b'"\\ud83d\\ude00"')), ["ok"]),
    Case("bom", "a.jsonl", b"\xef\xbb\xbf" + GOOD, ["ok"]),
    Case("second bom", "a.jsonl", b"\xef\xbb\xbf" * 2 + GOOD + GOOD, ["not_json", "ok"]),
    Case("utf-16", "a.jsonl", GOOD.decode().encode("utf-16"), "UTF-16"),
    Case("utf-16 without bom", "a.jsonl", GOOD.decode().encode("utf-16-be"), "UTF-16"),
    Case("latin-1", "a.jsonl", _lines(*[_alpaca('"café"'.encode("latin-1"))] * 3), "Latin-1"),
    Case(
        "line too long",
        "a.jsonl",
        _lines(GOOD, _row(instruction="a", output="b" * 9000), GOOD),
        ["ok", "line_too_long", "ok"],
    ),
    Case("last line too long", "a.jsonl", GOOD + b"x" * 9000, ["ok", "line_too_long"]),
    Case("longest line", "a.jsonl", _lines(b'{"instruction": "a", "output": "b"}'.ljust(4000)), ["ok"]),
    Case(
        "one byte too long",
        "a.jsonl",
        _lines(b'{"instruction": "a", "output": "b"}'.ljust(4001)),
        ["line_too_long"],
    ),
    Case(
        "field too long",
        "a.jsonl",
        _lines(GOOD, _row(instruction="a", output="b" * 1001)),
        ["ok", "field_too_long"],
    ),
    Case(
        "field too long in bytes",
        "a.jsonl",
        _lines(_row(instruction="a", output="é" * 501)),
        ["field_too_long"],
    ),
    Case("deep", "a.jsonl", _lines(GOOD, _alpaca(b"[" * 900 + b"]" * 900)), ["ok", "too_deep"]),
    Case("deep and never closed", "a.jsonl", _lines(GOOD, b"[" * 3000), ["ok", "too_deep"]),
    Case("17 levels", "a.jsonl", _lines(_alpaca(b'"b", "x": ' + b"[" * 16 + b"]" * 16)), ["too_deep"]),
    Case("16 levels", "a.jsonl", _lines(_alpaca(b'"b", "x": ' + b"[" * 15 + b"]" * 15)), ["ok"]),
    Case("brackets in text", "a.jsonl", _lines(_row(instruction="a", output='{[("\\' * 100)), ["ok"]),
    Case(
        "duplicate key",
        "a.jsonl",
        _lines(b'{"instruction": "a", "output": "b", "output": "c"}'),
        ["duplicate_key"],
    ),
    Case(
        "duplicate escaped",
        "a.jsonl",
        _lines(b'{"instruction": "a", "output": "b", "\\u006futput": "c"}'),
        ["duplicate_key"],
    ),
    Case(
        "duplicate nested",
        "a.jsonl",
        _lines(b'{"instruction": "a", "output": "b", "x": [{"y": 1, "y": 1}]}'),
        ["duplicate_key"],
    ),
    Case(
        "duplicate spaced",
        "a.jsonl",
        _lines(b'{"instruction": "a", "output": "b", "output"\t : "c"}'),
        ["duplicate_key"],
    ),
    Case("keys in text", "a.jsonl", _lines(_row(instruction='{"a": 1, "a": 2}', output='":":"" :')), ["ok"]),
    Case("nan", "a.jsonl", _lines(GOOD, _alpaca(b'"b", "x": NaN')), ["ok", "not_finite"]),
    Case("infinity", "a.jsonl", _lines(GOOD, _alpaca(b'"b", "x": -Infinity')), ["ok", "not_finite"]),
    Case("1e999", "a.jsonl", _lines(GOOD, _alpaca(b'"b", "x": 1e999')), ["ok", "not_finite"]),
    Case("large float", "a.jsonl", _lines(_alpaca(b'"b", "x": 1e300')), ["ok"]),
    Case("5,000 digits", "a.jsonl", _lines(_alpaca(b'"b", "x": ' + b"9" * 3900)), ["integer_out_of_range"]),
    Case("30 digits", "a.jsonl", _lines(_alpaca(b'"b", "x": ' + b"9" * 30)), ["integer_out_of_range"]),
    Case("2**63", "a.jsonl", _lines(_alpaca(b'"b", "x": 9223372036854775808')), ["integer_out_of_range"]),
    Case("2**63 - 1", "a.jsonl", _lines(_alpaca(b'"b", "x": 9223372036854775807')), ["ok"]),
    Case("-2**63", "a.jsonl", _lines(_alpaca(b'"b", "x": -9223372036854775808')), ["ok"]),
    Case("number for text", "a.jsonl", _lines(GOOD, _alpaca(b"5")), ["ok", "wrong_type"]),
    Case("list for text", "a.jsonl", _lines(_alpaca(b'["b"]')), ["wrong_type"]),
    Case("null response", "a.jsonl", _lines(_alpaca(b"null")), ["empty_response"]),
    Case("null instruction", "a.jsonl", _lines(b'{"instruction": null, "output": "b"}'), ["missing_field"]),
    Case("missing response", "a.jsonl", _lines(GOOD, b'{"instruction": "a"}'), ["ok", "missing_field"]),
    Case("null input", "a.jsonl", _lines(_row(instruction="a", input=None, output="b")), ["ok"]),
    Case("unknown fields", "a.jsonl", _lines(GOOD, b'{"foo": "a", "bar": "b"}'), ["ok", "unknown_shape"]),
    Case("empty object", "a.jsonl", _lines(GOOD, b"{}"), ["ok", "unknown_shape"]),
    Case(
        "mixed shapes",
        "a.jsonl",
        _lines(GOOD, _row(prompt="a", completion="b"), _row(conversations=[{"from": "human", "value": "a"}])),
        ["ok", "ok", "ok"],
    ),
    Case("row is an array", "a.jsonl", _lines(GOOD, b"[1, 2]", GOOD), ["ok", "not_an_object", "ok"]),
    Case("first row is an array", "a.jsonl", _lines(b"[1, 2]", GOOD), ["not_an_object", "ok"]),
    Case("row is a string", "a.jsonl", _lines(b'"a"', b"7", b"null", GOOD), ["not_an_object"] * 3 + ["ok"]),
    Case("trailing garbage", "a.jsonl", _lines(GOOD.strip() + b" x", GOOD), ["trailing_data", "ok"]),
    Case("two objects on a line", "a.jsonl", _lines(GOOD.strip() + GOOD.strip()), ["trailing_data"]),
    Case("truncated last line", "a.jsonl", GOOD + GOOD[:20], ["ok", "ends_mid_row"]),
    Case("truncated in the middle", "a.jsonl", _lines(GOOD, GOOD[:20], GOOD), ["ok", "not_json", "ok"]),
    Case("truncated in a character", "a.jsonl", GOOD + b'{"instruction": "\xf0\x9f', ["ok", "invalid_utf8"]),
    Case("blank lines", "a.jsonl", b"\n\n  \n" + GOOD + b"\r\n\n" + GOOD + b"\n \t ", ["ok", "ok"]),
    Case("crlf", "a.jsonl", (GOOD * 2).replace(b"\n", b"\r\n"), ["ok", "ok"]),
    Case("no final newline", "a.jsonl", GOOD + GOOD.strip(), ["ok", "ok"]),
    Case(
        "u+2028 and u+0085", "a.jsonl", _lines(_row(instruction="a\u2028b\u0085c\x1cd", output="e")), ["ok"]
    ),
    Case("raw control character", "a.jsonl", _lines(_alpaca(b'"a\x01b"')), ["not_json"]),
    Case("single quotes", "a.jsonl", _lines(b"{'instruction': 'a'}", GOOD), ["not_json", "ok"]),
    Case("comment", "a.jsonl", _lines(b"// rows", GOOD), ["not_json", "ok"]),
    Case("prose", "a.jsonl", b"Dear reader,\nthis is a letter.\n", ["not_json", "not_json"]),
    Case("empty", "a.jsonl", b"", "has no rows"),
    Case("only blank lines", "a.jsonl", b"\n\n", "has no rows"),
]
JSON = [
    Case("array", "a.json", b"[" + GOOD + b"," + GOOD + b"]", ["ok", "ok"]),
    Case("array in .jsonl", "a.jsonl", b"[\n" + GOOD + b",\n" + GOOD + b"]\n", ["ok", "ok"]),
    Case("array of lines", "a.json", b"[\n" + GOOD.strip() + b",\n" + GOOD + b"]", ["ok", "ok"]),
    Case(
        "pretty array",
        "a.json",
        orjson.dumps([orjson.loads(GOOD)] * 3, option=orjson.OPT_INDENT_2),
        ["ok"] * 3,
    ),
    Case("array with bom", "a.json", b"\xef\xbb\xbf [" + GOOD + b"]", ["ok"]),
    Case("lines in .json", "a.json", GOOD * 2, ["ok", "ok"]),
    Case("lines in .json, first broken", "a.json", b'{"instruction": "a\n' + GOOD, ["not_json", "ok"]),
    Case("one object", "a.json", GOOD, ["ok"]),
    Case("one pretty object", "a.json", orjson.dumps(orjson.loads(GOOD), option=orjson.OPT_INDENT_2), ["ok"]),
    Case("empty array", "a.json", b"[ ]", "has no rows"),
    Case("array not closed", "a.json", b"[" + GOOD + b"," + GOOD, ["ok", "ends_mid_row"]),
    Case("array cut in a row", "a.json", b"[" + GOOD + b"," + GOOD[:30], ["ok", "ends_mid_row"]),
    Case("array cut after a comma", "a.json", b"[" + GOOD + b",", ["ok", "ends_mid_row"]),
    Case("text after the array", "a.json", b"[" + GOOD + b"]\n\nx", ["ok", "trailing_data"]),
    Case("two arrays", "a.json", b"[\n" + GOOD + b"][" + GOOD + b"]", ["ok", "trailing_data"]),
    Case(
        "missing comma",
        "a.json",
        b"[" + GOOD.strip() + b" " + GOOD.strip() + b"," + GOOD + b"]",
        ["trailing_data", "ok"],
    ),
    Case("trailing comma", "a.json", b"[" + GOOD + b",]", ["ok", "not_json"]),
    Case("two commas", "a.json", b"[" + GOOD + b",," + GOOD + b"]", ["ok", "not_json", "ok"]),
    Case("wrong brackets", "a.json", b'[{"instruction": "a"], ' + GOOD + b"]", ["not_json", "ok"]),
    Case("array of texts", "a.json", b'["a", 1, ' + GOOD + b"]", ["not_an_object", "not_an_object", "ok"]),
    Case(
        "duplicate key in array",
        "a.json",
        b'[{"prompt": "a", "completion": "b", "prompt": "c"}]',
        ["duplicate_key"],
    ),
    Case(
        "element too long",
        "a.json",
        b"[" + _row(instruction="a", output="b" * 9000) + b"," + GOOD + b"]",
        ["line_too_long", "ok"],
    ),
    Case(
        "commas and brackets in text",
        "a.json",
        b"[" + _row(instruction='],[{"\\', output='a"],\\"') + b"]",
        ["ok"],
    ),
    Case("no suffix, array", "rows", b"[" + GOOD + b"]", ["ok"]),
    Case("no suffix, lines", "rows", GOOD * 2, ["ok", "ok"]),
    Case("no suffix, prose", "rows", b"instruction,output\na,b\n", "format"),
    Case("no suffix, format set", "rows", b"instruction,output\na,b\n", ["ok"], format="csv"),
    Case("wrong format set", "a.jsonl", GOOD, "not a Parquet file", format="parquet"),
    Case("object with other content", "a.json", b'{\n"data": [\n' + GOOD + b"]}", ["unknown_shape"]),
    Case(
        "large object with other content",
        "a.json",
        b'{\n"data": [\n' + GOOD.strip() * 200 + b"]}",
        "no task document",
    ),
]
TASK = {
    "Definition": ["Say it back."],
    "Positive Examples": [{"input": "x", "output": "y"}],
    "Instance License": ["MIT"],
}
DOCUMENTS = [
    Case(
        "task",
        "t.json",
        _row(**TASK, Instances=[{"id": "1", "input": "a", "output": ["b", "c"]}] * 2),
        ["ok", "ok"],
    ),
    Case(
        "task, instance without output", "t.json", _row(**TASK, Instances=[{"input": "a"}]), ["missing_field"]
    ),
    Case(
        "task, empty outputs",
        "t.json",
        _row(**TASK, Instances=[{"input": "a", "output": []}]),
        ["empty_response"],
    ),
    Case("task, no instances", "t.json", _row(**TASK, Instances=[]), "has no rows"),
    Case("task, no definition", "t.json", _row(Instances=[{"input": "a", "output": "b"}]), "no Definition"),
    Case(
        "task, definition twice",
        "t.json",
        b'{"Definition": "a", "Definition": "b", "Instances": [{"input": "a", "output": "b"}]}',
        "given twice",
    ),
    Case(
        "task, truncated",
        "t.json",
        _row(**TASK, Instances=[{"input": "a", "output": "b"}] * 3)[:-20],
        ["ok", "ok", "ends_mid_row"],
    ),
    Case(
        "task, end missing",
        "t.json",
        _row(**TASK, Instances=[{"input": "a", "output": "b"}])[:-1],
        ["ok", "ends_mid_row"],
    ),
]
CSV = [
    Case("csv", "a.csv", b"instruction,output\na,b\nc,d\n", ["ok", "ok"]),
    Case("csv, crlf and bom", "a.csv", b"\xef\xbb\xbfinstruction,output\r\na,b\r\n", ["ok"]),
    Case("tsv", "a.tsv", b"instruction\toutput\na, b\tc\n", ["ok"]),
    Case("csv, quoted newlines", "a.csv", b'instruction,output\n"a\nb\r\nc","d, ""e"""\nf,g\n', ["ok", "ok"]),
    Case("csv, quote inside a field", "a.csv", b'instruction,output\na 5" screen,b\nc,d\n', ["ok", "ok"]),
    Case(
        "csv, unterminated quote",
        "a.csv",
        b'instruction,output\na,b\n"c,d\ne,f\n',
        ["ok", "unterminated_quote"],
    ),
    Case("csv, stray quote", "a.csv", b'instruction,output\n"a" b,c\nd,e\n', ["csv_syntax", "ok"]),
    Case("csv, ragged", "a.csv", b"instruction,output\na\nb,c\nd,e,f\n", ["ragged_row", "ok", "ragged_row"]),
    Case("csv, blank lines", "a.csv", b"instruction,output\n\na,b\n\r\n", ["ok"]),
    Case("csv, lone carriage return", "a.csv", b"instruction,output\na\rb,c\n", ["csv_syntax"]),
    Case("csv, invalid utf-8", "a.csv", b"instruction,output\na,\xff\nb,c\n", ["invalid_utf8", "ok"]),
    Case("csv, nul", "a.csv", b"instruction,output\na,b\0\nc,d\n", ["nul", "ok"]),
    Case(
        "csv, record too long",
        "a.csv",
        b'instruction,output\na,"' + b"x\n" * 4000 + b'"\nb,c\n',
        ["line_too_long", "ok"],
    ),
    Case(
        "csv, line too long",
        "a.csv",
        b'instruction,output\na,"' + b"x" * 9000 + b'\ny"\nb,c\n',
        ["line_too_long", "ok"],
    ),
    Case(
        "csv, field too long",
        "a.csv",
        b"instruction,output\na," + b"x" * 1001 + b"\nb,c\n",
        ["field_too_long", "ok"],
    ),
    Case("csv, no final newline", "a.csv", b"instruction,output\na,b", ["ok"]),
    Case("csv, header only", "a.csv", b"instruction,output\n", "has no rows"),
    Case("csv, column twice", "a.csv", b"instruction,output,output\na,b,c\n", "two columns named 'output'"),
    Case("csv, header broken", "a.csv", b'instruction,"output\na,b\n', "header"),
    Case("csv, formula stays as it is", "a.csv", b"instruction,output\n=1+1,@b\n", ["ok"]),
    Case("csv, latin-1", "a.csv", "instruction,output\né,b\nü,c\nö,d\n".encode("latin-1"), "Latin-1"),
]
TEXT = pa.array(["a", "b"])
PARQUET = _parquet(instruction=TEXT, output=TEXT)
CONTAINERS = [
    Case("parquet", "a.parquet", PARQUET, ["ok", "ok"]),
    Case("parquet without suffix", "rows", PARQUET, ["ok", "ok"]),
    Case(
        "parquet, dictionary",
        "a.parquet",
        _parquet(prompt=TEXT.dictionary_encode(), completion=TEXT),
        ["ok", "ok"],
    ),
    Case(
        "parquet, null response",
        "a.parquet",
        _parquet(prompt=TEXT, completion=pa.array(["a", None])),
        ["ok", "empty_response"],
    ),
    Case(
        "parquet, other columns",
        "a.parquet",
        _parquet(prompt=TEXT, completion=TEXT, image=pa.array([b"\xff", b""])),
        ["ok", "ok"],
    ),
    Case(
        "parquet, integer for text",
        "a.parquet",
        _parquet(instruction=TEXT, output=pa.array([1, 2])),
        "Column 'output'",
    ),
    Case(
        "parquet, struct for text",
        "a.parquet",
        _parquet(instruction=TEXT, output=pa.array([{"a": 1}] * 2)),
        "Column 'output'",
    ),
    Case("parquet, text for turns", "a.parquet", _parquet(messages=TEXT), "Column 'messages'"),
    Case(
        "parquet, invalid utf-8",
        "a.parquet",
        _parquet(prompt=TEXT, completion=_invalid_text(b"a", b"\xff")),
        ["ok", "invalid_utf8"],
    ),
    Case("parquet, nul", "a.parquet", _parquet(prompt=TEXT, completion=pa.array(["a", "\0"])), ["ok", "nul"]),
    Case(
        "parquet, field too long",
        "a.parquet",
        _parquet(prompt=TEXT, completion=pa.array(["a" * 1001, "b"])),
        ["field_too_long", "ok"],
    ),
    Case("parquet, truncated", "a.parquet", PARQUET[:-30], "damaged Parquet"),
    Case("parquet, wrong magic", "a.parquet", b"PAR2" + PARQUET[4:], "not a Parquet file"),
    Case("parquet, footer only", "a.parquet", b"PAR1", "damaged Parquet"),
    Case("parquet, no rows", "a.parquet", _parquet(prompt=TEXT[:0], completion=TEXT[:0]), "has no rows"),
    Case("parquet, no known columns", "a.parquet", _parquet(x=TEXT), ["unknown_shape"] * 2),
    Case("parquet named .jsonl", "a.jsonl", PARQUET, ["ok", "ok"]),
    Case("gz", "a.jsonl.gz", GZ, ["ok"] * 200),
    Case("gz without suffix", "a.jsonl", GZ, ["ok"] * 200),
    Case("gz of two members", "a.jsonl.gz", gzip.compress(GOOD) + gzip.compress(GOOD), ["ok", "ok"]),
    Case("gz truncated", "a.jsonl.gz", GZ[:-500], "ends in the middle"),
    Case("gz without its checksum", "a.jsonl.gz", GZ[:-8], "ends in the middle"),
    Case("gz bad checksum", "a.jsonl.gz", GZ[:-8] + b"\0\0\0\0" + GZ[-4:], "damaged gzip"),
    Case("gz trailing bytes", "a.jsonl.gz", GZ + b"junk", "damaged gzip"),
    Case("gz that is none", "a.jsonl.gz", GOOD, "does not begin as gzip"),
    Case("gz in gz", "a.jsonl.gz", gzip.compress(GZ), "another compressed file"),
    Case("gz bomb by ratio", "a.jsonl.gz", gzip.compress(b" " * 90_000), "unpacks to more than"),
    Case("gz bomb by size", "a.jsonl.gz", gzip.compress(_random(200_000)), "unpacks to more than"),
    Case("gz of nothing", "a.jsonl.gz", gzip.compress(b""), "has no rows"),
    Case("zst", "a.jsonl.zst", _zstd(MANY), ["ok"] * 200),
    Case("zst of two frames", "a.jsonl.zst", _zstd(GOOD) + _zstd(GOOD), ["ok", "ok"]),
    Case("zst truncated", "a.jsonl.zst", _zstd(MANY)[:-10], "damaged zstd"),
    Case("zst trailing bytes", "a.jsonl.zst", _zstd(MANY) + b"junk", "damaged zstd"),
    Case("parquet in gz", "a.parquet.gz", gzip.compress(PARQUET), ["ok", "ok"]),
    Case("zip", "a.jsonl", b"PK\x03\x04" + b"\0" * 60, "zip archive"),
    Case("xz", "a.jsonl.xz", b"\xfd7zXZ\x00" + b"\0" * 60, "is xz"),
    Case(
        "tar in gz",
        "a.jsonl.gz",
        gzip.compress(b"a.jsonl".ljust(257, b"\0") + b"ustar\0" + b"\0" * 300),
        "tar archive",
    ),
]
CASES = [*JSONL, *JSON, *DOCUMENTS, *CSV, *CONTAINERS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_outcome(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.content)
    spec = SourceSpec("here", str(path), format=case.format)
    if isinstance(case.outcome, str):
        with pytest.raises(SultanaError) as caught:
            list(read_sources([spec], limits=SMALL))
        assert case.outcome in str(caught.value)
        assert case.file in caught.value.problem
        assert caught.value.remedy
        return
    rows = list(read_sources([spec], limits=SMALL))
    assert [row["problem"] or "ok" for row in rows] == case.outcome
    assert len({row["origin_id"] for row in rows}) == len(rows)
    positions = [row["position"] for row in rows]
    assert positions == sorted(set(positions)) and positions[0] >= 1
    for row in rows:
        if row["problem"]:
            assert row["problem"] in REASONS
            assert row["problem_detail"] and row["messages"] is None and row["instruction_id"] is None
            assert row["raw_text"] is not None and row["raw_text"].isprintable()
        else:
            assert row["messages"] and row["instruction_id"] and row["raw_text"] is None


def test_nothing_comes_out_before_an_archive_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(GZ[:-500])
    with pytest.raises(SultanaError, match="damaged gzip"):
        next(read_sources([SourceSpec("here", str(path))]))
