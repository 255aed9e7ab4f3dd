"""A small lineage recorded in a real Dagster instance and real Lance tables, and its checks run for real."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.identity import digest
from assets.materialized import LINEAGE, Materialized, materializations
from assets.records import INSTRUCTIONS, Record, embeddings_record
from orchestration.checks import CHECKS
from orchestration.definitions import defs
from resources.definitions import Storage
from resources.table_refs import Provenance

FINGERPRINT = "ab" * 32
VECTORS = embeddings_record(FINGERPRINT, 3)
Rows = Sequence[Mapping[str, Any]]


class Recorded:
    """What `add` records is what the checks find; `check` runs an asset's checks alone."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.storage = Storage(folder=str(folder))
        self.instance = instance
        self.made = 0

    def add(
        self,
        asset: str,
        tables: Mapping[Record, Rows | pa.Table] | None = None,
        *,
        upstream: Sequence[Materialized] = (),
        configuration: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        partition: str | None = None,
    ) -> Materialized:
        """Writes tables as they are given, and records their materialization as a stage would."""
        event = dg.AssetMaterialization(
            asset,
            partition=partition,
            metadata=self.metadata(
                asset, tables or {}, upstream, configuration, settings, facts, metadata, partition
            ),
            tags={"dagster/data_version": digest([asset, self.made])},
        )
        self.instance.report_runless_asset_event(event)
        return materializations(self.instance, asset, partition)[0]

    def metadata(
        self,
        asset: str,
        tables: Mapping[Record, Rows | pa.Table],
        upstream: Sequence[Materialized],
        configuration: Mapping[str, Any] | None,
        settings: Mapping[str, Any] | None,
        facts: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        partition: str | None,
    ) -> dict[str, Any]:
        """The tables written, and the metadata of a materialization that refers to them."""
        self.made += 1
        refs = {record.table: self.write(record, rows) for record, rows in tables.items()}
        record = {
            "asset": asset,
            "partition": partition,
            "configuration": dict(configuration or {}),
            "settings": dict(settings or {}),
            "facts": dict(facts or {}),
            "upstream": {one.asset: one.pointer() for one in upstream},
            "tables": {name: ref.to_json() for name, ref in refs.items()},
            "made_by_run": f"run {self.made}",
        }
        return {**(metadata or {}), LINEAGE: dg.MetadataValue.json(record)}

    def write(self, record: Record, rows: Rows | pa.Table) -> Any:
        """A table as it is given: its own schema where it is a table, else that of the record."""
        if not isinstance(rows, pa.Table):
            empty = dict.fromkeys(record.schema.names)
            rows = pa.Table.from_pylist([{**empty, **row} for row in rows], schema=record.schema)
        # A table of another schema is what another program would have left there.
        declared = Record(record.table, record.key, rows.schema)
        return self.storage.tables().write(
            declared,
            rows,
            mode="overwrite",
            provenance=Provenance("run", record.table, digest([record.table, self.made])[:32]),
        )

    def check(
        self, asset: str, config: Mapping[str, Any] | None = None
    ) -> dict[str, dg.AssetCheckEvaluation]:
        """Runs the checks of an asset, without the asset; what each found, by its name."""
        key = dg.AssetKey(asset)
        op = next(one for one in CHECKS if key in {check.asset_key for check in one.check_keys})
        job = dg.define_asset_job("checks_alone", selection=dg.AssetSelection.checks(op))
        resolved = dg.Definitions(
            assets=defs.assets,
            asset_checks=CHECKS,
            jobs=[job],
            resources={**(defs.resources or {}), "storage": self.storage},
        ).resolve_job_def("checks_alone")
        found = resolved.execute_in_process(
            instance=self.instance,
            run_config={"ops": {op.op.name: {"config": dict(config)}}} if config else None,
            raise_on_error=False,
        )
        results = found.get_asset_check_evaluations()
        assert {one.check_name for one in results} == {key.name for key in op.check_keys}
        return {one.check_name: one for one in results if one.asset_key == dg.AssetKey(asset)}


def number(found: dg.AssetCheckEvaluation, name: str) -> Any:
    """A number that a check measured."""
    return found.metadata[name].value


def refused(found: dg.AssetCheckEvaluation, *words: str, blocks: bool) -> None:
    """The check failed, blocks or warns, and says what is wrong and what to do."""
    assert not found.passed and found.blocking is blocks
    assert found.severity is (dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN)
    assert found.description and len([one for one in found.description.split(". ") if one]) >= 2
    for word in words:
        assert word in found.description, found.description


def origin(name: str) -> dict[str, Any]:
    """An origin, or the columns that a raw, quarantined or dropped row has for it."""
    return {"origin_id": name, "source": "mine", "file": "a.jsonl", "file_sha256": "f" * 64, "position": 1}


def raw(name: str, problem: str | None = None) -> dict[str, Any]:
    return origin(name) | {"problem": problem}


def instruction(name: str, *origins: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"Say {name}."}, {"role": "assistant", "content": name}]
    return {
        "instruction_id": name,
        "messages": turns,
        "origins": [{**origin(one), "licence": None} for one in origins],
    }


def quarantined(name: str) -> dict[str, Any]:
    return origin(name) | {"reason": "empty", "detail": "", "raw_text": ""}


def dropped(name: str, reason: str = "near_duplicate") -> dict[str, Any]:
    kept = {key: value for key, value in origin(name).items() if key != "file_sha256"}
    return kept | {"instruction_id": name, "reason": reason, "collides_with": "x", "similarity": 1.0}


def example(name: str, split: str, text: str, response: str = "Yes.") -> dict[str, Any]:
    return {
        "example_id": name,
        "split": split,
        "task": "t",
        "messages": [{"role": "user", "content": text}],
        "response": response,
        "source": "mine",
        "file": "a.jsonl",
        "position": 1,
    }


def recipe(name: str, one: str, other: str, weight: float = 0.5) -> dict[str, Any]:
    return {
        "recipe_id": name,
        "parent_a": one,
        "parent_b": other,
        "lambda": weight,
        "seed": 0,
        "layer": 0,
        "alignment": "response_border",
        "task_a": "a",
        "task_b": "b",
    }


def clustered(
    row_id: str, cluster: int, rank: int, *, mixed: bool = False, chosen: bool = True
) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "kind": "interpolated" if mixed else "original",
        "cluster": cluster,
        "distance": 0.1,
        "density": 0.9,
        "rank": rank,
        "representative": chosen,
    }


SPLITS = [
    example("t", "test", "How many rivers flow through the old town of the capital city by the sea?"),
    example(
        "e", "early_stopping", "Name three birds that spend the winter in the south of the continent, please."
    ),
    example("r", "reward", "What does a carpenter need before the first board of a floor can be laid down?"),
]
SPLIT_SETTINGS = {"contamination_ngram": 8, "contamination_threshold": 0.7}
NAMES = ("apple", "berry", "cherry", "date")
VECTOR_OF = {"apple": [1.0, 0, 0], "berry": [0, 1.0, 0], "cherry": [0, 0, 1.0], "date": [0.6, 0.8, 0]}


def vectors(**changes: list[float]) -> list[dict[str, Any]]:
    """A vector for each of NAMES, or as `changes` say."""
    return [{"instruction_id": name, "vector": one} for name, one in (VECTOR_OF | changes).items()]


def kept(recorded: Recorded) -> Materialized:
    """`instructions`, of NAMES."""
    return recorded.add("instructions", {INSTRUCTIONS: [instruction(name, f"o-{name}") for name in NAMES]})
