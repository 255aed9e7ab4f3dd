"""`sultana export` on a real run: each format with the library it is for, and each refusal."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner

from assets.lineage.exports.layout import DATA_FORMATS, NO_TEXT
from orchestration.cli import app
from resources.files import folder_manifest
from resources.tables import LanceTables


@pytest.fixture(autouse=True)
def on_the_run(curated_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(curated_data))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def sultana(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["export", *arguments])


def refused(*arguments: str) -> str:
    found = sultana(*arguments)
    assert found.exit_code == 1, found.output
    lines = found.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("sultana: "), found.stderr
    return str(lines[0])


def loaded(out: Path, data_format: str, part: str, cache: Path) -> list[dict[str, Any]]:
    """The rows of a part, by the library that the card names."""
    import datasets

    datasets.disable_progress_bars()
    if data_format == "datasets":
        found = datasets.load_from_disk(str(out / part))
    else:
        found = datasets.load_dataset(str(out), part, split="train", cache_dir=str(cache))
    rows: list[dict[str, Any]] = found.to_list()
    return rows


def expected(curated_data: Path) -> dict[str, list[dict[str, Any]]]:
    """The representatives and the parents they need, straight from the tables."""
    tables = LanceTables(curated_data / "lance")

    def read(name: str) -> list[dict[str, Any]]:
        head = tables.head(name)
        assert head is not None
        return tables.read(head).to_pylist()

    clusters = {row["row_id"]: row for row in read("diversity_clusters")}
    chosen = {row_id for row_id, row in clusters.items() if row["representative"]}
    place = ("cluster", "rank", "density", "distance")
    recipes = [
        {
            "note": NO_TEXT,
            "id": row["recipe_id"],
            **{name: row[name] for name in row if name != "recipe_id"},
            **{name: clusters[row["recipe_id"]][name] for name in place},
        }
        for row in read("interpolated_instructions")
        if row["recipe_id"] in chosen
    ]
    instructions = [
        {
            "id": row["instruction_id"],
            "messages": row["messages"],
            "task": row["task"],
            **{name: clusters[row["instruction_id"]][name] for name in place},
            "origins": [
                {name: value for name, value in origin.items() if name != "origin_id"}
                for origin in row["origins"]
            ],
        }
        for row in read("instructions")
    ]
    needed = {row[side] for row in recipes for side in ("parent_a", "parent_b")} - chosen
    return {
        "originals": [row for row in instructions if row["id"] in chosen],
        "interpolated": recipes,
        "parents": [row for row in instructions if row["id"] in needed],
    }


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_what_the_library_loads_is_what_the_tables_hold(
    curated_data: Path, tmp_path: Path, data_format: str
) -> None:
    out = tmp_path / "out"
    shown = sultana(str(out), "--format", data_format)
    assert shown.exit_code == 0, shown.output
    wanted = expected(curated_data)
    assert min(len(rows) for rows in wanted.values()) > 0
    for part, rows in wanted.items():
        assert loaded(out, data_format, part, tmp_path / "cache") == rows, part
    counts = f"originals {len(wanted['originals'])}, interpolated rows (recipes, without text) "
    assert counts + f"{len(wanted['interpolated'])}, further parents of recipes" in shown.output
    assert str(out) in shown.output and "Load: datasets.load_" in shown.output


def test_without_the_library(curated_data: Path, tmp_path: Path) -> None:
    import datasets
    import pandas
    import pyarrow.parquet as pq

    for data_format in ("jsonl", "parquet"):
        assert sultana(str(tmp_path / data_format), "--format", data_format).exit_code == 0
    wanted = expected(curated_data)
    for part, rows in wanted.items():
        json_lines = tmp_path / "jsonl" / f"{part}.jsonl"
        parquet = tmp_path / "parquet" / f"{part}.parquet"
        assert pandas.read_json(json_lines, lines=True)["id"].tolist() == [row["id"] for row in rows]
        assert len(pandas.read_parquet(parquet)) == len(rows)
        assert pq.read_table(parquet).to_pylist() == rows
        found = datasets.load_dataset(
            "json", data_files=str(json_lines), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert found["id"] == [row["id"] for row in rows]
    table: pa.Table = pq.read_table(tmp_path / "parquet" / "interpolated.parquet")
    assert table.column_names[0] == "note"


def test_a_run_that_reuses_everything_changes_no_byte(tmp_path: Path) -> None:
    from orchestration.run import Request, run_request

    partition = ("--strategy", "random", "--seed", "0")
    assert sultana(str(tmp_path / "before"), *partition).exit_code == 0
    with open(tmp_path / "console.txt", "w") as output:
        request = Request(preset="smoke", strategies=("random",), seeds=(0,), to="curriculum")
        run_request(request, Console(file=output))
    assert sultana(str(tmp_path / "after"), *partition).exit_code == 0
    assert folder_manifest(tmp_path / "before") == folder_manifest(tmp_path / "after")


def test_refusals(curated_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no format 'csv'" in refused(str(out), "--format", "csv")
    assert "no strategy 'best'" in refused(str(out), "--strategy", "best", "--seed", "0")
    assert "no seed '-1'" in refused(str(out), "--strategy", "raise", "--seed", "-1")
    assert "--seed" in refused(str(out), "--strategy", "raise")
    assert "--strategy" in refused(str(out), "--seed", "0")
    told = refused(str(out), "--strategy", "raise", "--seed", "3")
    assert "has not been materialized" in told and "--strategy raise --seed 3 --to curriculum" in told
    assert "0|random" in told  # what could be exported
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    told = refused(str(out))
    assert str(out) in told and "Name another folder" in told
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_nothing_materialized_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "data"))
    told = refused(str(tmp_path / "out"))
    assert "'diversity_clusters' has not been materialized yet" in told
    assert "sultana run --to diversity_clusters" in told
    assert not (tmp_path / "out").exists()
