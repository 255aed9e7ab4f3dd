"""The asset: what it shows and records, its check, and the vectors of the embedding layer."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from rich.console import Console

from assets.materialized import Materialized, materializations
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage
from resources.errors import SultanaError

MEASURES = {"rows", "vendi score", "cluster entropy", "nearest neighbour median", "task coverage"}


def made(folder: Path, **settings: Any) -> Materialized:
    """`diversity_clusters` of the smoke preset with these settings, the newest materialization of it."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"ops": {"diversity_clusters": {"config": settings}}}))
    with open(os.devnull, "w") as sink:
        run_request(Request(preset="smoke", config=file, to="diversity_clusters"), Console(file=sink))
    with open_instance(folder) as instance:
        return materializations(instance, "diversity_clusters")[0]


def table(found: Materialized, name: str) -> list[dict[str, Any]]:
    value = found.metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Any:
    path = tmp_path_factory.mktemp("diversity")
    (path / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(path))
        yield path


def test_it_shows_diversity_before_and_after(folder: Path) -> None:
    found = made(folder, clusters=6)
    rows = {row["measure"]: row for row in table(found, "before_and_after")}
    assert rows.keys() >= MEASURES
    columns = [one.name for one in found.metadata["before_and_after"].schema.columns]  # type: ignore[union-attr]
    assert columns == ["measure", "all rows", "originals", "representatives", "as many at random"]
    assert rows["task coverage"]["all rows"] == 1
    shares = table(found, "mixes_among_the_chosen")
    assert len(shares) == 3 and shares[1]["share of mixes"] <= 0.5
    assert found.metadata["share_of_mixes"].value == pytest.approx(shares[0]["share of mixes"], rel=1e-5)
    assert 0 < found.metadata["mean_length_of_mixes_before_scaling"].value < 1  # type: ignore[operator]
    assert found.record["settings"] == {} and found.record["facts"]["clusters"] == 6
    for name in ("map", "sizes"):
        assert isinstance(found.metadata[name], dg.MarkdownMetadataValue)


def test_a_reused_table_is_checked_again(folder: Path) -> None:
    first = made(folder, clusters=6)
    again = made(folder, clusters=6)
    assert again.data_version == first.data_version and "reused_from_run" in again.metadata
    check = _check_of(folder, again.run_id)
    assert check.passed and check.metadata["missing"].value == 0
    assert check.metadata["representatives"].value == first.metadata["representatives"].value


def test_the_number_of_clusters_is_chosen_and_recorded(folder: Path) -> None:
    found = made(folder, clusters=0)
    tried = table(found, "clusters_tried")
    chosen = max(tried, key=lambda row: (row["silhouette"], -row["clusters"]))["clusters"]
    assert found.record["facts"] == {"clusters": chosen, "clusters_chosen": True}
    assert found.metadata["clusters"].value == chosen
    assert {"clusters", "silhouette", "mean_squared_distance", "seconds"} == set(tried[0])


@pytest.mark.slow
def test_vectors_of_the_embedding_layer_hang_on_the_language_model(folder: Path) -> None:
    plain = made(folder, clusters=6)
    found = made(folder, clusters=6, vectors="embedding_layer")
    assert set(found.record["settings"]) == {"language_model", "dtype"}
    assert len(found.record["settings"]["language_model"]) == 64
    assert found.data_version != plain.data_version
    assert "reused_from_run" in made(folder, clusters=6, vectors="embedding_layer").metadata
    tables = Storage().tables()
    one, other = (tables.read(of.table()) for of in (plain, found))
    assert one["row_id"] == other["row_id"] and one["cluster"] != other["cluster"]


def test_a_wrong_setting_is_refused_by_name(folder: Path) -> None:
    with pytest.raises((SultanaError, dg.DagsterInvalidConfigError), match="representative_by"):
        made(folder, representative_by="nearest")


def _check_of(folder: Path, run_id: str) -> Any:
    with open_instance(folder) as instance:
        found = [
            event.dagster_event.asset_check_evaluation_data
            for event in instance.all_logs(run_id)
            if event.dagster_event is not None
            and event.dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
        ]
    return next(one for one in found if one.check_name == "clusters_are_sound")
