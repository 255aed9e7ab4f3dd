"""A causal language model taken apart: embedding, decoder and head, for batches without padding masks.

`Batch` pads on the right only, so causal attention alone keeps real tokens from seeing padding. Only the
states that predict a label are projected to the vocabulary.
"""

import contextlib
from typing import Any

import torch

from assets.interpolation.label_loss import label_log_probabilities, soft_label_loss
from assets.interpolation.mixing import Batch, mixed_embeddings
from resources.errors import SultanaError

EAGER_WIDTH = 256
"""Up to this width attention in bfloat16 on a CPU is trained with plain products: there the backward of
torch's fused CPU kernel takes 9.2 ms a layer against 1.8 ms (8 x 80 tokens, 9 heads of 64); at 512 the
fused kernel wins."""


class Decoder:
    """The parts of a causal language model of transformers, with or without adapters in it."""

    def __init__(self, model: Any, autocast: torch.dtype | None = None) -> None:
        """`autocast` is the dtype of products where the weights are kept in float32."""
        self.model = model
        self.autocast = autocast
        self.body = model.get_decoder()
        self.embedding = model.get_input_embeddings()
        self.head = model.get_output_embeddings()
        if self.head is None or self.body is model:
            raise SultanaError(
                f"{type(model).__name__} has no separate decoder and output head",
                "Use a causal language model such as Llama, Qwen, Mistral, Gemma or SmolLM",
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

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def states(self, batch: Batch) -> torch.Tensor:
        """The last layer's states after the final normalisation: (b, n, h)."""
        self._choose_attention(batch.ids.shape[2])
        with self._precision():
            if batch.coefficients is None:
                out = self.body(input_ids=batch.ids[0], use_cache=False)
            else:
                mixed = mixed_embeddings(self.embedding, batch)
                out = self.body(inputs_embeds=mixed, use_cache=False)
        states: torch.Tensor = out.last_hidden_state
        return states

    def loss(self, batch: Batch) -> torch.Tensor:
        """Σ of label weight x cross entropy over the batch, float32, with gradients."""
        states = self.states(batch).flatten(0, 1).index_select(0, batch.label_places)
        weight, bias = self._head_weights()
        return soft_label_loss(states.to(self.dtype), weight, bias, batch.labels, batch.label_weights)

    def log_probabilities(self, batch: Batch, states: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probability of each label, float32 (k, m), without gradients. `states` saves a forward."""
        with torch.no_grad():
            states = self.states(batch) if states is None else states
            states = states.flatten(0, 1).index_select(0, batch.label_places)
            weight, bias = self._head_weights()
            return label_log_probabilities(states.to(self.dtype), weight, bias, batch.labels)

    def _head_weights(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        bias = self.head.bias
        return self.head.weight.to(self.dtype), None if bias is None else bias.to(self.dtype)

    def _choose_attention(self, width: int) -> None:
        current = self.model.config._attn_implementation
        if current not in ("sdpa", "eager") or self.device.type != "cpu":
            return
        eager = torch.is_grad_enabled() and self.dtype == torch.bfloat16 and width <= EAGER_WIDTH
        wanted = "eager" if eager else "sdpa"
        if current != wanted:
            self.model.set_attn_implementation(wanted)

    def check_projection(self) -> None:
        """Raise SultanaError for a model that does more than its head to the last states.

        Some families scale or cap their logits; losses taken from the head alone would be wrong.
        """
        ids = torch.arange(2, device=self.device)[None]
        with torch.no_grad(), self._precision():
            whole = self.model(input_ids=ids, use_cache=False).logits.float()
            apart = self.head(self.body(input_ids=ids, use_cache=False).last_hidden_state).float()
        if not torch.allclose(whole, apart, rtol=1e-2, atol=1e-2):
            raise SultanaError(
                f"{type(self.model).__name__} changes its logits after the output head",
                "Use a model without logit scaling or soft-capping",
            )
