"""One side of a benchmark of selection, run as a process: `python -m tests.benchmarks.selection_sides SIDE FILE`.

FILE is a JSON object of what the side needs. Prints a line of JSON. Imports nothing of Sultana at the top:
the peers' environments do not have it. Importing a library and loading a model are not measured.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.selection_peers import peer_dataflex, peer_deita, peer_ifd
from tests.benchmarks.side_process import (
    Meter,
    Request,
    cpu_seconds,
    messages_of,
    peak_mib,
    read_rows,
    versions,
)


def ours_deita(request: Request) -> Request:
    import numpy as np

    from assets.selection.deita import deita_filter

    vectors, order = np.load(request["vectors"]), np.load(request["order"])
    deita_filter(vectors[:64], np.arange(64), request["threshold"], 64)
    meter = Meter()
    with meter("filter"):
        kept = deita_filter(vectors, order, request["threshold"], len(order))
    return {"seconds": meter.seconds, "kept": kept.tolist()}


def ours_ifd(request: Request) -> Request:
    """The Superfiltering form: the ratio of perplexities, by our own template."""
    import numpy as np

    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.scoring import sequence_log_probabilities
    from resources.language_model import LanguageModel

    model, tokenizer = LanguageModel(request["model"], dtype=request["dtype"]).load()
    conversations = [(str(place), messages_of(row)) for place, row in enumerate(read_rows(request))]
    sequence_log_probabilities(model, ChatEncoder(tokenizer).encode_all(conversations[:1], 1024)[0])
    meter = Meter()
    with meter("score"):
        encoded, refused = ChatEncoder(tokenizer).encode_all(conversations, 1024)
        found = sequence_log_probabilities(model, encoded)
        scores = np.exp((found.alone - found.given_prompt).astype(np.float64) / found.tokens)
    assert not refused
    tokens = sum(2 * len(one) - one.response_start + 1 for one in encoded)
    return {"seconds": meter.seconds, "scores": scores.tolist(), "tokens": tokens}


def ours_losses(request: Request) -> Request:
    """Mean token losses that Superfiltering's code computes, by our scorer on the very same token ids."""
    import numpy as np

    from assets.finetuning.encoding import Encoded
    from assets.finetuning.scoring import Example, response_loss
    from resources.language_model import LanguageModel

    model, tokenizer = LanguageModel(request["model"], dtype=request["dtype"]).load()

    def examples(with_prompt: bool) -> list[Example]:
        found = []
        for place, row in enumerate(read_rows(request)):
            asked = [row["instruction"], row["input"]] if with_prompt else []
            before = "".join(f"{text}\n" for text in asked if text)
            ids = np.array(tokenizer.encode(before + row["output"]), np.int32)
            start = len(tokenizer.encode(before)) if before else 1
            encoded = Encoded(str(place), ids, np.arange(len(ids)) >= start, start)
            found.append(Example(encoded.row_id, "losses", encoded))
        return found

    response_loss(model, examples(True)[:1])
    meter = Meter()
    with meter("score"):
        kinds = {"given": examples(True), "alone": examples(False)}
        losses = {name: response_loss(model, kind).per_example for name, kind in kinds.items()}
    tokens = sum(len(one.encoded) for kind in kinds.values() for one in kind)
    return {"seconds": meter.seconds, "tokens": tokens} | {
        name: found.tolist() for name, found in losses.items()
    }


