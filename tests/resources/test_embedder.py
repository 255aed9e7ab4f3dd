"""The embedder: the reference's vectors, whatever else is in the call; clear errors offline."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from resources.embedder import SentenceEmbedder
from resources.errors import SultanaError

WORDS = [
    "how",
    "do",
    "bake",
    "a",
    "cake",
    "with",
    "two",
    "eggs",
    "no",
    "flour",
    "oven",
    "that",
    "is",
    "hot",
    "bread",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 28))) for _ in range(70)] + ["", "word " * 500]


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    return SentenceEmbedder(dtype="float32", device="cpu", batch_tokens=512)


@pytest.fixture(scope="module")
def vectors(embedder: SentenceEmbedder, texts: list[str]) -> np.ndarray:
    return embedder.embed(texts)


def reference(folder: Path, text: str) -> np.ndarray:
    """One text at a time, without padding: the mean of the last layer's states, of unit length."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        mean = model(**tokens).last_hidden_state[0].mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_vectors_are_the_references(
    embedder: SentenceEmbedder, texts: list[str], vectors: np.ndarray
) -> None:
    assert vectors.shape == (72, embedder.dimension) == (72, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for place in (0, 5, 70, 71):
        np.testing.assert_allclose(vectors[place], reference(embedder.folder, texts[place]), atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_does_not_depend_on_the_other_texts(dtype: str, texts: list[str]) -> None:
    embedder = SentenceEmbedder(dtype=dtype, device="cpu", batch_tokens=512)
    whole = embedder.embed(texts)
    np.testing.assert_array_equal(embedder.embed(texts[::-1])[::-1], whole)
    np.testing.assert_array_equal(embedder.embed(texts[3:20:4]), whole[3:20:4])
    np.testing.assert_array_equal(embedder.embed([texts[71]])[0], whole[71])


def test_bfloat16_is_close_to_float32(texts: list[str], vectors: np.ndarray) -> None:
    quick = SentenceEmbedder(dtype="bfloat16", device="cpu").embed(texts)
    assert (quick * vectors).sum(axis=1).min() > 0.999


def test_control_tokens_in_a_text_are_text(embedder: SentenceEmbedder) -> None:
    tokenizer, _ = embedder._load()
    one, other = embedder.embed(["a [SEP] b", f"a {tokenizer.unk_token} b"])
    assert tokenizer.sep_token == "[SEP]"
    assert one @ other < 0.9


def test_progress_and_nothing_to_do(embedder: SentenceEmbedder, texts: list[str]) -> None:
    done: list[int] = []
    embedder.embed(texts[:9], done.append)
    assert sum(done) == 9
    assert embedder.embed([]).shape == (0, 384)


def test_fingerprint_tells_what_decides_a_vector(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    same = SentenceEmbedder(dtype="float32", device="cpu")
    assert same.fingerprint() == embedder.fingerprint()
    assert SentenceEmbedder(dtype="bfloat16", device="cpu").fingerprint() != embedder.fingerprint()
    copy = tmp_path / "model"
    shutil.copytree(embedder.folder, copy)
    local = SentenceEmbedder(str(copy), dtype="float32", device="cpu")
    assert local.fingerprint() == embedder.fingerprint()
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    shorter = SentenceEmbedder(str(copy), dtype="float32", device="cpu")
    assert shorter.maximum_length == 64
    assert shorter.fingerprint() != embedder.fingerprint()


def test_models_that_cannot_be_used_say_why(
    embedder: SentenceEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SultanaError, match="HF_HUB_OFFLINE=0"):
        SentenceEmbedder("someone/some-model", revision="0" * 40).fingerprint()
    with pytest.raises(SultanaError, match="revision"):
        SentenceEmbedder("someone/some-model").fingerprint()
    with pytest.raises(SultanaError, match="neither a folder nor a Hub id"):
        SentenceEmbedder("./missing").fingerprint()
    with pytest.raises(SultanaError, match="safetensors"):
        SentenceEmbedder(str(tmp_path)).fingerprint()
    with pytest.raises(SultanaError, match="dtype"):
        SentenceEmbedder(dtype="float16")
    copy = tmp_path / "model"
    shutil.copytree(embedder.folder, copy)
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(SultanaError, match="pooling_mode_cls_token"):
        SentenceEmbedder(str(copy)).fingerprint()
