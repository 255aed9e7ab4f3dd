"""The smallest training loop that RAISE's stepwise episodes and checkpoint training share.

A session is a model, an optimizer and a step number. What a step does depends on the rows, the
configuration and the step number only: the learning rate is a function of the step, dropout draws from a
generator seeded by (seed, step), so no hidden random state has to be carried over. Left out on purpose:
epochs, data loading, several devices.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from assets.finetuning.encoding import Encoded
from assets.finetuning.forward import Decoder
from assets.finetuning.weights import add_adapter, choose_trained, save_adapter, save_model
from assets.interpolation.mixing import AlignedRow, align, collate
from assets.records import digest
from resources.errors import SultanaError

_SEED_SPAN = 2**31


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is fine-tuned."""

    method: Literal["lora", "full"] = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    layers: Literal["all"] | int = "all"  # or only so many from the top: backward stops below them
    learning_rate: float = 3e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    maximum_length: int = 512  # tokens
    micro_batch: int = 8  # rows at once; a step's result does not depend on it but for rounding
    gradient_clip: float = 1.0  # largest norm; 0 does not clip
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of products; auto: as the model was loaded

    def __post_init__(self) -> None:
        bounds: tuple[tuple[str, float, bool], ...] = (
            ("rank", self.rank, self.rank >= 1),
            ("alpha", self.alpha, self.alpha > 0),
            ("dropout", self.dropout, 0 <= self.dropout < 1),
            ("learning_rate", self.learning_rate, 0 < self.learning_rate < math.inf),
            ("warmup_steps", self.warmup_steps, self.warmup_steps >= 0),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0),
            ("maximum_length", self.maximum_length, self.maximum_length >= 2),
            ("micro_batch", self.micro_batch, self.micro_batch >= 1),
            ("gradient_clip", self.gradient_clip, self.gradient_clip >= 0),
        )
        for name, value, fits in bounds:
            if not fits:
                raise SultanaError(f"{name} cannot be {value}", "Choose a value within its bounds")


