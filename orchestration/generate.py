"""`sultana generate`: chat with a registered version in the terminal.

What the user types is text and nothing else: it is encoded as the rows of training are, so that no control
token can be typed. What the model writes is shown with control characters spelt out, so that it cannot drive
the terminal.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.finetuning.encoding import ChatEncoder
from assets.identity import canonical_text
from orchestration.registered import download_verified, find_registered, load_pair, open_registry
from orchestration.retraction_models import warning_about
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.text import escape_lines, escape_terminal

PROMPT = "> "


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. A temperature of 0 takes the likeliest token every time."""

    seed: int = 0
    temperature: float = 0.0
    maximum_new_tokens: int = 256


class Chat:
    """A conversation with a loaded model; replies are appended to it."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Sampling) -> None:
        import torch

        self.model = model.eval()
        self.tokenizer = tokenizer
        self.sampling = sampling
        self.encoder = ChatEncoder(tokenizer)
        self.messages: list[dict[str, str]] = []
        self.most_tokens: int | None = getattr(model.config, "max_position_embeddings", None)
        torch.manual_seed(sampling.seed)

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> np.ndarray:
        """Token ids, int32 (n,), of a conversation that ends with a user turn, up to where the reply begins."""
        # The template shows where a reply begins only around one.
        turns = [*messages, {"role": "assistant", "content": "x"}]
        encoded = self.encoder.encode("chat", turns, sys.maxsize)
        starts = np.flatnonzero(np.diff(encoded.trained.astype(np.int8), prepend=0) == 1)
        return encoded.ids[: starts[-1]]

    def reply(self, text: str, on_text: Callable[[str], object]) -> str:
        """The model's reply to the next user turn; `on_text` gets it piece by piece, as it is made.

        Raises SultanaError where the conversation has become longer than the model can read.
        """
        import torch
        from transformers import GenerationConfig

        # A terminal passes bytes that are not UTF-8 on as surrogates, which no tokenizer takes.
        content = canonical_text(text.encode("utf-8", "replace").decode("utf-8"))
        asked = [*self.messages, {"role": "user", "content": content}]
        ids = self.prompt_ids(asked)
        room = self.sampling.maximum_new_tokens
        if self.most_tokens is not None:
            room = min(room, self.most_tokens - len(ids))
        if room < 1:
            raise SultanaError(
                f"The conversation has {len(ids):,} tokens and the model reads {self.most_tokens:,}",
                "Begin a new one",
                code="longer-than-model-reads",
            )
        ends = sorted(self.encoder.end_ids)
        sampled = self.sampling.temperature > 0
        settings = GenerationConfig(
            do_sample=sampled,
            **({"temperature": self.sampling.temperature, "top_k": 0} if sampled else {}),
            max_new_tokens=room,
            eos_token_id=ends,
            pad_token_id=ends[0] if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id,
        )
        pieces: list[str] = []

        def told(piece: str) -> None:
            pieces.append(piece)
            on_text(piece)

        tokens = torch.as_tensor(ids, dtype=torch.int64)[None].to(self.model.device)
        with torch.no_grad():
            self.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=settings,
                streamer=_streamer(self.tokenizer, told),
            )
        answer = canonical_text("".join(pieces))
        self.messages = [*asked, {"role": "assistant", "content": answer}]
        return answer


def _streamer(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    """transformers' streamer of whole words, which hands them on instead of printing them."""
    from transformers import TextStreamer

    class Streamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                on_text(text)

    return Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


def open_chat(reference: str, sampling: Sampling, tracking_uri: str = "") -> Chat:
    """A chat with a registered version, whose files are hashed against the registry before they are loaded.

    Raises SultanaError where the version or its base model is not there.
    """
    tracking = open_registry(tracking_uri)
    model = find_registered(tracking, reference)
    if warning := warning_about(model, Storage().tables()):
        _tell(f"{warning}\n")
    with tempfile.TemporaryDirectory(prefix="generate-", dir=Storage().path("tmp")) as temporary:
        files, base = download_verified(tracking, model, Path(temporary) / "model")
        _tell(f"Loading {model.title} ({', '.join(model.aliases) or 'no alias'}; base model {base.name})\n")
        return Chat(*load_pair(files, base), sampling)


def generate(reference: str, prompt: str | None, sampling: Sampling, tracking_uri: str = "") -> None:
    """Answers one prompt, or every line of standard input until it ends (Ctrl-D)."""
    if prompt is not None and not canonical_text(prompt):
        raise SultanaError(
            "The prompt is empty",
            "Write a question after --prompt, or leave the option out",
            code="text-empty",
        )
    chat = open_chat(reference, sampling, tracking_uri)
    for line in [prompt] if prompt is not None else _lines():
        chat.reply(line, _write)
        _write("\n")


def _lines() -> Iterator[str]:
    """The turns of a user; lines without text are passed over."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 - gives input() a line editor

        _tell("Ctrl-D ends the conversation.\n")
    while True:
        try:
            line = input(PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            if sys.stdin.isatty():
                _write("\n")
            return
        if canonical_text(line):
            yield line


def _write(text: str) -> None:
    sys.stdout.write(escape_lines(text))
    sys.stdout.flush()


def _tell(text: str) -> None:
    """About the command itself, so that standard output holds replies alone."""
    sys.stderr.write(escape_terminal(text.rstrip("\n")) + "\n")
