"""The door of the stage `embeddings`: a vector for every instruction, made once per row and embedder."""

import time
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.embeddings.config import EmbeddingsConfig
from assets.identity import digest
from assets.instructions.erasures import erased_rows
from assets.materialization import OWNER, Stage, begin
from assets.presentation import column_schema, plot
from assets.records import Record, embeddings_record
from assets.retries import tried_again
from resources.compute.boundary import Compute
from resources.definitions import ComputeSetting, EmbedderSetting, Storage
from resources.table_refs import TableRef

if TYPE_CHECKING:
    from resources.embedder import SentenceEmbedder

CODE_VERSION = "1"
PLOTTED_ROWS = 2000


@dg.asset(
    deps=["instructions"],
    group_name="3_embeddings",
    owners=[OWNER],
    kinds={"lancedb", "huggingface"},
    code_version=CODE_VERSION,
    pool="device",
)
@tried_again
def instruction_embeddings(
    context: dg.AssetExecutionContext,
    config: EmbeddingsConfig,
    storage: Storage,
    embedder: EmbedderSetting,
    compute: ComputeSetting,
) -> dg.MaterializeResult:
    """Sentence embeddings, one LanceDB table per embedder.

    Incremental by row: only instructions that this embedder has not embedded yet are. The table keeps
    vectors of rows that have left the instructions, so that they need not be embedded again.
    """
    model = embedder.open(storage)
    identity = digest([model.fingerprint(), config.text.value])
    stage = begin(
        context,
        storage,
        config,
        asset="instruction_embeddings",
        code_version=CODE_VERSION,
        reads=["instructions"],
        settings={"embedder": model.fingerprint()},
    )
    record = embeddings_record(identity, model.dimension)
    instructions = stage.upstream["instructions"].table()
    if again := stage.previous(["instruction_embeddings"]):
        return again[0]

    started = time.monotonic()
    # The table serves every version of the instructions: what this materialization means is the
    # vectors of exactly these instructions by this embedder.
    content = digest([instructions.digest, identity])
    made = _embed(stage, config, model, compute.open(), record, instructions, content)
    seconds = time.monotonic() - started
    ref = stage.tables.head(record.table)
    if ref is None:
        raise RuntimeError(f"table {record.table} has no version after embedding")
    sample = next(stage.tables.batches(ref, columns=["vector"], batch_size=PLOTTED_ROWS))
    vectors = np.stack(sample["vector"].to_numpy(zero_copy_only=False))
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -1.0)
    return stage.result(
        [ref],
        {
            "dagster/row_count": instructions.rows,
            "dagster/column_schema": column_schema(record.schema),
            "newly_embedded_rows": made,
            "rows_per_second": round(made / seconds, 1) if made else 0.0,
            "dimension": model.dimension,
            "embedder": embedder.model,
            "nearest_neighbours": plot(
                lambda axes: axes.hist(cosine.max(axis=1), bins=50),
                title=f"Cosine to the nearest neighbour, {len(vectors):,} instructions",
                x="cosine",
                y="instructions",
            ),
        },
        content=content,
        facts={"embedder_fingerprint": model.fingerprint(), "text": config.text.value},
    )


def _embed(
    stage: Stage,
    config: EmbeddingsConfig,
    model: "SentenceEmbedder",
    engine: Compute,
    record: Record,
    instructions: TableRef,
    content: str,
) -> int:
    """Embeds what is missing, a commit every `commit_rows` rows at most; returns the number of new rows."""
    from assets.embeddings.embed import batch_rows_of, embed_rows, in_commits, missing_rows

    head = stage.tables.head(record.table)
    # Where a row came back, so does its vector.
    erased = erased_rows(stage.tables, record.table)
    existing = pa.array([], pa.string())
    if head is not None:
        existing = stage.tables.read(head, columns=["instruction_id"])["instruction_id"].combine_chunks()
        existing = existing.filter(
            pc.invert(pc.is_in(existing, value_set=pa.array(sorted(erased), pa.string())))
        )
    ids = stage.tables.read(instructions, columns=["instruction_id"])["instruction_id"]
    missing = missing_rows(ids, existing)
    with (
        stage.progress("embedding", len(missing)) as progress,
        stage.tables.fragments(record) as target,
    ):
        parts = embed_rows(
            stage.tables.folder(instructions.table),
            instructions,
            missing,
            target,
            model,
            text=config.text.value,
            batch_rows=batch_rows_of(config.commit_rows),
            on_progress=progress.advance,
            compute=engine,
        )
        held = head.rows if head is not None else 0
        for portion in in_commits(target.folder, parts, config.commit_rows, held):
            done = [one for part in portion for one in part.keys.to_pylist()]
            stage.write(
                record,
                portion,
                mode="upsert" if head is not None else "overwrite",
                content=content,
                part=[done, *_again(erased.intersection(done), head)],
            )
            head = stage.tables.head(record.table)
    return len(missing)


def _again(erased: set[str], head: TableRef | None) -> list[int]:
    """What tells the writing of erased rows from the one before their erasure; nothing where none was erased."""
    return [head.version] if erased and head is not None else []
