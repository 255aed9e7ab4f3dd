"""The door of the stage `selection`: one curriculum per strategy and seed, as an append-only ledger."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.finetuning.rows import EncodedRows, encode_rows, read_recipes
from assets.ledger import curriculum_id, curriculum_table, read_curriculum
from assets.materialization import OWNER, Stage, begin
from assets.materialized import LINEAGE, follow, table_of
from assets.partitions import EXPERIMENTS, strategy_and_seed
from assets.presentation import bars, column_schema, plot, preview, table
from assets.records import CURRICULUM, rows_digest
from assets.selection.config import CurriculumConfig, PoolRows
from resources.definitions import LanguageModelSetting, Storage
from resources.tables import TableRef
from resources.text import id_filter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from assets.ledger import Selection
    from assets.selection.pool import Pool
    from assets.selection.raise_policy.result import RaiseResult

CODE_VERSION = "1"
LEDGER_SOUND = "ledger_is_complete"


@dg.asset(
    deps=["diversity_clusters", "benchmark_splits"],
    partitions_def=EXPERIMENTS,
    group_name="selection",
    owners=[OWNER],
    kinds={"lancedb", "pytorch"},
    code_version=CODE_VERSION,
    pool="device",
    check_specs=[
        dg.AssetCheckSpec(
            LEDGER_SOUND,
            asset="curriculum",
            blocking=True,
            description="Every step holds a full batch, and every row is one of diversity_clusters.",
        )
    ],
)
def curriculum(
    context: dg.AssetExecutionContext,
    config: CurriculumConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Which rows train the model at which step, and why: the strategy of this partition, with its seed.

    random, longest, or raise: RAISE (arXiv 2504.07282) learns an acquisition function by PPO over
    training runs, rewarded by the change of the loss on the reward split.
    """
    strategy, seed = strategy_and_seed(context)
    model = language_model.open(storage)
    stage = begin(
        context,
        storage,
        config,
        asset="curriculum",
        code_version=CODE_VERSION,
        reads=["diversity_clusters", "benchmark_splits"],
        settings={"strategy": strategy, "seed": seed, "language_model": model.fingerprint()},
    )
    if again := stage.previous(["curriculum"]):
        yield again[0]
        record = again[0].metadata[LINEAGE].value  # type: ignore[index, union-attr]
        yield _check(stage, config, table_of(again[0]), str(record["facts"]["curriculum_id"]))  # type: ignore[index, call-overload]
        return

    pool, encoded = _pool(stage, config, model.load_tokenizer())
    extra: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    if strategy == "raise":
        from assets.selection.raise_run import run_raise

        result = run_raise(stage, config, model, pool, encoded, seed)
        selections: Sequence[Selection] = result.selections
        extra = _raise_metadata(result)
        facts = {
            "policy_sha256": result.policy_sha256,
            "initial_performance": result.initial_performance,
            "final_performance": result.final_performance,
            "against_random": result.baseline.finding if result.baseline else None,
        }
    else:
        from assets.selection import static

        selections = getattr(static, strategy)(pool, config.steps, config.batch_size, seed)

    identity = curriculum_id({"inputs": stage.inputs_digest})
    rows = curriculum_table(identity, strategy, seed, selections)
    ref = stage.tables.write(
        CURRICULUM, rows, mode="append", digest=rows_digest(rows.to_pylist()), provenance=stage.provenance()
    )
    kinds = Counter(rows["kind"].to_pylist())
    clusters = Counter(f"cluster {number}" for number in rows["cluster"].to_pylist())
    distinct = len(set(rows["row_id"].to_pylist()))
    yield stage.result(
        [replace(ref, rows=rows.num_rows)],  # the ledger holds every curriculum; this one made these rows
        {
            "dagster/row_count": rows.num_rows,
            "dagster/column_schema": column_schema(CURRICULUM.schema),
            "steps": len(selections),
            "distinct_rows": distinct,
            "candidates": len(pool),
            "refused_rows": table(
                [{"reason": name, "rows": count} for name, count in encoded.reasons.items()]
            ),
            "interpolated_rows": kinds["interpolated"],
            "preview": preview(rows, ["step", "slot", "row_id", "kind", "cluster", "score", "reason"]),
            "clusters": bars(clusters, title="Rows selected per cluster", x="rows"),
            **extra,
        },
        facts={"curriculum_id": identity, "strategy": strategy, "seed": seed, **facts},
    )
    yield _check(stage, config, ref, identity)


