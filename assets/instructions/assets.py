"""The door of the stage `instructions`: raw rows in, kept, quarantined and dropped rows out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.identity import digest
from assets.instructions.batches import BATCH_ROWS, Tally, batches_of, sample
from assets.instructions.config import InstructionsConfig, RawInstructionsConfig
from assets.instructions.file_rows import RawRow
from assets.instructions.parts import read_parts
from assets.instructions.raw import (
    ReadCounts,
    SourceSpec,
    check_fingerprint,
    read_sources,
    source_fingerprint,
)
from assets.instructions.retractions import Standing, erasures_so_far, read_decisions, standing
from assets.instructions.sort import sort_rows
from assets.instructions.starter_files import starter_files
from assets.materialization import OWNER, Stage, begin
from assets.presentation import bars, column_schema, preview, table
from assets.records import DROPPED_INSTRUCTIONS, INSTRUCTIONS, QUARANTINE, RAW_INSTRUCTIONS
from assets.retries import tried_again
from resources.compute.boundary import Compute
from resources.definitions import ComputeSetting, Storage
from resources.errors import SultanaError
from resources.private import KINDS
from resources.progress import Progress
from resources.table_fragments import Written, all_together
from resources.table_refs import TableRef

RAW_CODE_VERSION = "3"
CODE_VERSION = "4"
READS = ["raw_instructions", "benchmark_splits", "retractions"]


def _specs(config: RawInstructionsConfig, storage: Storage) -> list[SourceSpec]:
    if config.sources:
        names = Counter(source.name for source in config.sources)
        for name, count in names.items():
            if count > 1:
                raise SultanaError(
                    f"Two sources are called '{name}'",
                    "Give each source a name of its own",
                    code="name-twice",
                )
        return [source.spec() for source in config.sources]
    files = starter_files(storage.path("starter"), seed=config.starter.seed, rows=config.starter.rows)
    return [
        SourceSpec(name=f"starter-{path.stem}", uri=str(path), licence=files.licence)
        for path in files.instructions
    ]


@dg.asset(
    group_name="2_instructions",
    owners=[OWNER],
    kinds={"lancedb"},
    code_version=RAW_CODE_VERSION,
    pool="raw_instructions",
)
@tried_again
def raw_instructions(
    context: dg.AssetExecutionContext,
    config: RawInstructionsConfig,
    storage: Storage,
    compute: ComputeSetting,
) -> dg.MaterializeResult:
    """Every row of every source as it was found: file, position, licence, task and messages.

    Alpaca, ShareGPT, OpenAI messages, prompt/completion and Super-NaturalInstructions shapes, from JSON,
    JSONL, CSV or Parquet (gz and zst too). A row that cannot be read stays here with its problem.
    """
    specs = _specs(config, storage)
    decisions = read_decisions(storage.tables())
    erasures = standing(decisions).erasures
    stage = begin(
        context,
        storage,
        config,
        asset="raw_instructions",
        code_version=RAW_CODE_VERSION,
        settings={"files": source_fingerprint(specs), **_erasures(decisions)},
    )
    if again := stage.previous(["raw_instructions"]):
        return again[0]

    counts, tally = ReadCounts(), Tally()
    with stage.progress("reading", None) as progress:
        ref = _read(stage, config, specs, erasures, compute.open(), counts, tally, progress)
    tasks, sources, problems = tally.tasks, tally.sources, tally.problems
    readable = ref.rows - sum(problems.values())
    if readable == 0:
        reasons = ", ".join(f"{reason} {count}" for reason, count in problems.most_common(3)) or "no rows"
        raise SultanaError(
            f"None of the {ref.rows} rows of {', '.join(spec.name for spec in specs)} could be read ({reasons})",
            "Set 'shape' and 'format' of the source, or look at the rows' problems in the table raw_instructions",
            code="source-without-usable-rows",
        )
    first = next(stage.tables.batches(ref, batch_size=32))
    return stage.result(
        [ref],
        {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(RAW_INSTRUCTIONS.schema),
            "readable_rows": readable,
            "problem_rows": ref.rows - readable,
            "problems": table(
                [{"reason": reason, "rows": count} for reason, count in problems.most_common()]
            ),
            "sources": table([{"source": name, "rows": count} for name, count in sources.most_common()]),
            "preview": preview(
                pa.Table.from_batches([first]), ["source", "file", "position", "task", "messages", "problem"]
            ),
            "rows_per_task": bars(tasks, title="Rows per task", x="rows"),
            **_score_metadata(counts),
            **_private_metadata(counts),
        },
    )


def _read(
    stage: Stage,
    config: RawInstructionsConfig,
    specs: Sequence[SourceSpec],
    erasures: Standing,
    engine: Compute,
    counts: ReadCounts,
    tally: Tally,
    progress: Progress,
) -> TableRef:
    """Reads the sources into the table: row by row here, or in parts by workers elsewhere, who write what they read."""

    def checked(rows: Iterable[RawRow]) -> Iterator[RawRow]:
        yield from rows
        check_fingerprint(stage.settings["files"], counts)

    def batches(rows: Iterable[RawRow]) -> Iterator[pa.RecordBatch]:
        for batch in batches_of(sample(checked(rows), config.maximum_rows), tally, erasures):
            progress.advance(batch.num_rows)
            yield batch

    if not engine.elsewhere:
        read = read_sources(specs, on_bad_file=config.on_bad_file.value, counts=counts)
        return stage.write(RAW_INSTRUCTIONS, batches(read), mode="overwrite")
    with stage.tables.fragments(RAW_INSTRUCTIONS) as target:
        parts = read_parts(
            specs,
            target,
            engine,
            copies=stage.storage.path("copies"),
            counts=counts,
            on_bad_file=config.on_bad_file.value,
            maximum_rows=config.maximum_rows,
            erasures=erasures,
        )
        if config.maximum_rows:
            rows = (row for part in parts for batch in part.sampled for row in batch.to_pylist())
            return stage.write(RAW_INSTRUCTIONS, batches(rows), mode="overwrite")

        def written() -> Iterator[Written]:
            for part in parts:
                tally.update(part.tally)
                if part.written is not None:
                    progress.advance(part.written.rows)
                    yield part.written
            check_fingerprint(stage.settings["files"], counts)

        rows_read = all_together(stage.tables.folder(RAW_INSTRUCTIONS.table), written())
        return stage.write(RAW_INSTRUCTIONS, rows_read, mode="overwrite")


def _batches(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, scored: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """The rows in batches; counts into `scored` how many have each score."""
    for start in range(0, len(rows), BATCH_ROWS):
        part = rows[start : start + BATCH_ROWS]
        scored.update(score["name"] for row in part for score in row.get("scores") or ())
        yield pa.RecordBatch.from_pylist(part, schema=schema)


def _erasures(decisions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A setting that lets no version be used again from which content was erased."""
    so_far = erasures_so_far(decisions)
    return {"erasures": so_far} if so_far else {}