@dataclass(frozen=True, eq=False, slots=True)
class TrainingRow:
    """One slot of a batch: an original row (one parent) or an interpolated one (two).

    `mixing` is λ, the weight of `parents[0]`: 1.0 for originals. `weight` multiplies the row's loss.
    """

    row_id: str
    parents: tuple[Encoded, ...]
    mixing: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step reports. `step` counts from 0."""

    step: int
    loss: float  # weighted mean over live labels, before the update, nats
    tokens: int  # real tokens; a mixed position counts once
    seconds: float
    gradient_norm: float  # before clipping
    learning_rate: float


class TrainingSession:
    """A model under training. The model given is changed in place and belongs to the session."""

    def __init__(
        self,
        language_model_pair: tuple[Any, Any],
        config: TrainingConfig,
        total_steps: int,
        fingerprint: str = "unnamed",
    ) -> None:
        """`language_model_pair` is `LanguageModel.load()`; `fingerprint` names it in digests and files."""
        if total_steps < 1:
            raise SultanaError(f"total_steps is {total_steps}", "Train for at least one step")
        self.model, self.tokenizer = language_model_pair
        self.config = config
        self.total_steps = total_steps
        self.fingerprint = fingerprint
        loaded = self.model.get_input_embeddings().weight.dtype
        wanted = loaded if config.dtype == "auto" else getattr(torch, config.dtype)
        self._adapter: Any = None
        if config.method == "lora":
            self.model.to(wanted)
            self._adapter = add_adapter(
                self.model,
                rank=config.rank,
                alpha=config.alpha,
                dropout=config.dropout,
                target_modules=config.target_modules,
                layers=config.layers,
                seed=config.seed,
            )
            self.decoder = Decoder(self.model)
        else:
            # bfloat16 weights would lose most updates: keep float32 and take only the products in bfloat16.
            self.model.float()
            choose_trained(self.model, config.layers)
            self.decoder = Decoder(self.model, None if wanted == torch.float32 else wanted)
        self.decoder.check_projection()
        self._trained = {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        self._start = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self.config_digest = digest(
            {"config": asdict(config), "total_steps": total_steps, "model": fingerprint, "dtype": str(wanted)}
        )
        self.reset()

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
        self._optimizer = self._new_optimizer()
        self.model.eval()

    def _new_optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self._trained.values(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0: linear warm-up, then the schedule down to 0 at the end."""
        peak, warmup = self.config.learning_rate, self.config.warmup_steps
        if step < warmup:
            return peak * (step + 1) / (warmup + 1)
        if self.config.schedule == "constant":
            return peak
        share = (step - warmup) / max(1, self.total_steps - warmup)
        if self.config.schedule == "linear":
            return peak * max(0.0, 1.0 - share)
        return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))

    def step(self, rows: Sequence[TrainingRow]) -> StepMetrics:
        """One optimizer step on a batch: M_t = Update(M_{t-1}, D_t) (RAISE §3.2).

        The loss is the sum of row weight x label weight x cross entropy, divided by the label weight of
        the whole batch (row weights are not in the divisor), so micro-batches do not change it. Raises
        SultanaError where the loss or the gradient is not finite; the weights are then as before.
        """
        started = time.perf_counter()
        if not rows:
            raise ValueError("A step needs at least one row")
        aligned = [align(row.parents, row.mixing) for row in rows]
        total = sum(row.label_weight for row in aligned)
        order = sorted(range(len(rows)), key=lambda place: (aligned[place].width, place), reverse=True)
        loss, tokens = 0.0, 0
        self.model.train()
        with torch.random.fork_rng(devices=self._devices()):
            torch.manual_seed((self.config.seed * 1_000_003 + self._step) % _SEED_SPAN)
            for start in range(0, len(order), self.config.micro_batch):
                places = order[start : start + self.config.micro_batch]
                part, count = self._backward(
                    [aligned[place] for place in places], [rows[place].weight for place in places], total
                )
                loss += part
                tokens += count
        self.model.eval()
        norm = self._gradient_norm()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._optimizer.zero_grad(set_to_none=True)
            raise SultanaError(
                f"Step {self._step} gave a loss of {loss} and a gradient norm of {norm}",
                "Lower learning_rate, set gradient_clip, or set dtype to float32",
            )
        rate = self.learning_rate_at(self._step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        return StepMetrics(self._step - 1, loss, tokens, time.perf_counter() - started, norm, rate)

    def _backward(
        self, rows: Sequence[AlignedRow], weights: Sequence[float], total: float
    ) -> tuple[float, int]:
        batch = collate(rows, weights, self.decoder.device)
        loss = self.decoder.loss(batch) / total
        loss.backward()
        return loss.item(), batch.tokens

    def _gradient_norm(self) -> float:
        limit = self.config.gradient_clip or math.inf
        return float(torch.nn.utils.clip_grad_norm_(self._trained.values(), limit))

    def _devices(self) -> list[torch.device]:
        return [] if self.decoder.device.type == "cpu" else [self.decoder.device]

    def gradients(self, rows: Sequence[TrainingRow]) -> dict[str, torch.Tensor]:
        """The gradient of a batch's loss at the present weights, by parameter name; nothing is updated."""
        aligned = [align(row.parents, row.mixing) for row in rows]
        total = sum(row.label_weight for row in aligned)
        for start in range(0, len(rows), self.config.micro_batch):
            here = slice(start, start + self.config.micro_batch)
            self._backward(aligned[here], [row.weight for row in rows[here]], total)
        found = {
            name: parameter.grad for name, parameter in self._trained.items() if parameter.grad is not None
        }
        self._optimizer.zero_grad(set_to_none=True)
        return found

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact resume needs: {"tensors": {name: tensor}, "numbers": {JSON values}}.

        Trained weights, both moments of AdamW, and the step. Tensors are copies on the CPU.
        """
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._trained.items():
            tensors[f"weights/{name}"] = _copy(parameter)
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in self._optimizer.state[parameter]:
                    tensors[f"{moment}/{name}"] = _copy(self._optimizer.state[parameter][moment])
        return {
            "tensors": tensors,
            "numbers": {"step": self._step, "config_digest": self.config_digest},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`. Raises SultanaError where it is of another configuration or model."""
        tensors, numbers = state["tensors"], state["numbers"]
        if numbers["config_digest"] != self.config_digest:
            raise SultanaError(
                "The saved state is of another configuration, number of steps or base model",
                "Continue with the configuration that it was saved with, or start in an empty folder",
            )
        self.reset()
        self._step = int(numbers["step"])
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(tensors[f"weights/{name}"])
                if f"exp_avg/{name}" in tensors:
                    self._optimizer.state[parameter] = {
                        "step": torch.tensor(float(self._step), device=parameter.device),
                        "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device, copy=True),
                        "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device, copy=True),
                    }

    def save_weights(self, folder: Path) -> None:
        """Write the adapter in PEFT's format, or all weights with the tokenizer, as safetensors."""
        if self._adapter is not None:
            save_adapter(self._adapter, folder, self.fingerprint)
        else:
            save_model(self.model, self.tokenizer, folder, self.fingerprint)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
