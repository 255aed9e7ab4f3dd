"""What is published is a model to MLflow, to peft and to transformers, and to each the same one."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from resources.errors import SultanaError
from resources.files import folder_manifest
from resources.language_model import LanguageModel
from resources.model_flavor import (
    MLMODEL,
    base_folder,
    describe_base,
    open_base,
    recorded_base,
    write_flavor,
)
from resources.tracking import Tracking
from tests.resources.tiny_base import logits, make_tiny_base, save_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> LanguageModel:
    return make_tiny_base(tmp_path_factory.mktemp("bases") / "tiny", models_folder)


def publish(tracking: Tracking, files: Path) -> None:
    tracking.publish(
        name="m",
        idempotency_key="k",
        files=files,
        parameters={},
        step_metrics=[],
        inputs=[],
        tags={},
        aliases=["candidate"],
    )


def test_an_adapter_is_the_same_to_mlflow_and_to_peft(
    base: LanguageModel, tracking: Tracking, tmp_path: Path
) -> None:
    import mlflow
    from peft import PeftModel

    trained = save_adapter(base, tmp_path / "files")
    write_flavor(tmp_path / "files", base, base.load_tokenizer(), "{{ messages[0]['content'] }}")
    publish(tracking, tmp_path / "files")
    loaded = mlflow.transformers.load_model("models:/m@candidate", return_type="components")
    assert not torch.equal(logits(base.load()[0]), logits(trained))
    torch.testing.assert_close(logits(loaded["model"]), logits(trained))
    assert loaded["tokenizer"].chat_template == "{{ messages[0]['content'] }}"

    copy = tracking.download("m", 1, tmp_path / "copy")
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base.load()[0], copy)), logits(trained))

    served = mlflow.pyfunc.load_model("models:/m/1")
    assert {one.name for one in served.metadata.signature.inputs} >= {"messages", "max_tokens"}
    (answer,) = served.predict({**served.input_example, "max_tokens": 3})
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] <= 3
    assert tracking.check() == []  # loading has changed nothing that was published


def test_all_weights_need_no_base(base: LanguageModel, tracking: Tracking, tmp_path: Path) -> None:
    import mlflow
    from transformers import AutoModelForCausalLM

    model, tokenizer = base.load()
    with torch.no_grad():
        model.lm_head.weight.mul_(2.0)
    model.save_pretrained(tmp_path / "files")
    write_flavor(tmp_path / "files", base, tokenizer, tokenizer.chat_template)
    publish(tracking, tmp_path / "files")
    copy = tracking.download("m", 1, tmp_path / "copy")
    assert base_folder(copy) is None
    found = mlflow.transformers.load_model("models:/m/1", return_type="components")["model"]
    for other in (found, AutoModelForCausalLM.from_pretrained(copy)):
        torch.testing.assert_close(logits(other), logits(model))


def test_equal_checkpoints_give_equal_files(base: LanguageModel, tmp_path: Path) -> None:
    for place in ("one", "two"):
        save_adapter(base, tmp_path / place)
        write_flavor(tmp_path / place, base, base.load_tokenizer(), "x")
    assert folder_manifest(tmp_path / "one") == folder_manifest(tmp_path / "two")


def test_the_base_is_named_and_missed(base: LanguageModel, tracking: Tracking, tmp_path: Path) -> None:
    import mlflow

    moved = tmp_path / "base"
    shutil.copytree(base.files(), moved)
    own = LanguageModel(str(moved), dtype="float32")
    trained = save_adapter(own, tmp_path / "files")
    write_flavor(tmp_path / "files", own, own.load_tokenizer(), "x")
    publish(tracking, tmp_path / "files")
    recorded = recorded_base(tmp_path / "files")
    assert recorded == describe_base(own) and recorded.fingerprint == own.fingerprint()
    assert open_base(recorded, tmp_path).files() == moved

    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(SultanaError, match="is another one than at training"):
        open_base(recorded, tmp_path)
    shutil.rmtree(moved)
    with pytest.raises(SultanaError, match=f"Put it back where it was \\({moved}\\)"):
        open_base(recorded, tmp_path)
    (finding,) = tracking.check()
    assert str(moved) in finding.problem and "base_model_path" in finding.remedy
    elsewhere = mlflow.transformers.load_model(
        "models:/m/1", return_type="components", base_model_path=str(base.files())
    )
    torch.testing.assert_close(logits(elsewhere["model"]), logits(trained))


def test_files_without_a_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SultanaError, match="does not say which base model"):
        recorded_base(tmp_path)
    (tmp_path / MLMODEL).write_text(yaml.safe_dump({"flavors": {}}))
    with pytest.raises(SultanaError, match="materialize its checkpoint again"):
        recorded_base(tmp_path)
