"""The whole graph, for real, in small; and what a second run does."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from assets.materialized import LINEAGE, materializations
from orchestration.checks import CHECKS
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import ModelRegistry, Storage


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Any:
    """A data folder in which `sultana run --preset smoke` has run once."""
    folder = tmp_path_factory.mktemp("smoke")
    (folder / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(folder))
        console = Console(record=True, width=200, file=open(folder / "console.txt", "w"))  # noqa: SIM115
        run_request(Request(preset="smoke"), console)
        yield folder, console.export_text()


def _records(folder: Path) -> dict[str, Any]:
    with open_instance(folder) as instance:
        keys = instance.get_asset_keys()
        found = {}
        for key in keys:
            name = key.to_user_string()
            for one in instance.get_materialized_partitions(key) or [None]:
                for made in materializations(instance, name, one):
                    found[f"{name} {one}" if one else name] = made
        return found


def test_every_asset_is_materialized(finished: Any) -> None:
    folder, _ = finished
    records = _records(folder)
    expected = {
        "raw_instructions",
        "benchmark_splits",
        "retractions",
        "instructions",
        "quarantine",
        "dropped_instructions",
        "instruction_embeddings",
        "interpolated_instructions",
        "diversity_clusters",
        "baseline_evaluation",
        "leaderboard",
    } | {
        f"{asset} 0|{strategy}"
        for asset in ("curriculum", "checkpoint", "evaluation", "lineage_manifest")
        for strategy in ("random", "raise")
    }
    assert set(records) == expected


def test_rows_in_are_rows_out(finished: Any) -> None:
    folder, _ = finished
    records = _records(folder)
    rows = {
        name: records[name].table().rows
        for name in ("raw_instructions", "instructions", "quarantine", "dropped_instructions")
    }
    assert (
        rows["raw_instructions"] == rows["instructions"] + rows["quarantine"] + rows["dropped_instructions"]
    )
    assert min(rows.values()) > 0


def test_the_demo_ends_with_leaderboard_and_registered_models(finished: Any) -> None:
    folder, shown = finished
    assert "Leaderboard" in shown
    assert "sultana version 1" in shown and "sultana version 2" in shown
    assert "http://127.0.0.1:3000" in shown
    registry = ModelRegistry().open(Storage(folder=str(folder)))
    assert {int(one.version) for one in registry.versions("sultana")} == {1, 2}
    for version in (1, 2):
        registry.verify("sultana", version)


def test_progress_stands_in_the_event_log(finished: Any) -> None:
    folder, _ = finished
    with open_instance(folder) as instance:
        said = [one.user_message for run in instance.get_runs() for one in instance.all_logs(run.run_id)]
    for stage in (
        "raw_instructions: reading",
        "instructions: sorting",
        "checkpoint: training",
        "evaluation: loss",
    ):
        assert any(line.startswith(f"{stage}: ") for line in said), stage


def test_a_manifest_names_every_upstream_version(finished: Any) -> None:
    folder, _ = finished
    file = Path(_records(folder)["lineage_manifest 0|raise"].record["facts"]["file"])
    manifest = json.loads(file.read_text())
    assert {one["asset"] for one in manifest["materializations"]} == {
        "checkpoint",
        "curriculum",
        "benchmark_splits",
        "diversity_clusters",
        "instructions",
        "instruction_embeddings",
        "interpolated_instructions",
        "raw_instructions",
        "retractions",
    }
    tables = Storage(folder=str(folder)).tables()
    from resources.table_refs import TableRef

    for ref in manifest["tables"].values():
        assert tables.read(TableRef.from_json(ref)).num_rows > 0


def test_each_lance_version_carries_run_and_asset(finished: Any) -> None:
    import lance

    folder, _ = finished
    for name in ("raw_instructions", "instructions", "diversity_clusters", "curriculum"):
        made = next(one for key, one in _records(folder).items() if key.split()[0] == name)
        ref = made.table(name if name == "instructions" else None)
        dataset = lance.dataset(str(folder / "lance" / f"{ref.table}.lance"))
        assert ref.version in {tag["version"] for tag in dataset.tags.list().values()}
        properties = dataset.read_transaction(ref.version).transaction_properties
        assert made.run_id in properties.values()
        assert name in properties.values()


def test_a_second_run_reuses_everything(finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = finished
    before = _records(folder)
    console = Console(record=True, width=200, file=open(folder / "again.txt", "w"))  # noqa: SIM115
    run_request(Request(preset="smoke"), console)
    after = _records(folder)
    assert set(after) == set(before)
    for name, made in after.items():
        assert made.data_version == before[name].data_version, name
        assert made.storage_id != before[name].storage_id, name
        assert "reused_from_run" in made.metadata, name


def test_a_changed_setting_changes_what_follows_and_nothing_else(finished: Any, tmp_path: Path) -> None:
    folder, _ = finished
    before = _records(folder)
    other = tmp_path / "other.yaml"
    other.write_text("ops: {interpolated_instructions: {config: {alpha: 1.0}}}")
    request = Request(preset="smoke", config=other, to="diversity_clusters")
    run_request(request, Console(file=open(tmp_path / "c.txt", "w")))  # noqa: SIM115
    after = _records(folder)
    changed = {name for name in before if after[name].data_version != before[name].data_version}
    assert changed == {"interpolated_instructions", "diversity_clusters"}
    run_request(Request(preset="smoke", to="diversity_clusters"), Console(file=open(tmp_path / "d.txt", "w")))  # noqa: SIM115
    assert {name: made.data_version for name, made in _records(folder).items()} == {
        name: made.data_version for name, made in before.items()
    }


def test_metadata_is_worth_looking_at(finished: Any) -> None:
    folder, _ = finished
    for name, made in _records(folder).items():
        assert LINEAGE in made.metadata
        kinds = {type(value) for value in made.metadata.values()}
        assert dg.TableMetadataValue in kinds or dg.MarkdownMetadataValue in kinds, name


def test_checks_look_at_the_tables_again_when_all_is_reused(finished: Any) -> None:
    folder, _ = finished
    with open_instance(folder) as instance:
        newest = instance.get_runs(limit=20)
        seen = {
            (one.asset_key.to_user_string(), one.check_name): one
            for run in newest
            for event in instance.all_logs(run.run_id)
            if (dagster_event := event.dagster_event) is not None
            and dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
            for one in [dagster_event.asset_check_evaluation_data]
        }
    assert set(seen) == {
        (key.asset_key.to_user_string(), key.name) for one in CHECKS for key in one.check_keys
    }
    for one in seen.values():
        assert one.passed and one.metadata and one.description, one
