"""Greedy continuations until a stop string, many prompts at a time.

Prompts are padded on the left and share one key-value cache. A text that has ended gives up its row, and
the next prompt takes it, so that a few long texts do not hold up a batch of short ones. Which texts share a
batch changes sums by rounding only. Models with another kind of cache than one key and value per token and
layer are left to `generate` of transformers, batch by batch.

Prompts are handed out in parts of `BATCHES_OF_A_PART` full batches, here as elsewhere, so that texts do not
depend on the number of workers.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from assets.evaluation.loaded import LoadedModel, in_evaluation

CACHE_BYTES = {"cpu": 1 << 30, "cuda": 8 << 30}
"""Keys and values kept at once, by device."""

ROWS = {"cpu": 24, "cuda": 256}
"""Most rows of a batch: on a CPU, more rows than this make each step longer by as much as they add."""

BATCHES_OF_A_PART = 8
"""At the end of a part no prompt takes the rows that get free, which costs little in so long a part."""

REFILL = 0.25
"""Share of rows that must be free before prompts take them: a prompt's first pass holds up the others."""

LOOK_BACK = 12
"""Tokens at the end of a text in which a stop string is looked for after each token."""


@dataclass(eq=False)
class _Row:
    """A text in the making; `place` is that of its prompt."""

    place: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False


def generate_until(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    until: Sequence[str],
    maximum_new_tokens: int,
    on_texts: Callable[[int], object] | None = None,
) -> list[str]:
    """The greedy continuation of each prompt (token ids), cut before the first of `until`, in the order given.

    A text ends with the model's end token, with one of `until`, or after `maximum_new_tokens`. Special
    tokens are left out of texts. `on_texts` gets the number of texts done since the last time.
    """
    texts = [""] * len(prompts)
    if not prompts:
        return texts
    # Longest first: what does not fit in memory shows at once, and neighbours are about as long.
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    size = BATCHES_OF_A_PART * model.ask(_most_rows)
    places = [order[start : start + size] for start in range(0, len(order), size)]
    stops = [one for one in until if one]
    parts = (_Part([prompts[place] for place in part], stops, maximum_new_tokens) for part in places)
    for part, found in zip(places, model.map(parts), strict=True):
        for place, text in zip(part, found, strict=True):
            texts[place] = text
        if on_texts is not None:
            on_texts(len(part))
    return texts


def _most_rows(model: Any, tokenizer: Any) -> int:
    return ROWS[model.get_input_embeddings().weight.device.type]


@dataclass(frozen=True, eq=False)
class _Part:
    """The texts of some prompts, the longest first."""

    prompts: Sequence[Sequence[int]]
    stops: Sequence[str]
    maximum_new_tokens: int

    def __call__(self, model: Any, tokenizer: Any) -> list[str]:
        texts = [""] * len(self.prompts)

        def done(place: int, tokens: Sequence[int]) -> None:
            texts[place] = cut(tokenizer.decode(tokens, skip_special_tokens=True), self.stops)

        with in_evaluation(model):
            _Batch(model, tokenizer, self.prompts, self.stops, self.maximum_new_tokens, done).run()
        return texts