def ours_overhead(request: Request) -> Request:
    """A training run like DataFlex's, and what it costs to score the pool by loss and by gradients."""
    import torch

    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.scoring import Example
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow
    from assets.selection.gradient_alignment import greedy
    from assets.selection.less import Projection, adam_updates
    from assets.selection.reward_gradient import reward_gradient
    from resources.language_model import LanguageModel

    pair = LanguageModel(request["model"]).load()
    encoder = ChatEncoder(pair[1])
    pool, reward = (
        [
            Example(one.row_id, name, one)
            for one in encoder.encode_all(
                [(str(place), messages_of(row)) for place, row in enumerate(read_rows(request, name))],
                request["length"],
            )[0]
        ]
        for name in ("rows", "reward_rows")
    )
    rows = [TrainingRow(one.example_id, (one.encoded,)) for one in pool]
    batch, steps = request["batch"], request["steps"]
    config = TrainingConfig(
        rank=8,
        target_modules=tuple(request["targets"]),
        layers=request["layers"],
        maximum_length=request["length"],
        learning_rate=1e-4,
    )
    session = TrainingSession(pair, config, steps + 1)
    session.step(rows[:batch])
    meter = Meter()
    trained = 0
    for step in range(steps):
        chosen = [rows[(step * batch + slot) % len(rows)] for slot in range(batch)]
        with meter("training"):
            trained += session.step(chosen).tokens
    with meter("loss"):
        session.response_loss(pool)
    with meter("gradient_alignment"):
        wanted = reward_gradient(session, reward)[1]
        gradients = torch.zeros(len(rows), session.layout.length)
        for part in session.row_gradients(rows):
            gradients[part.rows] = part.gradients / part.label_weights[:, None].to(part.gradients)
        greedy(gradients, wanted, config.learning_rate / batch, batch)
    with meter("less"):
        projection = Projection(session.layout.length, request["projection"], 0)
        target = projection(reward_gradient(session, reward)[1][None])[0]
        first, second = session.moments()
        for part in session.row_gradients(rows):
            means = part.gradients / part.label_weights[:, None].to(part.gradients)
            directions = projection(adam_updates(means, first, second, session.step_number))
            torch.nn.functional.cosine_similarity(directions, target[None])
    return {
        "seconds": meter.seconds,
        "trained_tokens": trained,
        "pool_rows": len(pool),
        "pool_tokens": sum(len(one.encoded) for one in pool),
        "dtype": str(session.decoder.dtype),
    }


def ours_raise(request: Request) -> Request:
    """RAISE's selection of a step from a pool of `rows` rows: what passes between two training steps."""
    import numpy as np

    from assets.selection.pool import Pool
    from assets.selection.raise_policy.config import RaiseConfig
    from assets.selection.raise_policy.features import build_features
    from assets.selection.raise_policy.policy import train_policy

    count, random = request["rows"], np.random.default_rng(0)
    pool = Pool.build(
        [f"{row:08d}" for row in range(count)],
        ["original"] * count,
        random.integers(0, request["clusters"], count),
        random.integers(1, 256, count),
    )
    lengths = pool.response_lengths.astype(np.float64)
    alone = -random.uniform(1, 4, count) * lengths
    features = build_features(lengths, lengths, 0.9 * alone, alone, random.standard_normal((count, 64)))
    between: list[float] = []

    class Untrained:
        """An environment without a model: its clock stands still while it is asked."""

        left = 0.0

        def reset(self) -> float:
            self.left = cpu_seconds()
            return -2.0

        def step(self, rows: Any) -> float:
            between.append(cpu_seconds() - self.left)
            self.left = cpu_seconds()
            return -2.0 + 0.001 * len(between) ** 0.5

    config = RaiseConfig.guarded(
        steps=request["steps"], batch_size=request["batch"], rounds=1, rollouts=1, baseline_rollouts=0
    )
    train_policy(Untrained(), features, pool, config)
    return {"seconds": {"raise": float(np.median(between))}}


SIDES: dict[str, Callable[[Request], Request]] = {
    "ours_deita": ours_deita,
    "peer_deita": peer_deita,
    "ours_ifd": ours_ifd,
    "ours_losses": ours_losses,
    "peer_ifd": peer_ifd,
    "ours_overhead": ours_overhead,
    "ours_raise": ours_raise,
    "peer_dataflex": peer_dataflex,
}


def main() -> None:
    request = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    started = time.perf_counter()
    result = SIDES[sys.argv[1]](request)
    result |= {
        "wall_seconds": time.perf_counter() - started,
        "peak_mib": peak_mib(),
        "versions": versions(),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
