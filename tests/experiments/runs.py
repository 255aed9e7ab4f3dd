"""One run: a strategy selects from candidates of a pool, the model is trained on what it chose and scored.

Every strategy of a seed sees the same candidates and the same reward set, has the same number of optimizer
steps, and its ledger is replayed from M_0 with the same adapters: differences between strategies are paired.
Strategies that look at no reward are run once for a pool and seed and scored on all benchmarks, and once
more for GSM8K, which has a budget of its own.
"""

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from assets.finetuning.scoring import Example, response_loss
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.ledger import Selection, curriculum_table
from assets.materialization import environment
from assets.selection.config import CurriculumConfig
from assets.selection.pool import Budget, Pool, candidates
from assets.selection.requirements import check, check_budget, steps_of
from assets.selection.strategies import REGISTRY
from resources.errors import SultanaError
from resources.language_model import LanguageModel
from resources.progress import track
from tests.experiments.benchmarks import STARTER, Question
from tests.experiments.cache import Cache
from tests.experiments.cost import Meter
from tests.experiments.measure import Measure, encoded_questions
from tests.experiments.metered import MeteredInputs, SharedStates
from tests.experiments.pools import PoolRows, sources_of
from tests.experiments.results import Line
from tests.experiments.rewards import REWARDS, as_split, reward_set, scored_set

UNTRAINED = "no training"
STRATEGIES = (UNTRAINED, *REGISTRY)
LONGEST_RESPONSE = "longest_response"
"""An option beside those of strategies, for controls: only candidates with so many tokens of response at most."""
SAVE_POLICY = "save_policy"
"""Another: RAISE's policy is kept under this name, one for each reward and seed …"""
POLICY_OF = "policy_of"
"""… and with this one a run starts from the policy kept under a name, with its own reward and seed."""
OWN_OPTIONS = (LONGEST_RESPONSE, SAVE_POLICY, POLICY_OF)


