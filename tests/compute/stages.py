"""What each stage makes of small real inputs with an engine, as bytes and numbers to compare."""

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from resources.compute.boundary import Compute
from resources.orphans import files_of_no_version, remove_files
from resources.table_fragments import Written
from resources.table_refs import Provenance, TableRef
from resources.table_verification import verify_version
from resources.tables import LanceTables

ROWS = 3000
Made = dict[str, Any]
"""Arrays, by what they are."""


def texts(count: int = ROWS) -> list[str]:
    """Texts of which a tenth repeat another but for case, and some are empty."""
    random = np.random.default_rng(7)
    words = [f"word{number}" for number in range(400)]
    found = [" ".join(random.choice(words, size=random.integers(4, 40))) for _ in range(count)]
    for place in range(0, count, 10):
        found[place] = found[place - 1].title() if place else ""
    return found


def embedding(compute: Compute, folder: Path) -> Made:
    """Vectors of 192 texts by the embedded embedder, in 12 parts that workers write, committed two at a time."""
    from assets.embeddings.embed import embed_rows, missing_rows
    from assets.records import INSTRUCTIONS, embeddings_record
    from resources.embedder import SentenceEmbedder
    from resources.table_fragments import in_portions

    tables = LanceTables(Path(tempfile.mkdtemp(dir=folder)) / "lance")
    given = [
        {
            "instruction_id": f"{number * 5 % 192:032x}",
            "task": None,
            "messages": [{"role": "user", "content": text}],
            "origins": [],
            "scores": None,
        }
        for number, text in enumerate(texts(192))
    ]
    rows = pa.Table.from_pylist(given, schema=INSTRUCTIONS.schema)
    read = tables.write(
        INSTRUCTIONS, rows, mode="overwrite", provenance=Provenance("run", "instructions", "1")
    )
    embedder = SentenceEmbedder(device="cpu")
    record = embeddings_record("stage", embedder.dimension)
    places = missing_rows(rows["instruction_id"], pa.array([], pa.string()))
    with tables.fragments(record) as target:
        parts = embed_rows(
            tables.folder(read.table), read, places, target, embedder, batch_rows=16, compute=compute
        )
        for number, portion in enumerate(in_portions(target.folder, parts, lambda rows, _: rows == 32)):
            made = tables.write(
                record,
                portion,
                mode="upsert" if number else "overwrite",
                provenance=Provenance("run", "embeddings", str(number)),
            )
    found = tables.read(made)
    return {
        "ids": found["instruction_id"].to_pylist(),
        "vectors": np.stack(found["vector"].to_numpy(zero_copy_only=False)),
        "digest": made.digest,
        **sound(tables, made),
    }


def sound(tables: LanceTables, made: TableRef) -> Made:
    """How many versions there are, what is wrong with the last, and how many files of none the clean-up leaves."""
    with tables.locked(made.table):
        remove_files(tables.folder(made.table), files_of_no_version(tables, made.table))
        left = files_of_no_version(tables, made.table)
    problems = verify_version(tables, made, every_row=True).problems
    return {
        "versions": len(tables.versions(made.table)),
        "problems": [*map(str, problems), *map(str, tables.check())],
        "orphans": len(left),
    }


