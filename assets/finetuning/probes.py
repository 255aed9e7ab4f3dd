"""Small forwards that tell whether a model computes what training on `Batch` takes for granted.

Each compares two ways of computing the same states. They draw no random number, train nothing and leave
the model as they find it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from assets.finetuning.frozen_states import states_before
from assets.interpolation.alignment import AlignedRow
from assets.interpolation.mixing import collate
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.finetuning.forward import Decoder

TOKENS = 6
LARGE_LOGIT = 60.0
TOLERANCE = {torch.float32: 1e-3}
"""Largest relative difference of states, by the dtype of products; elsewhere 0.05."""


def check_projection(decoder: "Decoder") -> None:
    """Raise SultanaError for a model that does more to the last states than its head, a scale and a cap.

    The logits of two tokens, and logits put in the place of the head's: large ones, on which a cap shows.
    """
    ids = torch.arange(2, device=decoder.device)[None]
    places = torch.linspace(
        -LARGE_LOGIT, LARGE_LOGIT, 2 * decoder.head.weight.shape[0], device=decoder.device
    )

    def known(logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float() * decoder.logit_scale
        return (
            logits
            if decoder.logit_cap is None
            else torch.tanh(logits / decoder.logit_cap) * decoder.logit_cap
        )

    with _quiet(decoder):
        whole = decoder.model(input_ids=ids, use_cache=False).logits.float()
        apart = decoder.head(decoder.body(input_ids=ids, use_cache=False).last_hidden_state)
        put = places.view_as(apart).to(apart.dtype)
        handle = decoder.head.register_forward_hook(lambda *_: put.clone())
        try:
            large = decoder.model(input_ids=ids, use_cache=False).logits.float()
        finally:
            handle.remove()
    for found, expected in ((whole, known(apart)), (large, known(put))):
        if not torch.allclose(found, expected, rtol=2e-2, atol=1e-2):
            raise SultanaError(
                f"{type(decoder.model).__name__} changes its logits after the output head",
                "Use a model that scales or caps them as Cohere, Granite or Gemma 2 do, or not at all",
                code="model-unsuitable",
            )


def check_embeddings(decoder: "Decoder") -> None:
    """Raise SultanaError for a model that, given the embeddings of ids, does not do as with the ids.

    Such models ignore `inputs_embeds`, or look ids up in more than one table (Gemma 3n), for which some
    find the ids that embeddings belong to, and a mix belongs to none (Gemma 4).
    """
    one, two = _rows(decoder)
    problem = "does not take inputs_embeds as it takes ids"
    with _quiet(decoder), _refused(decoder, problem):
        first, second = (
            decoder.embedding(torch.from_numpy(row.ids).to(decoder.device)) for row in (one, two)
        )
        given = decoder.body(inputs_embeds=first, use_cache=False).last_hidden_state
        _compare(decoder, given, _plain(decoder, one), problem)
        decoder.body(inputs_embeds=(first + second) / 2, use_cache=False)


def check_hidden_layer(decoder: "Decoder", layer: int) -> None:
    """Raise SultanaError for a model without decoder layer `layer`, or whose states cannot be mixed there."""
    count = len(decoder.layers)
    if not 1 <= layer < count:
        raise SultanaError(
            f"Rows are to be mixed at layer {layer}, but {type(decoder.model).__name__} has {count} layers",
            f"Mix at the embedding layer (0), or at a layer from 1 to {count - 1}",
            code="setting-out-of-bounds",
        )
    one, two = _rows(decoder)
    # All the weight is on the second side: the states have to be those of that side alone.
    pair = AlignedRow(
        np.concatenate([one.ids, two.ids]),
        np.repeat(np.array([[0.0], [1.0]], np.float32), TOKENS, axis=1),
        np.concatenate([np.zeros_like(two.label_weights), two.label_weights]),
        (0, 0),
        (TOKENS, TOKENS),
        layer=layer,
    )
    problem = f"cannot be mixed at layer {layer}"
    with _quiet(decoder), _refused(decoder, problem):
        found = decoder.run(collate([pair], device=decoder.device))
        _compare(decoder, found[:, :TOKENS], _plain(decoder, two), problem)


def check_packing(decoder: "Decoder") -> None:
    """Raise SultanaError for a model whose rows see one another where they share a line."""
    one, two = _rows(decoder)
    problem = "does not keep rows that share a line apart"
    with _quiet(decoder), _refused(decoder, problem):
        packed = decoder.run(collate([one, two], device=decoder.device, places=[(0, 0), (0, TOKENS)]))
        _compare(decoder, packed[:, :TOKENS], _plain(decoder, one), problem)
        _compare(decoder, packed[:, TOKENS:], _plain(decoder, two), problem)


def check_frozen_states(decoder: "Decoder") -> None:
    """Raise SultanaError for a model whose upper layers, given the states they get, do not go on as before."""
    one, _ = _rows(decoder)
    problem = "cannot go on from kept states of its lower layers"
    with _quiet(decoder), _refused(decoder, problem):
        batch = collate([one], device=decoder.device)
        kept = replace(batch, frozen=states_before(decoder, batch, decoder.first_trained))
        _compare(decoder, decoder.run(kept), _plain(decoder, one), problem)


def check_width(decoder: "Decoder", width: int) -> None:
    """Raise SultanaError where a mixed row of `width` tokens is longer than the model's positions.

    Aligned at the border, a row is as long as the longer prompt and the longer response together.
    """
    most = getattr(decoder.model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and width > most:
        raise SultanaError(
            f"An interpolated row has {width} tokens, "
            f"but {type(decoder.model).__name__} has {most} positions",
            "Lower maximum_length, or choose the alignment start or shorter",
            code="longer-than-model-reads",
        )


def _rows(decoder: "Decoder") -> tuple[AlignedRow, AlignedRow]:
    """Two original rows of different tokens from all over the vocabulary."""
    ids = np.linspace(0, decoder.embedding.weight.shape[0] - 1, 2 * TOKENS).astype(np.int64)
    weights = np.ones((1, TOKENS), np.float32)
    labels = weights * (np.arange(TOKENS) > 0)
    one, two = (
        AlignedRow(part[None], weights, labels.astype(np.float32), (0,), (TOKENS,))
        for part in (ids[::2], ids[1::2])
    )
    return one, two


def _plain(decoder: "Decoder", row: AlignedRow) -> torch.Tensor:
    ids = torch.from_numpy(row.ids).to(decoder.device)
    states: torch.Tensor = decoder.body(input_ids=ids, use_cache=False).last_hidden_state
    return states


@contextlib.contextmanager
def _quiet(decoder: "Decoder") -> Iterator[None]:
    was_training = decoder.model.training
    decoder.model.eval()
    try:
        with torch.no_grad(), decoder.precision():
            yield
    finally:
        decoder.model.train(was_training)


@contextlib.contextmanager
def _refused(decoder: "Decoder", problem: str) -> Iterator[None]:
    """What a model's own code says against such inputs, under the model's name."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refusal(decoder, problem) from error


def _compare(decoder: "Decoder", found: torch.Tensor, expected: torch.Tensor, problem: str) -> None:
    distance = (found.float() - expected.float()).norm() / expected.float().norm()
    if not distance <= TOLERANCE.get(decoder.dtype, 0.05):
        raise _refusal(decoder, problem)


def _refusal(decoder: "Decoder", problem: str) -> SultanaError:
    remedy = {
        "does not keep rows that share a line apart": "Set packing to false, or attention to sdpa or eager",
        "cannot go on from kept states of its lower layers": "Set frozen_states_bytes to 0",
    }
    return SultanaError(
        f"{type(decoder.model).__name__} {problem}",
        remedy.get(
            problem, "Train on rows without interpolation, or use a model such as Llama, Qwen or Gemma 3"
        ),
        code="model-unsuitable",
    )
