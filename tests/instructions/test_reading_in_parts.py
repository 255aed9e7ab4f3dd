"""Sources read in parts: the rows, ids, counts and errors of reading them in one go, however they are cut."""

import errno
import gzip
import io
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.instructions import assets as stage_assets
from assets.instructions import parts as parts_module
from assets.instructions import reader
from assets.instructions.batches import Tally, batches_of, sample
from assets.instructions.config import OnBadFile, RawInstructionsConfig
from assets.instructions.file_rows import OnBadFile as Handling
from assets.instructions.json_files import Lines, cut_lines, jsonl_rows
from assets.instructions.parts import Piece, cut, read_parts
from assets.instructions.raw import ReadCounts, SourceSpec, read_sources, source_files, source_fingerprint
from assets.instructions.retractions import Standing
from assets.instructions.rows import Limits
from assets.records import RAW_INSTRUCTIONS
from resources.compute.this_machine import THIS_MACHINE, ThisMachine
from resources.errors import SultanaError
from resources.table_fragments import Fragments
from resources.table_refs import Provenance
from resources.tables import LanceTables

Found = tuple[list[dict[str, Any]], ReadCounts, Tally]


def row(number: int) -> bytes:
    return orjson.dumps(
        {"prompt": f"question {number}", "completion": "yes " * (number % 9 + 1), "task": f"t{number % 3}"}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every form, some with bad rows, two of them alike."""
    root = tmp_path / "rows"
    (root / "below").mkdir(parents=True)
    lines = [row(number) for number in range(60)]
    lines[7], lines[20], lines[41] = b"broken", b"", b'{"prompt": 3}'
    (root / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))  # the last line has no end
    (root / "array.json").write_bytes(b"[" + b",".join(row(number) for number in range(60, 90)) + b"]")
    (root / "below" / "again.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    (root / "packed.jsonl.gz").write_bytes(gzip.compress(b"\n".join(row(number) for number in range(90, 99))))
    (root / "table.csv").write_bytes(b'prompt,completion\n"a\nb",c\nd,e,f\ng,h\n')
    pq.write_table(pa.table({"prompt": ["p", "q"], "completion": ["r", "s"]}), root / "t.parquet")
    (root / "z.jsonl").write_bytes(b"\r\n".join(row(number) for number in range(99, 130)) + b"\r\n\r\n")
    return root


def whole(specs: list[SourceSpec], most: int = 0, on_bad_file: Handling = "fail") -> Found:
    counts, tally = ReadCounts(), Tally()
    found = sample(read_sources(specs, counts=counts, on_bad_file=on_bad_file), most)
    return list(_rows(batches_of(found, tally, Standing()))), counts, tally


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def in_parts(specs: list[SourceSpec], tmp_path: Path, most: int = 0, on_bad_file: Handling = "fail") -> Found:
    counts, tally = ReadCounts(), Tally()
    tables = LanceTables(tmp_path / "store")
    with tables.fragments(RAW_INSTRUCTIONS) as target:
        found = read_parts(
            specs,
            target,
            THIS_MACHINE,
            copies=tmp_path,
            counts=counts,
            on_bad_file=on_bad_file,
            maximum_rows=most,
        )
        if most:
            rows = sample((one for part in found for one in _rows(iter(part.sampled))), most)
            return list(_rows(batches_of(rows, tally, Standing()))), counts, tally
        written = []
        for part in found:
            assert part.written is not None
            written.append(part.written)
            tally.update(part.tally)
        key = Provenance("run", "raw_instructions", str(len(tables.versions("raw_instructions"))))
        ref = tables.write(RAW_INSTRUCTIONS, Fragments(written), mode="overwrite", provenance=key)
    return tables.read(ref).to_pylist(), counts, tally


@pytest.mark.parametrize("part_bytes", [1, 200, 1500, 1 << 20])
@pytest.mark.parametrize("most", [0, 25])
def test_parts_give_the_rows_ids_and_counts_of_the_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int, most: int
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", part_bytes)
    specs = [SourceSpec("one", str(folder), task="other"), SourceSpec("two", str(folder / "*.jsonl"))]
    expected, found = whole(specs, most), in_parts(specs, tmp_path, most)
    assert found == expected
    assert len(expected[0]) == (25 if most else len({one["origin_id"] for one in expected[0]}))


def test_a_large_file_of_lines_is_cut_and_others_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 500)
    spec = SourceSpec("one", str(folder))
    with source_files(spec) as files:
        found = list(cut((Piece(spec, file, "") for file in files), Limits()))
    names = [[piece.file.name for piece in part] for part in found]
    assert names.count(["a.jsonl"]) > 3 and names.count(["array.json"]) == 1
    assert ["packed.jsonl.gz", "table.csv"] in names or ["table.csv"] in names
    assert [piece.last for part in found for piece in part if piece.file.name == "a.jsonl"].count(True) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_lines_that_are_cut_anywhere_are_the_lines_of_the_whole(size: int) -> None:
    content = b"skipped" + b"\n".join([b'{"a": 1}', b"", b"no", b'{"b": "' + b"x" * 40 + b'"}', b"[1]", b"{"])
    for text in (content, content + b"\n", content[:7]):
        cuts = list(cut_lines(io.BytesIO(text), 7, size))
        assert [one.start for one in cuts] == [7, *(one.end for one in cuts)][: len(cuts)]
        assert not cuts or cuts[-1].end == len(text)
        stream = io.BytesIO(text)
        stream.seek(7)
        expected = list(jsonl_rows(stream, Limits()))
        assert [one for part in cuts for one in jsonl_rows(io.BytesIO(text), Limits(), part)] == expected


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("b.jsonl.gz", gzip.compress(row(1) * 50, mtime=0)[:-9], {}),
        ("b.jsonl", b"\n\n\n" * 200, {}),
        ("b.jsonl", b"", {}),
        ("b.jsonl", b"\n".join(map(row, range(40))), {"score_fields": ("rating",)}),
        ("b.parquet", b"PAR1 and no more", {}),
        ("b.csv", b'"a"b,c\n' * 100, {}),
    ],
    ids=["cut off in gzip", "blank lines", "nothing", "scores missing", "no Parquet", "quotes"],
)
def test_what_is_wrong_with_a_file_is_told_in_the_same_words(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    settings: dict[str, Any],
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 300)
    (tmp_path / name).write_bytes(content)
    specs = [
        SourceSpec("one", str(folder / "a.jsonl")),
        SourceSpec("bad", str(tmp_path / name), **settings),
        SourceSpec("two", str(folder / "z.jsonl"), score_fields=("none",)),
    ]
    with pytest.raises(SultanaError) as expected:
        whole(specs)
    with pytest.raises(SultanaError) as found:
        in_parts(specs, tmp_path)
    assert str(found.value) == str(expected.value) and found.value.code == expected.value.code


def test_a_bad_file_is_one_row_and_what_lies_behind_the_damage_is_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 300)
    real = reader.jsonl_rows

    def failing(stream: Any, limits: Limits, lines: Lines | None = None) -> Iterator[Any]:
        for one in real(stream, limits, lines):
            if one.position == 30 and b"question 29" in one.raw:
                raise OSError(errno.EIO, "the disk failed")
            yield one

    monkeypatch.setattr(reader, "jsonl_rows", failing)
    (folder / "b.jsonl.gz").write_bytes(b"\x1f\x8b and no more")
    specs = [SourceSpec("one", str(folder))]
    expected = whole(specs, on_bad_file="quarantine")
    assert in_parts(specs, tmp_path, on_bad_file="quarantine") == expected
    assert expected[2].problems["unreadable_file"] == 3  # the copy of the first as well
    assert max(one["position"] for one in expected[0] if one["file"] == "a.jsonl") == 29


@pytest.mark.parametrize(
    ("place", "code"), [("no/a.jsonl", "path-not-shared"), ("rows/z.jsonl", "source-changed")]
)
def test_a_worker_that_sees_no_file_or_another_one_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: str
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 300)
    real = parts_module.cut

    def elsewhere(pieces: Any, limits: Limits) -> Any:
        for part in real(pieces, limits):
            yield tuple(replace(one, file=replace(one.file, path=tmp_path / place)) for one in part)

    monkeypatch.setattr(parts_module, "cut", elsewhere)
    with pytest.raises(SultanaError) as raised:
        in_parts([SourceSpec("one", str(folder / "a.jsonl"))], tmp_path)
    assert raised.value.code == code


class Elsewhere(ThisMachine):
    """This machine, as an engine whose workers are elsewhere."""

    elsewhere = True


class Stage:
    """What a stage needs of Dagster."""

    def __init__(self, root: Path, specs: list[SourceSpec]) -> None:
        self.tables = LanceTables(root / "lance")
        self.storage = self
        self.settings = {"files": source_fingerprint(specs)}
        self._root = root

    def path(self, name: str) -> Path:
        (self._root / name).mkdir(exist_ok=True)
        return self._root / name

    def write(self, record: Any, rows: Any, *, mode: Any) -> Any:
        key = str(len(self.tables.versions(record.table)))
        return self.tables.write(record, rows, mode=mode, provenance=Provenance("r", "raw", key))


class Silent:
    """Progress that nobody sees."""

    def advance(self, count: float = 1) -> None:
        """Nothing."""


@pytest.mark.parametrize("most", [0, 25])
def test_the_table_is_the_same_on_an_engine_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(parts_module, "PART_BYTES", 700)
    specs = [SourceSpec("one", str(folder)), SourceSpec("two", str(folder))]
    config = RawInstructionsConfig(maximum_rows=most, on_bad_file=OnBadFile.fail)
    stage = Stage(tmp_path, specs)
    made = []
    for engine in (THIS_MACHINE, Elsewhere()):
        counts, tally = ReadCounts(), Tally()
        with nullcontext(Silent()) as progress:
            ref = stage_assets._read(
                stage,  # type: ignore[arg-type]
                config,
                specs,
                Standing(),
                engine,
                counts,
                tally,
                progress,  # type: ignore[arg-type]
            )
        made.append((ref.digest, stage.tables.read(ref).to_pylist(), counts, tally))
    assert made[0] == made[1] and stage.tables.check() == []
    assert list((tmp_path / "copies").iterdir()) == []
