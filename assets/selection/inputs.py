"""What a strategy may ask for: the pool, its rows, and what is computed from them when it is asked for.

Knows no Dagster. The stage's door builds `Inputs` from tables, a notebook or an experiment from dictionaries;
a strategy asks for what it needs, so nothing is scored, embedded or loaded for one that does without.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assets.embeddings.embed import text_to_embed
from assets.selection.auxiliary import (
    AuxiliaryFeatures,
    CausalModel,
    FeatureStore,
    Watch,
    auxiliary_features,
    scorer_id,
)
from assets.selection.pool import Budget, Pool
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError
from resources.progress import track

if TYPE_CHECKING:
    from assets.finetuning.encoding import Encoded
    from assets.finetuning.scoring import Example
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow
    from assets.selection.gradients import Reduce, Reduced

Messages = Sequence[Mapping[str, str]]
MixedText = tuple[str, str, float]
"""An interpolated row as text: its parents' texts, and λ, the weight of the first."""

LONGER_FOR_OTHER_MODELS = 2
"""Rows fit the language model; another model's tokens may be more, so it is given as many times the length."""


@dataclass
class Spent:
    """What a strategy has cost so far in this process; what a stored score or state saved is not in it."""

    rows_scored: int = 0  # originals, two forwards each
    scoring_seconds: float = 0.0
    training_steps: int = 0
    training_rows: int = 0  # summed over steps
    training_tokens: int = 0
    training_seconds: float = 0.0
    reward_measurements: int = 0
    reward_examples: int = 0  # summed over measurements
    reward_seconds: float = 0.0
    rows_differentiated: int = 0  # rows and reward examples whose gradients were taken apart from training
    gradient_seconds: float = 0.0


