"""Texts as token ids, none of which is a control token: what a row says is never taken for what a program says.

`split_special_tokens=True` spells out the tokens that a tokenizer marks as special, and those alone. Three more
kinds would still be parsed: added tokens that are not marked (`<think>`, `<tool_call>`), texts that only the
tokenizer's normaliser turns into a token (full-width letters), and tokens that a Unigram vocabulary lists among its
words (`</s>`). Texts that hold one are cut inside it, and no half is the token any more.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any


class PlainTokens:
    """Tokenises texts for one tokenizer. Not for use by several threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        special = set(tokenizer.all_special_ids)
        added = tokenizer.added_tokens_decoder
        self.special_ids = frozenset(
            number for number, token in added.items() if token.special or number in special
        )
        """The ids of tokens that are marked as special."""
        self.control_texts: dict[int, str] = {
            number: token.content
            for number, token in added.items()
            if number in self.special_ids or token.content.strip()
        }
        """What would be parsed, by id: every added token but those of white space."""
        named = {
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            tokenizer.sep_token_id,
        }
        # A character that the vocabulary lacks says nothing, unless it stands for the end of something.
        self.control_ids = frozenset(self.control_texts) - ({tokenizer.unk_token_id} - named)
        spelt = sorted((re.escape(one) for one in self.control_texts.values() if len(one) > 1), key=len)
        self._spelt = re.compile("|".join(reversed(spelt)) or "(?!)")

    def ids(self, texts: Sequence[str]) -> list[list[int] | None]:
        """Token ids of each text, without any that a program would add.

        None for a text with a single character that the tokenizer takes for a control token.
        """
        if not texts:
            return []
        return [
            ids if self.control_ids.isdisjoint(ids) else self._spelt_out(text)
            for text, ids in zip(texts, self._parsed(list(texts)), strict=True)
        ]

    def pieces(self, text: str) -> list[str]:
        """The text, cut after the first character of every control token that it spells out: no piece spells one."""
        pieces: list[str] = []
        start = 0
        while found := self._spelt.search(text, start):
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        return [*pieces, text[start:]]

    def controls(self, text: str) -> int:
        """How many control tokens the text spells out."""
        return sum(1 for _ in self._spelt.finditer(text))

    def parts(self, text: str) -> Iterator[tuple[str, str]]:
        """The text as (text, the control token that it spells out after it or "")."""
        start = 0
        for found in self._spelt.finditer(text):
            yield text[start : found.start()], found.group()
            start = found.end()
        yield text[start:], ""

    @functools.cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """The control tokens that the tokenizer itself puts before and after every text."""
        whole, inner = (
            self.tokenizer("a", add_special_tokens=added, return_attention_mask=False)["input_ids"]
            for added in (True, False)
        )
        inside = next((at for at in range(len(whole)) if whole[at : at + len(inner)] == inner), 0)
        return whole[:inside], whole[inside + len(inner) :]

    def _parsed(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
        )["input_ids"]
        return found

    def _spelt_out(self, text: str) -> list[int] | None:
        ids: list[int] = []
        waiting = [piece for piece in reversed(self.pieces(text)) if piece]
        while waiting:
            piece = waiting.pop()
            part = self._parsed([piece])[0]
            if self.control_ids.isdisjoint(part):
                ids += part
            elif len(piece) > 1:
                middle = len(piece) // 2
                waiting += [piece[middle:], piece[:middle]]
            else:
                return None
        return ids
