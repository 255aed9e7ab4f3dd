"""Adapters from strangers: settings that Sultana does not write itself are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hostile_folders import a_pickle

from assets.finetuning.adapter_folder import adapter_settings
from resources.errors import SultanaError

ADAPTERS: dict[str, dict[str, Any]] = {
    "another base": {"base_model_name_or_path": "owner/model"},
    "a base at a path": {"base_model_name_or_path": "../../elsewhere"},
    "another method": {"peft_type": "PROMPT_TUNING"},
    "a class to import": {"auto_mapping": {"base_model_class": "Own", "parent_library": "own"}},
    "a module to import": {"megatron_core": "own.core", "megatron_config": {"a": 1}},
    "layers by a regular expression": {"target_modules": "(a+)+$"},
    "odd names of layers": {"target_modules": ["q_proj", "(a+)+$"]},
    "layers a thousand times": {"layer_replication": [[0, 1]] * 1000},
    "modules replaced": {"modules_to_save": ["lm_head"]},
    "a rank of a billion": {"r": 10**9},
    "an endless scale": {"lora_alpha": float("inf")},
    "a setting that PEFT does not know": {"own": 1},
    "another initialisation": {"init_lora_weights": "pissa"},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_was_not_made_here_is_refused(tmp_path: Path, name: str) -> None:
    good = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "target_modules": ["q_proj"]}
    good |= {"base_model_name_or_path": "f" * 64}
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text(json.dumps(good))
    assert adapter_settings(tmp_path) == good
    (tmp_path / "adapter_config.json").write_text(json.dumps(good | ADAPTERS[name]))
    with pytest.raises(SultanaError) as refused:
        adapter_settings(tmp_path)
    assert refused.value.code == "adapter-settings"


def test_an_adapter_s_pickle_is_not_looked_for(tmp_path: Path) -> None:
    a_pickle("adapter_model.bin")(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(SultanaError, match=r"no adapter_model\.safetensors"):
        adapter_settings(tmp_path)
