"""Exported folders: an adapter merged into its base is the same model, and what fails leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_tables import Small
from test_model_card import about_of

from assets.lineage.exports.model_folder import kind_of, write_model
from resources.errors import SultanaError
from resources.files import folder_manifest
from resources.model_flavor import write_flavor
from tests.resources.tiny_base import logits, make_tiny_base, save_adapter


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_model_says_what_the_adapter_says(
    small: Small, models_folder: Path, tmp_path: Path, dtype: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = make_tiny_base(tmp_path / "base", models_folder, dtype)
    files, out = tmp_path / "files", tmp_path / "out"
    trained = save_adapter(base, files)
    write_flavor(files, base, base.load_tokenizer(), "{{ messages[0]['content'] }}")
    assert (kind_of(files, merge=False), kind_of(files, merge=True)) == ("adapter", "merged")
    write_model(out, files, about_of(small, "merged"), lambda: base)
    merged = AutoModelForCausalLM.from_pretrained(out)
    assert merged.dtype == getattr(torch, dtype)
    assert not torch.allclose(logits(base.load()[0]), logits(trained), atol=0.5)
    if dtype == "float32":
        torch.testing.assert_close(logits(merged), logits(trained), rtol=1e-4, atol=1e-4)
    # The sum is rounded to the dtype of the base's files once.
    summed = trained.merge_and_unload().to(merged.dtype).state_dict()
    assert all(torch.equal(summed[name], weight) for name, weight in merged.state_dict().items())
    assert AutoTokenizer.from_pretrained(out).chat_template == "{{ messages[0]['content'] }}"
    assert json.loads((out / "MANIFEST.json").read_bytes())["files"] == folder_manifest(out)
    assert not {"MLmodel", "adapter_config.json", "requirements.txt", "components"} & {
        one.name for one in out.iterdir()
    }
    assert str(tmp_path) not in (out / "config.json").read_text()


def test_what_fails_leaves_nothing(small: Small, models_folder: Path, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base", models_folder)
    files, place = tmp_path / "files", tmp_path / "place"
    save_adapter(base, files)
    write_flavor(files, base, base.load_tokenizer(), "x")

    def missing() -> Any:
        raise SultanaError("The base model is gone", "Put it back", code="model-folder-incomplete")

    with pytest.raises(SultanaError, match="is gone"):
        write_model(place / "out", files, about_of(small, "merged"), missing)
    assert list(place.iterdir()) == []
    (place / "file").write_text("")
    with pytest.raises(SultanaError, match="cannot be written to"):
        write_model(place / "file" / "out", files, about_of(small), lambda: base)