def cut(text: str, until: Sequence[str]) -> str:
    """What stands before the first of `until`."""
    for one in until:
        text = text.split(one)[0]
    return text


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens after which the model has nothing more to say."""
    named = model.generation_config.eos_token_id
    ids = {named} if isinstance(named, int) else set(named or ())
    return frozenset(ids | ({tokenizer.eos_token_id} - {None}))


class _Batch:
    """Prompts that wait, and open rows with the keys and values of all that stands before them."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Sequence[int]],
        stops: Sequence[str],
        most: int,
        done: Callable[[int, Sequence[int]], None],
    ) -> None:
        self.model, self.tokenizer, self.prompts = model, tokenizer, prompts
        self.stops, self.most, self.done = stops, most, done
        self.ends = end_tokens(model, tokenizer)
        self.device = model.get_input_embeddings().weight.device
        self.waiting = deque(range(len(prompts)))
        longest = len(prompts[0])
        self.room = max(1, min(ROWS[self.device.type], self._fitting(longest + most)))
        self.rows: list[_Row] = []
        self.cache: Any = None
        self.mask = torch.zeros((0, 0), dtype=torch.int64, device=self.device)

    def run(self) -> None:
        """Until no prompt waits and no row is open."""
        if not self._cache_can_be_joined():
            self._leave_to_transformers()
            return
        least = max(1, int(REFILL * self.room))
        while self.waiting or self.rows:
            ended = sum(row.ended for row in self.rows)
            if ended and (ended >= least or ended == len(self.rows)):
                self._drop_ended()
            if self.waiting and self.room - len(self.rows) >= least:
                self._admit()
            elif self.rows:
                self._step()

    def _fitting(self, length: int) -> int:
        """Rows of `length` tokens whose keys and values `CACHE_BYTES` hold."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token = 2 * config.num_hidden_layers * heads * size * torch.finfo(self.model.dtype).bits // 8
        return int(CACHE_BYTES[self.device.type] // (token * length))

    def _admit(self) -> None:
        """As many prompts as there is room for become rows, each with its first token."""
        count = min(self.room - len(self.rows), len(self.waiting))
        places = [self.waiting.popleft() for _ in range(count)]
        ids, mask = self._padded(places)
        cache = self._empty_cache()
        tokens = self._next_tokens(ids, mask, cache)
        new = [_Row(place) for place in places]
        if self.rows:
            width = max(mask.shape[1], self.mask.shape[1])
            self.mask = torch.cat([_widened(self.mask, width, 1), _widened(mask, width, 1)])
            for mine, theirs in zip(self.cache.layers, cache.layers, strict=True):
                mine.keys = torch.cat([_widened(one.keys, width, 2) for one in (mine, theirs)])
                mine.values = torch.cat([_widened(one.values, width, 2) for one in (mine, theirs)])
        else:
            self.mask, self.cache = mask, cache
        self.rows += new
        self._extend(new, tokens)

    def _step(self) -> None:
        """One more token for every row; what an ended row gets is thrown away."""
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.rows), 1))], dim=1)
        self._extend(self.rows, self._next_tokens(ids, self.mask, self.cache))

    def _next_tokens(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> list[int]:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens: list[int] = out.logits[:, -1].float().argmax(-1).tolist()
        return tokens

    def _extend(self, rows: Sequence[_Row], tokens: Sequence[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            if row.ended:
                continue
            row.tokens.append(token)
            if token in self.ends or len(row.tokens) >= self.most or self._stopped(row):
                row.ended = True
                self.done(row.place, row.tokens)

    def _stopped(self, row: _Row) -> bool:
        if not self.stops:
            return False
        tail = self.tokenizer.decode(row.tokens[-LOOK_BACK:], skip_special_tokens=True)
        return any(one in tail for one in self.stops)

    def _drop_ended(self) -> None:
        kept = [number for number, row in enumerate(self.rows) if not row.ended]
        self.rows = [self.rows[number] for number in kept]
        if not kept:
            return
        mask = self.mask[kept]
        first = int(mask.argmax(1).min())  # places before it are padding in every row
        self.mask = mask[:, first:]
        for layer in self.cache.layers:
            layer.keys = layer.keys[kept][:, :, first:]
            layer.values = layer.values[kept][:, :, first:]

    def _padded(self, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of prompts, int64 (n, longest), padded on the left."""
        width = max(len(self.prompts[place]) for place in places)
        ids = torch.full((len(places), width), min(self.ends, default=0), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(places):
            start = width - len(self.prompts[place])
            ids[row, start:] = torch.as_tensor(list(self.prompts[place]))
            mask[row, start:] = 1
        return ids.to(self.device), mask.to(self.device)

    def _empty_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def _cache_can_be_joined(self) -> bool:
        from transformers.cache_utils import DynamicLayer

        layers = self._empty_cache().layers
        return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)

    def _leave_to_transformers(self) -> None:
        from transformers import GenerationConfig

        settings = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.most,
            eos_token_id=sorted(self.ends),
            pad_token_id=min(self.ends, default=0),
            use_cache=True,
            stop_strings=list(self.stops) or None,
        )
        while self.waiting:
            places = [self.waiting.popleft() for _ in range(min(self.room, len(self.waiting)))]
            ids, mask = self._padded(places)
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, generation_config=settings, tokenizer=self.tokenizer
            )
            for place, tokens in zip(places, out[:, ids.shape[1] :].tolist(), strict=True):
                end = next((at for at, token in enumerate(tokens) if token in self.ends), len(tokens))
                self.done(place, tokens[:end])


def _widened(values: torch.Tensor, width: int, dimension: int) -> torch.Tensor:
    """`values` with zeros before them along `dimension`, to `width`."""
    missing = width - values.shape[dimension]
    if not missing:
        return values
    shape = list(values.shape)
    shape[dimension] = missing
    return torch.cat([values.new_zeros(shape), values], dim=dimension)
