"""What leaves is what the tables hold, whole, and the same twice."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from small_tables import CHOSEN, RECIPES, ROWS, Small

from assets.lineage.exports.curated import portable_name
from assets.lineage.exports.folder import write_export
from assets.lineage.exports.layout import DATA_FORMATS, DIGESTS, NO_TEXT
from resources.errors import SultanaError
from resources.files import MANIFEST, folder_manifest


def read(folder: Path, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().split("\n") if line]


def export(small: Small, out: Path, data_format: str = "jsonl", curriculum: bool = False) -> dict[str, Any]:
    return write_export(out, small.curated(curriculum), small.description(curriculum), data_format)


def test_the_parts_hold_the_chosen_rows_and_what_they_need(small: Small, tmp_path: Path) -> None:
    about = export(small, tmp_path / "out")
    originals, mixes, parents = (
        read(tmp_path / "out", part) for part in ("originals", "interpolated", "parents")
    )
    assert {row["id"] for row in originals + mixes} == set(CHOSEN)
    # apple is a parent too, but exported already.
    assert [row["id"] for row in parents] == ["cherry", "date"]
    assert {part: one["rows"] for part, one in about["parts"].items()} == {
        "originals": 2,
        "interpolated": 2,
        "parents": 2,
    }
    assert [row["messages"] for row in originals] == [row["messages"] for row in ROWS[:2]]
    assert originals[1]["origins"][0] == {
        "source": "one",
        "file": "part/b.jsonl",
        "file_sha256": "f" * 64,
        "position": 1,
        "licence": None,
    }
    assert (originals[1]["cluster"], originals[1]["rank"], originals[1]["task"]) == (1, 1, None)
    first = next(row for row in RECIPES if row["recipe_id"] == "mix-1")
    assert {name: mixes[0][name] for name in first if name != "recipe_id"} == {
        name: value for name, value in first.items() if name != "recipe_id"
    }
    assert next(iter(mixes[0].items())) == ("note", NO_TEXT)
    assert "uses" not in originals[0] | mixes[0]


def test_a_curriculum_has_its_distinct_rows_with_every_use(small: Small, tmp_path: Path) -> None:
    about = export(small, tmp_path / "out", curriculum=True)
    rows = {
        row["id"]: row["uses"]
        for part in ("originals", "interpolated")
        for row in read(tmp_path / "out", part)
    }
    assert rows == {
        "apple": [{"step": 0, "slot": 0, "weight": 1.0}, {"step": 1, "slot": 0, "weight": 0.25}],
        "mix-1": [{"step": 0, "slot": 1, "weight": 0.5}],
        "mix-2": [{"step": 1, "slot": 1, "weight": 1.0}],
    }
    assert {row["id"] for row in read(tmp_path / "out", "parents")} == {"berry", "cherry", "date"}
    assert about["maximum_length"] == 64


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_two_exports_are_equal_to_the_last_byte(small: Small, tmp_path: Path, data_format: str) -> None:
    for name in ("first", "second"):
        export(small, tmp_path / name, data_format, curriculum=True)
    first, second = (folder_manifest(tmp_path / name) for name in ("first", "second"))
    assert first == second
    assert (tmp_path / "first" / DIGESTS).read_bytes() == (tmp_path / "second" / DIGESTS).read_bytes()


def test_the_manifest_has_the_digest_of_every_file(small: Small, tmp_path: Path) -> None:
    export(small, tmp_path / "out")
    assert DIGESTS == MANIFEST
    assert json.loads((tmp_path / "out" / DIGESTS).read_text())["files"] == folder_manifest(tmp_path / "out")
    assert {"README.md", "export.json", "originals.jsonl", "loader/__init__.py"} <= folder_manifest(
        tmp_path / "out"
    ).keys()


@pytest.mark.parametrize("data_format", DATA_FORMATS)
def test_no_path_of_this_machine_leaves(small: Small, tmp_path: Path, data_format: str) -> None:
    about = export(small, tmp_path / "out", data_format)
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for path in (str(tmp_path), str(small.tables.root), "/home/somebody", "secret/a.jsonl"):
                assert path.encode() not in content, file
    assert about["cut_file_names"] == {"a.jsonl": 1}
    assert "cut to their last part: a.jsonl." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a.jsonl", "a.jsonl"),
        ("part/a.jsonl", "part/a.jsonl"),
        ("/data/a.jsonl", "a.jsonl"),
        ("../../a.jsonl", "a.jsonl"),
        ("~/a.jsonl", "a.jsonl"),
        ("file:///data/a.jsonl", "a.jsonl"),
        (r"C:\data\a.jsonl", "a.jsonl"),
        ("hf://datasets/owner/name/a.jsonl", "hf://datasets/owner/name/a.jsonl"),
    ],
)
def test_names_without_the_machine(given: str, wanted: str) -> None:
    assert portable_name(given) == wanted


def test_a_part_without_rows_is_absent(small: Small, tmp_path: Path) -> None:
    from dataclasses import replace

    import pyarrow as pa
    import pyarrow.compute as pc

    from assets.lineage.exports.curated import Curated
    from assets.records import DIVERSITY_CLUSTERS
    from resources.table_refs import Provenance

    clusters = small.tables.read(small.sources.clusters)
    originals: pa.Table = clusters.filter(pc.equal(clusters["kind"], "original"))
    ref = small.tables.write(
        DIVERSITY_CLUSTERS,
        originals,
        mode="overwrite",
        provenance=Provenance("run", "diversity_clusters", "originals alone"),
    )
    curated = Curated(small.tables, replace(small.sources, clusters=ref))
    about = write_export(tmp_path / "out", curated, small.description(), "parquet")
    assert (about["parts"]["interpolated"]["rows"], about["parts"]["parents"]["rows"]) == (0, 0)
    assert {file.name for file in (tmp_path / "out").glob("*.parquet")} == {"originals.parquet"}


def test_an_occupied_place_is_refused_and_an_empty_folder_is_not(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(small, out)
    before = folder_manifest(out)
    with pytest.raises(SultanaError, match=r"not an empty folder.*Name another folder"):
        export(small, out)
    assert folder_manifest(out) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SultanaError, match="not an empty folder"):
        export(small, tmp_path / "file")
    with pytest.raises(SultanaError, match=r"cannot be written to.*another place"):
        export(small, tmp_path / "file" / "out")
    with pytest.raises(SultanaError, match=r"no format 'csv'.*jsonl, parquet, datasets"):
        export(small, tmp_path / "other", "csv")


def test_what_fails_leaves_nothing_behind(small: Small, tmp_path: Path) -> None:
    curated = small.curated()
    curated._ids["parents"].add("nobody")
    curated._places["nobody"] = [0, 0, 0.0, 0.0]
    with pytest.raises(SultanaError, match=r"nobody.*Materialize"):
        write_export(tmp_path / "out", curated, small.description(), "jsonl")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_what_was_exported(small: Small, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        export(small, tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_a_full_disk(small: Small, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        for data_format in DATA_FORMATS:
            with pytest.raises(SultanaError, match=r"is full.*Free some space"):
                export(small, disk / "out", data_format)
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
