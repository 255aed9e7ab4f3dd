"""The gradients of a step's rows: in micro-batches, and shared among the processes that run.

Left out on purpose: what is done with them (trainer.py), and how rows come into lines (micro_batches.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from assets.finetuning.devices import process_number, sum_gradients, sum_numbers
from assets.finetuning.forward import Decoder
from assets.finetuning.frozen_states import FrozenStates
from assets.finetuning.micro_batches import MicroBatch, in_micro_batches
from assets.finetuning.noise import EmbeddingNoise
from assets.finetuning.sharding import is_sharded
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.interpolation.alignment import AlignedRow, align
from assets.interpolation.mixing import Batch, collate
from resources.errors import SultanaError

if TYPE_CHECKING:
    import torch


class Accumulation:
    """Adds the gradients of a batch's loss to those of the parameters."""

    def __init__(
        self,
        decoder: Decoder,
        trained: "Mapping[str, torch.nn.Parameter]",
        config: TrainingConfig,
        noise: EmbeddingNoise,
        frozen: FrozenStates | None,
        most_padding: float,
        are_layers_divided: bool,
    ) -> None:
        """`trained` are the parameters by name; `frozen` and `most_padding` are as in `TrainingSession`."""
        self._decoder = decoder
        self._trained = trained
        self._config = config
        self._noise = noise
        self.frozen = frozen
        self._most_padding = most_padding
        self._are_layers_divided = are_layers_divided

    def add(self, rows: Sequence[TrainingRow], step: int) -> tuple[float, int]:
        """Gradients of the batch's loss, over all processes; returns the loss and the tokens.

        Raises SultanaError, naming the step, where a row has no token to train on.
        """
        number, count = process_number()
        mine = rows[number::count]
        aligned = [align(row.parents, row.mixing, row.alignment, row.layer) for row in mine]
        weights = [row.label_weight for row in aligned]
        total, empty = sum_numbers([sum(weights), weights.count(0.0)], self._decoder.device)
        if empty:
            names = [row.row_id for row, weight in zip(mine, weights, strict=True) if not weight]
            raise SultanaError(
                f"Step {step} has rows without a token to train on: "
                f"{', '.join(names) or 'another process has them'}",
                "Leave them out, or choose another alignment",
                code="rows-without-tokens",
            )
        loss, tokens = 0.0, 0
        for part in self._passes(aligned):
            batch = self.batch(aligned, mine, part)
            for passes in self._noise.passes():
                part_loss = self._decoder.loss(batch) / (passes * total)
                part_loss.backward()
                loss += part_loss.item()
            tokens += batch.tokens
        for _ in range(self._idle_passes(rows, number)):
            idle = collate([align(rows[0].parents[:1], 1.0)], device=self._decoder.device)
            for _ in self._noise.passes():
                (self._decoder.loss(idle) * 0.0).backward()
        sum_gradients((one for one in self._trained.values() if not is_sharded(one)), self._decoder.device)
        loss, summed = sum_numbers([loss, tokens], self._decoder.device)
        return loss, round(summed)

    def batch(self, aligned: Sequence[AlignedRow], rows: Sequence[TrainingRow], part: MicroBatch) -> Batch:
        """The rows of a micro-batch, laid out for the decoder; their first states as they are kept, if they are."""
        chosen = [aligned[place] for place in part.rows]
        batch = collate(
            chosen, [rows[place].weight for place in part.rows], self._decoder.device, part.places
        )
        if self.frozen is not None and self.frozen.serves(chosen[0]):
            return self.frozen.put_into(batch, chosen, part.places)
        return batch

    def _passes(self, aligned: Sequence[AlignedRow]) -> Iterator[MicroBatch]:
        size, packing = self._config.micro_batch, self._config.packing
        return in_micro_batches(aligned, size, packing=packing, most_padding=self._most_padding)

    def _idle_passes(self, rows: Sequence[TrainingRow], number: int) -> int:
        """How many passes the share of process `number` is short of the largest, where layers are divided."""
        if not self._are_layers_divided:
            return 0
        count = process_number()[1]
        aligned = [align(row.parents, row.mixing, row.alignment, row.layer) for row in rows]
        passes = [sum(1 for _ in self._passes(aligned[one::count])) for one in range(count)]
        return max(passes) - passes[number]
