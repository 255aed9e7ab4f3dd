"""The smallest training loop that RAISE's stepwise episodes and checkpoint training share.

A session is a model, an optimizer and a step number. What a step does depends on the rows, the
configuration and the step number only: the learning rate is a function of the step, dropout draws from a
generator seeded by (seed, step), so no hidden random state has to be carried over. Left out on purpose:
epochs, data loading, starting several processes (processes.py; here the rows of a step are shared among those
that run).
"""

import functools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assets.finetuning.accumulation import Accumulation
from assets.finetuning.devices import process_number
from assets.finetuning.forward import Decoder
from assets.finetuning.frozen_states import FrozenStates
from assets.finetuning.micro_batches import in_micro_batches
from assets.finetuning.noise import EmbeddingNoise
from assets.finetuning.probes import check_width
from assets.finetuning.row_gradients import Layout, RowGradients
from assets.finetuning.schedule import learning_rate
from assets.finetuning.scoring import Example, LossReport, response_loss
from assets.finetuning.sharding import Sharding, clip_gradients, shard_layers, whole
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow
from assets.finetuning.training_state import moments_of, new_optimizer, restore, tensors_of
from assets.finetuning.weights import (
    adapter_state,
    checkpoint_layers,
    layer_list,
    model_state,
    prepare_model,
    save_adapter,
    save_model,
)
from assets.identity import digest
from assets.interpolation.alignment import align
from resources.errors import SultanaError

UNNAMED = "0" * 64
"""The fingerprint of a base model whose files nobody hashed."""

_SEED_SPAN = 2**31


