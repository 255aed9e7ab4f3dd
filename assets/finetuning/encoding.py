"""Conversations as token ids, built structurally: no text of a row can become a control token.

The model's chat template is rendered once for each sequence of roles, around placeholders, which gives
the fixed pieces of text between contents. The pieces are tokenised with control tokens; the contents of
rows are tokenised on their own, as plain text. So a row that contains `<|im_end|>` has exactly the
control tokens of any other row with its roles.

Tokenising piece by piece differs from tokenising the whole string only where a token would span a
border. For byte-level vocabularies with pre-tokenisation (GPT-2's, SmolLM2's, Llama 3's) that needs a
content that begins or ends with white space, which canonical text never does; SentencePiece vocabularies
may put a leading `▁` before a content.

Left out on purpose: templates that change contents or leave some out. They are refused, since their
output could not be told from a forged one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.roles import ROLES
from resources.chat_template import ChatTemplate, TemplateRefused
from resources.errors import SultanaError
from resources.plain_tokens import PlainTokens
from resources.text import escape_terminal

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}"
)
"""The template of models that bring none: Alpaca's headings, the end-of-sequence token after a response."""

_BATCH = 1024


class EncodingRefused(ValueError):
    """A row that cannot be trained on: `reason` is a stable word, `detail` a sentence for people."""

    def __init__(self, row_id: str, reason: str, detail: str) -> None:
        self.row_id = row_id
        self.reason = reason
        self.detail = detail
        super().__init__(f"Row {row_id} cannot be encoded ({reason}): {detail}")


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """A conversation as token ids, at most `maximum_length` long.

    `ids` is int32 (n,). `trained` is bool (n,): the tokens that carry loss, i.e. every assistant turn with
    its end-of-turn token. `response_start` is the place of the first token of the first response: the
    border at which two conversations are aligned. It is at least 1, so every trained token is predicted.
    """

    row_id: str
    ids: np.ndarray
    trained: np.ndarray
    response_start: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt_ids(self) -> np.ndarray:
        """The tokens before the border, int32."""
        return self.ids[: self.response_start]

    @property
    def response_ids(self) -> np.ndarray:
        """The tokens from the border on, int32; later user turns are among them."""
        return self.ids[self.response_start :]

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry loss."""
        return int(self.trained.sum())


class ChatEncoder:
    """Encodes conversations for one tokenizer. Not for use by several threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.template: str = tokenizer.chat_template or PLAIN_TEMPLATE
        if not isinstance(self.template, str):
            raise SultanaError(
                "The tokenizer brings several chat templates",
                "Keep one template in the model's folder (chat_template.jinja)",
                code="chat-template-unsuitable",
            )
        self._template = ChatTemplate(tokenizer, self.template)
        self._plain = PlainTokens(tokenizer)
        self._ends = self._plain.special_ids | ({tokenizer.eos_token_id} - {None})
        self._pieces: dict[tuple[str, ...], tuple[np.ndarray, ...]] = {}

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that only the template may place."""
        return self._plain.control_ids

    @property
    def control_texts(self) -> frozenset[str]:
        """The texts that would become control tokens if they were parsed."""
        return frozenset(self._plain.control_texts.values())

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a turn: every special token, and the end of a sequence."""
        return self._ends

    def encode(self, row_id: str, messages: Sequence[Mapping[str, str]], maximum_length: int) -> Encoded:
        """Encode one conversation. Raises EncodingRefused."""
        texts = self._plain.ids([message["content"] for message in messages])
        return self._assemble(row_id, [message["role"] for message in messages], texts, maximum_length)

    def encode_all(
        self, rows: Sequence[tuple[str, Sequence[Mapping[str, str]]]], maximum_length: int
    ) -> tuple[list[Encoded], list[EncodingRefused]]:
        """Encode (row id, messages) pairs, many at a time. Returns the rows in order, and the refusals."""
        kept: list[Encoded] = []
        refused: list[EncodingRefused] = []
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            texts = iter(self._plain.ids([turn["content"] for _, turns in part for turn in turns]))
            for row_id, turns in part:
                contents = [next(texts) for _ in turns]
                try:
                    kept.append(self._assemble(row_id, [t["role"] for t in turns], contents, maximum_length))
                except EncodingRefused as refusal:
                    refused.append(refusal)
        return kept, refused

    def _assemble(
        self, row_id: str, roles: Sequence[str], given: Sequence[Sequence[int] | None], maximum_length: int
    ) -> Encoded:
        for role in roles:
            if role not in ROLES:
                raise EncodingRefused(
                    row_id, "unknown_role", f"a turn is by {role[:60]!r}, expected one of {', '.join(ROLES)}"
                )
        if "assistant" not in roles:
            raise EncodingRefused(row_id, "no_response", "the conversation has no assistant turn")
        last = max(turn for turn, role in enumerate(roles) if role == "assistant")
        roles = list(roles[: last + 1])
        contents = [ids for ids in given[: last + 1] if ids is not None]
        if len(contents) < len(roles):
            raise EncodingRefused(
                row_id, "control_token", "a character of it is a control token of the model's tokenizer"
            )
        pieces = self._pieces_between(tuple(roles))
        ids: list[np.ndarray] = [pieces[0]]
        trained: list[np.ndarray] = [np.zeros(len(pieces[0]), bool)]
        border = 0
        for turn, (role, content) in enumerate(zip(roles, contents, strict=True)):
            if role == "assistant" and border == 0:
                border = sum(map(len, ids))
            after = pieces[turn + 1]
            ends = np.flatnonzero(np.isin(after, list(self._ends)))
            closing = int(ends[0]) + 1 if len(ends) else 0
            if turn == last:
                # What follows the last end of turn is never predicted and conditions nothing.
                after = after[:closing] if closing else np.array([self._end_of_sequence()], np.int32)
                closing = len(after)
            ids += [np.asarray(content, np.int32), after]
            is_response = role == "assistant"
            trained += [
                np.full(len(content), is_response),
                np.arange(len(after)) < (closing if is_response else 0),
            ]
        row = np.concatenate(ids)
        mask = np.concatenate(trained)
        mask[: max(border, 1)] = False
        response = len(row) - border
        if response + 1 > maximum_length:
            raise EncodingRefused(
                row_id,
                "response_too_long",
                f"the response has {response} tokens and maximum_length is {maximum_length}, "
                "of which the prompt needs at least 1",
            )
        if border < 1:
            raise EncodingRefused(row_id, "no_prompt", "the template puts nothing before the response")
        if not any(len(ids) for ids, role in zip(contents, roles, strict=True) if role == "assistant"):
            raise EncodingRefused(row_id, "no_trainable_token", "the response has no token")
        cut = max(0, len(row) - maximum_length)
        return Encoded(row_id, row[cut:], mask[cut:], border - cut)

    def _pieces_between(self, roles: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """The fixed token ids before, between and after the contents of these roles, one more than roles."""
        if roles not in self._pieces:
            marks = [f"\ue000{turn}\ue001" for turn in range(len(roles))]
            text = self._render(
                [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
            )
            pieces: list[str] = []
            for mark in marks:
                before, found, text = text.partition(mark)
                if not found or mark in text:
                    raise SultanaError(
                        f"The chat template does not place every content once and in order for {list(roles)}",
                        "Use a model whose template does, or put a template without such rules in its folder",
                        code="chat-template-unsuitable",
                    )
                pieces.append(before)
            pieces.append(text)
            arrays = [np.array(self._parse(piece) if piece else [], np.int32) for piece in pieces]
            self._pieces[roles] = tuple(arrays)
        return self._pieces[roles]

    def _parse(self, piece: str) -> list[int]:
        """Token ids of a piece of the template, its control tokens included."""
        ids: list[int] = self.tokenizer(piece, add_special_tokens=False, split_special_tokens=False)[
            "input_ids"
        ]
        return ids

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._template.render(messages, add_generation_prompt=False)
        except TemplateRefused as error:
            roles = [message["role"] for message in messages]
            raise SultanaError(
                f"The model's chat template refuses a conversation with the roles {roles}: "
                f"{escape_terminal(str(error), 300)}",
                "Leave such rows out, or use a model whose template accepts these roles",
                code="chat-template-unsuitable",
            ) from error

    def _end_of_sequence(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise SultanaError(
                "Neither the chat template nor the tokenizer says where a response ends",
                "Set eos_token in the model's tokenizer_config.json",
                code="tokenizer-unsuitable",
            )
        return int(self.tokenizer.eos_token_id)


def encode(
    tokenizer: Any, row_id: str, messages: Sequence[Mapping[str, str]], maximum_length: int
) -> Encoded:
    """Encode one conversation; for many, keep one ChatEncoder. Raises EncodingRefused."""
    return ChatEncoder(tokenizer).encode(row_id, messages, maximum_length)
