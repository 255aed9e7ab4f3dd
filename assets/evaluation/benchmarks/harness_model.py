"""A model as lm-evaluation-harness takes one: its requests, tokenised as the harness's hf backend does.

With one difference: a control token that stands in a question, an example or a choice is text. The harness passes
whole prompts as strings, so control tokens in contents get a mark inside before the chat template is filled, and
pieces between marks are tokenised apart. Without a template every request is text.

Left out on purpose: rolling log-likelihood (perplexity of whole texts), and sampling. No task of ours asks
for either.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    resolve_max_length,
)

from assets.evaluation.benchmarks.generation import generate_until
from assets.evaluation.benchmarks.likelihood import Score, log_likelihoods, taken_apart
from assets.evaluation.loaded import LoadedModel
from resources.chat_template import ChatTemplate, TemplateRefused
from resources.errors import SultanaError
from resources.plain_tokens import PlainTokens
from resources.progress import Progress
from resources.text import escape_terminal

_MARK = "\ue001\ue000"
"""Private-use characters: where contents hold the two, they are taken out."""

Track = Callable[[str, float, str], AbstractContextManager[Progress]]
"""Shows progress of (label, total, unit): `Stage.progress`."""


def _longest_input(model: Any, tokenizer: Any) -> int:
    return int(resolve_max_length(model.config, tokenizer))


class HarnessModel(TemplateLM):
    """A model behind the harness's interface. Deterministic for the same weights and requests."""

    def __init__(self, model: LoadedModel, *, templated: bool, batch_tokens: int, track: Track) -> None:
        """`templated`: contexts come from `apply_chat_template` of this model; otherwise every context is text.

        `batch_tokens` bounds the places of a forward pass of multiple choice.
        """
        super().__init__()
        self.model, self.tokenizer = model, model.tokenizer
        self.templated = templated
        self._plain = PlainTokens(self.tokenizer)
        self.batch_tokens = batch_tokens
        self.track = track

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text. Raises SultanaError where the tokenizer has none."""
        if self.tokenizer.eos_token_id is None:
            raise SultanaError(
                "The tokenizer names no token that ends a text",
                "Set eos_token in the model's tokenizer_config.json",
                code="tokenizer-unsuitable",
            )
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What an empty context is scored after."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @cached_property
    def max_length(self) -> int:
        """The model's longest input, in tokens."""
        return self.model.ask(_longest_input)

    @property
    def tokenizer_name(self) -> str:
        """What the harness files cached requests under; none are cached here."""
        return type(self.tokenizer).__name__

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids, with the tokenizer's own special tokens unless the text begins with one already."""
        if not self.templated:
            before, after = ([], []) if add_special_tokens is False else self._plain.around
            return [*before, *self._text(string), *after]
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        pieces = string.split(_MARK)
        ids: list[int] = self.tokenizer.encode(pieces[0], **given)
        for piece in pieces[1:]:
            ids += self.tokenizer.encode(piece, add_special_tokens=False)
        before, after = ([], []) if add_special_tokens is False else self._plain.around
        controls = self._plain.control_ids
        spelt = sum(self._plain.controls(piece) for piece in pieces)
        if sum(one in controls for one in ids) <= spelt + len(before) + len(after):
            return ids
        # A control token that nothing spells: the tokenizer's normaliser has made it.
        ids = list(before)
        for piece in pieces:
            for text, control in self._plain.parts(piece):
                ids += self._text(text)
                ids += [self.tokenizer.convert_tokens_to_ids(control)] if control else []
        return [*ids, *after]

    def _text(self, string: str) -> list[int]:
        found = self._plain.ids([string])[0]
        if found is None:
            raise SultanaError(
                "A benchmark holds a character that the model's tokenizer takes for a control token",
                "Leave that benchmark out, or use another model",
                code="control-token",
            )
        return found

    def _marked(self, text: str) -> str:
        return _MARK.join(self._plain.pieces(text.replace(_MARK, "")))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Score]:
        """Log-likelihoods of continuations, whose control tokens are text."""
        if self.templated:
            requests = [replace(one, arguments=(one.args[0], self._marked(one.args[1]))) for one in requests]
        found: list[Score] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[Score]:
        with self.track("choices", len(requests), "choices") as progress:
            return log_likelihoods(
                self.model,
                [(context, continuation) for _, context, continuation in requests],
                maximum_length=self.max_length,
                batch_tokens=self.batch_tokens,
                on_pairs=progress.advance,
                apart=self._apart,
            )

    @cached_property
    def _apart(self) -> bool:
        return self.model.ask(taken_apart)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Raises NotImplementedError: see this module's docstring."""
        raise NotImplementedError("rolling log-likelihood")

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts, cut at the task's stop strings."""
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for number, request in enumerate(requests):
            settings = normalize_gen_kwargs(request.args[1], 256)
            if settings.get("do_sample"):
                raise SultanaError(
                    f"The task '{request.task_name}' asks for sampling",
                    "Use a task that is answered greedily",
                    code="benchmark-task-unsupported",
                )
            eos = self.tokenizer.decode(self.eot_token_id, skip_special_tokens=False)
            until = handle_stop_sequences(settings["until"], eos=eos)
            groups.setdefault((settings["max_gen_toks"], tuple(until)), []).append(number)
        texts = [""] * len(requests)
        with self.track("answers", len(requests), "answers") as progress:
            for (most, until), numbers in groups.items():
                longest = self.max_length - most
                if longest < 1:
                    raise SultanaError(
                        f"A task asks for {most} new tokens, and the model's longest input is {self.max_length}",
                        "Leave that task out, or use a model that takes longer inputs",
                        code="longer-than-model-reads",
                    )
                found = generate_until(
                    self.model,
                    [self.tok_encode(requests[number].args[0])[-longest:] for number in numbers],
                    until=until,
                    maximum_new_tokens=most,
                    on_texts=progress.advance,
                )
                for number, text in zip(numbers, found, strict=True):
                    texts[number] = text
        return texts

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation in the model's template, as the hf backend renders it."""
        turns = [{**turn, "content": self._marked(turn["content"])} for turn in chat_history]
        try:
            return self._rendered(turns, add_generation_prompt)
        except TemplateRefused:
            # As the harness does: templates of some models know no system turn.
            without = [turn for turn in turns if turn["role"] != "system"]
        try:
            return self._rendered(without, add_generation_prompt)
        except TemplateRefused as error:
            raise SultanaError(
                f"The model's chat template refuses a benchmark's turns: {escape_terminal(str(error), 300)}",
                "Set apply_chat_template to false, or use a model whose template accepts them",
                code="chat-template-unsuitable",
            ) from error

    @cached_property
    def _template(self) -> ChatTemplate:
        if not isinstance(self.tokenizer.chat_template, str):
            raise SultanaError(
                "The tokenizer brings no chat template, or several",
                "Set apply_chat_template to false, or keep one template in the model's folder",
                code="chat-template-unsuitable",
            )
        return ChatTemplate(self.tokenizer, self.tokenizer.chat_template)

    def _rendered(self, turns: list[dict[str, str]], opens_answer: bool) -> str:
        return self._template.render(
            turns, add_generation_prompt=opens_answer, continue_final_message=not opens_answer
        )
