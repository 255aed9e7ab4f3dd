"""What a causal model says of rows: log P(y|x), log P(y) and a mean state, kept by row and model.

RAISE takes them from an auxiliary model (§3.3, eq. 3 and 4), IFD and Superfiltering from theirs. They cost
two forwards a row, so they are stored as they are made and computed for missing rows only: a row is known
by its instruction id, a model by the hash of all that its numbers depend on (`scorer_id`). Interpolated
rows have the numbers of their parents mixed with λ, and are never stored.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assets.identity import ID_LENGTH, digest
from assets.instructions.erasures import erased_rows
from assets.records import auxiliary_record
from resources.compute.alike import check_model
from resources.compute.boundary import Compute, in_order
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError
from resources.table_refs import Provenance
from resources.tables import LanceTables
from resources.text import id_filter

if TYPE_CHECKING:
    from assets.finetuning.encoding import Encoded
    from assets.finetuning.training_row import TrainingRow

CODE_VERSION = "1"
"""Raised whenever a change makes the same model give other numbers."""

ROWS_AT_ONCE = 128
"""Rows of one block. Blocks are cut from all rows in order of length, so a run that goes on after a kill
computes whole blocks, and gets the numbers that it would have got without the kill."""

COMMIT_SECONDS = 60.0
"""Longest time whose scores are lost with a killed run."""

Watch = Callable[[str, float | None, str], AbstractContextManager[Any]]
"""Label, total, unit -> a context manager that gives a `resources.progress.Progress`."""


class CausalModel(Protocol):
    """What scores rows: `resources.language_model.LanguageModel`, or a model trained in this process."""

    def fingerprint(self) -> str:
        """A hash of weights and tokenizer."""

    def resolved_dtype(self) -> str:
        """The dtype of the weights."""

    def describe(self) -> dict[str, Any]:
        """Facts of the model; `hidden_size` among them, or None."""

    def load(self) -> tuple[Any, Any]:
        """(model, tokenizer); called where a row is missing only."""

    def load_tokenizer(self) -> Any:
        """The tokenizer alone."""


@dataclass(frozen=True, eq=False)
class AuxiliaryFeatures:
    """What a model says of N rows, in the order of the pool.

    `prompt_tokens`, `response_tokens` int32 (N,), of mixes rounded; `given_prompt`, `alone` float64 (N,):
    log P(y|x) and log P(y), summed over the tokens of y, in nats; `hidden` float32 (N, H): the mean of the
    last layer's states over the tokens of x and y.
    """

    prompt_tokens: NDArray[np.int32]
    response_tokens: NDArray[np.int32]
    given_prompt: NDArray[np.float64]
    alone: NDArray[np.float64]
    hidden: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.given_prompt)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Mean loss of the response given the prompt, (N,), nats a token: the difficulty of a row."""
        return -self.given_prompt / self.response_tokens

    def take(self, positions: Sequence[int] | NDArray[Any]) -> "AuxiliaryFeatures":
        """The features of the rows at these positions, in that order."""
        places = np.asarray(positions, dtype=np.int64)
        return AuxiliaryFeatures(
            self.prompt_tokens[places],
            self.response_tokens[places],
            self.given_prompt[places],
            self.alone[places],
            self.hidden[places],
        )


@dataclass(frozen=True)
class FeatureStore:
    """Features in Lance tables, one for each length of states. `run_id` is who writes."""

    tables: LanceTables
    run_id: str

    def read(self, scorer: str, ids: Sequence[str], hidden_size: int) -> dict[str, tuple[Any, ...]]:
        """What `scorer` said of those of `ids` that it has seen: (4 numbers and a state) by id."""
        ref = self.tables.head(auxiliary_record(hidden_size).table)
        if ref is None:
            return {}
        wanted = set(ids)
        found: dict[str, tuple[Any, ...]] = {}
        for batch in self.tables.batches(ref, filter=id_filter("scorer", [scorer])):
            states = np.asarray(batch["hidden"].flatten()).reshape(len(batch), hidden_size)
            columns = [batch[name].to_pylist() for name in ("instruction_id", *_NUMBERS)]
            for place, (key, *numbers) in enumerate(zip(*columns, strict=True)):
                # A state of zeros was erased: no model has one.
                if key in wanted and states[place].any():
                    found[key] = (*numbers, states[place])
        return found

    def add(self, scorer: str, ids: Sequence[str], features: AuxiliaryFeatures) -> None:
        """Stores features of `ids`; harmless where another run has stored them meanwhile."""
        record = auxiliary_record(features.hidden.shape[1])
        keys = [digest([key, scorer])[:ID_LENGTH] for key in ids]
        rows = pa.table(
            {
                "feature_id": keys,
                "instruction_id": list(ids),
                "scorer": [scorer] * len(ids),
                **{name: getattr(features, name) for name in _NUMBERS},
                "hidden": pa.FixedSizeListArray.from_arrays(
                    pa.array(features.hidden.reshape(-1)), features.hidden.shape[1]
                ),
            },
            schema=record.schema,
        )
        head = self.tables.head(record.table)
        # Rows that were erased are written once more: not what an earlier write of the same rows was.
        again = [head.version] if head and erased_rows(self.tables, record.table) & set(keys) else []
        # Always an upsert: whether the table exists is settled under the writer's lock, so of two first
        # writers the second adds to what the first wrote.
        self.tables.write(
            record,
            rows,
            mode="upsert",
            provenance=Provenance(
                self.run_id, "auxiliary_features", digest([record.table, sorted(keys), *again])[:ID_LENGTH]
            ),
        )


_NUMBERS = ("prompt_tokens", "response_tokens", "given_prompt", "alone")


