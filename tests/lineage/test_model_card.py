"""The model card: a header that the Hub's tools read, and text that cannot become markup."""

from pathlib import Path
from typing import Any

from small_tables import HOSTILE, Small, about_of

from assets.lineage.exports.model_card import model_card


def written(small: Small, folder: Path, **changes: Any) -> tuple[Any, str]:
    from huggingface_hub import ModelCard

    path = folder / "README.md"
    path.write_text(model_card(about_of(small, **changes)), encoding="utf-8")
    return ModelCard.load(path).data, path.read_text(encoding="utf-8").split("---\n", 2)[2]


def test_the_header_is_what_the_hub_reads(small: Small, tmp_path: Path) -> None:
    header, _ = written(small, tmp_path)
    assert header.library_name == "peft" and header.pipeline_tag == "text-generation"
    assert [(one.dataset_name, one.metric_value) for one in header.eval_results] == [
        (HOSTILE, 1.5),
        ("plain", 2.5),
    ]
    assert header.base_model is None
    base = {"name": "o/m", "revision": "0" * 40, "fingerprint": "b" * 64, "hub_id": "o/m"}
    assert written(small, tmp_path, base_model=base)[0].base_model == "o/m"


def test_nothing_of_a_row_or_a_name_becomes_markup(small: Small, tmp_path: Path) -> None:
    _, text = written(small, tmp_path)
    assert "onerror=alert" in text
    assert "<img" not in text and "](javascript" not in text and HOSTILE.split("\n")[1] not in text
    assert "/home/somebody" not in text


def test_it_says_what_the_model_was_made_of(small: Small, tmp_path: Path) -> None:
    _, text = written(small, tmp_path)
    assert "| of these interpolated (mixed from two instructions) | 2 (50.0%) |" in text
    assert "| seed | 1234 |" in text
    assert "| CC-BY-4.0 | 0 | 3 |" in text and "| MIT | 1 | 0 |" in text
    assert "| plain | loss | test | 4 | 2.5 | 0.25 | 3.5 | 1 | 2.75 |" in text
    assert "PeftModel.from_pretrained(base, FOLDER)" in text and "GGUF" not in text
    merged = written(small, tmp_path, kind="merged")[1]
    assert "PeftModel" not in merged and "convert_hf_to_gguf.py" in merged


def test_a_version_without_scores(small: Small, tmp_path: Path) -> None:
    header, text = written(small, tmp_path, evaluation={"rows": [], "base_rows": []})
    assert header.eval_results is None
    assert "has not been evaluated" in text
