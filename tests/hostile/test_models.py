"""Folders of models from strangers: refused before anything of them is opened by a library that could obey them."""

import shutil
from pathlib import Path

import pytest
from hostile_folders import MARKER, REFUSED, REFUSED_ON_LOADING, settings

from resources.embedder import SentenceEmbedder
from resources.errors import SultanaError
from resources.language_model import LanguageModel


def test_there_are_enough() -> None:
    assert len(REFUSED) + len(REFUSED_ON_LOADING) >= 55


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_folder_is_refused_as_it_is_named(folder: Path, name: str) -> None:
    change, code = REFUSED[name]
    change(folder)
    for opened in (LanguageModel(str(folder)).fingerprint, SentenceEmbedder(str(folder)).fingerprint):
        with pytest.raises(SultanaError) as refused:
            opened()
        assert refused.value.code == code and str(refused.value).isprintable()
    assert not (folder.parent / MARKER).exists()


@pytest.mark.parametrize("name", REFUSED_ON_LOADING)
def test_a_model_that_is_none_is_refused_as_it_is_opened(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, code = REFUSED_ON_LOADING[name]
    change(folder)
    model = LanguageModel(str(folder), dtype="float32")
    assert len(model.fingerprint()) == 64
    with pytest.raises(SultanaError) as refused:
        model.load()
    assert refused.value.code == code and str(refused.value).isprintable()


def test_the_good_one_is_opened(folder: Path) -> None:
    model, tokenizer = LanguageModel(str(folder), dtype="float32").load()
    assert model.config.hidden_size == 32 and tokenizer.eos_token == "<|end|>"


def test_settings_of_generation_leave_only_the_tokens(folder: Path) -> None:
    settings(
        "generation_config.json",
        eos_token_id=[2, 3],
        repetition_penalty=9.0,
        num_beams=64,
        max_new_tokens=10**6,
        suppress_tokens=[1, 4],
        cache_implementation="offloaded",
    )(folder)
    made = LanguageModel(str(folder), dtype="float32").load()[0].generation_config
    assert made.eos_token_id == [2, 3]
    told = made.to_diff_dict()
    assert set(told) <= {
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
        "transformers_version",
        "_from_model_config",
    }


def test_a_snapshot_of_the_hub_s_cache_may_link_to_its_own_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "models--owner--name"
    snapshot = store / "snapshots" / ("0" * 40)
    (store / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        shutil.copy(path, store / "blobs" / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert len(LanguageModel(str(snapshot)).fingerprint()) == 64
    (snapshot / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(SultanaError, match="leads out of it"):
        LanguageModel(str(snapshot)).fingerprint()