def scorer_id(model: CausalModel, template: str, maximum_length: int) -> str:
    """The identity of a model's numbers: weights, tokenizer, template, longest row, dtype, code."""
    return digest(
        [CODE_VERSION, model.fingerprint(), digest(template), maximum_length, model.resolved_dtype()]
    )[:ID_LENGTH]


def auxiliary_features(
    rows: Sequence["TrainingRow"],
    model: CausalModel,
    *,
    scorer: str,
    encoded: Mapping[str, "Encoded"] | None = None,
    store: FeatureStore | None = None,
    watch: Watch,
    compute: Compute = THIS_MACHINE,
) -> tuple[AuxiliaryFeatures, int]:
    """The features of rows (N of them) by `model`, and how many originals had to be scored for them.

    `scorer` is `scorer_id` of this model. `encoded` are the originals by id as this model's tokenizer
    reads them, where it is not the one that `rows` were encoded with. Raises SultanaError where the
    model gives a number that is not finite.
    """
    parents = {one.row_id: one for row in rows for one in row.parents}
    if encoded is not None:
        parents = {key: encoded[key] for key in parents}
    ordered = sorted(parents.values(), key=lambda one: (len(one), one.row_id))
    hidden_size = model.describe()["hidden_size"]
    known: dict[str, tuple[Any, ...]] = {}
    if store is not None and hidden_size:
        known = store.read(scorer, list(parents), hidden_size)
    missing = len(ordered) - len(known)
    if missing:
        _score_missing(ordered, known, model, scorer, store, watch, compute)
    return _of_rows(rows, known), missing


def _score_missing(
    ordered: Sequence["Encoded"],
    known: dict[str, tuple[Any, ...]],
    model: CausalModel,
    scorer: str,
    store: FeatureStore | None,
    watch: Watch,
    compute: Compute,
) -> None:
    """Scores what `known` lacks, block by block, and adds it there and to the store."""
    blocks = [ordered[start : start + ROWS_AT_ONCE] for start in range(0, len(ordered), ROWS_AT_ONCE)]
    missing = [[one for one in block if one.row_id not in known] for block in blocks]
    parts = [part for part in missing if part]
    measuring = _Measuring(model, model.fingerprint())
    pending: list[str] = []
    stored = time.monotonic()
    with watch("scoring rows", len(ordered) - len(known), "rows") as progress:
        for part, measured in zip(parts, in_order(compute, measuring, parts), strict=True):
            for place, one in enumerate(part):
                numbers = [getattr(measured, name)[place] for name in _NUMBERS]
                known[one.row_id] = (*numbers, measured.hidden[place])
            pending += [one.row_id for one in part]
            progress.advance(len(part))
            if store is not None and time.monotonic() - stored > COMMIT_SECONDS:
                store.add(scorer, pending, _stacked([known[key] for key in pending]))
                pending, stored = [], time.monotonic()
    if store is not None and pending:
        store.add(scorer, pending, _stacked([known[key] for key in pending]))


@dataclass(frozen=True)
class _Measuring:
    """Builds what measures a list of rows: the model, loaded."""

    model: CausalModel
    fingerprint: str

    def __call__(self) -> Callable[[Sequence["Encoded"]], AuxiliaryFeatures]:
        check_model(self.model, self.fingerprint)
        return partial(measure, self.model.load()[0])


def measure(network: Any, rows: Sequence["Encoded"]) -> AuxiliaryFeatures:
    """The features of originals by a loaded model, in their order, by two forwards; nothing is stored.

    Raises SultanaError naming the row where the model gives a number that is not finite.
    """
    from assets.finetuning.scoring import sequence_log_probabilities

    found = sequence_log_probabilities(network, rows)
    features = AuxiliaryFeatures(
        np.array([len(one) - one.trained_tokens for one in rows], dtype=np.int32),
        np.array([one.trained_tokens for one in rows], dtype=np.int32),
        found.given_prompt.astype(np.float64),
        found.alone.astype(np.float64),
        np.ascontiguousarray(found.hidden, dtype=np.float32),
    )
    finite = np.isfinite(features.given_prompt + features.alone) & np.isfinite(features.hidden).all(axis=1)
    if not finite.all():
        raise SultanaError(
            f"The model that scores rows gives no finite numbers for row {rows[int(finite.argmin())].row_id}",
            "Set its dtype to float32, or use another model",
            code="row-value-invalid",
        )
    return features


def _of_rows(rows: Sequence["TrainingRow"], known: Mapping[str, tuple[Any, ...]]) -> AuxiliaryFeatures:
    """Features of rows from those of originals; a mix has its parents', mixed linearly as its loss is."""
    plain = _stacked([known[row.parents[0].row_id] for row in rows])
    mixes = [place for place, row in enumerate(rows) if len(row.parents) > 1]
    if not mixes:
        return plain
    other = _stacked([known[rows[place].parents[1].row_id] for place in mixes])
    share = np.array([rows[place].mixing for place in mixes])
    for name in (*_NUMBERS, "hidden"):
        column = getattr(plain, name)
        weight = share if column.ndim == 1 else share[:, None]
        mixed = weight * column[mixes] + (1.0 - weight) * getattr(other, name)
        column[mixes] = np.rint(mixed) if column.dtype == np.int32 else mixed
    np.maximum(plain.response_tokens, 1, out=plain.response_tokens)
    return plain


def _stacked(rows: Sequence[tuple[Any, ...]]) -> AuxiliaryFeatures:
    prompts, responses, given, alone, states = zip(*rows, strict=True)
    return AuxiliaryFeatures(
        np.array(prompts, dtype=np.int32),
        np.array(responses, dtype=np.int32),
        np.array(given, dtype=np.float64),
        np.array(alone, dtype=np.float64),
        np.stack(states).astype(np.float32),
    )
