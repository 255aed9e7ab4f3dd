"""The door of the stage `finetuning`: a curriculum becomes a registered checkpoint."""

import shutil
from collections.abc import Mapping

import dagster as dg

from assets.finetuning.config import CheckpointConfig
from assets.finetuning.curves import loss_plot, summary, tracked_metrics, tracked_plots
from assets.finetuning.encoding import ChatEncoder
from assets.finetuning.soundness import recorded_losses
from assets.finetuning.training_run import TrainedFrom, train_from_ledger
from assets.identity import ID_LENGTH, digest
from assets.materialization import OWNER, Stage, begin, environment, installed_packages
from assets.materialized import Materialized, follow
from assets.partitions import EXPERIMENTS, strategy_and_seed
from assets.presentation import plot, png, table
from assets.retries import tried_again
from resources.definitions import ComputeSetting, LanguageModelSetting, ModelRegistry, Storage
from resources.files import folder_manifest
from resources.model_flavor import write_flavor
from resources.tracking import CANDIDATE, InputTable

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
    compute: ComputeSetting,
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

    sources = _sources(stage)
    maximum_length = int(sources["curriculum"].record["configuration"]["maximum_length"])
    curriculum_id = sources["curriculum"].record["facts"]["curriculum_id"]
    folder = compute.training_folder(storage, config.processes, stage.inputs_digest[:32])
    with stage.progress("training", None, "steps") as progress:
        trained = train_from_ledger(
            TrainedFrom(
                stage.tables,
                curriculum=sources["curriculum"].table(),
                curriculum_id=curriculum_id,
                instructions=sources["instructions"].table(),
                recipes=sources["interpolated_instructions"].table(),
                splits=sources["benchmark_splits"].table(),
                maximum_length=maximum_length,
            ),
            config,
            model,
            stage.settings["seed"],
            folder,
            progress,
            compute.open(),
        )
    result, reward, files = trained.result, trained.reward, trained.weights
    weights_manifest = folder_manifest(files)
    # What is added now names a folder of this machine: it is no part of what the checkpoint is known by.
    weights_sha256 = digest(weights_manifest)
    tokenizer = model.load_tokenizer()
    write_flavor(files, model, tokenizer, ChatEncoder(tokenizer).template)
    flavor = dict(folder_manifest(files).items() - weights_manifest.items())
    inputs = _inputs(stage, sources)
    settings = config.model_dump(mode="json", exclude={"training", "seed"})
    training = config.training.model_dump(mode="json")
    tracking, metrics = stage.registry(registry), tracked_metrics(result, reward)
    published = tracking.publish(
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
            "steps": trained.steps,
            "batch_size": trained.batch_size,
            "maximum_length": maximum_length,
            "curriculum_id": curriculum_id,
            "git_commit": environment()["git_commit"],
        },
        step_metrics=metrics,
        inputs=inputs,
        tags={
            "dagster.run_id": context.run_id,
            "dagster.asset_key": "checkpoint",
            "dagster.partition": str(stage.partition),
            "dagster.data_version": stage.data_version(weights_sha256),
            "sultana.inputs_digest": stage.inputs_digest,
        },
        aliases=[f"{strategy}-seed-{seed}", CANDIDATE],
        artifacts=tracked_plots(result, reward, png),
        run_name=stage.title,
    )
    names = sorted({name for row in metrics for name in row} - {"step"})
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
            "language_model_dtype": model.resolved_dtype(),
            "curriculum_id": curriculum_id,
            "installed_packages": installed_packages(),
            "logged": {"metric_names": names, **tracking.logged(published.run_id, names)},
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
            stage.tables.folder(ref.table).uri,
            ref.version,
            ref.digest,
            ref.rows,
            stage.tables.schema(ref),
        )
        for name, ref in refs.items()
    ]
