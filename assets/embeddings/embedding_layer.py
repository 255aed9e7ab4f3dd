"""The vector of an instruction at the embedding layer of a language model: MDIT's "e" (section 3).

It is the mean of the token embeddings of the row's turns. For it the vector of a mix is the mix of its
parents' vectors, up to the positions where only one of them has a token. Embeddings come from the model's
own embedding module, so that what it does beside looking up (Gemma scales) is done here too.

Left out on purpose: the control tokens of a chat template, which are the same in every row, and a limit
on the length, which training sets later. A control token that is written in a text is text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.plain_tokens import PlainTokens

BLOCK = 512
"""Rows whose tokens and embeddings are in memory at a time."""


def embedding_layer_means(
    conversations: Iterable[Sequence[Mapping[str, str]]], count: int, tokenizer: Any, embedding: Any
) -> npt.NDArray[np.float32]:
    """Mean token embedding of each of `count` conversations, (count, hidden size) float32, not scaled.

    `conversations` are the turns of each row, with `content`. `embedding` is the model's input embedding
    module. A row without a token has the zero vector.
    """
    import torch

    device = next(embedding.parameters()).device
    means: npt.NDArray[np.float32] | None = None
    block: list[Sequence[Mapping[str, str]]] = []
    done = 0

    def flush() -> None:
        nonlocal means, done
        part = _block_means(block, tokenizer, embedding, device)
        if means is None:
            means = np.zeros((count, part.shape[1]), dtype=np.float32)
        means[done : done + len(block)] = part
        done += len(block)
        block.clear()

    with torch.inference_mode():
        for turns in conversations:
            block.append(turns)
            if len(block) == BLOCK:
                flush()
        flush()
    if done != count or means is None:
        raise ValueError(f"there are {done} conversations, not {count}")
    return means


def _block_means(
    conversations: Sequence[Sequence[Mapping[str, str]]], tokenizer: Any, embedding: Any, device: Any
) -> npt.NDArray[np.float32]:
    import torch

    texts = [turn["content"] for turns in conversations for turn in turns]
    encoded = [ids or [] for ids in PlainTokens(tokenizer).ids(texts)]
    lengths = np.fromiter(map(len, encoded), np.int64, count=len(encoded))
    turns = np.fromiter(map(len, conversations), np.int64, count=len(conversations))
    ends = np.concatenate(([0], np.cumsum(lengths)))[np.concatenate(([0], np.cumsum(turns)))]
    tokens = np.fromiter((one for ids in encoded for one in ids), np.int64, count=int(lengths.sum()))
    distinct, places = np.unique(tokens, return_inverse=True)
    # Each distinct token goes through the module once; id 0 is there so that no block is empty.
    distinct = np.concatenate((distinct, [0]))
    table = embedding(torch.from_numpy(distinct).to(device)).float()
    means = torch.nn.functional.embedding_bag(
        torch.from_numpy(places.astype(np.int64)).to(device),
        table,
        torch.from_numpy(ends[:-1]).to(device),
        mode="mean",
    )
    found: npt.NDArray[np.float32] = means.cpu().numpy()
    return found
