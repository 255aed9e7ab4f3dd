import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from resources import language_model
from resources.errors import SultanaError
from resources.language_model import EMBEDDED_PACKAGE, LanguageModel


def test_the_embedded_model_is_converted_once_and_answers(
    models_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    used = LanguageModel(folder=models_folder, dtype="float32")
    files = used.files()
    before = (files / "model.safetensors").stat().st_mtime_ns
    model, tokenizer = LanguageModel(folder=models_folder, dtype="float32").load()
    assert (files / "model.safetensors").stat().st_mtime_ns == before
    assert EMBEDDED_PACKAGE not in sys.modules  # it would import a compiled package
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, prompt["input_ids"].shape[1] :])
    assert not model.training and model.dtype == torch.float32
    assert "Loading weights" not in capfd.readouterr().err
    assert not list(models_folder.glob(".*.partial"))


def test_the_fingerprint_names_weights_tokenizer_and_template(models_folder: Path, tmp_path: Path) -> None:
    embedded = LanguageModel(folder=models_folder)
    assert embedded.fingerprint() == LanguageModel(folder=models_folder).fingerprint()
    assert len(embedded.fingerprint()) == 64
    assert str(models_folder) not in json.dumps(embedded.describe())
    assert embedded.describe()["model_type"] == "llama"
    local = shutil.copytree(embedded.files(), tmp_path / "copy")
    first = LanguageModel(str(local)).fingerprint()
    (local / "chat_template.jinja").write_text("{{ messages }}")
    assert LanguageModel(str(local)).fingerprint() != first


def test_a_changed_conversion_is_refused(models_folder: Path, tmp_path: Path) -> None:
    source = LanguageModel(folder=models_folder).files()
    copy = tmp_path / source.name
    shutil.copytree(source, copy)
    assert LanguageModel(folder=tmp_path).files() == copy
    path = copy / "chat_template.jinja"
    path.write_text(path.read_text() + " ")
    with pytest.raises(SultanaError, match="differs from what was written"):
        LanguageModel(folder=tmp_path).files()


def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SultanaError, match="neither a folder nor the id"):
        LanguageModel("no such model", folder=tmp_path).files()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SultanaError, match="is not a model"):
        LanguageModel(str(tmp_path / "empty"), folder=tmp_path).files()
    with pytest.raises(SultanaError, match="no pinned revision"):
        LanguageModel("owner/name", folder=tmp_path).files()
    with pytest.raises(SultanaError, match="no pinned revision"):
        LanguageModel("owner/name", revision="main", folder=tmp_path).files()
    with pytest.raises(SultanaError, match="dtype 'float16' is unknown"):
        LanguageModel(dtype="float16")
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == EMBEDDED_PACKAGE else find(name, package)

    monkeypatch.setattr(language_model.importlib.util, "find_spec", without)
    with pytest.raises(SultanaError, match="--no-deps"):
        LanguageModel(folder=tmp_path).files()


def test_a_hub_model_is_not_fetched_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SultanaError, match="HF_HUB_OFFLINE=0"):
        LanguageModel("owner/name", revision="0" * 40, folder=tmp_path).files()
