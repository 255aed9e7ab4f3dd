"""Files of models that change between hashing and loading, or are not those that are pinned."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resources import embedded_files, loaded_files
from resources.embedder import SentenceEmbedder
from resources.errors import SultanaError
from resources.language_model import LanguageModel


def _rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")


def _exchanged(path: Path) -> None:
    state = path.stat()
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    _rewritten(other)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [_rewritten, _exchanged])
def test_weights_that_changed_after_they_were_hashed_are_not_loaded(
    folder: Path, change: Callable[[Path], None]
) -> None:
    model = LanguageModel(str(folder), dtype="float32")
    model.fingerprint()
    change(folder / "model.safetensors")
    for opened in (model.load, model.load_tokenizer):
        with pytest.raises(SultanaError, match="has changed since it was hashed") as refused:
            opened()
        assert refused.value.code == "model-files-changed"


def test_weights_that_change_while_they_are_loaded_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    original = (folder / "model.safetensors").read_bytes()

    def exchanged(*given: Any, **named: Any) -> Any:
        _rewritten(folder / "model.safetensors")
        found = load(*given, **named)
        (folder / "model.safetensors").write_bytes(original)  # and as it was before
        return found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", exchanged)
    with pytest.raises(SultanaError, match="has changed since it was hashed"):
        LanguageModel(str(folder), dtype="float32").load()


def test_another_name_for_the_same_content_is_no_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    loads = []

    def linked(*given: Any, **named: Any) -> Any:
        found = load(*given, **named)
        if not loads:
            (folder.parent / "meanwhile").hardlink_to(folder / "model.safetensors")
        loads.append(found)
        return found

    model = LanguageModel(str(folder), dtype="float32")
    model.fingerprint()
    (folder.parent / "before").hardlink_to(folder / "model.safetensors")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", linked)
    assert model.load()[0] is loads[1][0], "what was read while a file changed is used"
    assert len(loads) == 2


def test_another_name_while_files_are_hashed_is_no_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, hashed = loaded_files.sha256_file, []

    def linked(path: Path) -> str:
        if not hashed:
            (folder.parent / "meanwhile").hardlink_to(folder / "model.safetensors")
        hashed.append(path)
        return read(path)

    monkeypatch.setattr(loaded_files, "sha256_file", linked)
    found = loaded_files.hash_files(folder)
    assert found.are_untouched() and len(hashed) == 2 * len(found.hashes)
    names = iter(range(1_000))

    def always(path: Path) -> str:
        (folder.parent / f"name {next(names)}").hardlink_to(folder / "model.safetensors")
        return read(path)

    monkeypatch.setattr(loaded_files, "sha256_file", always)
    with pytest.raises(SultanaError, match=r"model\.safetensors has changed since it was hashed"):
        loaded_files.hash_files(folder)


def test_a_file_that_comes_and_goes_while_files_are_hashed_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = loaded_files.HashedFiles.are_untouched

    def while_it_is_there(hashed: loaded_files.HashedFiles) -> bool:
        (folder / "passing").touch()
        untouched = ask(hashed)
        (folder / "passing").unlink()
        return untouched

    monkeypatch.setattr(loaded_files.HashedFiles, "are_untouched", while_it_is_there)
    with pytest.raises(SultanaError, match="has changed since it was hashed"):
        loaded_files.hash_files(folder)


def test_processes_that_train_hold_their_files_against_those_of_the_first(folder: Path) -> None:
    told = LanguageModel(str(folder)).hashes_digest()
    LanguageModel(str(folder)).check_hashes(told)
    _rewritten(folder / "model.safetensors")
    with pytest.raises(SultanaError, match="others than they were") as refused:
        LanguageModel(str(folder)).check_hashes(told)
    assert refused.value.code == "model-files-changed"


def test_the_embedded_models_are_pinned_in_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from resources import embedder, language_model

    monkeypatch.setattr(language_model, "LANGUAGE_MODEL", "0" * 64)
    with pytest.raises(SultanaError, match="not the one that Sultana was tested with") as refused:
        LanguageModel(folder=tmp_path).files()
    assert refused.value.code == "embedded-model-changed"
    assert len(SentenceEmbedder().fingerprint()) == 64
    monkeypatch.setattr(embedder, "EMBEDDER", embedded_files.EMBEDDER | {"vocab.txt": "0" * 64})
    with pytest.raises(SultanaError, match=r"vocab\.txt of the embedded model"):
        SentenceEmbedder().fingerprint()
