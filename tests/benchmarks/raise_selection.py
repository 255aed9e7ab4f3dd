"""What RAISE's selection costs beside the training it is for, and that its memory does not grow with the pool.

Each measurement is a process of its own. Selection and the policy's update run over random features, with four
classes and the default networks; the training step is one of the embedded model on a batch as long as it is
said to be. Memory is the peak of the process beyond what it held before its first selection, the static
features excepted where it says so.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.runner import run_side, say

POOL = 52_000
LARGE_POOL = 1_000_000
MAPPED_POOL = 10_000_000
COLUMNS, CLASSES = 36, 4
BATCH, TOKENS = 16, 256
EPISODE = 49  # steps of the paper's runs at 1 % of Alpaca and 32 rows a step
EPISODE_BATCH = 32
BLOCK = 100_000


def raise_selection(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """The line for data/bench.jsonl. `rows` is the size of the small pool."""
    pool = rows or POOL
    selection = [run_side("raise_selection", "selection", folder, pool, threads=None) for _ in range(runs)]
    training = run_side("raise_selection", "training", folder, 0, threads=None)
    milliseconds = statistics.median(one["milliseconds"] for one in selection)
    share = milliseconds / 1000 / training["seconds"]
    say(
        f"raise_selection: {milliseconds:.1f} ms select {BATCH} of {pool:,} rows, {share:.2%} of a training step "
        f"of {BATCH} x {TOKENS} tokens, {training['seconds']:.2f} s"
    )
    whole = run_side("raise_selection", "round", folder, LARGE_POOL, threads=None)
    say(
        f"raise_selection: {EPISODE} steps and an update over {LARGE_POOL:,} rows hold {whole['mebibytes']:.0f} MiB, "
        f"of which the features are {whole['features_mebibytes']:.0f}"
    )
    mapped = run_side("raise_selection", "mapped", folder, MAPPED_POOL, threads=None)
    say(
        f"raise_selection: {MAPPED_POOL:,} memory-mapped rows, {mapped['seconds']:.1f} s a step, "
        f"{mapped['mebibytes']:.0f} MiB beside the file"
    )
    return {
        "name": "raise_selection",
        "unit": "milliseconds a step, one thread; MiB",
        "runs": runs,
        "rows": pool,
        "select_milliseconds": round(milliseconds, 2),
        "training_step_seconds": round(training["seconds"], 3),
        "share_of_a_training_step": round(share, 5),
        "update_milliseconds_a_step": round(
            statistics.median(one["update_milliseconds"] for one in selection), 2
        ),
        "large_pool": {"rows": LARGE_POOL, **whole},
        "memory_mapped_pool": {"rows": MAPPED_POOL, **mapped},
    }


class _Flat:
    """An environment without a model."""

    def reset(self) -> float:
        return -1.0

    def step(self, rows: Any) -> float:
        return -1.0 + 1e-6 * (sum(rows) % 1000)


def _round(features: "np.ndarray[Any, Any]", steps: int, batch_size: int) -> tuple[float, float]:
    """Seconds of an episode's selections and of one update over it (all its epochs)."""
    import torch

    from assets.selection.raise_policy.acquisition import AcquisitionFunction, Critic
    from assets.selection.raise_policy.config import RaiseConfig
    from assets.selection.raise_policy.ppo import update
    from assets.selection.raise_policy.rollout import collect
    from assets.selection.raise_policy.scoring import Classes, StaticFeatures, one_thread
    from assets.selection.raise_policy.select import GumbelNoise

    static = StaticFeatures(features)
    classes = Classes.of(np.arange(len(features), dtype=np.int32) % CLASSES)
    config = RaiseConfig(steps=steps, batch_size=batch_size)
    function, critic = AcquisitionFunction(COLUMNS, config.hidden, 0), Critic(config.critic_hidden, 1)
    started = time.perf_counter()
    episode = collect(_Flat(), function, static, classes, config, GumbelNoise(0))
    selected = time.perf_counter()
    optimizers = [torch.optim.AdamW(network.parameters(), lr=1e-3) for network in (function, critic)]
    generator = torch.Generator().manual_seed(0)
    with one_thread():
        update(function, critic, *optimizers, [episode], static, classes, config, generator)
    return selected - started, time.perf_counter() - selected


