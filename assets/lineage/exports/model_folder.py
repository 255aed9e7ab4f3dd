"""A registered model version as a folder that is complete by itself.

    README.md, export.json     the model card, and the same for programs
    adapter_*, tokenizer       an adapter as it was registered; or with merging all weights, as
                               `AutoModelForCausalLM.from_pretrained` reads them
    MANIFEST.json              SHA-256 of every other file

The folder is written beside its place and renamed whole. MLflow's own files are left out: they name folders of
this machine.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.finetuning.adapter_folder import ADAPTER_CONFIG, adapter_settings
from assets.lineage.exports.folder import written_beside
from assets.lineage.exports.layout import ABOUT, DIGESTS
from assets.lineage.exports.model_card import model_card
from resources.files import MANIFEST, folder_manifest
from resources.model_flavor import INPUT_FILES, MLMODEL

if TYPE_CHECKING:
    from resources.language_model import LanguageModel

FORMAT = "sultana.model/1"
_LEFT_OUT = (MLMODEL, MANIFEST, *INPUT_FILES)
_TOKENIZER = Path("components") / "tokenizer"


def kind_of(files: Path, merge: bool) -> str:
    """What an export of these files holds: adapter, merged, or weights."""
    if not (files / ADAPTER_CONFIG).is_file():
        return "weights"
    return "merged" if merge else "adapter"


def write_model(
    out: Path, files: Path, about: Mapping[str, Any], open_base: Callable[[], "LanguageModel"]
) -> None:
    """Write the folder `out`, which must not exist or be empty, from a version's verified files.

    `about` is the content of export.json; its `kind` says what to write. `open_base` is asked for the base
    model where an adapter is merged. Raises SultanaError where the place cannot be written to or the disk is
    full; nothing of the export is left then.
    """
    with written_beside(out) as temporary:
        if about["kind"] == "merged":
            _merge(files, open_base(), temporary)
        else:
            ignored = shutil.ignore_patterns(*_LEFT_OUT, _TOKENIZER.parts[0])
            shutil.copytree(files, temporary, dirs_exist_ok=True, ignore=ignored)
        shutil.copytree(files / _TOKENIZER, temporary, dirs_exist_ok=True)
        _write_json(temporary / ABOUT, about)
        (temporary / "README.md").write_text(model_card(about), encoding="utf-8")
        _write_json(temporary / DIGESTS, {"format": FORMAT, "files": folder_manifest(temporary)})


def _merge(files: Path, base: "LanguageModel", out: Path) -> None:
    """The base model with the adapter in its weights, in the dtype of the base model's files.

    The sum is taken in float32 and rounded once.
    """
    import torch
    from peft import PeftModel

    from resources.language_model import LanguageModel, quiet_transformers

    adapter_settings(files)
    config = json.loads((base.files() / "config.json").read_text(encoding="utf-8"))
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    in_float32 = LanguageModel(base.model, base.revision, base.folder, dtype="float32")
    in_float32.check_hashes(base.hashes_digest())
    with quiet_transformers(), torch.no_grad(), warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by a deprecated name; drop this when it no longer does.
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(in_float32.load()[0].cpu(), files)
        merged = model.merge_and_unload(safe_merge=True).to(getattr(torch, stored))
        merged.config._name_or_path = base.name
        merged.save_pretrained(out)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
