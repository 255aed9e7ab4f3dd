"""The stages of `growth` whose rows are texts: reading, sorting, embedding, and tables of them.

Each opens its inputs, which are on disk, and gives what is measured; see `growth_stages`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.benchmarks import growth_inputs as inputs
from tests.benchmarks.audit_tables import instruction_batches

Found = dict[str, Any]
Work = Callable[[], Found]

WRITTEN_AT_ONCE = 4096


def reading(folder: Path, out: Path, rows: int) -> Work:
    """JSON Lines into the table `raw_instructions`, with its indices."""
    from assets.instructions.raw import SourceSpec, read_sources_in_batches
    from assets.records import RAW_INSTRUCTIONS

    source = inputs.corpus(folder, rows)

    def work() -> Found:
        batches = read_sources_in_batches([SourceSpec(name="synthetic", uri=str(source))])
        return {"rows": inputs.written(out, RAW_INSTRUCTIONS, batches), "source_bytes": source.stat().st_size}

    return work


def sorting(folder: Path, out: Path, rows: int) -> Work:
    """The asset `instructions`: normalised, validated, merged, decontaminated, without near-duplicates; written."""
    from assets.instructions.sort import sort_rows
    from assets.records import DROPPED_INSTRUCTIONS, INSTRUCTIONS, QUARANTINE
    from resources.progress import Progress

    tables, raw = inputs.raw_table(folder, rows)

    def work() -> Found:
        found = sort_rows(
            (row for batch in tables.batches(raw) for row in batch.to_pylist()),
            inputs.example_rows(),
            near_duplicate_threshold=0.8,
            contamination_ngram=8,
            contamination_threshold=0.7,
            seed=0,
            progress=Progress("sorting", rows, "rows", lambda line: None),
        )
        for record, part in (
            (INSTRUCTIONS, found.kept),
            (QUARANTINE, found.quarantined),
            (DROPPED_INSTRUCTIONS, found.dropped),
        ):
            inputs.written(out, record, _batches(part, record.schema))
        return {"kept": len(found.kept), **found.drops}

    return work


def duplicates(folder: Path, out: Path, rows: int) -> Work:
    """Near-duplicates among texts: MinHash signatures, their bands, and exact comparison."""
    from assets.instructions.duplicates import near_duplicates

    texts, ids = inputs.texts(folder, rows), inputs.row_ids(rows)
    return lambda: {"duplicates": len(near_duplicates(texts, ids, threshold=0.8))}


def contamination(folder: Path, out: Path, rows: int) -> Work:
    """Texts against 1,000 benchmark examples."""
    from assets.instructions.contamination import contaminated
    from assets.instructions.text import benchmark_texts

    texts, ids = inputs.texts(folder, rows), inputs.row_ids(rows)
    examples = benchmark_texts(inputs.example_rows())
    return lambda: {"contaminated": len(contaminated(texts, ids, *examples))}


def embedding(folder: Path, out: Path, rows: int) -> Work:
    """Vectors of instructions by the embedded embedder, as the asset makes them."""
    from resources.embedder import SentenceEmbedder

    embedder = SentenceEmbedder()
    embedder.embed(["to load it"] * 8)
    return _embedded(folder, out, rows, embedder)


class RandomEmbedder:
    """In place of a model: unit vectors at random, at once."""

    dimension = 384

    def fingerprint(self) -> str:
        return "random"

    def embed(
        self, texts: Sequence[str], on_progress: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        found = np.random.default_rng(len(texts)).standard_normal((len(texts), self.dimension), np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def embedding_commits(folder: Path, out: Path, rows: int) -> Work:
    """The asset `instruction_embeddings` without its model: texts read, vectors committed part by part."""
    return _embedded(folder, out, rows, RandomEmbedder())


def _embedded(folder: Path, out: Path, rows: int, embedder: Any) -> Work:
    from assets.embeddings.config import EmbeddingsConfig
    from assets.embeddings.embed import batch_rows_of, embed_rows, in_commits, missing_rows
    from assets.records import embeddings_record
    from resources.table_refs import Provenance
    from resources.tables import LanceTables

    tables, instructions = inputs.instruction_table(folder, rows)
    record = embeddings_record("instruction_embeddings", embedder.dimension)
    commit_rows = EmbeddingsConfig().commit_rows

    def work() -> Found:
        store = LanceTables(out)
        ids = tables.read(instructions, columns=["instruction_id"])["instruction_id"]
        missing = missing_rows(ids, pa.array([], pa.string()))
        ref = None
        commits = 0
        with store.fragments(record) as target:
            parts = embed_rows(
                tables.folder(instructions.table),
                instructions,
                missing,
                target,
                embedder,
                batch_rows=batch_rows_of(commit_rows),
            )
            for portion in in_commits(target.folder, parts, commit_rows, 0):
                ref = store.write(
                    record,
                    portion,
                    mode="upsert" if ref else "overwrite",
                    provenance=Provenance("bench", record.table, str(commits)),
                )
                commits += 1
        return {"rows": ref.rows if ref else 0, "commits": commits}

    return work


def tables(folder: Path, out: Path, rows: int) -> Work:
    """Rows of `instructions` committed, with hashes of rows and indices of ids and texts, and read back."""
    from assets.records import INSTRUCTIONS
    from resources.table_refs import Provenance
    from resources.tables import LanceTables

    source = inputs.instructions(folder, rows)

    def work() -> Found:
        with pa.memory_map(str(source)) as file, pa.ipc.open_stream(file) as stream:
            store = LanceTables(out)
            ref = store.write(
                INSTRUCTIONS,
                (batch for batch in stream),
                mode="overwrite",
                provenance=Provenance("bench", "instructions", "once"),
            )
        return {"rows": sum(len(batch) for batch in store.batches(ref))}

    return work


def upsert(folder: Path, out: Path, rows: int) -> Work:
    """One per cent of the rows of a table replaced: what a refresh writes."""
    from assets.records import INSTRUCTIONS
    from resources.table_refs import Provenance

    store, _ = inputs.instruction_table(out, rows)
    changed = pa.Table.from_batches(instruction_batches(max(1, rows // 100)))
    again = Provenance("bench", "instructions", "again")
    return lambda: {"rows": store.write(INSTRUCTIONS, changed, mode="upsert", provenance=again).rows}


def _batches(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), WRITTEN_AT_ONCE):
        yield pa.RecordBatch.from_pylist(rows[start : start + WRITTEN_AT_ONCE], schema=schema)
