"""The door of the stage `selection`: one curriculum per strategy and seed, as an append-only ledger."""

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.embeddings.vectors import vectors_of
from assets.finetuning.rows import EncodedRows
from assets.finetuning.session import training_config
from assets.identity import digest, rows_digest
from assets.ledger import curriculum_id, curriculum_table
from assets.materialization import OWNER, Stage, begin
from assets.materialized import follow
from assets.partitions import EXPERIMENTS, method_of, strategy_and_seed
from assets.records import CURRICULUM
from assets.retries import tried_again
from assets.selection.auxiliary import FeatureStore
from assets.selection.config import CurriculumConfig
from assets.selection.pool import Budget
from assets.selection.reading import read_pool, read_scores
from assets.selection.realised import FACT, measured_losses
from assets.selection.requirements import check, check_budget, repeat_cap, steps_of
from assets.selection.shown import shown
from assets.selection.strategies import REGISTRY, SHARED_SETTINGS
from assets.selection.strategy import Strategy
from resources.compute.boundary import Compute
from resources.definitions import ComputeSetting, LanguageModelSetting, Storage
from resources.errors import SultanaError
from resources.files import folder_manifest

if TYPE_CHECKING:
    from assets.selection.inputs import Inputs
    from resources.language_model import LanguageModel

CODE_VERSION = "4"
DESCRIPTION = (
    "Which rows train the model at which step, and why: the strategy of this partition, with its seed. A strategy "
    "may carry a label, such as `raise-two-rounds`, and settings of its own.\n\n"
    + "\n".join(
        f"- **{one.name}**{' (decides at each step)' if one.dynamic else ''}: {one.title}."
        + (f" {one.source}." if one.source else "")
        for one in REGISTRY.values()
    )
)


@dg.asset(
    deps=["diversity_clusters", "benchmark_splits"],
    partitions_def=EXPERIMENTS,
    group_name="6_selection",
    owners=[OWNER],
    kinds={"lancedb", "pytorch"},
    code_version=CODE_VERSION,
    pool="device",
    description=DESCRIPTION,
)
@tried_again
def curriculum(
    context: dg.AssetExecutionContext,
    config: CurriculumConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
    compute: ComputeSetting,
) -> dg.MaterializeResult:
    """See DESCRIPTION, which names every strategy."""
    name, seed = strategy_and_seed(context)
    strategy = REGISTRY[method_of(name)]
    model = language_model.open(storage)
    auxiliary = _auxiliary_model(config, storage) if "auxiliary" in strategy.needs else None
    stage = begin(
        context,
        storage,
        config,
        asset="curriculum",
        code_version=CODE_VERSION,
        reads=["diversity_clusters", "benchmark_splits"],
        settings={
            "strategy": name,
            "seed": seed,
            "language_model": model.fingerprint(),
            "dtype": model.resolved_dtype(),
            "auxiliary_model": auxiliary.fingerprint() if auxiliary else None,
            "initial_policy": _initial_policy(config) if strategy.name == "raise" else None,
        },
    )
    _keep_own_settings(stage, strategy)
    if again := stage.previous(["curriculum"]):
        return again[0]

    inputs, refused = _inputs(stage, strategy, config, model, auxiliary, compute.open(), seed)
    started = time.monotonic()
    chosen = strategy.select(inputs, config)
    seconds = time.monotonic() - started

    identity = curriculum_id({"inputs": stage.inputs_digest})
    rows = curriculum_table(identity, name, seed, chosen.selections)
    content = rows_digest(rows.to_pylist())
    ref = stage.write(CURRICULUM, rows, mode="append", content=content)
    if inputs.work is not None:
        shutil.rmtree(inputs.work)  # the ledger holds the result; only a run broken off needs the rest
    facts = {
        **chosen.facts,
        "curriculum_id": identity,
        "strategy": name,
        "method": strategy.name,
        "source": strategy.source,
        "seed": seed,
        "steps": inputs.budget.steps,
        "batch_size": inputs.budget.batch_size,
        "repeat_cap": repeat_cap(strategy, config),
        "candidates": len(inputs.pool),
        "auxiliary_model": auxiliary.describe() if auxiliary else None,
        "selecting_seconds": round(seconds, 3),
        "spent": asdict(inputs.spent),
        FACT: measured_losses(chosen.deployed.losses, chosen.deployed.measured_every)
        if chosen.deployed
        else None,
    }
    return stage.result(
        [replace(ref, rows=rows.num_rows)],  # the ledger holds every curriculum; this one made these rows
        shown(stage, strategy, chosen, inputs, rows, refused, seconds),
        content=content,
        facts=facts,
    )


