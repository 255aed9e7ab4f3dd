"""What MDIT costs: recipes against stored mixes, and a training step on mixes against one on originals."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.corpora import write_corpus
from tests.benchmarks.runner import say
from tests.benchmarks.sides import rows_of

RECIPES = 1_000_000
STORED = 200
"""Mixes that are stored for comparison; a million would take hundreds of gigabytes."""

STEPS = 12
BATCH = 8
MAXIMUM_LENGTH = 256


def recipes(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """Recipes drawn and written a CPU-second, and bytes each, against mixed embeddings of the same pairs."""
    from assets.interpolation.alignment import align
    from assets.interpolation.mixing import collate, mixed_embeddings
    from assets.interpolation.recipes import draw_recipes
    from assets.records import INTERPOLATED_INSTRUCTIONS
    from resources.table_refs import Provenance
    from resources.tables import LanceTables

    count = rows or RECIPES
    encoded, model = _encoded(folder, 4000)
    ids = [row.row_id for row in encoded]
    tasks = [f"task {int(name[:8], 16) % 40}" for name in ids]
    ours, stored = [], []
    for run in range(runs):
        tables = LanceTables(folder / f"tables-{run}")
        started = time.process_time()
        table = draw_recipes(ids, tasks, count=count, seed=run)
        provenance = Provenance("bench", "interpolated_instructions", str(run))
        ref = tables.write(INTERPOLATED_INSTRUCTIONS, table, mode="overwrite", provenance=provenance)
        ours.append(
            (count / (time.process_time() - started), _size(tables.path(ref.table), "*.lance") / count)
        )

        by_id = {row.row_id: row for row in encoded}
        started = time.process_time()
        target = folder / f"mixes-{run}"
        target.mkdir()
        for number, row in enumerate(table.slice(0, STORED).to_pylist()):
            aligned = align((by_id[row["parent_a"]], by_id[row["parent_b"]]), row["lambda"])
            mixed = mixed_embeddings(model.get_input_embeddings(), collate([aligned])).detach()
            np.save(target / f"{number}.embeddings.npy", mixed[0].half().numpy())
            np.save(target / f"{number}.labels.npy", aligned.ids.astype(np.int32))
            np.save(target / f"{number}.weights.npy", aligned.label_weights.astype(np.float16))
        stored.append((STORED / (time.process_time() - started), _size(target, "*.npy") / STORED))
        say(
            f"recipes {run + 1}/{runs}: {ours[-1][0]:,.0f} recipes a CPU-second, {ours[-1][1]:.1f} bytes each with "
            f"its id; stored mixes {stored[-1][0]:,.0f} a CPU-second, {stored[-1][1]:,.0f} bytes each"
        )
    rate, size = (statistics.median(values) for values in zip(*ours, strict=True))
    other_rate, other_size = (statistics.median(values) for values in zip(*stored, strict=True))
    say(
        f"recipes: {rate / other_rate:,.0f} times the rate of stored mixes, 1/{other_size / size:,.0f} of the bytes"
    )
    return {
        "name": "recipes",
        "recipes": count,
        "ours": {"rate": rate, "bytes": size},
        "stored_mixes": {"rate": other_rate, "bytes": other_size, "dtype": "float16, labels not one-hot"},
        "unit": "rows per CPU-second, bytes per row with its id (32 hexadecimal digits)",
        "runs": runs,
    }


def mixing(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """A step of LoRA on mixes against one on originals, in turn, in one session.

    Once with rows of the same shape, which is what mixing itself costs, and once with real pairs, per real
    token, since a mix is as long as the longer prompt and the longer response of its parents.
    """
    from assets.finetuning.encoding import Encoded
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow

    encoded, model = _encoded(folder, rows or 2000)
    steps = STEPS * runs
    session = TrainingSession(
        (model, None), TrainingConfig(maximum_length=MAXIMUM_LENGTH), total_steps=10 * steps
    )
    generator = np.random.default_rng(0)
    shape: list[float] = []
    token: list[float] = []
    for number in range(steps + 1):
        chosen = [encoded[place] for place in generator.permutation(len(encoded))[: 2 * BATCH]]
        first, second = chosen[:BATCH], chosen[BATCH:]
        twins = [
            Encoded(row.row_id, generator.permutation(row.ids), row.trained, row.response_start)
            for row in first
        ]
        weights = generator.beta(0.4, 0.4, BATCH).clip(0.01, 0.99)
        plain = [TrainingRow(row.row_id, (row,)) for row in first]
        same = [
            TrainingRow(row.row_id, (row, twin), mixing=float(weight))
            for row, twin, weight in zip(first, twins, weights, strict=True)
        ]
        real = [
            TrainingRow(row.row_id, (row, other), mixing=float(weight))
            for row, other, weight in zip(first, second, weights, strict=True)
        ]
        ways: list[list[TrainingRow]] = [plain, same, real]
        seconds, tokens = [0.0] * 3, [0] * 3
        for way in generator.permutation(3):
            started = time.process_time()
            tokens[way] = session.step(ways[way]).tokens
            seconds[way] = time.process_time() - started
        if number:  # the first one warms up
            shape.append(seconds[1] / seconds[0])
            token.append(seconds[2] / tokens[2] / (seconds[0] / tokens[0]))
    results = {}
    for name, ratios in (("same shape", shape), ("real pairs, per real token", token)):
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        results[name] = {"ratio": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)]}
        say(
            f"mixing, {name}: {middle:.3f} of a plain step (quartiles {low:.3f} to {high:.3f}, {len(ratios)} steps)"
        )
    return {"name": "mixing", "unit": "CPU time of a step against plain SFT", "steps": len(shape), **results}


def _encoded(folder: Path, rows: int) -> tuple[list[Any], Any]:
    """Rows of the corpus that fit, and the embedded model, on one thread."""
    import torch

    from assets.finetuning.encoding import ChatEncoder
    from assets.identity import instruction_id
    from resources.language_model import LanguageModel

    torch.set_num_threads(1)
    corpus, _ = write_corpus(folder, rows)
    model, tokenizer = LanguageModel(folder=Path("data") / "models").load()
    conversations = [
        [
            {"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()},
            {"role": "assistant", "content": row["output"]},
        ]
        for row in rows_of(corpus)
        if row["output"].strip()
    ]
    by_id = {instruction_id(messages): messages for messages in conversations}
    encoded, _ = ChatEncoder(tokenizer).encode_all(list(by_id.items()), MAXIMUM_LENGTH)
    return encoded, model


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())