class TrainingSession:
    """A model under training. The model given is changed in place and belongs to the session."""

    def __init__(
        self,
        language_model_pair: tuple[Any, Any],
        config: TrainingConfig,
        total_steps: int,
        fingerprint: str = UNNAMED,
        sharding: Sharding = "none",
        most_padding: float = 1.0,
    ) -> None:
        """`language_model_pair` is `LanguageModel.load()`; `fingerprint` names it in digests and files.

        `sharding` "fsdp" divides the layers' weights among the processes; all of them then call the same
        methods, in the same order. `most_padding` is the largest share of padding in a row's line, see
        micro_batches.py; like `micro_batch` it changes a step's result by rounding only.
        """
        if total_steps < 1:
            raise SultanaError(
                f"total_steps is {total_steps}", "Train for at least one step", code="setting-out-of-bounds"
            )
        self.model, self.tokenizer = language_model_pair
        self.config = config
        self.total_steps = total_steps
        self.fingerprint = fingerprint
        loaded = self.model.get_input_embeddings().weight.dtype
        wanted = loaded if config.dtype == "auto" else getattr(torch, config.dtype)
        self._adapter, autocast = prepare_model(self.model, config, wanted)
        if sharding == "fsdp":
            if config.frozen_states_bytes:
                raise SultanaError(
                    "Frozen states cannot be kept of layers that are divided among processes",
                    "Set frozen_states_mebibytes to 0, or sharding to none",
                    code="settings-conflict",
                )
            body = self.model.get_decoder()
            shard_layers(body, getattr(body, layer_list(self.model)[0]))
        first = 0 if config.layers == "all" else layer_list(self.model)[1] - int(config.layers)
        self.decoder = Decoder(
            self.model, autocast, detach_embeddings=config.detach_embeddings, first_trained=first
        )
        self.decoder.check_projection()
        if config.gradient_checkpointing:
            checkpoint_layers(self.model)
        frozen = None
        if config.frozen_states_bytes and first:
            frozen = FrozenStates(self.decoder, first, config.frozen_states_bytes)
        self._noise = EmbeddingNoise(self.model, config.noise, config.noise_scale)
        self._trained = {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        self._is_sharded = sharding == "fsdp"
        self.sharding = sharding
        self._accumulation = Accumulation(
            self.decoder, self._trained, config, self._noise, frozen, most_padding, self._is_sharded
        )
        self._start = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self.config_digest = digest(
            {"config": asdict(config), "total_steps": total_steps, "model": fingerprint, "dtype": str(wanted)}
        )
        self.reset()

    @property
    def frozen(self) -> FrozenStates | None:
        """The states below the first trained layer, where they are kept."""
        return self._accumulation.frozen

    @frozen.setter
    def frozen(self, states: FrozenStates | None) -> None:
        self._accumulation.frozen = states

    @property
    def step_number(self) -> int:
        """Optimizer steps taken since M_0; the next step has this number."""
        return self._step

    def reset(self) -> None:
        """Back to M_0: first weights, fresh optimizer and schedule. The base weights are not reloaded."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(self._start[name])
                parameter.grad = None
        self._step = 0
        self._optimizer = new_optimizer(self._trained, self.config)
        self.model.train()  # PEFT's DoRA keeps norms of the weights from before until then
        self.model.eval()

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0: linear warm-up, then the schedule down to 0 at the end."""
        config = self.config
        return learning_rate(
            config.schedule, config.learning_rate, step, config.warmup_steps, self.total_steps
        )

    def check(self, rows: Iterable[TrainingRow]) -> None:
        """Raise SultanaError where the model cannot train on rows that are mixed as these; by small forwards."""
        aligned = (align(row.parents, row.mixing, row.alignment, row.layer) for row in rows)
        widths = [(row.layer, row.width) for row in aligned if len(row.ids) > 1]
        for layer in sorted({layer for layer, _ in widths}):
            self.decoder.check_mixing(layer)
        if self.config.detach_embeddings:
            self.decoder.check_mixing(0)
        check_width(self.decoder, max((width for _, width in widths), default=0))
        if self.config.packing:
            self.decoder.check_packing()

    def step(self, rows: Sequence[TrainingRow]) -> StepMetrics:
        """One optimizer step on a batch: M_t = Update(M_{t-1}, D_t) (RAISE §3.2).

        The loss is the sum of row weight x label weight x cross entropy, divided by the label weight of
        the whole batch (row weights are not in the divisor), so micro-batches, packing and several
        processes do not change it. Every process is given the whole batch and takes its share. Raises
        SultanaError where the loss or the gradient is not finite, a row has no token to train on or the
        model cannot take it; the weights are then as before.
        """
        started = time.perf_counter()
        number, _ = process_number()
        self.model.train()
        try:
            with torch.random.fork_rng(devices=self._devices()), self._noise.active():
                torch.manual_seed(
                    (self.config.seed * 1_000_003 + self._step + number * 15_485_863) % _SEED_SPAN
                )
                loss, tokens = self._accumulate(rows)
        finally:
            self.model.eval()
        norm = self._gradient_norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._optimizer.zero_grad(set_to_none=True)
            raise SultanaError(
                f"Step {self._step} gave a loss of {loss} and a gradient norm of {norm}",
                "Lower learning_rate, set gradient_clip, or set dtype to float32",
                code="training-diverged",
            )
        rate = self.learning_rate_at(self._step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        seconds = time.perf_counter() - started
        return StepMetrics(self._step - 1, loss, tokens, seconds, norm, rate)

    def _accumulate(self, rows: Sequence[TrainingRow]) -> tuple[float, int]:
        """Gradients of the batch's loss, over all processes; returns the loss and the tokens."""
        if not rows:
            raise ValueError("A step needs at least one row")
        self._optimizer.zero_grad(set_to_none=True)  # of a step that was broken off
        if self._is_sharded:
            self.check(rows)  # by all processes, also those that have no such row
        return self._accumulation.add(rows, self._step)

    def _gradient_norm(self) -> float:
        limit = self.config.gradient_clip or math.inf
        if self._is_sharded:
            return clip_gradients(self._trained.values(), limit, self.decoder.device)
        return float(torch.nn.utils.clip_grad_norm_(self._trained.values(), limit))

    def _devices(self) -> list[torch.device]:
        return [] if self.decoder.device.type == "cpu" else [self.decoder.device]

    def gradients(self, rows: Sequence[TrainingRow]) -> dict[str, torch.Tensor]:
        """The gradient of a batch's loss at the present weights, by parameter name; nothing is updated.

        Without dropout and noise: the model is in evaluation mode.
        """
        return self._loss_and_gradients(rows)[1]

    def loss_and_gradient(self, rows: Sequence[TrainingRow]) -> tuple[float, torch.Tensor]:
        """The loss of a batch, and its gradient as one vector, float32 (p,) in the order of `layout`."""
        loss, gradients = self._loss_and_gradients(rows)
        return loss, self.layout.flatten(gradients)

    def _loss_and_gradients(self, rows: Sequence[TrainingRow]) -> tuple[float, dict[str, torch.Tensor]]:
        loss, _ = self._accumulate(rows)
        found = {
            name: whole(parameter.grad)
            for name, parameter in self._trained.items()
            if parameter.grad is not None
        }
        self._optimizer.zero_grad(set_to_none=True)
        return loss, found

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """AdamW's running means of gradients and of their squares, as vectors, float32 (p,) in the order of
        `layout`; not corrected for their start at 0."""
        first, second = moments_of(self._trained, self._optimizer)
        return self.layout.flatten(first), self.layout.flatten(second)

    @functools.cached_property
    def layout(self) -> Layout:
        """Where each parameter lies in the vectors of `row_gradients`. Raises SultanaError (see Layout)."""
        return Layout(self.model, self._trained, self.decoder.dtype)

    def row_gradients(self, rows: Sequence[TrainingRow]) -> Iterator[RowGradients]:
        """Each row's own gradient at the present weights, a micro-batch at a time; nothing is updated.

        Row weights are not in it. Without dropout and noise. Raises SultanaError where other weights than
        plain adapters are trained, or a row has no token to train on.
        """
        layout = self.layout
        aligned = [align(row.parents, row.mixing, row.alignment, row.layer) for row in rows]
        plain = [TrainingRow(row.row_id, row.parents, row.mixing) for row in rows]
        if empty := [row.row_id for row, one in zip(rows, aligned, strict=True) if not one.label_weight]:
            raise SultanaError(
                f"Rows without a token to train on: {', '.join(empty)}",
                "Leave them out, or choose another alignment",
                code="rows-without-tokens",
            )
        for part in in_micro_batches(aligned, self.config.micro_batch):
            batch = self._accumulation.batch(aligned, plain, part)
            with layout.recording(len(part.rows), self.decoder.device) as gradients:
                self.decoder.loss(batch).backward()
            self._optimizer.zero_grad(set_to_none=True)
            weights = torch.tensor([aligned[place].label_weight for place in part.rows], dtype=torch.float64)
            yield RowGradients(part.rows, gradients, weights)

    def response_loss(self, examples: Sequence[Example]) -> LossReport:
        """`scoring.response_loss` of the model in training, from its frozen states where they are kept."""
        return response_loss(self.model, examples, autocast=self.decoder.autocast, frozen=self.frozen)

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact resume needs: {"tensors": {name: tensor}, "numbers": {JSON values}}.

        Trained weights, both moments of AdamW, and the step. Tensors are copies on the CPU.
        """
        return {
            "tensors": tensors_of(self._trained, self._optimizer),
            "numbers": {"step": self._step, "config_digest": self.config_digest},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`. Raises SultanaError where it is of another configuration or model."""
        numbers = state["numbers"]
        if numbers["config_digest"] != self.config_digest:
            raise SultanaError(
                "The saved state is of another configuration, number of steps or base model",
                "Continue with the configuration that it was saved with, or start in an empty folder",
                code="checkpoint-differs",
            )
        self.reset()
        self._step = int(numbers["step"])
        restore(self._trained, self._optimizer, state["tensors"], self._step)

    def save_weights(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, or all weights with the tokenizer, as safetensors.

        Of several processes the first writes; where layers are divided, all have to call this.
        """
        state = adapter_state(self._adapter) if self._adapter is not None else model_state(self.model)
        if process_number()[0] > 0:
            return
        if self._adapter is not None:
            save_adapter(self._adapter, state, folder, self.fingerprint)
        else:
            save_model(self.model, state, self.tokenizer, folder, self.fingerprint)