def _blocks(rows: int) -> Iterator[tuple[int, "np.ndarray[Any, Any]"]]:
    generator = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        yield start, generator.standard_normal((count, COLUMNS), dtype=np.float32)


def _features(rows: int) -> "np.ndarray[Any, Any]":
    found = np.empty((rows, COLUMNS), dtype=np.float32)
    for start, block in _blocks(rows):
        found[start : start + len(block)] = block
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def selection(folder: Path, rows: int) -> dict[str, float]:
    """Milliseconds of selecting a batch, and of the update for a step of the episode."""
    features = _features(rows)
    _round(features[:2_000], 2, BATCH)
    steps = 20
    selecting, updating = _round(features, steps, BATCH)
    return {"milliseconds": 1000 * selecting / steps, "update_milliseconds": 1000 * updating / steps}


def training(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of a training step, the fastest of three."""
    from assets.finetuning.encoding import Encoded
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow
    from resources.language_model import LanguageModel

    generator = np.random.default_rng(0)
    batch = []
    for number in range(BATCH):
        ids = tuple(generator.integers(1000, 40_000, TOKENS).tolist())
        trained = tuple(place >= TOKENS // 2 for place in range(TOKENS))
        batch.append(TrainingRow(str(number), (Encoded(str(number), ids, trained, TOKENS // 2),)))
    session = TrainingSession(
        LanguageModel(folder=folder / "models").load(), TrainingConfig(maximum_length=TOKENS), 3
    )
    return {"seconds": min(session.step(batch).seconds for _ in range(3))}


def whole_round(folder: Path, rows: int) -> dict[str, float]:
    """Peak memory of an episode and an update over it, static features included; one epoch of seconds."""
    _round(_features(2_000), 2, EPISODE_BATCH)
    before = _peak()
    features = _features(rows)
    selecting, updating = _round(features, EPISODE, EPISODE_BATCH)
    return {
        "mebibytes": _peak() - before,
        "features_mebibytes": features.nbytes / 2**20,
        "select_seconds_a_step": selecting / EPISODE,
        "update_seconds_a_step": updating / EPISODE,
    }


def mapped(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of selecting from a memory-mapped file, and memory that is not the file's."""
    path = folder / "features.npy"
    write_features(path, rows)
    choose(np.load(path, mmap_mode="r")[:20_000])
    before = _anonymous()
    seconds = choose(np.load(path, mmap_mode="r"))
    return {"seconds": seconds, "mebibytes": _anonymous() - before}


def write_features(path: Path, rows: int) -> None:
    """Random static features (rows, COLUMNS) float32 as an array on disk."""
    file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, COLUMNS))
    for start, block in _blocks(rows):
        file[start : start + len(block)] = block
    file.flush()


def choose(features: "np.ndarray[Any, Any]") -> float:
    """Seconds of scoring every row and selecting a batch, once."""
    import torch

    from assets.selection.raise_policy.acquisition import AcquisitionFunction
    from assets.selection.raise_policy.scoring import Classes, RowScorer, StaticFeatures, one_thread
    from assets.selection.raise_policy.select import GumbelNoise, select
    from assets.selection.raise_policy.state import EarlierSelections

    classes = Classes.of(np.arange(len(features), dtype=np.int32) % CLASSES)
    scorer = RowScorer(AcquisitionFunction(COLUMNS, 64, 0), StaticFeatures(features))
    earlier = EarlierSelections.of(torch.zeros(0, dtype=torch.int64))
    started = time.perf_counter()
    with one_thread():
        blocks = scorer.blocks(torch.tensor([-1.0, 0.5]), earlier)
        select(blocks, classes, earlier, BATCH, 0, 1, GumbelNoise(0))
    return time.perf_counter() - started


def _anonymous() -> float:
    """Memory of this process that no file stands for, MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    side, where, count = sys.argv[1:]
    sides = {"selection": selection, "training": training, "round": whole_round, "mapped": mapped}
    sys.stdout.write(json.dumps(sides[side](Path(where), int(count))) + "\n")
