"""A checkpoint travels to workers: an adapter whole, all weights as the folder where they are."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import tiny_llama, tiny_tokenizer

from assets.finetuning.encoding import Encoded
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.finetuning.tuned_model import TunedModel
from resources.compute.alike import check_model
from resources.errors import SultanaError
from resources.language_model import LanguageModel


@pytest.fixture
def base(tmp_path: Path) -> LanguageModel:
    tiny_llama().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return LanguageModel(str(tmp_path / "base"), dtype="float32")


def trained(base: LanguageModel, to: Path, steps: int = 1, **settings: Any) -> TrainingSession:
    """The base model after some steps on one row, saved."""
    config = TrainingConfig(learning_rate=1e-2, schedule="constant", **settings)
    session = TrainingSession(base.load(), config, 2, base.fingerprint())
    ids = torch.arange(5, 25, dtype=torch.int32).numpy()
    row = Encoded("row", ids, torch.arange(20).numpy() >= 10, 10)
    for _ in range(steps):
        session.step([TrainingRow("row", (row,))])
    session.save_weights(to)
    return session


def logits(model: Any) -> torch.Tensor:
    """Of eight tokens."""
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 11)[None]).logits
    return found


def test_an_adapter_travels_whole(base: LanguageModel, tmp_path: Path) -> None:
    session = trained(base, tmp_path / "tuned", rank=2)
    tuned = TunedModel(base, tmp_path / "tuned")
    fingerprint = tuned.fingerprint()
    sent = copy.copy(tuned)  # by the same methods as a pickle
    shutil.rmtree(tmp_path / "tuned")
    check_model(sent, fingerprint)
    model, tokenizer = sent.load()
    assert torch.equal(logits(model), logits(session.model))
    assert tokenizer.get_vocab() == sent.load_tokenizer().get_vocab()
    again = copy.copy(sent)
    assert again.fingerprint() == fingerprint != base.fingerprint()


def test_another_adapter_has_another_fingerprint(base: LanguageModel, tmp_path: Path) -> None:
    trained(base, tmp_path / "one", rank=2)
    trained(base, tmp_path / "two", steps=2, rank=2)
    one, two = (TunedModel(base, tmp_path / name).fingerprint() for name in ("one", "two"))
    assert one != two


def test_all_weights_are_read_where_they_are(base: LanguageModel, tmp_path: Path) -> None:
    session = trained(base, tmp_path / "tuned", method="full")
    tuned = TunedModel(base, tmp_path / "tuned")
    fingerprint = tuned.fingerprint()
    sent = copy.copy(tuned)
    check_model(sent, fingerprint)
    assert torch.equal(logits(sent.load()[0]), logits(session.model))
    assert sent.load_tokenizer().get_vocab() == tuned.load_tokenizer().get_vocab()
    absent = copy.copy(tuned)
    shutil.rmtree(tmp_path / "tuned")
    with pytest.raises(SultanaError) as raised:
        check_model(absent, fingerprint)
    assert raised.value.code == "worker-model-differs"