def reading(compute: Compute, folder: Path) -> Made:
    """Rows of files of lines, of which some are cut, of an array, a table and a packed file, as workers write them."""
    from assets.instructions import parts
    from assets.instructions.raw import ReadCounts, SourceSpec
    from assets.records import RAW_INSTRUCTIONS
    from resources.table_fragments import all_together

    parts.PART_BYTES = 30_000
    place = Path(tempfile.mkdtemp(dir=folder))
    sources = place / "sources"
    sources.mkdir()
    lines = [json.dumps({"prompt": text, "completion": "Yes."}).encode() for text in texts()]
    lines[5::100] = [b"broken"] * len(lines[5::100])
    (sources / "a.jsonl").write_bytes(b"\n".join(lines[:1500]))
    (sources / "array.json").write_bytes(b"[" + b",".join(lines[1506:1600]) + b"]")
    (sources / "packed.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[1600:2000]), mtime=0))
    (sources / "table.csv").write_bytes(b'prompt,completion\n"a\nb",c\n' + b"d,e\n" * 400 + b"f,g,h\n")
    (sources / "z.jsonl").write_bytes(b"\n".join(lines[2000:]) + b"\n")
    specs = [SourceSpec("one", str(sources)), SourceSpec("two", str(sources / "a.jsonl"))]
    tables, counts = LanceTables(place / "lance"), ReadCounts()
    problems: Counter[str] = Counter()
    with tables.fragments(RAW_INSTRUCTIONS) as target:

        def written() -> Iterator[Written]:
            for part in parts.read_parts(specs, target, compute, copies=place, counts=counts):
                assert part.written is not None
                problems.update(part.tally.problems)
                yield part.written

        made = tables.write(
            RAW_INSTRUCTIONS,
            all_together(target.folder, written()),
            mode="overwrite",
            provenance=Provenance("run", "raw_instructions", "1"),
        )
    return {
        "rows": tables.read(made).to_pylist(),
        "counts": counts,
        "reasons": problems,
        "digest": made.digest,
        **sound(tables, made),
    }


def duplicates(compute: Compute) -> Made:
    """Near-duplicates among texts, in blocks of 4,096."""
    from assets.instructions.duplicates import near_duplicates

    given = texts(4 * ROWS)
    ids = [f"{number:032x}" for number in range(len(given))]
    return {"duplicates": near_duplicates(given, ids, compute=compute)}


def contamination(compute: Compute) -> Made:
    """Rows that hold benchmark texts."""
    from assets.instructions.contamination import contaminated

    given = texts(4 * ROWS)
    ids = [f"{number:032x}" for number in range(len(given))]
    collisions = contaminated(given, ids, given[5::97], ids[5::97], n=5, threshold=0.5, compute=compute)
    return {"collisions": collisions}


def clusters(compute: Compute) -> Made:
    """Clusters, densities and representatives of originals and mixes, fitted on all rows."""
    from assets.diversity.clusters import cluster
    from assets.diversity.merged import merge

    random = np.random.default_rng(3)
    count, dimension = 60_000, 16
    centres = random.normal(size=(40, dimension)) * 2
    points = (centres[random.integers(40, size=count)] + random.normal(size=(count, dimension))).astype(
        np.float32
    )
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ids = pa.array([f"{number:032x}" for number in range(count)])
    mixes = pa.array([f"f{number:031x}" for number in range(count)])
    parents = [ids.take(pa.array(random.integers(count, size=count))) for _ in range(2)]
    rows = merge(ids, points, mixes, parents[0], parents[1], random.random(count))
    return {"table": cluster(rows, clusters=40, representatives=0.1, seed=5, compute=compute)}


def scores(compute: Compute, folder: Path) -> Made:
    """Log-probabilities and states of rows by a small model, in blocks of 128; and the order of IFD."""
    from assets.selection.auxiliary import auxiliary_features, scorer_id

    model, rows = small_language_model(folder), training_rows(folder, 600)
    found, scored = auxiliary_features(
        rows,
        model,
        scorer=scorer_id(model, "", 64),
        watch=lambda label, total, unit: nullcontext(Silent()),
        compute=compute,
    )
    ratios = (found.given_prompt / found.alone).argsort(kind="stable")
    return {
        "scored": scored,
        "given_prompt": found.given_prompt,
        "alone": found.alone,
        "hidden": found.hidden,
        "order": ratios,
    }


def gradients(compute: Compute, folder: Path) -> Made:
    """LESS: projected gradients of each row after each epoch of a warm-up, and what it chooses."""
    from assets.selection.config import LessSettings
    from assets.selection.less import less

    inputs = gradient_inputs(compute, folder, 160)
    chosen = less(inputs, LessSettings(dimensions=512, warmup_share=0.2, epochs=2))
    return {"selections": chosen.selections, "differentiated": inputs.spent.rows_differentiated}


def alignment(compute: Compute, folder: Path) -> Made:
    """Batches of training steps, each from the gradients of 48 rows at that step's weights."""
    from assets.selection.config import GradientAlignmentSettings
    from assets.selection.gradient_alignment import gradient_alignment

    inputs = gradient_inputs(compute, folder, 160)
    chosen = gradient_alignment(inputs, GradientAlignmentSettings(candidates=48, reward_examples=6))
    return {"selections": chosen.selections, "differentiated": inputs.spent.rows_differentiated}


def evaluation(compute: Compute, folder: Path) -> Made:
    """Losses and greedy answers of examples by a tuned model, and choices and texts as benchmarks ask for them."""
    from assets.evaluation.benchmarks.generation import generate_until
    from assets.evaluation.benchmarks.likelihood import log_likelihoods
    from assets.evaluation.harness import exact_match
    from assets.evaluation.loaded import loaded
    from assets.evaluation.losses import response_losses
    from assets.finetuning.scoring import Example

    rows = training_rows(folder, 240)
    examples = [
        Example(row.row_id, f"task-{number % 2}", row.parents[0], "12") for number, row in enumerate(rows)
    ]
    prompts = [row.parents[0].prompt_ids.tolist() for row in rows]
    pairs = [
        (prompt, row.parents[0].response_ids.tolist()) for prompt, row in zip(prompts, rows, strict=True)
    ]
    with loaded(tuned_model(folder), compute) as model:
        loss = response_losses(model, examples, batch_tokens=256)
        answers = exact_match(model, examples, maximum_new_tokens=8, batch_tokens=256)
        choices = log_likelihoods(model, pairs, maximum_length=64, batch_tokens=256)
        texts = generate_until(model, 4 * prompts, until=["a"], maximum_new_tokens=8)
    return {
        "loss": (loss.mean, loss.per_task, loss.tokens),
        "losses": loss.per_example,
        "answers": answers.predictions,
        "accuracy": answers.per_task,
        "choices": choices,
        "texts": texts,
    }


def raise_scores(compute: Compute) -> Made:
    """Two steps' batches, chosen by a policy from a pool of which scores are made in parts."""
    import torch

    from assets.selection.raise_policy import pool_scorer
    from assets.selection.raise_policy.acquisition import AcquisitionFunction
    from assets.selection.raise_policy.config import RaiseConfig
    from assets.selection.raise_policy.rollout import collect
    from assets.selection.raise_policy.scoring import Classes, StaticFeatures
    from assets.selection.raise_policy.select import GumbelNoise

    random = np.random.default_rng(13)
    count = pool_scorer.FEWEST_ROWS + 1234
    static = StaticFeatures(random.standard_normal((count, 12), dtype=np.float32))
    classes = Classes.of(random.integers(5, size=count))
    config = RaiseConfig(steps=2, batch_size=40, seed=3)
    made: Made = {}
    with pool_scorer.scorers(static, compute) as scorer_of:
        for seed in (0, 1):
            function = AcquisitionFunction(12, config.hidden, seed)
            episode = collect(
                Still(), function, static, classes, config, GumbelNoise(seed), scorer_of(function)
            )
            made |= {
                f"rows {seed}": episode.actions.numpy(),
                f"log-probabilities {seed}": episode.log_probabilities.numpy(),
                f"scores {seed}": torch.stack([batch.scores for batch in episode.batches]).numpy(),
            }
    return made


def gradient_inputs(compute: Compute, folder: Path, count: int) -> Any:
    """`Inputs` of rows of the small model, and a reward split of two tasks."""
    from assets.finetuning.scoring import Example
    from assets.finetuning.training_config import TrainingConfig
    from assets.selection.inputs import Inputs
    from assets.selection.pool import Budget, Pool

    rows = training_rows(folder, count)
    names = [row.row_id for row in rows]
    inputs = Inputs(
        pool=Pool.build(names, ["original"] * len(rows), [0] * len(rows), [8] * len(rows)),
        budget=Budget(4, 8, 1),
        seed=2,
        rows=rows,
        model=small_language_model(folder),
        training=TrainingConfig(rank=4, learning_rate=1e-2, schedule="constant", gradient_clip=0),
        compute=compute,
    )
    inputs.__dict__["reward_examples"] = [
        Example(row.row_id, f"task-{number % 2}", row.parents[0]) for number, row in enumerate(rows[:8])
    ]
    return inputs


def tuned_model(folder: Path) -> Any:
    """The small model with an adapter of three training steps in it, written once."""
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.tuned_model import TunedModel

    base, tuned = small_language_model(folder), folder / "tuned"
    if not tuned.exists():
        config = TrainingConfig(rank=4, learning_rate=1e-2, schedule="constant", gradient_clip=0)
        session = TrainingSession(base.load(), config, 3, base.fingerprint())
        for step in range(3):
            session.step(training_rows(folder, 24)[8 * step : 8 * step + 8])
        session.save_weights(tuned)
    return TunedModel(base, tuned)


class Still:
    """A training run that comes to nothing."""

    def reset(self) -> float:
        """The performance before the first step."""
        return -1.0

    def step(self, rows: Any) -> float:
        """The performance after a step."""
        return -1.0


class Silent:
    """Progress that nobody sees."""

    def advance(self, count: float = 1) -> None:
        """Nothing."""


def small_language_model(folder: Path) -> Any:
    """A language model of random weights in `folder`, written once."""
    from small_models import tiny_llama, tiny_tokenizer

    from resources.language_model import LanguageModel

    small = folder / "small"
    if not small.exists():
        tiny_llama().save_pretrained(small)
        tiny_tokenizer().save_pretrained(small)
    return LanguageModel(str(small), dtype="float32")


def training_rows(folder: Path, count: int) -> list[Any]:
    """Rows of the small model's tokens, of many lengths."""
    from assets.finetuning.encoding import Encoded
    from assets.finetuning.training_row import TrainingRow

    random = np.random.default_rng(11)
    rows = []
    for number in range(count):
        length = int(random.integers(6, 48))
        start = int(random.integers(2, length - 2))
        ids = random.integers(3, 40, size=length).astype(np.int32)
        encoded = Encoded(f"{number:032x}", ids, np.arange(length) >= start, start)
        rows.append(TrainingRow(encoded.row_id, (encoded,)))
    return rows


STAGES: dict[str, Callable[..., Made]] = {
    "reading": reading,
    "embedding": embedding,
    "near-duplicates": duplicates,
    "contamination": contamination,
    "clusters": clusters,
    "scores": scores,
    "gradients": gradients,
    "gradient-alignment": alignment,
    "evaluation": evaluation,
    "raise-scores": raise_scores,
}
