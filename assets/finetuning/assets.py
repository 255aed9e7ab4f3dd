"""The door of the stage `finetuning`: a curriculum becomes a registered checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.finetuning.config import CheckpointConfig
from assets.finetuning.curves import MeasuredCurve, loss_plot, summary, tracked_metrics, tracked_plots
from assets.finetuning.encoding import ChatEncoder
from assets.finetuning.processes import train_in_processes
from assets.finetuning.rows import read_batches
from assets.finetuning.session import check_settings, training_config
from assets.finetuning.soundness import recorded_losses
from assets.materialization import OWNER, Stage, begin, environment
from assets.materialized import Materialized, follow
from assets.partitions import EXPERIMENTS, strategy_and_seed
from assets.presentation import plot, png, table
from assets.records import ID_LENGTH, digest
from assets.retries import tried_again
from resources.definitions import LanguageModelSetting, ModelRegistry, Storage
from resources.files import folder_manifest
from resources.model_flavor import write_flavor
from resources.tracking import CANDIDATE, InputTable

if TYPE_CHECKING:
    from assets.finetuning.loop import TrainingResult
    from assets.finetuning.training_row import StepMetrics, TrainingRow
    from resources.language_model import LanguageModel

CODE_VERSION = "2"


@dg.asset(
    deps=["curriculum", "benchmark_splits"],
    partitions_def=EXPERIMENTS,
    group_name="7_finetuning",
    owners=[OWNER],
    kinds={"pytorch", "huggingface", "mlflow"},
    code_version=CODE_VERSION,
    pool="device",
)
@tried_again
def checkpoint(
    context: dg.AssetExecutionContext,
    config: CheckpointConfig,
    storage: Storage,
    language_model: LanguageModelSetting,
    registry: ModelRegistry,
) -> dg.MaterializeResult:
    """A model fine-tuned on the curriculum alone, in the ledger's order, and registered in MLflow.

    LoRA by default. Interpolated rows are mixed as their recipes say, with the exact two-sided loss (MDIT
    section 3). A killed run goes on from its last complete state and ends with the same weights.
    """
    strategy, seed = strategy_and_seed(context)
    model = language_model.open(storage)
    stage = begin(
        context,
        storage,
        config,
        asset="checkpoint",
        code_version=CODE_VERSION,
        reads=["benchmark_splits"],
        reads_partition=["curriculum"],
        settings={
            "seed": seed + config.seed,
            "language_model": model.fingerprint(),
            "registered_model": registry.registered_model,
        },
    )
    if again := stage.previous(["checkpoint"]):
        return again[0]

    check_settings(config)
    sources = _sources(stage)
    tokenizer = model.load_tokenizer()
    maximum_length = int(sources["curriculum"].record["configuration"]["maximum_length"])
    batches = read_batches(
        stage.tables,
        curriculum=sources["curriculum"].table(),
        curriculum_id=sources["curriculum"].record["facts"]["curriculum_id"],
        instructions=sources["instructions"].table(),
        interpolated=sources["interpolated_instructions"].table(),
        tokenizer=tokenizer,
        maximum_length=maximum_length,
    )
    result, reward, folder = _train(stage, config, model, tokenizer, batches, maximum_length)
    files = folder / "weights"
    weights_manifest = folder_manifest(files)
    # What is added now names a folder of this machine: it is no part of what the checkpoint is known by.
    weights_sha256 = digest(weights_manifest)
    write_flavor(files, model, tokenizer, ChatEncoder(tokenizer).template)
    flavor = dict(folder_manifest(files).items() - weights_manifest.items())
    curriculum_id = sources["curriculum"].record["facts"]["curriculum_id"]
    inputs = _inputs(stage, sources)
    settings = config.model_dump(mode="json", exclude={"training", "seed"})
    training = config.training.model_dump(mode="json")
    published = registry.open(storage).publish(
        name=registry.registered_model,
        idempotency_key=digest([stage.inputs_digest, flavor]),
        files=files,
        parameters={
            **{f"training.{name}": value for name, value in training.items()},
            **settings,
            "strategy": strategy,
            "seed": seed,
            "training_seed": stage.settings["seed"],
            "base_model": model.name,
            "base_model_fingerprint": model.fingerprint(),
            "steps": len(batches),
            "batch_size": len(batches[0]),
            "maximum_length": maximum_length,
            "curriculum_id": curriculum_id,
            "git_commit": environment()["git_commit"],
        },
        step_metrics=tracked_metrics(result, reward),
        inputs=inputs,
        tags={
            "dagster.run_id": context.run_id,
            "dagster.asset_key": "checkpoint",
            "dagster.partition": str(stage.partition),
            "sultana.inputs_digest": stage.inputs_digest,
        },
        aliases=[f"{strategy}-seed-{seed}", CANDIDATE],
        artifacts=tracked_plots(result, reward, png),
        run_name=stage.title,
    )
    # The registry holds the result now; what only a resumed run would need can go.
    shutil.rmtree(folder)
    return stage.result(
        [],
        {
            "model": f"{published.model_name} version {published.version}",
            "mlflow_run_id": published.run_id,
            "loss": plot(loss_plot(result, reward), title="Loss", x="optimizer step", y="nats per token"),
            **summary(result),
            "resumed_from_step": 0 if result.resumed_from is None else result.resumed_from,
            "files": published.source,
            "inputs": table(
                [{"table": one.name, "version": one.version, "rows": one.rows} for one in inputs]
            ),
        },
        content=weights_sha256,
        facts={
            "checkpoint_id": weights_sha256[:ID_LENGTH],
            "model": published.model_name,
            "version": published.version,
            "mlflow_run_id": published.run_id,
            "files_manifest_sha256": published.manifest_sha256,
            "language_model": model.fingerprint(),
            "language_model_name": model.name,
            "curriculum_id": curriculum_id,
            "training_data_sha256": result.data_digest,
            "losses": recorded_losses(result, reward),
            "split_sha256": stage.upstream["benchmark_splits"].record["facts"]["split_sha256"],
        },
    )


def _sources(stage: Stage) -> dict[str, Materialized]:
    """The materializations whose rows training reads: those that the curriculum was made from."""
    instance = stage.context.instance
    curriculum = stage.upstream["curriculum"]
    clusters = follow(instance, curriculum, "diversity_clusters")
    return {
        "curriculum": curriculum,
        "instructions": follow(instance, clusters, "instructions"),
        "interpolated_instructions": follow(instance, clusters, "interpolated_instructions"),
        "benchmark_splits": stage.upstream["benchmark_splits"],
    }


def _inputs(stage: Stage, sources: Mapping[str, Materialized]) -> list[InputTable]:
    refs = {name: made.table() for name, made in sources.items()}
    return [
        InputTable(
            name,
            str(stage.tables.path(ref.table)),
            ref.version,
            ref.digest,
            ref.rows,
            stage.tables.open(ref).schema,
        )
        for name, ref in refs.items()
    ]


def _train(
    stage: Stage,
    config: CheckpointConfig,
    model: "LanguageModel",
    tokenizer: Any,
    batches: list[list["TrainingRow"]],
    maximum_length: int,
) -> tuple["TrainingResult", list[tuple[int, float]], Path]:
    """Trains, resuming where a killed run stopped; the result, the losses on the reward split, the folder used."""
    from assets.finetuning.examples import encode_examples
    from assets.finetuning.training_job import REWARD_CURVE, TrainingJob, run_job

    held_out, rewarded = (
        encode_examples(
            stage.tables,
            stage.upstream["benchmark_splits"].table(),
            split,
            tokenizer=tokenizer,
            maximum_length=maximum_length,
            most=config.early_stopping_examples,
        ).examples
        for split in ("early_stopping", "reward")
    )
    job = TrainingJob(
        config=training_config(config.training, maximum_length, stage.settings["seed"]),
        batches=batches,
        held_out=held_out,
        rewarded=rewarded,
        fingerprint=model.fingerprint(),
        save_every=config.save_every,
        # Without `early_stopping_every` the only measurement after a step is the last one, whose weights then count.
        measure_every=config.early_stopping_every or len(batches),
        patience=config.early_stopping_patience or len(batches) + 1,
        sharding=config.sharding.value,
    )
    folder = stage.storage.path("checkpoints", stage.inputs_digest[:32])
    with stage.progress("training", len(batches), "steps") as progress:

        def on_step(metrics: "StepMetrics") -> None:
            progress.to(metrics.step + 1)

        if config.processes == 1:
            result = run_job(job, model.load(), folder, on_step)
        else:
            result = train_in_processes(
                job,
                model.files(),
                model.resolved_dtype(),
                folder,
                processes=config.processes,
                on_step=on_step,
            )
    return result, MeasuredCurve(folder / REWARD_CURVE).at(result.measures), folder
