"""RAISE on a language model: features by an auxiliary model, episodes as training runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assets.identity import digest
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.reward_subset import reward_subset, sampling_error
from resources.errors import SultanaError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from assets.finetuning.scoring import Example
    from assets.finetuning.trainer import TrainingSession
    from assets.selection.inputs import Inputs
    from assets.selection.raise_policy.result import RaiseResult
    from assets.selection.raise_policy.reward_subset import SamplingError
    from assets.selection.raise_policy.rollout import Environment
    from resources.progress import Progress


@dataclass(frozen=True, kw_only=True)
class RaiseRun:
    """How RAISE is run on `Inputs`; the number of steps, the batch size and the seed are the inputs'.

    What is None is the preset's. The cap on repeats of the preset `guarded` is the budget's `passes`; `paper` has
    none, as published. `changes` are further settings of RaiseConfig by name; they override everything.
    """

    preset: Literal["guarded", "paper"] = "guarded"
    rounds: int | None = None
    rollouts: int | None = None
    baseline_rollouts: int | None = None
    measure_every: int = 1  # steps between rewards
    aligned_rows: int | None = None  # that the policy is first fitted to; 0: all (alignment_scores)
    warm_up: int = 8  # steps on random rows before those rows' gradients are taken
    alignment_column: bool = False  # a row's alignment is a column of the state; needs that of all rows
    reward_examples: int = 0  # of the reward split, the same in every run (reward_subset); 0: all
    initial_policy: Path | None = None  # a folder of save_policy, to start from
    save_policy: Path | None = None  # where the deployed policy is written, a folder that is not there yet
    changes: Mapping[str, Any] = field(default_factory=dict)

    def config(self, steps: int, batch_size: int, passes: int, seed: int) -> RaiseConfig:
        """The settings of the policy training. Raises SultanaError naming a wrong one."""
        known = {one.name for one in fields(RaiseConfig)} - {"steps", "batch_size", "seed"}
        if unknown := sorted(set(self.changes) - known):
            raise SultanaError(
                f"RAISE has no setting {unknown[0]} that changes may name",
                f"Use {', '.join(sorted(known))}",
                code="setting-unknown",
            )
        if self.alignment_column and self.aligned_rows != 0:
            raise SultanaError(
                f"RAISE is to see the alignment of every row, and aligned_rows is {self.aligned_rows}",
                "Set aligned_rows to 0, which is all rows, or alignment_column to false",
                code="settings-conflict",
            )
        settings: dict[str, Any] = {"seed": seed}
        if self.preset == "guarded":
            settings["maximum_repeats"] = passes
        for name in ("rounds", "rollouts", "baseline_rollouts"):
            if getattr(self, name) is not None:
                settings[name] = getattr(self, name)
        build = RaiseConfig.paper if self.preset == "paper" else RaiseConfig.guarded
        return build(steps=steps, batch_size=batch_size, **(settings | dict(self.changes)))


def run_raise(
    inputs: "Inputs",
    settings: RaiseRun,
    *,
    initial_scores: "Sequence[float] | NDArray[Any] | None" = None,
    extra: "ArrayLike | None" = None,
    extra_names: Sequence[str] = (),
) -> "RaiseResult":
    """Trains the policy on the pool of `inputs` and returns its curriculum.

    `initial_scores` (N,) start the policy (NaN: not known); `extra` (N, k), named `extra_names`, are columns of
    the state beyond the paper's. Whatever cannot work is found before any row is scored: settings, a pool that
    is too small, rows that the model cannot train on, a reward split without examples. With `inputs.work` a
    killed run goes on after the last training run that ended; who writes the ledger removes that folder.
    """
    from assets.selection.alignment_scores import alignment_scores
    from assets.selection.raise_policy.environment import TrainingEnvironment
    from assets.selection.raise_policy.features import build_features
    from assets.selection.raise_policy.policy import train_policy
    from assets.selection.raise_policy.policy_file import load_policy, save_policy

    budget = inputs.budget
    config = settings.config(budget.steps, budget.batch_size, budget.passes, inputs.seed)
    config.check_pool(len(inputs.pool))
    policy = None if settings.initial_policy is None else load_policy(settings.initial_policy)
    every = inputs.reward_examples
    chosen = reward_subset(
        [example.example_id for example in every],
        [example.task for example in every],
        settings.reward_examples,
    )
    examples = [every[place] for place in chosen]
    session = inputs.session()
    session.check(inputs.rows)
    environment = TrainingEnvironment(
        session,
        inputs.rows,
        examples,
        lambda _, asked: session.response_loss(asked).mean,
        steps=budget.steps,
        measure_every=settings.measure_every,
    )
    if settings.aligned_rows is not None:
        initial_scores = alignment_scores(
            inputs,
            session,
            examples,
            rows=settings.aligned_rows,
            warm_up=settings.warm_up,
            use_clusters=config.use_clusters,
        )
        if settings.alignment_column:
            extra, extra_names = initial_scores[:, None], ("alignment",)
    auxiliary = inputs.auxiliary
    features = build_features(
        auxiliary.prompt_tokens,
        auxiliary.response_tokens,
        auxiliary.given_prompt,
        auxiliary.alone,
        auxiliary.hidden,
        semantic_dimensions=config.semantic_dimensions,
        pooling=config.semantic_pooling,
        per_token=config.per_token,
        standardise=config.standardise,
        extra=extra,
        extra_names=extra_names,
    )
    trained_on = digest(
        [
            session.config_digest,
            [example.example_id for example in examples],
            settings.measure_every,
        ]
    )
    with inputs.progress("training runs", config.training_runs * budget.steps, "steps") as progress:
        result = train_policy(
            _Watched(environment, progress),
            features,
            inputs.pool,
            config,
            initial_scores=initial_scores,
            initial_policy=policy,
            work=inputs.work,
            environment_digest=trained_on,
            compute=inputs.compute,
        )
    if settings.save_policy is not None:
        save_policy(settings.save_policy, result.function, features)
    session.reset()
    return replace(result, reward_error=_reward_error(inputs, session, examples))


def _reward_error(
    inputs: "Inputs", session: "TrainingSession", examples: "Sequence[Example]"
) -> "SamplingError | None":
    """How far the loss at M_0 on the examples measured may be from that on the whole reward split."""
    population = inputs.reward_population
    if len(examples) >= population.total() or not inputs.reward_stratified:
        return None
    losses = session.response_loss(examples).per_example
    tokens = [example.encoded.trained_tokens for example in examples]
    return sampling_error(losses, tokens, [example.task for example in examples], population)


class _Watched:
    """An environment whose steps are seen to pass."""

    def __init__(self, environment: "Environment", progress: "Progress") -> None:
        self._environment, self._progress = environment, progress

    def reset(self) -> float:
        return self._environment.reset()

    def step(self, rows: Sequence[int]) -> float:
        performance = self._environment.step(rows)
        self._progress.advance()
        return performance