def _keep_own_settings(stage: Stage, strategy: Strategy) -> None:
    """Only what this strategy depends on decides whether its curriculum is made again.

    Places of this machine are left out as well: the settings hold the hashes of what lies there.
    """
    kept = SHARED_SETTINGS | strategy.settings
    stage.configuration = {key: value for key, value in stage.configuration.items() if key in kept}
    if auxiliary := stage.configuration.get("auxiliary"):
        stage.configuration["auxiliary"] = {"maximum_length": auxiliary["maximum_length"]}
    if policy := stage.configuration.get("policy"):
        del policy["initial_policy"]


def _auxiliary_model(config: CurriculumConfig, storage: Storage) -> "LanguageModel | None":
    named = config.auxiliary
    if not named.model:
        return None
    return LanguageModelSetting(model=named.model, revision=named.revision, dtype=named.dtype).open(storage)


def _initial_policy(config: CurriculumConfig) -> str | None:
    """The hash of the trained policy to start from."""
    if not config.policy.initial_policy:
        return None
    folder = Path(config.policy.initial_policy)
    if not folder.is_dir():
        raise SultanaError(
            f"policy.initial_policy is {config.policy.initial_policy!r}, which is no folder",
            "Name the policy_folder that the metadata of a curriculum of strategy raise shows",
            code="policy-missing",
        )
    return digest(folder_manifest(folder))


def _inputs(
    stage: Stage,
    strategy: Strategy,
    config: CurriculumConfig,
    model: "LanguageModel",
    auxiliary: "LanguageModel | None",
    engine: Compute,
    seed: int,
) -> tuple["Inputs", EncodedRows]:
    """All that the strategy may ask for, its requirements checked before anything is encoded or scored."""
    from assets.selection.inputs import Inputs

    clusters = stage.upstream["diversity_clusters"]
    instructions = follow(stage.context.instance, clusters, "instructions").table()
    rewards = [
        row
        for row in stage.tables.read(stage.upstream["benchmark_splits"].table()).to_pylist()
        if row["split"] == "reward"
    ]
    scores = read_scores(stage.tables, instructions) if strategy.score_columns(config) else {}
    check(strategy, config, {name: len(values) for name, values in scores.items()}, len(rewards))

    found = stage.tables.read(instructions, columns=["instruction_id", "messages"]).to_pylist()
    conversations = {row["instruction_id"]: row["messages"] for row in found}
    pool, encoded = read_pool(
        stage.tables,
        clusters=clusters.table(),
        recipes=follow(stage.context.instance, clusters, "interpolated_instructions").table(),
        conversations=conversations,
        tokenizer=model.load_tokenizer(),
        rows=config.pool.value,
        maximum_length=config.maximum_length,
        size=config.candidates,
        seed=config.pool_seed,
    )
    steps = steps_of(strategy.name, config.steps, config.batch_size, config.passes, len(pool))
    budget = Budget(steps, config.batch_size, config.passes)
    check_budget(strategy, budget, len(pool), unlimited=repeat_cap(strategy, config) is None)
    budget.check(pool)

    def vectors(ids: Any) -> Any:
        embeddings = follow(stage.context.instance, clusters, "instruction_embeddings").table()
        return vectors_of(stage.tables, embeddings, ids)

    trains = "training" in strategy.needs
    policy_folder = None
    if strategy.name == "raise":
        policy_folder = stage.storage.path("policies") / stage.inputs_digest[:32]
        shutil.rmtree(policy_folder, ignore_errors=True)  # of a run that ended before its ledger was written
    inputs = Inputs(
        pool=pool,
        budget=budget,
        seed=seed,
        rows=[encoded.rows[row_id] for row_id in pool.row_ids],
        model=model,
        training=training_config(config.training, config.maximum_length, seed),
        conversations=conversations,
        auxiliary_model=auxiliary,
        auxiliary_length=config.auxiliary.maximum_length,
        rewards=rewards,
        reward_size=config.reward_examples,
        read_vectors=vectors,
        read_scores=lambda name: scores.get(name, {}),
        store=FeatureStore(stage.tables, stage.context.run_id),
        work=stage.storage.path("selection", stage.inputs_digest[:32]) if trains else None,
        policy_folder=policy_folder,
        watch=stage.progress,
        compute=engine,
    )
    return inputs, encoded
