"""`sultana export-lineage` over a real run: each file read by the library of its standard, and held to the audit."""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, ModelCard
from rich.console import Console
from typer.testing import CliRunner

from assets.lineage.exports.lineage_folder import BOM, DATASET, EVENTS, MODEL_CARD, SUMMARY
from assets.lineage.exports.training_summary import SECTIONS
from orchestration.auditing import audit
from orchestration.cli import app
from orchestration.lineage_export import export_lineage
from resources.errors import SultanaError

Json = dict[str, Any]


@pytest.fixture(scope="module")
def exported(registered_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json, Json]:
    """The folder, what the command answered, and the audit of the same version."""
    out = tmp_path_factory.mktemp("exported") / "lineage"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(registered_data))
        patch.delenv("OPENLINEAGE_NAMESPACE", raising=False)
        answered = export_lineage("sultana/1", out, Console(file=io.StringIO()))
        return out, answered, audit("sultana/1")


def events(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / EVENTS).read_text(encoding="utf-8").splitlines()]


def test_every_file_is_in_the_manifest_and_none_tells_of_this_machine(
    exported: tuple[Path, Json, Json], registered_data: Path
) -> None:
    folder, answered, _ = exported
    on_disk = {str(one.relative_to(folder)): one for one in folder.rglob("*") if one.is_file()}
    manifest = json.loads(on_disk.pop("MANIFEST.json").read_bytes())["files"]
    manifest |= {f"{DATASET}/MANIFEST.json": manifest.get(f"{DATASET}/MANIFEST.json")}
    for name, path in on_disk.items():
        content = path.read_bytes()
        assert manifest[name] == hashlib.sha256(content).hexdigest(), name
        assert str(registered_data).encode() not in content, name
    assert answered["files"] == json.loads((folder / "MANIFEST.json").read_bytes())["files"]


def test_the_events_hold_the_chain_of_the_audit_each_run_once(exported: tuple[Path, Json, Json]) -> None:
    folder, answered, told = exported
    found = events(folder)
    ends = [one for one in found if one["eventType"] == "COMPLETE"]
    starts = {one["run"]["runId"]: one for one in found if one["eventType"] == "START"}
    # The splits were read twice, the second time reused: one run.
    made = {(one["asset"], one["partition"], one["made_by_run"]) for one in told["chain"]}
    assert len(ends) == len(starts) == len(made) and answered["events"] == len(found)
    for end in ends:
        assert starts[end["run"]["runId"]]["eventTime"] <= end["eventTime"]
        tags = {one["key"]: one["value"] for one in end["run"]["facets"]["tags"]["tags"]}
        (link,) = {
            (one["asset"], one["partition"], one["made_by_run"])
            for one in told["chain"]
            if (one["asset"], one["data_version"]) == (end["job"]["name"], tags["data_version"])
        }
        assert link == (
            end["job"]["name"],
            tags.get("partition"),
            end["run"]["facets"]["parent"]["run"]["runId"],
        )
    written = {
        (one["name"], one["facets"]["version"]["datasetVersion"]) for end in ends for one in end["outputs"]
    }
    read = {
        (one["name"], one["facets"]["version"]["datasetVersion"]) for end in ends for one in end["inputs"]
    }
    outside = {one for one in read if one[0].startswith(("sources/", "base_models/"))}
    assert outside and read - outside <= written  # every version that was read was written by a run before
    assert written - read == {("models/sultana", "1")}


def test_croissant_reads_back_the_rows_that_were_written(exported: tuple[Path, Json, Json]) -> None:
    import mlcroissant

    folder, _, told = exported
    logging.getLogger("absl").setLevel(logging.ERROR)
    dataset = mlcroissant.Dataset(jsonld=str(folder / DATASET / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert [str(one).rpartition("/")[2] for one in dataset.metadata.license] == ["CC0-1.0.html"]
    trained = 0
    # Whether mixes are among what was chosen hangs on the machine's last digits; a part without rows is absent.
    present = [
        name for name in ("originals", "interpolated") if (folder / DATASET / f"{name}.parquet").exists()
    ]
    for name in present:
        rows = pq.read_table(folder / DATASET / f"{name}.parquet").to_pylist()
        trained += len(rows)
        for row, record in zip(rows, dataset.records(name), strict=True):
            assert record[f"{name}/id"] == row["id"].encode()
            assert record[f"{name}/cluster"] == row["cluster"]
            assert [use[f"{name}/uses/step"] for use in record[f"{name}/uses"]] == [
                use["step"] for use in row["uses"]
            ]
            if name == "originals":
                texts = [one[f"{name}/messages/content"].decode() for one in record[f"{name}/messages"]]
                assert texts == [one["content"] for one in row["messages"]]
    assert trained == told["totals"]["distinct_rows"]


def test_croissant_refuses_a_file_that_was_changed(exported: tuple[Path, Json, Json], tmp_path: Path) -> None:
    import shutil

    import mlcroissant

    shutil.copytree(exported[0] / DATASET, tmp_path / DATASET)
    with (tmp_path / DATASET / "originals.parquet").open("ab") as file:
        file.write(b"\0")
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / DATASET / "croissant.json"))
    with pytest.raises(mlcroissant.GenerationError) as caught:
        list(dataset.records("originals"))
    assert "hash" in str(caught.value.__cause__).lower()


