"""The input tables of an MLflow run, read back by MLflow's own API."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import INSTRUCTIONS
from resources.table_refs import Provenance
from resources.tables import LanceTables
from resources.tracking import InputTable, Tracking

PROJECT = Path(__file__).resolve().parents[2]
ROW = {
    "instruction_id": "a" * 32,
    "task": None,
    "messages": [{"role": "user", "content": "Say <b>one</b>."}, {"role": "assistant", "content": "One."}],
    "origins": [],
    "scores": None,
}
ELSEWHERE = """
import json, sys
import mlflow
print(json.dumps([
    [source.to_dict(), source.load().count_rows()]
    for found in mlflow.get_run(sys.argv[1]).inputs.dataset_inputs
    for source in [mlflow.data.get_source(found)]
]))
"""


def installed(folder: Path) -> str:
    """A Python path on which this version of the package is installed, as far as MLflow can tell."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["mlflow.dataset_source"].items()]
    package = folder / "sultana_checkout-0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: sultana-checkout\nVersion: 0\n")
    (package / "entry_points.txt").write_text("\n".join(["[mlflow.dataset_source]", *lines, ""]))
    return f"{PROJECT}{os.pathsep}{folder}"


def test_inputs_of_a_run_open_the_very_version_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    tables = LanceTables(tmp_path / "lance")
    refs = [
        tables.write(
            INSTRUCTIONS,
            pa.Table.from_pylist([{**ROW, "instruction_id": letter * 32}], schema=INSTRUCTIONS.schema),
            mode="append",
            provenance=Provenance("run", "instructions", letter),
        )
        for letter in "ab"
    ]
    assert [ref.rows for ref in refs] == [1, 2]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights").write_bytes(b"1")
    path = str(tables.path("instructions"))
    tracking = Tracking(None, tmp_path / "mlflow")
    published = tracking.publish(
        name="m",
        idempotency_key="k",
        files=tmp_path / "files",
        parameters={},
        step_metrics=[],
        inputs=[
            InputTable(ref.table, path, ref.version, ref.digest, ref.rows, tables.schema(ref)) for ref in refs
        ],
        tags={},
        aliases=[],
    )
    with tracking.client() as client:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        inputs = mlflow.get_run(published.run_id).inputs.dataset_inputs
    assert {one.tags[0].value for one in inputs} == {"training"}
    for ref, found in zip(
        sorted(refs, key=lambda one: one.digest),
        sorted(inputs, key=lambda one: one.dataset.digest),
        strict=True,
    ):
        dataset = found.dataset
        assert (dataset.name, dataset.digest, dataset.source_type) == (
            "instructions",
            ref.digest[:36],
            "lance",
        )
        assert json.loads(dataset.profile) == {"num_rows": ref.rows}
        columns = {one["name"]: one for one in json.loads(dataset.schema)["mlflow_colspec"]}
        assert list(columns) == INSTRUCTIONS.schema.names
        assert columns["instruction_id"]["required"] and not columns["task"]["required"]
        assert set(columns["messages"]["items"]["properties"]) == {"role", "content"}

    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, published.run_id],
        env={**os.environ, "PYTHONPATH": installed(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    opened = sorted(json.loads(done.stdout.splitlines()[-1]), key=lambda one: one[1])
    assert opened == [[{"uri": path, "version": ref.version, "digest": ref.digest}, ref.rows] for ref in refs]
