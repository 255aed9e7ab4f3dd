"""The reader as a whole: positions, bounded memory, and no input that it cannot answer."""

import gc
import math
import os
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.instructions.json_rows import parse_object
from assets.instructions.raw import ReadCounts, SourceSpec, read_sources
from assets.instructions.reader import FORMATS, read_rows
from assets.instructions.rows import Limits, RowProblem
from resources.errors import SultanaError
from resources.memory import peak_mebibytes, restart_peak

SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FRAGMENTS = [
    b'{"instruction": "a", "output": "b"}', b'{"prompt":"a","completion":"b"}', b"{", b"}", b"[", b"]", b",",
    b":", b'"', b'""', b"\\", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"NaN", b"1e999", b'"a":',
    b"null", b'{"Definition": "x", "Instances": [', b'{"input": "a", "output": ["b"]}',
    b"instruction,output\n", b"a,b\n", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\\u0000",
    b"\\ud800", " \u2028é".encode(), b"-0", b"9" * 30,
]  # fmt: skip


def _read(path: Path, format: str | None) -> None:
    counts = ReadCounts()
    spec = SourceSpec("here", str(path), format=format, allow_empty=True)
    try:
        rows = list(read_sources([spec], counts=counts, limits=Limits(row_bytes=200, field_bytes=60)))
    except SultanaError as error:
        assert path.name in error.problem
        return
    assert counts.rows == len(rows) == counts.readable + counts.problems.total()
    assert [row["position"] for row in rows] == sorted({row["position"] for row in rows})
    assert all((row["messages"] is None) == (row["problem"] is not None) for row in rows)


@SETTINGS
@given(content=st.binary(max_size=400), format=st.sampled_from([None, *FORMATS]))
def test_random_bytes(tmp_path: Path, content: bytes, format: str | None) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    _read(path, format)


@SETTINGS
@given(
    fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=40),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.json.gz"]),
)
def test_fragments_of_every_format(tmp_path: Path, fragments: list[bytes], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"".join(fragments))
    _read(path, None)


NUL_FREE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | NUL_FREE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NUL_FREE, inner, max_size=4),
    max_leaves=12,
)


@SETTINGS
@given(value=st.dictionaries(st.sampled_from(["a", "b", '":', "c"]), JSON_VALUES, max_size=4))
def test_sound_objects_are_read_as_they_are(value: dict[str, object]) -> None:
    raw = orjson.dumps(value)
    assert parse_object(raw, Limits(depth=40)) == orjson.loads(raw)


@SETTINGS
@given(
    value=st.dictionaries(st.text('ab":\\ ', max_size=3), st.text('":, \\u0022', max_size=8), min_size=1),
    data=st.data(),
)
def test_a_key_given_twice_is_never_missed(value: dict[str, str], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    space = data.draw(st.sampled_from([b"", b" ", b"\t\n "]))
    raw = orjson.dumps(value)[:-1] + b"," + orjson.dumps(key) + space + b':"x"}'
    with pytest.raises(RowProblem, match="duplicate_key"):
        parse_object(raw, Limits())


def test_positions_and_offsets_point_at_the_rows(tmp_path: Path) -> None:
    rows = [b'{"prompt": "a%d", "completion": "b"}' % n for n in range(3)]
    files = {
        "a.jsonl": b"\xef\xbb\xbf\n" + rows[0] + b"\r\n\n" + rows[1] + b"\n" + rows[2],
        "a.json": b"\xef\xbb\xbf[ " + rows[0] + b",\n  " + rows[1] + b" ,\n" + rows[2] + b"\n]",
        "a.csv": b'prompt,completion\n"a\n0",b\n\na1,b\na2,b\n',
    }
    places = {"a.jsonl": [2, 4, 5], "a.json": [1, 2, 3], "a.csv": [2, 5, 6]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = list(read_rows(tmp_path / name))
        assert [row.position for row in found] == places[name], name
        for row in found:
            assert content[row.byte_offset :].startswith(row.raw.rstrip())


def test_rows_longer_than_a_block_are_streamed_whole(tmp_path: Path) -> None:
    """An array's elements and escapes fall on every place of a block's end."""
    text = '\\"]},[{' * 60_000
    rows = [{"prompt": "p" * pad, "completion": text} for pad in range(8)]
    (tmp_path / "a.json").write_bytes(orjson.dumps(rows))
    limits = Limits(row_bytes=4 << 20, field_bytes=4 << 20)
    assert [row.value for row in read_rows(tmp_path / "a.json", limits=limits)] == rows


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    peaks = []
    for rows in (1_500, 15_000):
        path = _written(tmp_path / f"{rows}.{suffix}", rows)
        gc.collect()
        tracemalloc.start()
        assert sum(1 for _ in read_rows(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + (1 << 20)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet", "jsonl.gz"])
def test_resident_memory_on_a_large_file(tmp_path: Path, suffix: str) -> None:
    """About 100 MB are read with at most 150 MB more than the process had, in a process of its own."""
    path = _written(tmp_path / f"large.{suffix}", 140_000)
    child = os.fork()
    if child == 0:
        restart_peak()
        before = peak_mebibytes() or 0.0
        count = sum(1 for _ in read_sources([SourceSpec("here", str(path))]))
        grown = (peak_mebibytes() or math.inf) - before
        os._exit(0 if count == 140_000 and grown < 150 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _written(path: Path, rows: int) -> Path:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(n: int) -> tuple[str, str]:
        return f"Question {n}: " + f"word{n % 97} " * 25, f"Answer {n}, " + f"text{n % 89} " * 60

    suffix = path.suffix
    if suffix == ".parquet":
        with pq.ParquetWriter(
            path, pa.schema([("prompt", pa.string()), ("completion", pa.string())])
        ) as writer:
            for start in range(0, rows, 20_000):
                made = [row(n) for n in range(start, min(rows, start + 20_000))]
                writer.write_table(
                    pa.table({"prompt": [one for one, _ in made], "completion": [one for _, one in made]})
                )
        return path
    with gzip.open(path, "wb", 1) if suffix == ".gz" else path.open("wb") as file:
        if suffix == ".csv":
            file.write(b"prompt,completion\n")
        for n in range(rows):
            prompt, completion = row(n)
            if suffix == ".csv":
                file.write(f'{prompt},"{completion}"\n'.encode())
                continue
            if suffix == ".json":
                file.write(b"[" if n == 0 else b",")
            file.write(orjson.dumps({"prompt": prompt, "completion": completion}) + b"\n")
        if suffix == ".json":
            file.write(b"]")
    return path
