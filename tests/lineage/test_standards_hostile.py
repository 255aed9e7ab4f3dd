"""Names and licences of rows are data in every format: no markup in Markdown, and valid documents nonetheless."""

import json
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from small_tables import CURRICULUM_ID, HOSTILE, Small, about_of

from assets.lineage.audit.backward import Backward
from assets.lineage.audit.origins import NO_LICENCE
from assets.lineage.exports.croissant import write_croissant
from assets.lineage.exports.folder import write_export
from assets.lineage.exports.layout import PARTS
from assets.lineage.exports.ml_bom import ml_bom
from assets.lineage.exports.source_files import SourceFiles, sources_of
from assets.lineage.exports.training_summary import training_summary
from resources.errors import SultanaError
from resources.standards import standards

SOURCES = [
    SourceFiles("one", HOSTILE, None, HOSTILE, (("a.jsonl", "f" * 64), (HOSTILE, "e" * 64))),
    SourceFiles("two", "hf://datasets/o/n", "1" * 40, "cc-by-4.0", (("c.jsonl", "d" * 64),)),
    SourceFiles("starter-alpaca", "alpaca.jsonl", None, "CC0-1.0", (("alpaca.jsonl", "c" * 64),)),
]


@pytest.fixture
def told(small: Small) -> dict[str, Any]:
    """An audit of the small curriculum, one of whose licences is hostile."""
    sources = small.curriculum_sources
    assert sources.curriculum is not None
    backward = Backward(
        small.tables, sources.curriculum, CURRICULUM_ID, sources.instructions, sources.recipes
    )
    totals = backward.totals()
    totals["sources"][0]["licence"] = HOSTILE
    return {
        "strategy": "random",
        "partition": "0|random",
        "curriculum_id": CURRICULUM_ID,
        "manifest": {"sha256": "a" * 64, "registered": None, "agrees": None},
        "chain": [{"git_commit": "0" * 40, "git_dirty": True, "tables": []}],
        "totals": totals,
    }


def test_the_summary(small: Small, told: dict[str, Any]) -> None:
    text = training_summary(about_of(small), told, SOURCES, read_at=0.0)
    assert "onerror=alert" in text
    assert "<img" not in text and "](javascript" not in text and "\n# `h`" not in text
    # By kind of source: the Hub's is public, a file's only the provider can know, an unused one is left out.
    assert "2.1, a dataset of the Hugging Face Hub" in text and "☒ Yes ☐ No. Modality: text." in text
    assert "where they had come from: one." in text
    assert "composed by a program" not in text and "starter-alpaca" not in text
    assert "1970-01-01" in text


def test_the_band_of_sizes_follows_the_tokens(small: Small, told: dict[str, Any]) -> None:
    about = about_of(small)
    for tokens, band in ((10**9 - 1, "Less than 1"), (10**9, "1 billion to"), (10**13, "More than 10")):
        about["training"]["trained_tokens"] = tokens
        text = training_summary(about, told, SOURCES, read_at=0.0)
        assert text.count("☒") == 3 and f"☒ {band}" in text  # with the modality, and 2.1
    del about["training"]["trained_tokens"]
    assert "☐ Less than 1" in training_summary(about, told, SOURCES, read_at=0.0)


def test_the_bill_of_materials(small: Small, told: dict[str, Any]) -> None:
    text = ml_bom(
        about_of(small),
        told,
        model_files={"model.safetensors": "1" * 64, HOSTILE: "2" * 64},
        curated_files={"originals.parquet": "3" * 64},
        sources=SOURCES,
        benchmarks=[SourceFiles("tests", "t.jsonl", None, None, (("t.jsonl", "4" * 64),), "test")],
        made_at=1.7e9,
    )
    document = json.loads(text)
    found = {one["bom-ref"]: one for one in document["components"]}
    licences = {name: one["licenses"] for name, one in found.items() if "licenses" in one}
    assert licences["source/training/two"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert NO_LICENCE not in text and {"license": {"name": HOSTILE}} in licences["curated-set"]
    assert "licenses" not in found["source/test/tests"]


def test_croissant(small: Small, tmp_path: Path) -> None:
    curated = small.curated(curriculum=True)

    def add(folder: Path, about: Any) -> None:
        schemas = {part: curated.schema(part) for part in PARTS if about["parts"][part]["rows"]}
        write_croissant(folder, about, schemas, title=HOSTILE, version=3, made_at=1.7e9)

    write_export(tmp_path / "out", curated, small.description(curriculum=True), "parquet", also=add)
    assert "croissant.json" in json.loads((tmp_path / "out" / "MANIFEST.json").read_bytes())["files"]
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))
    assert dataset.metadata.name == HOSTILE and dataset.metadata.version == "3.0.0"
    (apple,) = list(dataset.records("originals"))
    assert apple["originals/task"].decode() == HOSTILE
    assert (
        apple["originals/messages"][0]["originals/messages/content"].decode().startswith("Say apple.\u2028")
    )
    assert {one["interpolated/id"] for one in dataset.records("interpolated")} == {b"mix-1", b"mix-2"}


def test_sources_of_a_record_tell_no_path_of_this_machine() -> None:
    one = {
        "name": "mine",
        "uri": "/home/somebody/secret/a.jsonl",
        "revision": None,
        "licence": None,
        "settings": {"licence": "MIT"},
        "files": [{"name": "/home/somebody/secret/a.jsonl", "sha256": "f" * 64}],
    }
    (found,) = sources_of({"settings": {"files": [one]}})
    assert found == SourceFiles("mine", "a.jsonl", None, "MIT", (("a.jsonl", "f" * 64),))
    (split,) = sources_of({"settings": {"files": {"test": [{**one, "licence": "CC0-1.0"}]}}})
    assert (split.split, split.licence) == ("test", "CC0-1.0")
    assert sources_of({"settings": {}}) == []


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlcroissant", None)
    with pytest.raises(SultanaError, match=r"mlcroissant.*pip install 'sultana\[standards\]'"), standards():
        import mlcroissant  # noqa: F401
    monkeypatch.setitem(sys.modules, "another", None)
    with pytest.raises(ModuleNotFoundError), standards():
        import another  # noqa: F401
