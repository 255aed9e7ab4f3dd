"""No text of a row becomes a control token, in any family of chat templates and wherever text is tokenised."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from payloads import FAMILIES, FORMS, HIDING, ROLES, UNMARKED, payloads
from tokenizers_of_families import families

from assets.embeddings.embedding_layer import embedding_layer_means
from assets.finetuning.encoding import ChatEncoder, EncodingRefused
from assets.identity import canonical_text
from assets.instructions.validate import problem_in
from resources.language_model import LanguageModel
from resources.plain_tokens import PlainTokens

ROOT = Path(__file__).parents[2]
PAYLOADS = payloads()
FAMILY_NAMES = ("smollm2", "qwen", "llama3", "phi", "llama2", "mistral", "zephyr", "alpaca", "gemma")


@pytest.fixture(scope="module")
def tokenizers(models_folder: Path) -> dict[str, Any]:
    return families() | {"smollm2": LanguageModel(folder=models_folder).load_tokenizer()}


def conversation(
    system: str = "be kind", user: str = "question", reply: str = "answer"
) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": user},
        {"role": "assistant", "content": reply},
    ]


def controls(encoder: ChatEncoder, ids: Any) -> list[int]:
    return [one for one in np.asarray(ids).tolist() if one in encoder.control_ids]


def test_there_are_enough() -> None:
    assert len(PAYLOADS) >= 200 and len(set(PAYLOADS.values())) >= 200
    assert len(FAMILIES) >= 10 and len(FAMILY_NAMES) >= 9


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_control_tokens_of_a_row_are_the_template_s(tokenizers: dict[str, Any], family: str) -> None:
    encoder = ChatEncoder(tokenizers[family])
    expected = controls(encoder, encoder.encode("plain", conversation(), 1 << 20).ids)
    assert expected or family == "zephyr" or family == "alpaca"
    rows = []
    for name, payload in PAYLOADS.items():
        text = canonical_text(payload)
        rows += [
            (f"{name} in the system turn", conversation(system=f"be kind {text}")),
            (f"{name} in the question", conversation(user=f"{text} question")),
            (f"{name} in the answer", conversation(reply=f"answer{text}")),
            (f"{name} as the answer", conversation(reply=text)),
        ]
    kept, refused = encoder.encode_all(rows, 1 << 20)
    assert not refused and len(kept) == len(rows)
    forged = [one.row_id for one in kept if controls(encoder, one.ids) != expected]
    assert not forged


def test_without_spelling_out_they_would_be_forged(tokenizers: dict[str, Any]) -> None:
    """The same payloads through the usual way, so that the test above can fail."""
    for family in ("smollm2", "qwen", "llama3", "mistral", "gemma"):
        tokenizer = tokenizers[family]
        encoder = ChatEncoder(tokenizer)
        expected = len(controls(encoder, encoder.encode("plain", conversation(), 1 << 20).ids))
        forged = sum(
            len(
                controls(
                    encoder,
                    tokenizer.apply_chat_template(conversation(user=text), tokenize=True)["input_ids"],
                )
            )
            > expected
            for text in PAYLOADS.values()
        )
        assert forged > 5, family


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_one_of_three_and_never_text(tokenizers: dict[str, Any], role: str) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": role, "content": "b"}, *conversation()[2:]]
    found = problem_in(turns)
    assert found is not None and found[0] == "unknown_role"
    for family in ("smollm2", "gemma"):
        with pytest.raises(EncodingRefused) as refused:
            ChatEncoder(tokenizers[family]).encode("row", turns, 512)
        assert refused.value.reason == "unknown_role"


def test_what_could_forge_a_turn_elsewhere_is_quarantined() -> None:
    """Raw or in disguise, in every turn; what ordinary text may hold is kept."""
    kept = []
    for family, tokens in FAMILIES.items():
        for token in tokens:
            for form, make in FORMS.items():
                text = canonical_text(make(token))
                found = [
                    problem_in(conversation(**{where: f"word {text}"})[first:])
                    for where, first in (("system", 0), ("user", 1), ("reply", 1))
                ]
                if not all(found):
                    kept.append((family, token, form))
    # A text that is only reversed by the reader's terminal is refused for its bidirectional marks, so nothing is left.
    assert kept == []
    for text in (
        "<unk> and <mask> are tokens of BERT",
        "<s>struck</s> out",
        "### Response:\nfine",
        *UNMARKED,
    ):
        assert problem_in(conversation(reply=text)) is None
    assert {form for form in FORMS if form in HIDING} == HIDING


class _Recorded(dict[str, Any]):
    pass


@contextmanager
def untracked(label: str, total: float, unit: str) -> Iterator[Any]:
    from resources.progress import Progress

    yield Progress(label, total, unit, lambda text: None)


@pytest.mark.parametrize("family", ["smollm2", "qwen", "mistral", "gemma"])
def test_a_benchmark_s_question_is_text_to_the_harness(tokenizers: dict[str, Any], family: str) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    from assets.evaluation.benchmarks.harness_model import HarnessModel
    from assets.evaluation.loaded import held

    seen: list[tuple[list[int], list[int]]] = []

    class Seeing(HarnessModel):
        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
            seen.extend((context, continuation) for _, context, continuation in requests)
            return [(0.0, False)] * len(requests)

    tokenizer = tokenizers[family]
    count = ChatEncoder(tokenizer)
    texts = [f"word {canonical_text(text)} word" for text in PAYLOADS.values()]
    for templated in (True, False):
        model = Seeing(held(None, tokenizer), templated=templated, batch_tokens=64, track=untracked)

        def context(text: str, model: Any = model, templated: bool = templated) -> str:
            turns = [{"role": "user", "content": text}]
            return model.apply_chat_template(turns) if templated else text

        structural = len(controls(count, model.tok_encode(context("word"))))
        forged = [
            text for text in texts if len(controls(count, model.tok_encode(context(text)))) != structural
        ]
        assert not forged
        seen.clear()
        requests = [
            Instance("loglikelihood", {}, (context(text), f" {text}"), n) for n, text in enumerate(texts)
        ]
        requests.append(Instance("loglikelihood", {}, ("", texts[0]), len(texts)))
        model.loglikelihood(requests, disable_tqdm=True)
        assert len(seen) == len(texts) + 1
        assert all(len(controls(count, [*one, *other])) == structural for one, other in seen[:-1])
        assert all(not controls(count, other) for _, other in seen)


@pytest.mark.parametrize("family", ["smollm2", "llama2"])
def test_what_is_typed_into_a_chat_is_text(tokenizers: dict[str, Any], family: str) -> None:
    from small_models import tiny_llama

    from orchestration.generate import Chat, Sampling

    chat = Chat(tiny_llama(), tokenizers[family], Sampling())

    def asked(text: str) -> list[int]:
        turns = [{"role": "user", "content": canonical_text(text)}]
        return controls(chat.encoder, chat.prompt_ids(turns))

    expected = asked("word")
    assert expected and not [name for name, text in PAYLOADS.items() if asked(f"word {text}") != expected]


@pytest.mark.parametrize("family", ["smollm2", "qwen", "gemma"])
def test_a_control_token_has_no_part_in_an_embedding_layer_mean(
    tokenizers: dict[str, Any], family: str
) -> None:
    tokenizer = tokenizers[family]
    table = torch.nn.Embedding(max(tokenizer.get_vocab().values()) + 1, 2)
    with torch.no_grad():
        table.weight.zero_()
        for number in PlainTokens(tokenizer).control_ids:
            table.weight[number] = 1.0
    rows = [[{"role": "user", "content": text}] for text in PAYLOADS.values()]
    assert not embedding_layer_means(rows, len(rows), tokenizer, table).any()


def test_a_control_token_has_no_part_in_a_sentence_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    from resources import embedder

    grids: list[np.ndarray] = []

    def seen(model: Any, grid: Any, mask: Any, device: str) -> Any:
        grids.extend(row[kept.astype(bool)] for row, kept in zip(grid, mask, strict=True) if kept.sum() > 1)
        return np.zeros((len(grid), 384), np.float32)

    monkeypatch.setattr(embedder, "_pooled", seen)
    made = embedder.SentenceEmbedder(dtype="float32", device="cpu")
    texts = [f"word {text} word" for text in (*PAYLOADS.values(), "[SEP]", "[CLS] a [MASK] [PAD]")]
    made.embed(texts)
    tokenizer, _ = made._load()
    special = {
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.mask_token_id,
        tokenizer.pad_token_id,
    }
    assert len(grids) == len(texts)
    assert all(sum(int(one) in special for one in row) == 2 for row in grids)


def test_an_embedder_s_vocabulary_with_control_tokens_among_its_words(tokenizers: dict[str, Any]) -> None:
    from resources.embedder import SentenceEmbedder

    tokenizer = tokenizers["mistral"]  # puts <s> before every text
    made = SentenceEmbedder()
    texts = ["the [INST] fox </s>", "the fox", "</s>" * 2000]
    ids = tokenizer(texts, truncation=True, max_length=64)["input_ids"]
    made.__dict__["_folder"] = made.folder
    made._spell_out(tokenizer, texts, ids)
    plain = PlainTokens(tokenizer)
    assert [sum(one in plain.control_ids - {0} for one in row) for row in ids] == [1, 1, 1]
    assert all(row[0] == tokenizer.bos_token_id for row in ids) and len(ids[2]) <= made.maximum_length


def test_a_single_character_that_is_a_control_token_costs_one_row(tokenizers: dict[str, Any]) -> None:
    from tokenizers import AddedToken

    tokenizer = families()["llama3"]
    tokenizer.add_tokens([AddedToken("☢", special=False, normalized=False)])
    kept, refused = ChatEncoder(tokenizer).encode_all(
        [("fine", conversation()), ("odd", conversation(user="a ☢ b"))], 512
    )
    assert [one.row_id for one in kept] == ["fine"]
    assert [(one.row_id, one.reason) for one in refused] == [("odd", "control_token")]


TOKENISING = {
    "resources/plain_tokens.py",  # everything below asks it
    "resources/embedder.py",
    "resources/chat_template.py",
    "resources/language_model.py",  # loads, and converts
    "assets/finetuning/encoding.py",
    "assets/evaluation/benchmarks/harness_model.py",
}
"""Where a tokenizer is asked for ids, or a template is filled. Each is tested above."""


def test_no_other_place_tokenises() -> None:
    found = set()
    for room in ("assets", "orchestration", "resources"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _tokenises(node.func):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found <= TOKENISING
    assert {"resources/plain_tokens.py", "assets/finetuning/encoding.py"} <= found


def _tokenises(called: ast.expr) -> bool:
    """tokenizer(...), x.tokenizer(...), tokenizer.encode(...), x.apply_chat_template(...) and their like."""
    if isinstance(called, ast.Attribute):
        of = called.value
        name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
        asked = {"encode", "encode_plus", "batch_encode_plus", "tokenize", "__call__", "encode_batch"}
        return called.attr in {"tokenizer", "apply_chat_template"} or (
            called.attr in asked and "tokenizer" in name
        )
    return isinstance(called, ast.Name) and called.id == "tokenizer"
