"""No input gets through the reader other than as rows that are kept, rows with a reason, or one error about a file.

SULTANA_FUZZ_INPUTS=5000000 makes it many more, SULTANA_FUZZ_SEED others, SULTANA_FUZZ_FIRST begins at another
number: a failure names its seed and number, and leaves the input in SULTANA_FUZZ_FOLDER.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.instructions.csv_files import csv_rows
from assets.instructions.json_rows import check_value, parse_object
from assets.instructions.raw import ReadCounts, SourceSpec, read_sources_in_batches
from assets.instructions.rows import REASONS, Limits, RowProblem
from assets.instructions.shapes import SHAPES, to_conversation
from assets.instructions.validate import normalise, problem_in
from assets.records import RAW_INSTRUCTIONS
from resources.errors import SultanaError
from resources.lance_folder import conform
from tests.faults.fuzzing import SEED, changed_values, drawn, file, line, mangled, try_each

LIMITS = Limits(row_bytes=200_000, field_bytes=60_000)
SMALL = Limits(row_bytes=4_000, field_bytes=1_000, unpacked_bytes=1 << 20, ratio=20, ratio_from_bytes=100_000)
FIRST = int(os.environ.get("SULTANA_FUZZ_FIRST", "0"))
SHARES = {"rows": 0.85, "columns": 0.1, "csv": 0.03, "files": 0.02}
"""What of all inputs is what: rows are parsed in this process in bulk, files are written, packed and read whole."""


def _answered(value: dict[str, Any], number: int) -> None:
    """A parsed row becomes a conversation that a table can hold, or a reason."""
    shape = list(SHAPES)[number % 12] if number % 12 < len(SHAPES) else None
    field = "task" if number % 7 == 0 else None
    try:
        messages = to_conversation(value, shape, field).messages
    except RowProblem as problem:
        assert problem.reason in REASONS and problem.detail
        return
    messages = normalise(messages)
    found = problem_in(messages)
    assert found is None or (found[0] in REASONS and found[1])
    pa.array([messages], RAW_INSTRUCTIONS.schema.field("messages").type).validate(full=True)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} was kept")


def _row(made: tuple[int, bytes]) -> None:
    number, raw = made
    try:
        value = parse_object(raw, LIMITS)
    except RowProblem as problem:
        assert problem.reason in REASONS and problem.detail
        return
    # Another parser finds the same, and no name twice: what is kept is not a matter of who reads it.
    assert value == json.loads(raw, object_pairs_hook=_each_once, parse_constant=_no_number)
    _answered(value, number)


def _columns(made: tuple[int, dict[str, Any]]) -> None:
    number, value = made
    try:
        check_value(value, LIMITS)
    except RowProblem as problem:
        assert problem.reason in REASONS and problem.detail
        return
    _answered(value, number)


class _Csv:
    """A CSV file in memory: every byte behind the header is in one record, or in a blank line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.csv"

    def __call__(self, made: tuple[int, bytes]) -> None:
        _, content = made
        self.path.write_bytes(content)
        with self.path.open("rb") as stream:
            try:
                rows = list(csv_rows(stream, "a.csv", b",", LIMITS))
            except SultanaError as error:
                assert "a.csv" in error.problem and error.remedy
                return
        for row, after in zip(rows, [*rows, None][1:], strict=True):
            assert (row.value is None) == (row.problem is not None)
            end = after.byte_offset if after else len(content)
            if row.problem in ("line_too_long", "unterminated_quote"):  # of which only the beginning is held
                assert content[row.byte_offset : end].startswith(row.raw)
            else:
                assert not content[row.byte_offset + len(row.raw) : end].strip(b"\r\n")


class _File:
    """A file that is read whole: rows in = rows kept + rows with a problem, and all of them fit the table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, made: tuple[str, bytes]) -> None:
        name, content = made
        path = self.folder / name
        path.write_bytes(content)
        counts = ReadCounts()
        found = 0
        try:
            spec = SourceSpec("here", str(path), allow_empty=True, score_fields=())
            for batch in read_sources_in_batches([spec], limits=SMALL, counts=counts):
                conform(batch, RAW_INSTRUCTIONS.schema, "raw_instructions")
                found += batch.num_rows
                assert set(batch.column("problem").to_pylist()) <= {None, *REASONS}
        except SultanaError as error:
            assert name in error.problem and error.remedy
            return
        finally:
            path.unlink()
        assert counts.rows == found == counts.readable + counts.problems.total()
        packed = content[:2] == b"\x1f\x8b" or content[:4] in (b"\x28\xb5\x2f\xfd", b"PAR1")
        text = content.removeprefix(b"\xef\xbb\xbf")
        if name == "a.jsonl" and not packed and not text.lstrip().startswith(b"["):
            assert found == sum(1 for one in text.split(b"\n") if one.strip(b" \t\r\n"))


def _fuzz(inputs: int, folder: Path) -> None:
    sys.stdout.write(f"fuzzing: seed {SEED}, {inputs:,} inputs from number {FIRST} on\n")
    kept = Path(os.environ.get("SULTANA_FUZZ_FOLDER") or tempfile.mkdtemp(prefix="sultana-fuzz-"))

    def save(number: int, made: Any) -> Path:
        kept.mkdir(parents=True, exist_ok=True)
        content = made[1] if isinstance(made[1], bytes) else repr(made[1]).encode()
        target = kept / f"{SEED}-{number}-{made[0] if isinstance(made[0], str) else 'input'}"
        target.write_bytes(content)
        return target

    kinds = {
        "rows": (lambda number: (number, line(number, LIMITS.row_bytes)), _row),
        "columns": (lambda number: (number, changed_values(drawn(number))), _columns),
        "csv": (lambda number: (number, _csv_content(number)), _Csv(folder)),
        "files": (lambda number: file(number, 300_000), _File(folder)),
    }
    wrong: list[str] = []
    for kind, (make, check) in kinds.items():
        numbers = range(FIRST, FIRST + int(inputs * SHARES[kind]))
        for one in try_each(numbers, make, check, save):
            wrong.append(f"{kind}: {one}")
            if len(wrong) == 20:
                break
    if not wrong:
        shutil.rmtree(kept, ignore_errors=True)
    assert not wrong, "\n".join(wrong)


def _csv_content(number: int) -> bytes:
    draw = drawn(number)
    header = draw.choice((b"instruction,output\n", b'"instruction","output"\r\n'))
    rows = b'a,b\n"c,d","e ""f"""\r\n\n"g\nh",i\n'
    return (
        header + mangled(draw, rows, 250_000)
        if draw.random() < 0.8
        else mangled(draw, header + rows, 250_000)
    )


def test_twenty_thousand_inputs(tmp_path: Path) -> None:
    _fuzz(20_000, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_half_a_million_inputs(tmp_path: Path) -> None:
    _fuzz(int(os.environ.get("SULTANA_FUZZ_INPUTS", "500000")), tmp_path)
