"""The input tables of an MLflow run, read back by MLflow's own API."""

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import INSTRUCTIONS
from resources.tables import LanceTables, Provenance
from resources.tracking import InputTable, Tracking

PROJECT = Path(__file__).resolve().parents[2]
ROW = {
    "instruction_id": "a" * 32,
    "task": None,
    "messages": [{"role": "user", "content": "Say <b>one</b>."}, {"role": "assistant", "content": "One."}],
    "origins": [],
    "scores": None,
}


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's registry as it is once this version of the package is installed."""
    from mlflow.data.dataset_source_registry import _dataset_source_registry, register_dataset_source

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["entry-points"]["mlflow.dataset_source"]
    monkeypatch.setattr(_dataset_source_registry, "sources", list(_dataset_source_registry.sources))
    for name, value in named.items():
        register_dataset_source(EntryPoint(name, value, "mlflow.dataset_source").load())


@pytest.mark.usefixtures("_registered")
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
            digest=letter * 64,
            provenance=Provenance("run", "instructions", letter),
        )
        for letter in "ab"
    ]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights").write_bytes(b"1")
    tracking = Tracking(None, tmp_path / "mlflow")
    published = tracking.publish(
        name="m",
        idempotency_key="k",
        files=tmp_path / "files",
        parameters={},
        step_metrics=[],
        inputs=[
            InputTable(
                ref.table,
                str(tables.path(ref.table)),
                ref.version,
                ref.digest,
                ref.rows,
                tables.open(ref).schema,
            )
            for ref in refs
        ],
        tags={},
        aliases=[],
    )
    with tracking.client() as client:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        inputs = mlflow.get_run(published.run_id).inputs.dataset_inputs
    assert {one.tags[0].value for one in inputs} == {"training"}
    for ref, found in zip(refs, sorted(inputs, key=lambda one: one.dataset.digest), strict=True):
        dataset = found.dataset
        assert (dataset.name, dataset.digest, dataset.source_type) == (
            "instructions",
            ref.digest[:36],
            "lance",
        )
        assert json.loads(dataset.profile) == {"num_rows": ref.rows}
        columns = {one["name"]: one for one in json.loads(dataset.schema)["mlflow_colspec"]}
        assert list(columns) == INSTRUCTIONS.schema.names
        assert set(columns["messages"]["items"]["properties"]) == {"role", "content"}
        source = mlflow.data.get_source(found)
        assert (source.uri, source.version, source.digest) == (
            str(tables.path("instructions")),
            ref.version,
            ref.digest,
        )
        assert source.load().count_rows() == ref.rows and ref.rows == (1 if ref is refs[0] else 2)
