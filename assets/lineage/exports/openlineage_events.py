"""OpenLineage run events of materializations, with the classes of openlineage-python.

One START and one COMPLETE event each. A job is an asset, a run one materialization of it, and a dataset a
table, a source file or a model, each with the version that was read or written. Whatever is made from the
same materialization is the same event: run ids are derived, never drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    column_lineage_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    execution_parameters_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    ownership_job,
    parent_run,
    processing_engine_run,
    schema_dataset,
    set_producer,
    source_code_location_job,
    storage_dataset,
    tags_dataset,
    tags_run,
)
from openlineage.client.serde import Serde
from openlineage.client.uuid import generate_static_uuid

from assets.column_lineage import COLUMN_LINEAGE
from assets.lineage.exports.folder import NAMING_PATHS, portable
from assets.lineage.exports.source_files import sources_of

PRODUCER = f"pkg:generic/sultana@{version('sultana')}"
SOURCE = "sultana"
set_producer(PRODUCER)  # of the facets, which take it from the client's module


@dataclass(frozen=True)
class Made:
    """One materialization: its lineage record, when it was made, and what stood behind it.

    `ended` is in seconds since 1970. `upstream` holds the records that its own record points at, by asset;
    `schemas` the stored columns of the tables that it wrote; `job` the name of the Dagster job, where known.
    """

    record: Mapping[str, Any]
    data_version: str
    ended: float
    seconds: float
    upstream: Mapping[str, Mapping[str, Any]]
    schemas: Mapping[str, pa.Schema]
    owners: Sequence[str] = ()
    job: str | None = None

    @property
    def began(self) -> datetime:
        """When the work on it began."""
        return datetime.fromtimestamp(self.ended - self.seconds, UTC)

    @property
    def run_id(self) -> str:
        """The id of its OpenLineage run: the same wherever it is derived."""
        name = "/".join((self.record["made_by_run"], self.record["asset"], self.record["partition"] or ""))
        return str(generate_static_uuid(self.began, name.encode()))


@dataclass(frozen=True)
class _Known:
    """A dataset as one materialization knows it."""

    name: str
    version: str
    kind: str  # TABLE, FILE, MODEL or JOB_OUTPUT
    tags: Mapping[str, str]
    rows: int | None = None


def run_events(made: Made, namespace: str) -> list[RunEvent]:
    """The two events of a materialization, in order."""
    asset = made.record["asset"]
    # The client adds to the facets of what it sends, so the events share none.
    return [
        RunEvent(
            eventType=state,
            eventTime=when.isoformat(),
            run=Run(runId=made.run_id, facets=_run_facets(made, namespace)),
            job=Job(namespace=namespace, name=asset, facets=_job_facets(made)),
            inputs=_inputs(made, namespace),
            outputs=_outputs(made, namespace) if state is RunState.COMPLETE else [],
        )
        for state, when in (
            (RunState.START, made.began),
            (RunState.COMPLETE, datetime.fromtimestamp(made.ended, UTC)),
        )
    ]


def event_lines(chain: Sequence[Made], namespace: str) -> list[str]:
    """The events of a chain as lines of JSON, in the order in which they happened; each run once."""
    by_run = {made.run_id: made for made in chain}
    ordered = sorted(by_run.values(), key=lambda made: (made.ended, made.run_id))
    return [Serde.to_json(event) for made in ordered for event in run_events(made, namespace)]


def _run_facets(made: Made, namespace: str) -> dict[str, RunFacet]:
    record = made.record
    tags = {
        "partition": record["partition"],
        "data_version": made.data_version,
        "code_version": str(record["code_version"]),
        "inputs_digest": record["inputs_digest"],
        "git_dirty": record["environment"]["git_dirty"],
    }
    facets: dict[str, RunFacet] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=record["environment"]["packages"]["dagster"],
            name="dagster",
            openlineageAdapterVersion=version("sultana"),
        ),
        "tags": tags_run.TagsRunFacet(
            [
                tags_run.TagsRunFacetFields(key, _text(value), SOURCE)
                for key, value in tags.items()
                if value is not None
            ]
        ),
    }
    if record["asset"] not in NAMING_PATHS:
        facets["executionParameters"] = execution_parameters_run.ExecutionParametersRunFacet(
            [
                execution_parameters_run.ExecutionParameter(key=key, value=value)
                for key, value in _flat(record["configuration"])
            ]
        )
    if made.job is not None:
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=record["made_by_run"]),
            job=parent_run.Job(namespace=namespace, name=made.job),
        )
    return facets


def _job_facets(made: Made) -> dict[str, JobFacet]:
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "DAGSTER", "ASSET"),
        "ownership": ownership_job.OwnershipJobFacet(
            [ownership_job.Owner(name, "OWNER") for name in made.owners]
        ),
    }
    if commit := made.record["environment"]["git_commit"]:
        # The name of a commit wherever it is kept (SWHID, ISO/IEC 18670): a lineage record knows no server.
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=f"swh:1:rev:{commit}", version=commit
        )
    return facets


def _inputs(made: Made, namespace: str) -> list[InputDataset]:
    known = [one for record in made.upstream.values() for one in _datasets(record)]
    for source in sources_of(made.record):
        tags = {"source": source.name, "address": source.address, "licence": source.licence}
        tags |= {"revision": source.revision, "split": source.split}
        told = {name: value for name, value in tags.items() if value is not None}
        known += [
            _Known(f"sources/{source.name}/{name}", sha256, "FILE", told | {"sha256": sha256})
            for name, sha256 in source.files
        ]
    if made.record["asset"] == "checkpoint":
        facts = made.record["facts"]
        name = f"base_models/{facts['language_model_name']}"
        known.append(_Known(name, facts["language_model"], "MODEL", {}))
    return [
        InputDataset(
            namespace,
            one.name,
            facets=_dataset_facets(one),
            inputFacets={}
            if one.rows is None
            else {
                "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet(one.rows)
            },
        )
        for one in known
    ]


def _outputs(made: Made, namespace: str) -> list[OutputDataset]:
    found = []
    for place, one in enumerate(_datasets(made.record)):
        facets = _dataset_facets(one)
        if one.name in made.schemas:
            facets["schema"] = schema_dataset.SchemaDatasetFacet(
                [_column(field, number) for number, field in enumerate(made.schemas[one.name], 1)]
            )
        if place == 0 and (lineage := _column_lineage(made, namespace)):
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(lineage)
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(one.rows)
        found.append(
            OutputDataset(
                namespace,
                one.name,
                facets=facets,
                outputFacets={} if one.rows is None else {"outputStatistics": statistics},
            )
        )
    return found


def _datasets(record: Mapping[str, Any]) -> list[_Known]:
    """What a materialization wrote: its tables, the registered model, or itself where it is neither."""
    if record["tables"]:
        return [
            _Known(
                ref["table"],
                str(ref["version"]),
                "TABLE",
                {"digest": ref["digest"], "lance_tag": ref["tag"]},
                ref["rows"],
            )
            for ref in record["tables"].values()
        ]
    facts = record["facts"]
    if record["asset"] == "checkpoint":
        told = ("checkpoint_id", "files_manifest_sha256", "mlflow_run_id", "training_data_sha256")
        return [
            _Known(
                f"models/{facts['model']}",
                str(facts["version"]),
                "MODEL",
                {name: facts[name] for name in told},
            )
        ]
    name = "/".join(part for part in (record["asset"], record["partition"]) if part)
    return [_Known(name, record["content_digest"], "JOB_OUTPUT", {})]


def _dataset_facets(one: _Known) -> dict[str, DatasetFacet]:
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(one.version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(one.kind),
    }
    if one.kind == "TABLE":
        facets["storage"] = storage_dataset.StorageDatasetFacet("lance", "lance")
    if one.tags:
        facets["tags"] = tags_dataset.TagsDatasetFacet(
            [
                tags_dataset.TagsDatasetFacetFields(key, value, source=SOURCE)
                for key, value in one.tags.items()
            ]
        )
    return facets


def _column_lineage(made: Made, namespace: str) -> dict[str, column_lineage_dataset.Fields]:
    """Output column -> the columns that it comes from, among those that this materialization read."""
    fields = {}
    for column, sources in COLUMN_LINEAGE.get(made.record["asset"], {}).items():
        read = [
            column_lineage_dataset.InputField(namespace, _datasets(made.upstream[asset])[0].name, name)
            for asset, name in sources
            if asset in made.upstream
        ]
        if read:
            fields[column] = column_lineage_dataset.Fields(read)
    return fields


def _column(field: pa.Field, place: int | None = None) -> schema_dataset.SchemaDatasetFacetFields:
    kind = field.type
    inner = kind.value_type if pa.types.is_list(kind) else kind
    nested = [_column(one) for one in inner] if pa.types.is_struct(inner) else []
    name = ("list<struct>" if pa.types.is_list(kind) else "struct") if nested else str(kind)
    return schema_dataset.SchemaDatasetFacetFields(field.name, name, ordinal_position=place, fields=nested)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _text(portable(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