def test_the_bill_of_materials_is_strictly_valid_and_names_model_data_and_packages(
    exported: tuple[Path, Json, Json],
) -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    folder, answered, told = exported
    text = (folder / BOM).read_text(encoding="utf-8")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    document = json.loads(text)
    spoilt = {**document, "metadata": {**document["metadata"], "component": {"type": "model"}}}
    assert validator.validate_str(json.dumps(spoilt)) is not None
    assert Bom.from_json(document).metadata.component.name == "sultana"  # type: ignore[attr-defined]

    model = document["metadata"]["component"]
    assert (model["type"], model["version"]) == ("machine-learning-model", "1")
    assert document["specVersion"] == "1.6" and document["serialNumber"].startswith("urn:uuid:")
    told_of = {one["name"].removeprefix("sultana:"): one["value"] for one in model["properties"]}
    assert told_of["lineage_manifest_sha256"] == told["manifest"]["sha256"]
    assert told_of["slots"] == str(told["totals"]["slots"])
    assert {one["name"] for one in model["components"]} > {"tokenizer", "adapter_model.safetensors"}
    (base,) = model["pedigree"]["ancestors"]
    by_reference = {one["bom-ref"]: one for one in document["components"]}
    assert base["bom-ref"] == "base-model" and by_reference["base-model"]["name"] == "SmolLM2-135M-Instruct"
    for one in model["modelCard"]["modelParameters"]["datasets"]:
        assert by_reference[one["ref"]]["type"] == "data"
    curated = {one["name"]: one["hashes"][0]["content"] for one in by_reference["curated-set"]["components"]}
    assert curated == {
        name: sha256
        for file, sha256 in answered["files"].items()
        if file.endswith(".parquet") and (name := file.removeprefix(f"{DATASET}/"))
    }
    for source in told["totals"]["sources"]:
        component = by_reference[f"source/training/{source['source']}"]
        assert component["licenses"] == [{"license": {"id": "CC0-1.0"}}]
        values = {one["name"]: one["value"] for one in component["properties"]}
        assert values["sultana:slots"] == str(source["slots"])
    torch = told["chain"][0]["environment"]["packages"]["torch"]
    assert by_reference["package/torch"]["version"] == torch
    (of_model,) = [one for one in document["dependencies"] if one["ref"] == "model"]
    assert set(of_model["dependsOn"]) == set(by_reference)


def test_the_cards_load(exported: tuple[Path, Json, Json]) -> None:
    folder, _, _ = exported
    model = ModelCard.load(folder / MODEL_CARD)
    assert model.data.library_name == "peft" and "sultana version 1" in model.text
    data = DatasetCard.load(folder / DATASET / "README.md")
    assert data.data.license == "cc0-1.0" and "Curriculum random, seed 0" in data.text


def test_the_draft_summary_has_every_section_and_the_numbers_of_the_audit(
    exported: tuple[Path, Json, Json],
) -> None:
    folder, _, told = exported
    text = (folder / SUMMARY).read_text(encoding="utf-8")
    lines = text.splitlines()
    headings = [line.lstrip("#").strip() for line in lines if line.startswith("##")]
    assert headings == list(SECTIONS)
    assert "Draft, and no legal advice" in lines[2]
    totals = told["totals"]
    cells = {
        row[0]: row[1]
        for line in lines
        if line.startswith("| ") and len(row := [one.strip() for one in line.strip("|").split("|")]) == 2
    }
    assert cells["Rows trained on &#40;slots&#41;"] == str(totals["slots"])
    assert cells["Different rows"] == str(totals["distinct_rows"])
    assert cells["Different instructions behind them"] == str(totals["distinct_instructions"])
    assert cells["Optimizer steps"] == str(totals["steps"])
    assert float(cells["CC0-1.0"]) == pytest.approx(sum(one["slots"] for one in totals["sources"]), abs=1e-3)
    for one in totals["sources"]:
        (row,) = [line for line in lines if line.startswith(f"| {one['source']} |")]
        found = [part.strip() for part in row.strip("|").split("|")]
        assert found[2:5] == [one["licence"], str(one["files"]), str(one["instructions"])]
        assert float(found[5]) == pytest.approx(one["slots"], abs=1e-3)
    assert f"{totals['interpolated_slots']} of {totals['slots']} slots hold mixed rows" in text
    assert "☒ Less than 1 billion tokens" in text
    assert text.count("**[provider:") > 20


def test_the_same_version_gives_the_same_bytes(
    exported: tuple[Path, Json, Json], registered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    done = CliRunner().invoke(app, ["export-lineage", "sultana/1", str(tmp_path / "again"), "--json"])
    assert done.exit_code == 0, done.stderr
    answered = json.loads(done.stdout)
    assert answered["files"] == exported[1]["files"]


def test_a_folder_that_holds_something_is_refused(
    registered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(SultanaError, match="exists already"):
        export_lineage("sultana/1", tmp_path / "there", Console(file=io.StringIO()))
    done = CliRunner().invoke(app, ["export-lineage", "sultana/99", str(tmp_path / "new")])
    assert done.exit_code == 1 and "99" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