def _check(stage: Stage, config: CurriculumConfig, ref: TableRef, identity: str) -> dg.AssetCheckResult:
    """The ledger as stored: full batches for every step, rows of `diversity_clusters` only."""
    ledger = stage.tables.read(ref, filter=id_filter("curriculum_id", [identity]))
    found = read_curriculum(ledger, identity)
    clusters = stage.tables.read(stage.upstream["diversity_clusters"].table(), columns=["row_id"])
    outside = set(ledger["row_id"].to_pylist()).difference(clusters["row_id"].to_pylist())
    return dg.AssetCheckResult(
        check_name=LEDGER_SOUND,
        asset_key="curriculum",
        passed=len(found.steps) == config.steps and found.batch_size == config.batch_size and not outside,
        metadata={"steps": len(found.steps), "rows_outside_the_pool": len(outside)},
    )


def _pool(stage: Stage, config: CurriculumConfig, tokenizer: Any) -> tuple["Pool", EncodedRows]:
    """The candidates that this curriculum may select from, and their encodings."""
    from assets.selection.pool import Pool, candidates

    made = stage.upstream["diversity_clusters"]
    clusters = stage.tables.read(
        made.table(), columns=["row_id", "kind", "cluster", "representative"]
    ).to_pylist()
    if config.pool is PoolRows.representatives:
        clusters = [row for row in clusters if row["representative"]]
    elif config.pool is PoolRows.originals:
        clusters = [row for row in clusters if row["kind"] == "original"]
    instructions = follow(stage.context.instance, made, "instructions").table()
    recipes = follow(stage.context.instance, made, "interpolated_instructions").table()
    conversations = {
        row["instruction_id"]: row["messages"]
        for row in stage.tables.read(instructions, columns=["instruction_id", "messages"]).to_pylist()
    }
    encoded = encode_rows(
        [row["row_id"] for row in clusters],
        tokenizer=tokenizer,
        conversations=conversations,
        recipes=read_recipes(stage.tables, recipes),
        maximum_length=config.maximum_length,
    )
    kept = [row for row in clusters if row["row_id"] in encoded.rows]
    pool = Pool.build(
        [row["row_id"] for row in kept],
        [row["kind"] for row in kept],
        [row["cluster"] for row in kept],
        [max(parent.trained_tokens for parent in encoded.rows[row["row_id"]].parents) for row in kept],
    )
    return candidates(pool, config.candidates or len(pool), config.pool_seed), encoded


def _raise_metadata(result: "RaiseResult") -> dict[str, Any]:
    """Reward curves of every round, and how the policy compares with random."""

    def draw(axes: "Axes") -> None:
        for report in result.rounds:
            for number, curve in enumerate(report.performances):
                label = f"round {report.round + 1}" if number == 0 else None
                axes.plot([-one for one in curve], alpha=0.7, linewidth=1, label=label)
        if result.baseline:
            for number, curve in enumerate(result.baseline.performances):
                label = "random" if number == 0 else None
                axes.plot([-one for one in curve], color="#8a8a8a", linestyle=":", label=label)
        axes.plot([-one for one in result.episode.performances], color="black", linewidth=2, label="deployed")

    shown: dict[str, Any] = {
        "reward_loss_before": -result.initial_performance,
        "reward_loss_after": -result.final_performance,
        "best_round": result.best_round,
        "reward_curves": plot(
            draw, title="Loss on the reward split", x="optimizer step", y="loss (nats per token)"
        ),
    }
    if result.baseline:
        shown["against_random"] = dg.MetadataValue.md(result.baseline.finding)
    return shown
