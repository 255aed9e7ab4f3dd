"""A bill of materials of a model in CycloneDX (ECMA-424): the model with its card, data, base model and packages.

Components are classes of cyclonedx-python-lib. It has none for model cards and data contents, which are added to
its document as the specification says; what comes out is checked by its strict validator.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.spdx import fixup_id
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from assets.identity import digest
from assets.lineage.audit.origins import NO_LICENCE
from assets.lineage.exports.model_card import LIMITS
from assets.lineage.exports.source_files import SourceFiles
from resources.errors import SultanaError

SPECIFICATION = SchemaVersion.V1_6
"""What most readers take; 1.7 adds nothing for models and data."""

MODEL, BASE, TOKENIZER, CURATED = "model", "base-model", "tokenizer", "curated-set"
TOKENIZER_FILES = "components/tokenizer/"
"""Where a published model keeps its tokenizer."""


def ml_bom(
    about: Mapping[str, Any],
    told: Mapping[str, Any],
    *,
    model_files: Mapping[str, str],
    curated_files: Mapping[str, str],
    sources: Sequence[SourceFiles],
    benchmarks: Sequence[SourceFiles],
    made_at: float,
) -> str:
    """The document as JSON text.

    `about` is the content of a model's export.json, `told` what an audit found; `model_files` and `curated_files` are
    names with their SHA-256, `made_at` when the checkpoint was made (seconds since 1970). Equal facts give equal text.
    Raises SultanaError where it is not valid.
    """
    base = _base_model(about)
    model = _model(about, told, model_files, base)
    data = [
        _curated(about, told, curated_files),
        *(_source(one, told, "training data") for one in sources),
        *(_source(one, told, f"benchmark, {one.split} split") for one in benchmarks),
    ]
    packages = list(_packages(about["packages"]))
    bom = Bom(
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(made_at, UTC),
            component=model,
            tools=ToolRepository(
                components=[
                    Component(
                        type=ComponentType.APPLICATION, name="sultana", version=about["sultana"]["version"]
                    )
                ]
            ),
        ),
        components=[base, *data, *packages],
    )
    bom.register_dependency(model, [base, *data, *packages])
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SPECIFICATION).output_as_string())
    document["metadata"]["component"]["modelCard"] = _model_card(about, data)
    for component in document["components"]:
        if component["type"] == "data":
            component["data"] = [{"type": "dataset", "name": component["name"]}]
    for component in document["metadata"]["component"]["components"]:
        if component["type"] == "data":
            component["data"] = [{"type": "configuration", "name": component["name"]}]
    # Equal documents have equal numbers: the library would draw one.
    del document["serialNumber"]
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, digest(document)).urn
    text = json.dumps(document, indent=1) + "\n"
    if error := JsonStrictValidator(SPECIFICATION).validate_str(text):
        raise SultanaError(
            f"The bill of materials is not valid: {error}",
            "This is a defect of Sultana",
            code="export-invalid",
        )
    return text


def _model(
    about: Mapping[str, Any], told: Mapping[str, Any], files: Mapping[str, str], base: Component
) -> Component:
    model, totals = about["model"], told["totals"]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=MODEL,
        name=model["name"],
        version=str(model["version"]),
        purl=PackageURL("mlflow", name=model["name"], version=str(model["version"])),
        description=f"Fine-tuned by Sultana from {base.name} on {totals['distinct_rows']} rows.",
        pedigree=Pedigree(
            ancestors=[base],
            notes="An adapter for its ancestor."
            if about["kind"] == "adapter"
            else "Weights of its ancestor, fine-tuned.",
        ),
        components=[_tokenizer(files), *_files(MODEL, _without_tokenizer(files))],
        properties=_properties(
            {
                "checkpoint_id": model["checkpoint_id"],
                "files_manifest_sha256": model["files_manifest_sha256"],
                "lineage_manifest_sha256": told["manifest"]["sha256"],
                "mlflow_run_id": model["mlflow_run_id"],
                "curriculum_id": told["curriculum_id"],
                "git_commit": told["chain"][0]["git_commit"],
                "git_dirty": told["chain"][0]["git_dirty"],
                **{name: totals[name] for name in ("steps", "slots", "distinct_rows", "interpolated_slots")},
            }
        ),
    )


def _without_tokenizer(files: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256 for name, sha256 in files.items() if not name.startswith(TOKENIZER_FILES)}


def _tokenizer(files: Mapping[str, str]) -> Component:
    own = {
        name.removeprefix(TOKENIZER_FILES): sha256
        for name, sha256 in files.items()
        if name.startswith(TOKENIZER_FILES)
    }
    return Component(
        type=ComponentType.DATA,
        bom_ref=TOKENIZER,
        name="tokenizer",
        description="The tokenizer and chat template that the model was trained with.",
        components=list(_files(TOKENIZER, own)),
    )


def _base_model(about: Mapping[str, Any]) -> Component:
    """The ancestor; its fingerprint is a hash over weights, tokenizer and chat template."""
    base = about["base_model"]
    group, _, name = (base["hub_id"] or "").rpartition("/")
    purl = (
        PackageURL("huggingface", namespace=group, name=name, version=base["revision"])
        if base["hub_id"]
        else None
    )
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=BASE,
        name=base["name"],
        version=base["revision"] or base["fingerprint"],
        purl=purl,
        description="The model that was fine-tuned, with its tokenizer and chat template.",
        properties=_properties({"fingerprint": base["fingerprint"]}),
    )


def _curated(about: Mapping[str, Any], told: Mapping[str, Any], files: Mapping[str, str]) -> Component:
    names = {one["licence"] for one in told["totals"]["sources"]}
    return Component(
        type=ComponentType.DATA,
        bom_ref=CURATED,
        name=f"curriculum {told['strategy']}, {told['partition']}",
        version=told["curriculum_id"],
        description=f"The rows that the model was trained on in {told['totals']['slots']} slots, and what they are "
        "mixed from.",
        licenses=_licences(names),
        components=list(_files(CURATED, files)),
        properties=_properties(
            {
                f"table/{ref['table']}": f"version {ref['version']}, {ref['rows']} rows, digest {ref['digest']}"
                for one in told["chain"]
                for ref in one["tables"]
            }
        ),
    )


def _source(source: SourceFiles, told: Mapping[str, Any], use: str) -> Component:
    reference = f"source/{source.split or 'training'}/{source.name}"
    counted = [one for one in told["totals"]["sources"] if one["source"] == source.name and not source.split]
    names = {one["licence"] for one in counted} or ({source.licence} if source.licence else set())
    return Component(
        type=ComponentType.DATA,
        bom_ref=reference,
        name=source.name,
        version=source.revision,
        description=f"{use}, read from {source.address}",
        licenses=_licences(names),
        components=list(_files(reference, dict(source.files))),
        properties=_properties(
            {
                "use": use,
                "address": source.address,
                "instructions": sum(one["instructions"] for one in counted) if counted else None,
                "slots": sum(one["slots"] for one in counted) if counted else None,
            }
        ),
    )


def _files(owner: str, files: Mapping[str, str]) -> Iterator[Component]:
    for name, sha256 in sorted(files.items()):
        yield Component(
            type=ComponentType.FILE,
            bom_ref=f"{owner}/file/{name}",
            name=name,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        )


def _packages(packages: Mapping[str, str]) -> Iterator[Component]:
    for name, number in sorted(packages.items()):
        is_python = name == "python"
        yield Component(
            type=ComponentType.PLATFORM if is_python else ComponentType.LIBRARY,
            bom_ref=f"package/{name}",
            name=name,
            version=number,
            purl=None if is_python else PackageURL("pypi", name=name, version=number),
        )


def _licences(names: Iterable[str]) -> list[DisjunctiveLicense]:
    """By the identifier of SPDX where there is one, else as the source states it."""
    known = {name: fixup_id(name.strip()) for name in sorted(names) if name != NO_LICENCE}
    return [
        DisjunctiveLicense(id=one) if one else DisjunctiveLicense(name=name) for name, one in known.items()
    ]


def _properties(values: Mapping[str, Any]) -> list[Property]:
    return [
        Property(name=f"sultana:{name}", value=str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in values.items()
        if value is not None
    ]


def _model_card(about: Mapping[str, Any], data: Sequence[Component]) -> dict[str, Any]:
    chosen = next((one for one in about["materializations"] if one["asset"] == "checkpoint"), None)
    configuration = chosen["configuration"] if chosen else {}
    return {
        "bom-ref": f"{MODEL}/card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "datasets": [{"ref": str(one.bom_ref)} for one in data],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": row["metric"],
                    "value": repr(float(row["value"])),
                    "slice": f"{row['task']} ({row['split']}, {row['examples']} examples)",
                }
                for row in about["evaluation"]["rows"]
            ]
        },
        "considerations": {"technicalLimitations": list(LIMITS)},
        "properties": [
            {"name": f"sultana:{name}", "value": json.dumps(value) if not isinstance(value, str) else value}
            for name, value in (*about["training"].items(), *configuration.get("training", {}).items())
            if value is not None
        ],
    }
