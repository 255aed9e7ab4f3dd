"""What the stages of `growth` read, of any size, from a fixed generator: the same rows for the same number of rows.

Texts have the lengths of Alpaca's (14 words of instruction, 43 of response in the mean) and words drawn by
Zipf's law. Of the rows some repeat another exactly, some but for wording details, and some hold a benchmark
example, so that every branch of a stage has work that grows with the rows. Each input lies in the given folder
and is not made again where it is there.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.records import (
    INSTRUCTIONS,
    INTERPOLATED_INSTRUCTIONS,
    RAW_INSTRUCTIONS,
    Record,
    embeddings_record,
)
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables
from tests.benchmarks.audit_tables import MIXES, ids, instruction_batches, recipe_batches
from tests.benchmarks.kmeans import DIMENSION, mixture_blocks
from tests.benchmarks.raise_selection import write_features

VOCABULARY = 20_000
ZIPF = 1.1
BLOCK = 4096
EXACT, NEAR, CONTAMINATED = 0.02, 0.02, 0.002
"""Shares of rows that repeat an earlier row, do so but for punctuation, or hold a benchmark example."""

EXAMPLES = 1000
"""Benchmark examples, whatever the number of rows."""

Writer = Callable[[Path], None]


def words(count: int, draw: np.random.Generator) -> list[str]:
    """Words by Zipf's law, the same vocabulary each time."""
    ranks = np.arange(1, VOCABULARY + 1, dtype=np.float64) ** -ZIPF
    chosen = np.searchsorted(np.cumsum(ranks / ranks.sum()), draw.random(count))
    return [_WORDS[place] for place in np.minimum(chosen, VOCABULARY - 1).tolist()]


def _spelled(number: int) -> str:
    letters = ""
    while True:
        number, syllable = divmod(number, len(_SYLLABLES))
        letters += _SYLLABLES[syllable]
        if number == 0:
            return letters


_SYLLABLES = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
_WORDS = [_spelled(number) for number in range(VOCABULARY)]


def text_rows(rows: int) -> Iterator[dict[str, str]]:
    """`rows` rows of instruction, input and output."""
    held = examples()
    for start in range(0, rows, BLOCK):
        draw = np.random.default_rng([1, start])
        count = min(BLOCK, rows - start)
        asked = np.maximum(3, draw.poisson(14, count))
        said = np.maximum(1, draw.lognormal(3.4, 0.85, count).astype(np.int64))
        found = words(int(asked.sum() + said.sum()), draw)
        kind = draw.random(count)
        made: list[dict[str, str]] = []
        place = 0
        for number in range(count):
            middle, end = place + int(asked[number]), place + int(asked[number] + said[number])
            row = {
                "instruction": " ".join(found[place:middle]).capitalize() + "?",
                "input": "",
                "output": " ".join(found[middle:end]).capitalize() + ".",
            }
            place = end
            if made and kind[number] < EXACT:
                row = made[int(draw.integers(len(made)))]
            elif made and kind[number] < EXACT + NEAR:
                again = made[int(draw.integers(len(made)))]
                row = again | {"output": again["output"].upper() + "!"}
            elif kind[number] < EXACT + NEAR + CONTAMINATED:
                row = row | {"instruction": held[int(draw.integers(len(held)))]}
            made.append(row)
        yield from made


def examples() -> list[str]:
    """The prompts of the benchmark examples."""
    draw = np.random.default_rng(2)
    return [" ".join(words(30, draw)).capitalize() + "?" for _ in range(EXAMPLES)]


def corpus(folder: Path, rows: int) -> Path:
    """The rows as JSON Lines."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for row in text_rows(rows):
                file.write(json.dumps(row) + "\n")

    return _once(folder / f"corpus-{rows}.jsonl", write)


def texts(folder: Path, rows: int) -> list[str]:
    """The conversations of the corpus, as duplicates are looked for in."""
    with corpus(folder, rows).open(encoding="utf-8") as file:
        read = (json.loads(line) for line in file)
        return [f"{row['instruction']}\n{row['output']}" for row in read]


def features(folder: Path, rows: int) -> Path:
    """RAISE's static features (rows, 36) float32 as an array on disk."""
    return _once(folder / f"features-{rows}.npy", lambda path: write_features(path, rows))


def instructions(folder: Path, rows: int) -> Path:
    """Rows of INSTRUCTIONS as an Arrow stream."""

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, INSTRUCTIONS.schema) as stream:
            for batch in instruction_batches(rows):
                stream.write_batch(batch)

    return _once(folder / f"instructions-{rows}.arrow", write)


def raw_table(folder: Path, rows: int) -> tuple[LanceTables, TableRef]:
    """The corpus as the table `raw_instructions`."""
    from assets.instructions.raw import SourceSpec, read_sources_in_batches

    spec = SourceSpec(name="synthetic", uri=str(corpus(folder, rows)))
    return table(folder, f"raw-{rows}", RAW_INSTRUCTIONS, lambda: read_sources_in_batches([spec]))


def instruction_table(folder: Path, rows: int) -> tuple[LanceTables, TableRef]:
    """Synthetic rows as the table `instructions`."""
    return table(folder, f"instructions-{rows}", INSTRUCTIONS, lambda: instruction_batches(rows))


def embedded_tables(folder: Path, rows: int) -> tuple[LanceTables, TableRef, TableRef]:
    """Vectors of `rows` instructions, and recipes of a tenth as many mixes."""
    record = embeddings_record("instruction_embeddings", DIMENSION)

    def batches() -> Iterator[pa.RecordBatch]:
        for start, block in mixture_blocks(rows):
            columns = [
                ids("row", np.arange(start, start + len(block))),
                pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), DIMENSION),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=record.schema)

    tables, embeddings = table(folder, f"embedded-{rows}", record, batches)
    return (
        tables,
        embeddings,
        table(
            folder,
            f"embedded-{rows}",
            INTERPOLATED_INSTRUCTIONS,
            lambda: recipe_batches(rows // MIXES, rows),
        )[1],
    )


def table(
    folder: Path, name: str, record: Record, batches: Callable[[], Iterator[pa.RecordBatch] | pa.Table]
) -> tuple[LanceTables, TableRef]:
    """A table with these rows; a second call reads no row and gives the version that is there."""
    tables = LanceTables(folder / name)
    ref = tables.write(
        record, batches(), mode="overwrite", provenance=Provenance("bench", record.table, name)
    )
    return tables, ref


def written(folder: Path, record: Record, batches: Iterator[pa.RecordBatch] | pa.Table) -> int:
    """Rows of a table that is written: the work of a stage."""
    _, ref = table(folder.parent, folder.name, record, lambda: batches)
    return ref.rows


def example_rows() -> list[dict[str, Any]]:
    """The examples as rows of BENCHMARK_SPLITS, as far as contamination reads them."""
    return [
        {"example_id": f"{number:032x}", "messages": [{"role": "user", "content": prompt}], "response": "yes"}
        for number, prompt in enumerate(examples())
    ]


def row_ids(rows: int) -> list[str]:
    """Ids as instructions have them, in no order."""
    found: list[str] = ids("row", np.arange(rows)).to_pylist()
    return found


def response_lengths(rows: int) -> npt.NDArray[np.int64]:
    """Tokens of responses."""
    return np.random.default_rng(4).integers(1, 256, rows)


def _once(path: Path, write: Writer) -> Path:
    """`path`, written whole under another name first where it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partly = path.with_name(f".{path.name}.{os.getpid()}")
        write(partly)
        partly.replace(path)
    return path