def _score_metadata(counts: ReadCounts) -> dict[str, Any]:
    """How many rows of the sources, before a sample is drawn, have each score; nothing where none is named."""
    names = sorted({*counts.scores, *counts.unusable_scores})
    rows = [
        {"score": name, "rows": counts.scores[name], "no_finite_number": counts.unusable_scores[name]}
        for name in names
    ]
    return {"scores": table(rows)} if rows else {}


def _private_metadata(counts: ReadCounts) -> dict[str, Any]:
    """How many rows of the sources, before a sample is drawn, hold something private; nothing where none does."""
    rows = [{"kind": KINDS[kind], "rows": count} for kind, count in counts.private.most_common()]
    return {"private_data": table(rows)} if rows else {}


@dg.multi_asset(
    name="instructions",
    specs=[
        dg.AssetSpec(
            "instructions",
            deps=READS,
            description="Instructions to learn from: normalised, validated, without duplicates and benchmark rows. "
            "Exact duplicates are merged, and every origin is kept.",
            group_name="2_instructions",
            owners=[OWNER],
            kinds={"lancedb"},
            code_version=CODE_VERSION,
        ),
        dg.AssetSpec(
            "quarantine",
            deps=READS,
            description="Rows that are not fit to learn from, each with file, position, reason and raw text.",
            group_name="2_instructions",
            owners=[OWNER],
            kinds={"lancedb"},
            code_version=CODE_VERSION,
        ),
        dg.AssetSpec(
            "dropped_instructions",
            deps=READS,
            description="Sound rows that were left out: exact duplicates (merged), near-duplicates and rows "
            "contaminated with benchmark text, each with the row it collides with; and whatever was retracted.",
            group_name="2_instructions",
            owners=[OWNER],
            kinds={"lancedb"},
            code_version=CODE_VERSION,
        ),
    ],
    pool="instructions",
)
@tried_again
def instructions(
    context: dg.AssetExecutionContext,
    config: InstructionsConfig,
    storage: Storage,
    compute: ComputeSetting,
) -> Iterator[dg.MaterializeResult]:
    """Sorts raw rows into kept, quarantined and dropped ones."""
    names = ["instructions", "quarantine", "dropped_instructions"]
    stage = begin(
        context,
        storage,
        config,
        asset="instructions",
        code_version=CODE_VERSION,
        reads=READS,
        settings=_erasures(read_decisions(storage.tables())),
    )
    raw_ref = stage.upstream["raw_instructions"].table()
    if again := stage.previous(names):
        yield from again
        return

    decided = stage.upstream["retractions"].record["tables"]
    retracted = standing(
        read_decisions(stage.tables, stage.upstream["retractions"].table()) if decided else []
    )
    examples = stage.tables.read(stage.upstream["benchmark_splits"].table())
    with stage.progress("sorting", raw_ref.rows) as progress:
        found = sort_rows(
            (row for batch in stage.tables.batches(raw_ref) for row in batch.to_pylist()),
            examples.to_pylist(),
            near_duplicate_threshold=config.near_duplicate_threshold,
            contamination_ngram=config.contamination_ngram,
            contamination_threshold=config.contamination_threshold,
            seed=config.seed,
            progress=progress,
            retractions=retracted,
            compute=compute.open(),
        )
    reasons = found.drops
    funnel = {
        "raw": raw_ref.rows,
        "kept": len(found.kept),
        "quarantined": len(found.quarantined),
        "merged (exact duplicates)": reasons["exact_duplicate"],
        "near-duplicates": reasons["near_duplicate"],
        "contaminated": reasons["contaminated"],
        "retracted": reasons["retracted"],
    }
    for record, rows, shown in (
        (INSTRUCTIONS, found.kept, ["instruction_id", "task", "messages", "origins"]),
        (QUARANTINE, found.quarantined, ["file", "position", "reason", "detail", "raw_text"]),
        (DROPPED_INSTRUCTIONS, found.dropped, ["file", "position", "reason", "collides_with", "similarity"]),
    ):
        scored: Counter[str] = Counter()
        ref = stage.write(record, _batches(rows, record.schema, scored), mode="overwrite", asset=record.table)
        metadata: dict[str, Any] = {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(record.schema),
            "preview": preview(pa.Table.from_pylist(rows[:32], schema=record.schema), shown),
        }
        if record is INSTRUCTIONS:
            metadata["funnel"] = bars(funnel, title="Where the raw rows went", x="rows")
            if scored:
                metadata["scores"] = table([{"score": name, "rows": scored[name]} for name in sorted(scored)])
        if record is QUARANTINE:
            metadata["reasons"] = table(
                [{"reason": reason, "rows": count} for reason, count in found.reasons.most_common()]
            )
        if record is DROPPED_INSTRUCTIONS:
            metadata["reasons"] = table(
                [{"reason": reason, "rows": count} for reason, count in reasons.most_common()]
            )
        content = digest([ref.digest, stage.settings["erasures"]]) if stage.settings else None
        yield stage.result([ref], metadata, asset=record.table, content=content)
