"""The door to the benchmark splits: what selection is rewarded on, training may stop on, and scores come from."""

from collections import Counter
from dataclasses import asdict

import dagster as dg
import pyarrow as pa

from assets.evaluation.config import BenchmarkSplitsConfig
from assets.evaluation.splits import make_splits, share_by_hash
from assets.identity import rows_digest
from assets.instructions.config import Source
from assets.instructions.examples import ExampleProblem, read_examples
from assets.instructions.raw import SourceSpec, source_fingerprint
from assets.instructions.starter_files import starter_files
from assets.materialization import OWNER, begin
from assets.presentation import bars, column_schema, preview, table
from assets.records import BENCHMARK_SPLITS, SPLITS
from assets.retries import tried_again
from resources.definitions import Storage
from resources.errors import SultanaError

CODE_VERSION = "1"


def _split_specs(config: BenchmarkSplitsConfig, storage: Storage) -> dict[str, list[SourceSpec]]:
    named: dict[str, list[Source]] = {
        "reward": config.reward,
        "early_stopping": config.early_stopping,
        "test": config.test,
    }
    if not any(named.values()):
        files = starter_files(storage.path("starter"), seed=config.starter.seed, rows=config.starter.rows)
        return {
            split: [SourceSpec(name=f"starter-{split}", uri=str(files.splits[split]), licence=files.licence)]
            for split in SPLITS
        }
    for split in ("reward", "test"):
        if not named[split]:
            raise SultanaError(
                f"benchmark_splits names sources, but none for the split '{split}'",
                f"Name one: sultana run --{split} FILE, or config.{split} in the Launchpad",
                code="split-without-source",
            )
    return {split: [source.spec() for source in sources] for split, sources in named.items()}


@dg.asset(
    group_name="1_benchmarks",
    owners=[OWNER],
    kinds={"lancedb"},
    code_version=CODE_VERSION,
    pool="benchmark_splits",
)
@tried_again
def benchmark_splits(
    context: dg.AssetExecutionContext, config: BenchmarkSplitsConfig, storage: Storage
) -> dg.MaterializeResult:
    """Three disjoint sets: reward (what RAISE sees), early stopping, and test (what is compared on)."""
    specs = _split_specs(config, storage)
    stage = begin(
        context,
        storage,
        config,
        asset="benchmark_splits",
        code_version=CODE_VERSION,
        settings={"files": {split: source_fingerprint(found) for split, found in specs.items()}},
    )
    if again := stage.previous(["benchmark_splits"]):
        return again[0]
    unusable: list[ExampleProblem] = []
    found = {
        split: [
            asdict(example) for spec in sources for example in read_examples(spec, on_problem=unusable.append)
        ]
        for split, sources in specs.items()
    }
    if not found["early_stopping"]:
        found["early_stopping"], found["reward"] = share_by_hash(found["reward"], config.early_stopping_share)
    splits = make_splits(
        found,
        maximum_examples=config.maximum_examples,
        n=config.contamination_ngram,
        threshold=config.contamination_threshold,
    )
    rows = pa.Table.from_pylist(splits.examples, schema=BENCHMARK_SPLITS.schema)
    ref = stage.write(BENCHMARK_SPLITS, rows, mode="overwrite")
    sizes = Counter(rows["split"].to_pylist())
    hashes = {
        split: rows_digest(one["example_id"] for one in splits.examples if one["split"] == split)
        for split in SPLITS
    }
    return stage.result(
        [ref],
        {
            "dagster/row_count": ref.rows,
            "dagster/column_schema": column_schema(BENCHMARK_SPLITS.schema),
            "sizes": table(
                [{"split": split, "examples": sizes[split], "sha256": hashes[split]} for split in SPLITS]
            ),
            "left_out": table(
                [
                    {"reason": reason, "split": split, "examples": count}
                    for (reason, split), count in sorted(splits.left_out.items())
                ]
            ),
            "unusable": table([asdict(one) for one in unusable]),
            "preview": preview(rows, ["split", "task", "messages", "response", "answer"]),
            "tasks": bars(
                Counter(rows["task"].to_pylist()), title="Examples per task, all splits", x="examples"
            ),
        },
        facts={"split_sha256": hashes},
    )
