"""RAISE on a language model: features by a pass over the candidates, episodes as training runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.finetuning.session import training_config
from assets.selection.raise_policy.config import RaiseConfig

SCORED_AT_ONCE = 64

if TYPE_CHECKING:
    from assets.finetuning.rows import EncodedRows
    from assets.finetuning.trainer import TrainingRow
    from assets.materialization import Stage
    from assets.selection.config import CurriculumConfig
    from assets.selection.pool import Pool
    from assets.selection.raise_policy.features import Features
    from assets.selection.raise_policy.result import RaiseResult
    from resources.language_model import LanguageModel


def run_raise(
    stage: "Stage",
    config: "CurriculumConfig",
    language_model: "LanguageModel",
    pool: "Pool",
    encoded: "EncodedRows",
    seed: int,
) -> "RaiseResult":
    """Trains the policy on the candidates `pool` and returns its curriculum."""
    from assets.finetuning.examples import encode_examples
    from assets.finetuning.scoring import response_loss
    from assets.finetuning.trainer import TrainingSession
    from assets.selection.raise_policy.environment import TrainingEnvironment
    from assets.selection.raise_policy.policy import train_policy

    settings = config.policy
    build = RaiseConfig.paper if settings.preset.value == "paper" else RaiseConfig.guarded
    policy = build(
        steps=config.steps,
        batch_size=config.batch_size,
        seed=seed,
        rounds=settings.rounds,
        rollouts=settings.rollouts,
        baseline_rollouts=settings.baseline_rollouts,
    )
    pair = language_model.load()
    rows = [encoded.rows[row_id] for row_id in pool.row_ids]
    features = _features(stage, pair[0], rows, policy)
    examples = encode_examples(
        stage.tables,
        stage.upstream["benchmark_splits"].table(),
        "reward",
        tokenizer=pair[1],
        maximum_length=config.maximum_length,
        most=settings.reward_examples,
    ).examples
    session = TrainingSession(
        pair,
        training_config(settings.training, config.maximum_length, seed),
        config.steps,
        fingerprint=language_model.fingerprint(),
    )
    with stage.progress("training runs", policy.training_runs * config.steps, "steps") as progress:

        class Watched(TrainingEnvironment):
            def step(self, rows: Any) -> float:
                performance = super().step(rows)
                progress.advance()
                return performance

        environment = Watched(
            session,
            rows,
            examples,
            lambda model, asked: response_loss(model, asked).mean,
            steps=config.steps,
            measure_every=settings.measure_every,
        )
        return train_policy(environment, features, pool, policy)


def _features(stage: "Stage", model: Any, rows: Sequence["TrainingRow"], policy: RaiseConfig) -> "Features":
    """RAISE's static features of the rows (eq. 3 and 4), by two forwards over their conversations.

    An interpolated row has the features of its parents, mixed with λ: linear in them as its loss is.
    """
    from assets.finetuning.scoring import sequence_log_probabilities
    from assets.selection.raise_policy.features import build_features

    parents = {one.row_id: one for row in rows for one in row.parents}
    ordered = sorted(parents.values(), key=lambda one: (len(one), one.row_id))
    measured: dict[str, np.ndarray] = {}
    with stage.progress("scoring candidates", len(ordered)) as progress:
        for start in range(0, len(ordered), SCORED_AT_ONCE):
            part = ordered[start : start + SCORED_AT_ONCE]
            found = sequence_log_probabilities(model, part)
            for place, one in enumerate(part):
                numbers = (
                    len(one) - one.trained_tokens,
                    one.trained_tokens,
                    found.given_prompt[place],
                    found.alone[place],
                )
                measured[one.row_id] = np.concatenate([np.array(numbers, np.float64), found.hidden[place]])
            progress.advance(len(part))
    mixed = np.stack(
        [
            sum(
                weight * measured[one.row_id]
                for one, weight in zip(row.parents, (row.mixing, 1.0 - row.mixing), strict=False)
            )
            for row in rows
        ]
    )
    return build_features(
        mixed[:, 0],
        np.maximum(mixed[:, 1], 1.0),
        mixed[:, 2],
        mixed[:, 3],
        mixed[:, 4:],
        semantic_dimensions=policy.semantic_dimensions,
        pooling=policy.semantic_pooling,
        per_token=policy.per_token,
        standardise=policy.standardise,
    )
