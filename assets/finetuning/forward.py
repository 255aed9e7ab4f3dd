"""A causal language model taken apart: embedding, decoder and head, for batches without padding masks.

`Batch` pads on the right only, so causal attention alone keeps real tokens from seeing padding. Rows that
share a line are told apart by their positions, which transformers turns into a mask. Only the states that
predict a label are projected to the vocabulary.
"""

import contextlib
from typing import Any

import torch

from assets.finetuning import probes
from assets.finetuning.frozen_states import entering_at
from assets.finetuning.weights import layer_list
from assets.interpolation.hidden_layer import mixed_before
from assets.interpolation.label_loss import label_log_probabilities, soft_label_loss
from assets.interpolation.mixing import Batch, mixed_embeddings
from resources.errors import SultanaError

EAGER_WIDTH = 256
"""Up to this width attention in bfloat16 on a CPU is trained with plain products: there the backward of
torch's fused CPU kernel takes 9.2 ms a layer against 1.8 ms (8 x 80 tokens, 9 heads of 64); at 512 the
fused kernel wins."""


class Decoder:
    """The parts of a causal language model of transformers, with or without adapters in it."""

    def __init__(
        self,
        model: Any,
        autocast: torch.dtype | None = None,
        *,
        detach_embeddings: bool = False,
        first_trained: int = 0,
    ) -> None:
        """`autocast` is the dtype of products where the weights are kept in float32; `first_trained` the
        first layer that is trained, where a batch with frozen states enters.

        With `detach_embeddings` the embedding's output is a constant: no gradient reaches the embedding
        through it. Where the head is tied to the embedding, the head's gradient still does.
        """
        self.model = model
        self.autocast = autocast
        self.detach_embeddings = detach_embeddings
        self.first_trained = first_trained
        self.body = model.get_decoder()
        self.embedding = model.get_input_embeddings()
        self.head = model.get_output_embeddings()
        self.logit_scale, self.logit_cap = _logit_scale_and_cap(model.config.get_text_config())
        self._checked: set[str] = set()
        if self.head is None or self.body is model:
            raise SultanaError(
                f"{type(model).__name__} has no separate decoder and output head",
                "Use a causal language model such as Llama, Qwen, Mistral, Gemma or SmolLM",
                code="model-unsuitable",
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of products."""
        return self.autocast or self.embedding.weight.dtype

    @property
    def layers(self) -> Any:
        """The decoder's layers, a ModuleList. Raises SultanaError where the model has none."""
        name, _ = layer_list(self.model)
        return getattr(self.body, name)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The dtype of products, as a context."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def states(self, batch: Batch) -> torch.Tensor:
        """The last layer's states after the final normalisation: (l, n, h).

        Raises SultanaError where the model cannot compute them, of which the first such batch is the test.
        """
        self.choose_attention(batch.ids.shape[2])
        if batch.frozen is not None:
            self.check_frozen_states()
        elif batch.coefficients is not None:
            probes.check_width(self, batch.ids.shape[2])
            self.check_mixing(batch.layer)
        elif self.detach_embeddings:
            self.check_mixing(0)
        if batch.positions is not None:
            self.check_packing()
        with self.precision():
            return self.run(batch)

    def run(self, batch: Batch) -> torch.Tensor:
        """`states` without its checks, in the precision of the context."""
        if batch.frozen is not None:
            inputs = {"inputs_embeds": batch.frozen}
            if batch.positions is not None:
                inputs["position_ids"] = batch.positions
            with entering_at(self.layers, self.first_trained, batch.frozen):
                out = self.body(**inputs, use_cache=False)
        elif batch.layer:
            inputs = self._inputs(batch.ids.flatten(0, 1))
            with mixed_before(self.layers, batch):
                out = self.body(**inputs, use_cache=False)
        else:
            if batch.coefficients is None:
                inputs = self._inputs(batch.ids[0])
            else:
                mixed = mixed_embeddings(self.embedding, batch)
                inputs = {"inputs_embeds": mixed.detach() if self.detach_embeddings else mixed}
            if batch.positions is not None:
                inputs["position_ids"] = batch.positions
            out = self.body(**inputs, use_cache=False)
        states: torch.Tensor = out.last_hidden_state
        return states

    def _inputs(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.detach_embeddings:
            return {"inputs_embeds": self.embedding(ids).detach()}
        return {"input_ids": ids}

    def loss(self, batch: Batch) -> torch.Tensor:
        """Σ of label weight x cross entropy over the batch, float32, with gradients."""
        states = self.states(batch).flatten(0, 1).index_select(0, batch.label_places)
        weight, bias = self._head_weights()
        return soft_label_loss(
            self._scaled(states), weight, bias, batch.labels, batch.label_weights, cap=self.logit_cap
        )

    def log_probabilities(self, batch: Batch, states: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probability of each label, float32 (k, m), without gradients. `states` saves a forward."""
        with torch.no_grad():
            states = self.states(batch) if states is None else states
            states = states.flatten(0, 1).index_select(0, batch.label_places)
            weight, bias = self._head_weights()
            return label_log_probabilities(
                self._scaled(states), weight, bias, batch.labels, cap=self.logit_cap
            )

    def _scaled(self, states: torch.Tensor) -> torch.Tensor:
        return (states if self.logit_scale == 1.0 else states * self.logit_scale).to(self.dtype)

    def _head_weights(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        bias = self.head.bias
        if bias is not None and self.logit_scale != 1.0:
            bias = bias * self.logit_scale
        return self.head.weight.to(self.dtype), None if bias is None else bias.to(self.dtype)

    def choose_attention(self, width: int) -> None:
        """The kernels that suit a batch of `width` places, with or without a backward to come."""
        current = self.model.config._attn_implementation
        if current not in ("sdpa", "eager") or self.device.type != "cpu" or not self.model._supports_sdpa:
            return
        eager = torch.is_grad_enabled() and self.dtype == torch.bfloat16 and width <= EAGER_WIDTH
        wanted = "eager" if eager else "sdpa"
        if current != wanted:
            self.model.set_attn_implementation(wanted)

    def check_projection(self) -> None:
        """Raise SultanaError for a model that does more to the last states than is known here."""
        probes.check_projection(self)

    def check_mixing(self, layer: int) -> None:
        """Raise SultanaError for a model whose inputs cannot be mixed at `layer`; 0 is the embedding."""
        if f"layer {layer}" not in self._checked:
            if layer:
                probes.check_hidden_layer(self, layer)
            else:
                probes.check_embeddings(self)
            self._checked.add(f"layer {layer}")

    def check_frozen_states(self) -> None:
        """Raise SultanaError for a model whose upper layers cannot be run from kept states."""
        if "frozen states" not in self._checked:
            probes.check_frozen_states(self)
            self._checked.add("frozen states")

    def check_packing(self) -> None:
        """Raise SultanaError for a model whose rows see one another where they share a line."""
        if "packing" not in self._checked:
            probes.check_packing(self)
            self._checked.add("packing")


def _logit_scale_and_cap(config: Any) -> tuple[float, float | None]:
    """What a model of this configuration does to its head's logits; `check_projection` is the proof."""
    scale = getattr(config, "logit_scale", None)  # Cohere
    divisor = getattr(config, "logits_scaling", None)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    return float(scale or 1.0) / float(divisor or 1.0), float(cap) if cap else None
