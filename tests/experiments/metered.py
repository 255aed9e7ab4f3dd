"""A strategy's inputs as an experiment gives them: kept on disk from run to run, and paid for by every run."""

import hashlib
import pickle
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assets.finetuning.frozen_states import FrozenStates, content_of
from assets.finetuning.row_gradients import RowGradients
from assets.finetuning.scoring import Example
from assets.finetuning.trainer import TrainingSession
from assets.selection.auxiliary import AuxiliaryFeatures, CausalModel, measure, scorer_id
from assets.selection.counted_session import CountedSession
from assets.selection.inputs import Inputs
from tests.experiments.cache import Cache
from tests.experiments.cost import Meter

KEPT_FROM = 256
"""Rows whose gradients, asked for at once, are kept: those of a pool, not of a step."""
KEPT_POOLS = 1
"""Pools' gradients at the first weights kept at once: about 2 MB a row with the default adapters."""
KEPT_PASSES = 4
"""What a strategy left of a pool's gradients at later weights, kept at once: of LESS 32 KB a row and epoch."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MeteredInputs(Inputs):
    """`Inputs` whose features and vectors are kept in `cache`, and whose cost `meter` adds up.

    `pool_vectors` (N, d) are the pool's, of which each cost `vector_seconds`; `asked` is the reward set.
    """

    cache: Cache
    meter: Meter = field(default_factory=Meter)
    pool_vectors: NDArray[np.float32]
    vector_seconds: float
    asked: Sequence[Example]

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        self.meter.charge("vectors", self.vector_seconds * len(self.pool), len(self.pool))
        return self.pool_vectors

    @cached_property
    def reward_examples(self) -> Sequence[Example]:
        self._rewards()
        return self.asked

    def features_by(
        self, model: CausalModel, encoded: Mapping[str, Any] | None = None, maximum_length: int = 0
    ) -> AuxiliaryFeatures:
        from assets.finetuning.encoding import ChatEncoder

        tokenizer = self.tokenizer if encoded is None else model.load_tokenizer()
        length = maximum_length or self.training.maximum_length
        own = [row.parents[0] for row in self.rows]
        rows = own if encoded is None else [encoded[one.row_id] for one in own]
        networks: list[Any] = []

        def compute(places: list[int]) -> dict[str, NDArray[Any]]:
            if not networks:
                networks.append(model.load()[0])
            found = measure(networks[0], [rows[place] for place in places])
            return {name: getattr(found, name) for name in AuxiliaryFeatures.__dataclass_fields__}

        key = [scorer_id(model, ChatEncoder(tokenizer).template, length)]
        with (
            self.meter.part("looking up"),
            self.progress("scoring rows", None) as progress,
        ):
            found, seconds = self.cache.rows(
                "features", key, [one.row_id for one in rows], compute, progress.advance
            )
        self.meter.seconds.pop("looking up")  # what it cost is charged by what the rows cost when computed
        self.meter.charge("features", seconds, len(rows))
        return AuxiliaryFeatures(**found)

    def session(self, steps: int | None = None) -> TrainingSession:
        with self.meter.part("loading"):
            return MeteredSession(
                self.model.load(),
                self.training,
                steps or self.budget.steps,
                self.model.fingerprint(),
                self.spent,
                self.meter,
            )

    def reduced_gradients(self, session: TrainingSession, reduce: Any, rows: Sequence[Any]) -> Iterator[Any]:
        made = super().reduced_gradients(session, reduce, rows)
        if not isinstance(session, MeteredSession) or len(rows) < KEPT_FROM or session.step_number == 0:
            return made
        return session.kept(hashlib.blake2b(pickle.dumps(reduce), digest_size=16).digest(), rows, made)


class MeteredSession(CountedSession):
    """A training session that tells a meter what its steps, rewards and gradients cost.

    Frozen states, the gradients of a whole pool at the first weights, and what a strategy leaves of them at later
    ones, are computed once in a process; each run is charged with what they cost the first that asked.
    """

    _pools: OrderedDict[Any, tuple[list[Any], float, set[Any]]] = OrderedDict()
    _passes: OrderedDict[Any, tuple[list[Any], float, set[Any]]] = OrderedDict()

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:-1])
        self.meter: Meter = given[-1]
        if self.frozen is not None:
            self.frozen = SharedStates(self, self.meter)

    def step(self, rows: Sequence[Any]) -> Any:
        with self.meter.part("training"):
            return super().step(rows)

    def response_loss(self, examples: Sequence[Any]) -> Any:
        with self.meter.part("rewards", len(examples)):
            return super().response_loss(examples)

    def loss_and_gradient(self, rows: Sequence[Any]) -> Any:
        with self.meter.part("gradients", len(rows)):
            return super().loss_and_gradient(rows)

    def gradients(self, rows: Sequence[Any]) -> Any:
        with self.meter.part("gradients", len(rows)):
            return super().gradients(rows)

    def row_gradients(self, rows: Sequence[Any]) -> Any:
        if len(rows) < KEPT_FROM or self.step_number > 0:
            yield from self._parts(rows)
            return
        made = (_in_a_file(part) for part in self._parts(rows))
        for part in self._once(self._pools, KEPT_POOLS, (self._weights(), _names(rows)), made):
            yield replace(part, gradients=part.gradients.to(self.decoder.device))

    def kept(self, what: bytes, rows: Sequence[Any], made: Iterator[Any]) -> Iterator[Any]:
        """`made` of the gradients of `rows`, or where the same was made before at the same weights, that."""
        return self._once(self._passes, KEPT_PASSES, (what, self._weights(), _names(rows)), made)

    def _once(
        self,
        held: OrderedDict[Any, tuple[list[Any], float, set[Any]]],
        most: int,
        key: Any,
        made: Iterator[Any],
    ) -> Iterator[Any]:
        used = self.frozen.used if isinstance(self.frozen, SharedStates) else set()
        if key in held:
            parts, spent, states = held[key]
            self.meter.charge("gradients", spent, len(key[-1]))
            used |= states
        else:
            while len(held) >= most:  # before the next one is in memory beside it
                held.popitem(last=False)
            before = self.meter.seconds["gradients"] + self.meter.seconds["frozen states"]
            parts = list(made)
            spent = self.meter.seconds["gradients"] + self.meter.seconds["frozen states"] - before
            held[key] = (parts, spent, set(used))
        yield from parts

    def _weights(self) -> str:
        """What gradients depend on besides the rows: weights, and the moments that go with them."""
        digest = hashlib.blake2b(self.config_digest.encode(), digest_size=16)
        for _, tensor in sorted(self.state_dict()["tensors"].items()):
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _parts(self, rows: Sequence[Any]) -> Iterator[Any]:
        parts = super().row_gradients(rows)
        while True:
            with self.meter.part("gradients", 0):
                part = next(parts, None)
            if part is None:
                return
            self.meter.counts["gradients"] += len(part.rows)
            yield part


def _names(rows: Sequence[Any]) -> tuple[str, ...]:
    return tuple(row.row_id for row in rows)


def _in_a_file(part: RowGradients) -> RowGradients:
    """The same with its gradients in a file without a name: gigabytes that the system may put out of memory."""
    gradients = part.gradients.cpu().numpy()
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=gradients.dtype, mode="w+", shape=gradients.shape)
    mapped[:] = gradients
    return replace(part, gradients=torch.from_numpy(mapped))


class SharedStates(FrozenStates):
    """Frozen states of rows and questions, the same for every training of a process: computed by the first.

    With a meter, each use of a row for the first time is charged with what its states cost.
    """

    shared: dict[Any, tuple[Any, float]] = {}

    def __init__(self, session: TrainingSession, meter: Meter | None = None) -> None:
        super().__init__(session.decoder, session.decoder.first_trained, 0)
        self._session, self._meter = session, meter
        self.used: Any = set()

    def _of(self, row: Any) -> Any:
        key = (self._session.fingerprint, self.first, content_of(row))
        known = key in self.shared
        if not known:
            began = time.process_time()
            states = super()._of(row).clone()
            self.shared[key] = (states, time.process_time() - began)
        states, seconds = self.shared[key]
        if known and key not in self.used and self._meter is not None:
            self._meter.charge("frozen states", seconds)
        self.used.add(key)
        return states