@dataclass(frozen=True)
class Settings:
    """What all strategies share."""

    pool_rows: int = 9_200  # rows of a pool, the first by hash; 0: all
    candidates: int = 2048  # of them, that strategies look at, the same for every seed
    clusters: int = 4  # classes of the pool
    budget: float = 0.01  # share of the pool's rows that a strategy which decides once selects
    gsm8k_budget: float = 0.05  # the same where the reward is GSM8K
    passes: int = 1
    batch_size: int = 8
    maximum_length: int = 256
    rank: int = 8
    top_layers: int = 6
    learning_rate: float = 1e-3
    reward_examples: int = 32
    test_examples: int = 64  # of each benchmark
    generated: int = 8  # of them, answered in full where a benchmark has no choices
    frozen_mebibytes: int = 2048  # kept of the states below the trained layers

    def steps(self, pool_rows: int, reward: str | None) -> int:
        """Optimizer steps: `passes` over the budget's share of the pool."""
        budget = self.gsm8k_budget if reward == "gsm8k" else self.budget
        return max(1, round(pool_rows * budget) * self.passes // self.batch_size)

    def training(self, seed: int) -> TrainingConfig:
        return TrainingConfig(
            rank=self.rank,
            alpha=2.0 * self.rank,
            layers=self.top_layers,
            learning_rate=self.learning_rate,
            maximum_length=self.maximum_length,
            micro_batch=self.batch_size,
            frozen_states_bytes=self.frozen_mebibytes << 20,
            seed=seed,
        )

    def curriculum(self, steps: int, options: Mapping[str, Any]) -> CurriculumConfig:
        """The configuration of the strategies, changed by `options` (names with dots: value).

        Raises SultanaError where one is no setting.
        """
        training = {
            "rank": self.rank,
            "alpha": 2 * self.rank,
            "top_layers": self.top_layers,
            "learning_rate": self.learning_rate,
            "micro_batch": self.batch_size,
        }
        given: dict[str, Any] = {
            "steps": steps,
            "batch_size": self.batch_size,
            "passes": self.passes,
            "maximum_length": self.maximum_length,
            "candidates": 0,
            "reward_examples": self.reward_examples,
            "training": training,
        }
        for name, value in options.items():
            if name in OWN_OPTIONS:
                continue
            place, known = given, CurriculumConfig
            *path, last = name.split(".")
            for one in path:
                place, known = place.setdefault(one, {}), _field(known, one, name)
            _field(known, last, name)
            place[last] = value
        return CurriculumConfig(**given)


def _field(config: Any, field: str, name: str) -> Any:
    """The type of a configuration's field; the configuration itself would pass over one it lacks."""
    if field not in getattr(config, "model_fields", {}):
        raise SultanaError(
            f"The strategies have no setting {name!r}",
            "See assets/selection/config.py",
            code="setting-unknown",
        )
    return config.model_fields[field].annotation


def rewards_of(strategy: str, rewards: Sequence[str]) -> list[str | None]:
    """What a strategy is run for, of these rewards; None: for all whose budget is the usual one."""
    if is_targeted(strategy):
        return list(rewards)
    own: list[str | None] = [name for name in rewards if name == "gsm8k"]
    return [None] * (len(own) < len(rewards)) + own


def is_targeted(strategy: str) -> bool:
    """Whether what a strategy selects hangs on the reward set."""
    return strategy != UNTRAINED and "reward" in REGISTRY[strategy].needs


class Bench:
    """What the runs of one pool share: its rows, the questions, the model and the cache."""

    def __init__(
        self, rows: PoolRows, settings: Settings, model: LanguageModel, cache: Cache, folder: Path, say: Any
    ) -> None:
        self.rows = rows
        self.settings = settings
        self.model = model
        self.cache = cache
        self.folder = folder
        self.say = say

    @cached_property
    def tokenizer(self) -> Any:
        return self.model.load_tokenizer()

    @cached_property
    def measure(self) -> Measure:
        asked = scored_set(self.settings.test_examples, self.cache, starter=self.rows.name == STARTER)
        return Measure(self.tokenizer, asked, self.settings.generated)

    @cached_property
    def benchmarks(self) -> set[str]:
        return {one.task for one in self.measure.references}

    @cached_property
    def candidates(self) -> Pool:
        """The rows that the strategies look at."""
        return candidates(self.rows.pool, self.settings.candidates, 0)

    def inputs(
        self, seed: int, reward: str | None, steps: int, work: Path | None, pool: Pool | None = None
    ) -> MeteredInputs:
        pool = pool or self.candidates
        asked = reward_set(reward, self.settings.reward_examples, self.cache) if reward else []
        return MeteredInputs(
            pool=pool,
            budget=Budget(steps, self.settings.batch_size, self.settings.passes),
            seed=seed,
            rows=[TrainingRow(row_id, (self.rows.encoded[row_id],)) for row_id in pool.row_ids],
            model=self.model,
            training=self.settings.training(seed),
            conversations={row_id: self.rows.rows[row_id]["messages"] for row_id in pool.row_ids},
            rewards=as_split(asked),
            work=work,
            watch=lambda label, total, unit: track(label, total, unit, self.say),
            cache=self.cache,
            meter=Meter(),
            pool_vectors=self.rows.vectors[self.rows.take(pool)],
            vector_seconds=self.rows.vector_seconds,
            asked=encoded_questions(self.tokenizer, asked),
        )

    def select(
        self, strategy: str, seed: int, reward: str | None, options: Mapping[str, Any], run: str
    ) -> tuple[tuple[Selection, ...], dict[str, Any], MeteredInputs]:
        """The ledger of a strategy, its facts, and the inputs with what they cost."""
        settings, pool = self.settings, self.candidates
        if longest := options.get(LONGEST_RESPONSE):
            pool = pool.take(np.flatnonzero(pool.response_lengths <= longest))
        steps = settings.steps(len(self.rows.pool), reward)
        config = settings.curriculum(steps, options)
        steps = steps_of(strategy, config.steps, config.batch_size, config.passes, len(pool))
        work = self.folder / "work" / run
        work.mkdir(parents=True, exist_ok=True)
        inputs = self.inputs(seed, reward if is_targeted(strategy) else None, steps, work, pool)
        if name := options.get(POLICY_OF):
            policy = config.policy.model_copy(
                update={"initial_policy": str(self._policy(name, reward, seed))}
            )
            config = config.model_copy(update={"policy": policy})
        if name := options.get(SAVE_POLICY):
            folder = self._policy(name, reward, seed)
            shutil.rmtree(folder, ignore_errors=True)  # of a run that is made again
            inputs = replace(inputs, policy_folder=folder)
        method = REGISTRY[strategy]
        check(method, config, {}, len(inputs.rewards))
        check_budget(method, inputs.budget, len(inputs.pool))
        with inputs.meter.part("other"):
            chosen = method.select(inputs, config)
        return chosen.selections, dict(chosen.facts), inputs

    def _policy(self, name: str, reward: str | None, seed: int) -> Path:
        return self.folder / "policies" / f"{name}-{reward}-{seed}"

    def run(
        self, strategy: str, seed: int, reward: str | None, options: Mapping[str, Any], run: str
    ) -> tuple[Line, list[float]]:
        """A line of results, and the training losses of the final training by step."""
        if strategy == UNTRAINED:
            selections: tuple[Selection, ...] = ()
            facts: dict[str, Any] = {}
            meter = Meter()
        else:
            selections, facts, inputs = self.select(strategy, seed, reward, options, run)
            meter = inputs.meter
            self.keep_ledger(run, strategy, seed, selections)
        session = TrainingSession(
            self.model.load(), self.settings.training(seed), max(1, len(selections)), self.model.fingerprint()
        )
        reused = Meter()
        if session.frozen is not None:
            session.frozen = SharedStates(session, reused)
        began = time.process_time()
        steps = [session.step([self.training_row(entry) for entry in one]) for one in selections]
        final = time.process_time() - began + reused.total
        began = time.process_time()
        scored = self.score(session, reward)
        measured = time.process_time() - began
        return {
            **self.chosen(selections, reward),
            **scored,
            "cpu_seconds": {
                "selecting": meter.total,
                "final_training": final,
                "measuring": measured,
                "by_part": {name: round(value, 2) for name, value in meter.seconds.items()},
                "counts": dict(meter.counts),
            },
            "tokens": sum(one.tokens for one in steps),
            "facts": facts,
        }, [one.loss for one in steps]

    def training_row(self, entry: Any) -> TrainingRow:
        return TrainingRow(entry.row_id, (self.rows.encoded[entry.row_id],), weight=entry.weight)

    def chosen(self, selections: Sequence[Selection], reward: str | None) -> Line:
        """What was chosen, and how much of it is relevant to which reward."""
        slots = [entry.row_id for one in selections for entry in one]
        pool = self.candidates
        counts = Counter(slots)
        wanted = [reward] if reward else [name for name in REWARDS if name != STARTER]
        return {
            "steps": len(selections),
            "slots": len(slots),
            "distinct_rows": len(counts),
            "most_repeats": max(counts.values(), default=0),
            "candidates": len(pool),
            "pool_rows": len(self.rows.pool),
            "pool_tokens": self.rows.tokens,
            "relevant": {name: self.rows.relevant(slots, name) for name in wanted},
            "relevant_among_candidates": {name: self.rows.relevant(pool.row_ids, name) for name in wanted},
            "sources": sources_of(self.rows, slots),
        }

    def score(self, session: TrainingSession, reward: str | None) -> Line:
        """Loss and accuracy on the reward's benchmarks, or on all; and the loss on each reward set."""
        states = SharedStates(session)

        def loss_of(examples: Sequence[Example]) -> Any:
            return response_loss(session.model, examples, frozen=states)

        names = set(REWARDS[reward]) if reward else self.benchmarks
        found = self.measure(session.model, names, loss_of)
        sets = [reward] if reward else [one for one, of in REWARDS.items() if set(of) <= self.benchmarks]
        shown = {one: reward_set(one, self.settings.reward_examples, self.cache) for one in sets}
        # The union's questions are among those of its benchmarks: each is measured once.
        asked = list({question.text: question for one in shown.values() for question in one}.values())
        examples = encoded_questions(self.tokenizer, asked)
        measured = dict(zip((one.text for one in asked), loss_of(examples).per_example, strict=True))
        tokens = {
            one.text: example.encoded.trained_tokens for one, example in zip(asked, examples, strict=True)
        }
        return {
            "loss": found.loss,
            "accuracy": found.accuracy,
            "reward_loss": {one: _mean_loss(given, measured, tokens) for one, given in shown.items()},
        }

    def keep_ledger(self, run: str, strategy: str, seed: int, selections: Sequence[Selection]) -> None:
        folder = self.folder / "ledgers"
        folder.mkdir(exist_ok=True)
        pq.write_table(curriculum_table(run, strategy, seed, selections), folder / f"{run}.parquet")


def _mean_loss(asked: Sequence[Question], measured: Mapping[str, float], tokens: Mapping[str, int]) -> float:
    """The loss as a reward has it: the mean over benchmarks of the mean over tokens."""
    means = []
    for name in sorted({one.benchmark for one in asked}):
        mine = [one.text for one in asked if one.benchmark == name]
        means.append(sum(measured[one] * tokens[one] for one in mine) / sum(tokens[one] for one in mine))
    return sum(means) / len(means)


def identity(
    settings: Settings, rows: PoolRows, reward: str | None, arm: str, seed: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """All that decides a run but the code; a device other than the CPU among it, whose numbers are others."""
    import torch

    return {
        "experiment": "raise",
        "settings": asdict(settings),
        "pool": rows.name,
        "pool_key": rows.key,
        "reward": reward,
        "arm": arm,
        "seed": seed,
        "options": dict(options),
        **({"device": "cuda"} if torch.cuda.is_available() else {}),
    }


def made_with() -> str | None:
    """The commit of the code, marked where it was changed."""
    known = environment()
    commit = known["git_commit"]
    return f"{commit}{'+' if known['git_dirty'] else ''}" if commit else None