def _silent(label: str, total: float | None, unit: str) -> AbstractContextManager[Any]:
    return track(label, total, unit, lambda text: None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """Everything that a strategy may ask for. Arrays and sequences are in the order of the pool (N rows).

    `rows` are encoded by the tokenizer of `model`, the language model that is fine-tuned as `training` says;
    `conversations` are the originals' messages by instruction id; `auxiliary_model` is what RAISE and
    Superfiltering score with (None: the language model). `rewards` are rows of the split `reward`
    (example_id, task, messages, response, answer). `read_vectors` gives vectors (n, d) of instruction ids,
    `read_scores` a score column as numbers by instruction id; where they or `rewards` are left out,
    strategies that need them raise SultanaError. `store` keeps features; `work` is a folder for the state
    that a killed run goes on from (None: it starts anew); `policy_folder`, which must not exist yet, is
    where RAISE writes the policy it deploys (None: nowhere). `compute` is the engine that scores rows.
    """

    pool: Pool
    budget: Budget
    seed: int
    rows: Sequence["TrainingRow"]
    model: CausalModel
    training: "TrainingConfig"
    conversations: Mapping[str, Messages] = field(default_factory=dict)
    auxiliary_model: CausalModel | None = None
    auxiliary_length: int = 0  # longest row of the auxiliary model, tokens; 0: see LONGER_FOR_OTHER_MODELS
    rewards: Sequence[Mapping[str, Any]] = ()
    reward_size: int = 0  # examples of `rewards` that are used, the same for every strategy; 0: all
    read_vectors: Callable[[Sequence[str]], NDArray[np.float32]] | None = None
    read_scores: Callable[[str], Mapping[str, float]] | None = None
    store: FeatureStore | None = None
    work: Path | None = None
    policy_folder: Path | None = None
    watch: Watch = _silent
    compute: Compute = THIS_MACHINE
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        names = tuple(row.row_id for row in self.rows)
        if names != self.pool.row_ids:
            raise SultanaError(
                f"The {len(names):,} training rows are not those of the pool of {len(self.pool):,}, in its order",
                "Give [encoded.rows[row_id] for row_id in pool.row_ids]",
                code="shapes-differ",
            )

    def progress(self, label: str, total: float | None, unit: str = "rows") -> AbstractContextManager[Any]:
        """A context manager that shows progress; see `resources.progress.track`."""
        return self.watch(label, total, unit)

    # Examples of the reward split

    @cached_property
    def reward_examples(self) -> Sequence["Example"]:
        """The reward split as the language model sees it, in order of example id.

        Raises SultanaError where there is none, or none that fits `training.maximum_length`.
        """
        from assets.finetuning.encoding import ChatEncoder
        from assets.finetuning.scoring import Example

        rows = self._rewards()
        encoded, _ = ChatEncoder(self.tokenizer).encode_all(
            [
                (row["example_id"], [*row["messages"], {"role": "assistant", "content": row["response"]}])
                for row in rows
            ],
            self.training.maximum_length,
        )
        if not encoded:
            raise SultanaError(
                f"No example of the reward split has at most {self.training.maximum_length} tokens",
                "Raise maximum_length, or name another source for the split in benchmark_splits",
                code="split-without-examples",
            )
        by_id = {row["example_id"]: row for row in rows}
        return [
            Example(one.row_id, by_id[one.row_id]["task"], one, by_id[one.row_id].get("answer"))
            for one in encoded
        ]

    @cached_property
    def reward_texts(self) -> Sequence[str]:
        """Prompt and response of each example of the reward split, in order of example id."""
        return [
            "\n".join([text_to_embed(row["messages"], "conversation"), row["response"]])
            for row in self._rewards()
        ]

    def _rewards(self) -> Sequence[Mapping[str, Any]]:
        """The rows of `rewards` that are used, in order of example id.

        As many of each task as can be (see `reward_subset`); where `reward_size` does not give two to each
        task, the first by id, which is a hash. Raises SultanaError where there is none.
        """
        from assets.selection.raise_policy.reward_subset import reward_subset

        if not self.rewards:
            raise SultanaError(
                "The split 'reward' has no example, and this strategy selects for it",
                "Name a source for it in benchmark_splits",
                code="split-without-examples",
            )
        rows = sorted(self.rewards, key=lambda row: str(row["example_id"]))
        if not self.reward_stratified:
            return rows[: self.reward_size]
        places = reward_subset(
            [row["example_id"] for row in rows], [row["task"] for row in rows], self.reward_size
        )
        return [rows[place] for place in places]

    @property
    def reward_population(self) -> Counter[str]:
        """Examples of each task in all of `rewards`."""
        return Counter(row["task"] for row in self.rewards)

    @property
    def reward_stratified(self) -> bool:
        """Whether `reward_size` gives two examples to each task, or all that it has."""
        least = sum(min(2, count) for count in self.reward_population.values())
        return not self.reward_size or self.reward_size >= min(least, len(self.rewards))

    # What rows are

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Sentence vectors of unit length, float32 (N, d); a mix has its parents', mixed with λ and scaled."""
        if self.read_vectors is None:
            raise SultanaError(
                "Sentence vectors were asked for, and none were given",
                "Give Inputs read_vectors",
                code="input-not-given",
            )
        ids = sorted({one.row_id for row in self.rows for one in row.parents})
        place = {key: number for number, key in enumerate(ids)}
        originals = _unit(np.asarray(self.read_vectors(ids), dtype=np.float32))
        first = np.array([place[row.parents[0].row_id] for row in self.rows])
        other = np.array([place[row.parents[-1].row_id] for row in self.rows])
        share = np.array([row.mixing for row in self.rows], dtype=np.float32)[:, None]
        mixed = (share < 1)[:, 0]
        found = originals[first]
        found[mixed] = _unit(
            share[mixed] * originals[first[mixed]] + (1 - share[mixed]) * originals[other[mixed]]
        )
        return found

    @cached_property
    def texts(self) -> Sequence[str | MixedText]:
        """Prompt and response of each row as plain text; of a mix, both parents' and λ."""

        def text(row_id: str) -> str:
            if row_id not in self.conversations:
                raise SultanaError(
                    f"The text of row {row_id} was asked for, and its conversation was not given",
                    "Give Inputs the conversations of all originals",
                    code="input-not-given",
                )
            return text_to_embed(self.conversations[row_id], "conversation")

        return [
            text(row.parents[0].row_id)
            if len(row.parents) == 1
            else (text(row.parents[0].row_id), text(row.parents[1].row_id), row.mixing)
            for row in self.rows
        ]

    def scores(self, name: str) -> NDArray[np.float64]:
        """The score column `name`, float64 (N,); a mix has its parents' scores, mixed with λ.

        Raises SultanaError where a row has no such score.
        """
        found = self.read_scores(name) if self.read_scores is not None else {}
        absent = sorted({one.row_id for row in self.rows for one in row.parents} - found.keys())
        if absent:
            raise SultanaError(
                f"{len(absent):,} rows have no score named {name!r}, the first is {absent[0]}",
                f"Put {name} into the files of the instructions and name it in the source's score_fields",
                code="scores-missing",
            )
        return np.array(
            [
                sum(
                    weight * found[one.row_id]
                    for one, weight in zip(row.parents, (row.mixing, 1.0 - row.mixing), strict=False)
                )
                for row in self.rows
            ]
        )

    # What models say of rows

    @cached_property
    def tokenizer(self) -> Any:
        """The language model's tokenizer."""
        return self.model.load_tokenizer()

    @cached_property
    def own_features(self) -> AuxiliaryFeatures:
        """What the language model itself, M_0, says of the rows; `losses` among it."""
        return self.features_by(self.model)

    @cached_property
    def auxiliary(self) -> AuxiliaryFeatures:
        """What the auxiliary model says of the rows: the language model where no other is set."""
        other = self.auxiliary_model
        if other is None or other.fingerprint() == self.model.fingerprint():
            return self.own_features
        length = self.auxiliary_length or LONGER_FOR_OTHER_MODELS * self.training.maximum_length
        return self.features_by(other, self._encoded_for(other, length), length)

    def known_losses(self) -> NDArray[np.float64] | None:
        """Losses (N,) by the auxiliary or the language model where a strategy asked for either; nothing runs."""
        for name in ("auxiliary", "own_features"):
            if name in self.__dict__:
                features: AuxiliaryFeatures = self.__dict__[name]
                return features.losses
        return None

    def features_by(
        self, model: CausalModel, encoded: Mapping[str, "Encoded"] | None = None, maximum_length: int = 0
    ) -> AuxiliaryFeatures:
        """What `model` says of the rows, from the store where it is there.

        `encoded` are the originals by id as that model's tokenizer reads them, at most `maximum_length`
        tokens; left out, its tokenizer is the language model's.
        """
        from assets.finetuning.encoding import ChatEncoder

        tokenizer = self.tokenizer if encoded is None else model.load_tokenizer()
        started = time.monotonic()
        features, scored = auxiliary_features(
            self.rows,
            model,
            scorer=scorer_id(
                model, ChatEncoder(tokenizer).template, maximum_length or self.training.maximum_length
            ),
            encoded=encoded,
            store=self.store,
            watch=self.watch,
            compute=self.compute,
        )
        self.spent.rows_scored += scored
        self.spent.scoring_seconds += time.monotonic() - started if scored else 0.0
        return features

    def _encoded_for(self, model: CausalModel, maximum_length: int) -> dict[str, "Encoded"]:
        from assets.finetuning.encoding import ChatEncoder

        ids = sorted({one.row_id for row in self.rows for one in row.parents})
        absent = [key for key in ids if key not in self.conversations]
        if absent:
            raise SultanaError(
                f"The auxiliary model is to read row {absent[0]}, whose conversation was not given",
                "Give Inputs the conversations of all originals",
                code="input-not-given",
            )
        encoded, refused = ChatEncoder(model.load_tokenizer()).encode_all(
            [(key, self.conversations[key]) for key in ids], maximum_length
        )
        if refused:
            raise SultanaError(
                f"The auxiliary model cannot read {len(refused):,} of {len(ids):,} rows: {refused[0]}",
                f"Set auxiliary.maximum_length above {maximum_length}, or use another auxiliary model",
                code="rows-not-encodable",
            )
        return {one.row_id: one for one in encoded}

    def session(self, steps: int | None = None) -> "TrainingSession":
        """A fresh session of the language model at M_0, for `steps` steps (None: the budget's)."""
        from assets.selection.counted_session import CountedSession

        return CountedSession(
            self.model.load(), self.training, steps or self.budget.steps, self.model.fingerprint(), self.spent
        )

    def reduced_gradients(
        self, session: "TrainingSession", reduce: "Reduce[Reduced]", rows: "Sequence[TrainingRow]"
    ) -> "Iterator[tuple[list[int], Reduced]]":
        """Places in `rows`, each once, and what `reduce` leaves of their gradients, made in this process."""
        for part in session.row_gradients(rows):
            yield part.rows, reduce(session, part)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors / np.maximum(lengths, 1e-12)[:, None], dtype=np.float32)
