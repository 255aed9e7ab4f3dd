"""A model version's lineage as a folder of files in the formats of others, all from the same facts.

    README.md                  what lies here
    openlineage.jsonl          OpenLineage run events of the whole chain
    bom.cdx.json               CycloneDX bill of materials with a model card
    model_card.md              the model card
    training_summary.md        a draft after Article 53(1)(d) of the EU's AI Act
    dataset/                   the rows trained on as Parquet, with dataset card, croissant.json and loader
    MANIFEST.json              SHA-256 of every other file

The folder is written beside its place and renamed whole. Equal facts give equal bytes, with the same package versions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.lineage.exports.card_text import Markup, cell, code, markdown_table
from assets.lineage.exports.croissant import write_croissant
from assets.lineage.exports.curated import Curated
from assets.lineage.exports.folder import Description, check_target, write_export, written_beside
from assets.lineage.exports.layout import DIGESTS, PARTS
from assets.lineage.exports.ml_bom import SPECIFICATION, ml_bom
from assets.lineage.exports.model_card import model_card
from assets.lineage.exports.openlineage_events import Made, event_lines
from assets.lineage.exports.source_files import sources_of
from assets.lineage.exports.training_summary import training_summary
from resources.files import folder_manifest

FORMAT = "sultana.lineage-export/1"
EVENTS, BOM, MODEL_CARD, SUMMARY, DATASET = (
    "openlineage.jsonl",
    "bom.cdx.json",
    "model_card.md",
    "training_summary.md",
    "dataset",
)


@dataclass(frozen=True)
class Lineage:
    """What a version's lineage is told from.

    `about` is the content of a model's export.json, `told` what an audit found, `chain` every materialization, the
    checkpoint first, and `model_files` the names of its published files with their SHA-256.
    """

    about: Mapping[str, Any]
    told: Mapping[str, Any]
    chain: Sequence[Made]
    model_files: Mapping[str, str]
    namespace: str

    def made(self, asset: str) -> Made:
        """The first materialization of an asset in the chain."""
        return next(one for one in self.chain if one.record["asset"] == asset)


def write_lineage(
    out: Path,
    lineage: Lineage,
    curated: Curated,
    description: Description,
    on_rows: Callable[[int], object] = lambda count: None,
) -> dict[str, Any]:
    """Write the folder `out`, which must not exist or be empty; what it holds, as JSON values.

    `curated` and `description` are those of the curriculum that the version was trained on. Raises SultanaError where
    the place cannot be written to or the disk is full, or a document is not valid; nothing of the export is left then.
    """
    check_target(out)
    about, told = lineage.about, lineage.told
    made, read = lineage.made("curriculum"), lineage.made("raw_instructions")
    title = f"{about['model']['name']} version {about['model']['version']}, rows trained on"
    with written_beside(out) as temporary:

        def add_croissant(folder: Path, dataset: Mapping[str, Any]) -> None:
            schemas = {part: curated.schema(part) for part in PARTS if dataset["parts"][part]["rows"]}
            version = next(iter(made.record["tables"].values()))["version"]
            write_croissant(folder, dataset, schemas, title=title, version=version, made_at=made.ended)

        write_export(temporary / DATASET, curated, description, "parquet", on_rows, add_croissant)
        lines = event_lines(lineage.chain, lineage.namespace)
        bom = ml_bom(
            about,
            told,
            model_files=lineage.model_files,
            curated_files={
                name: sha256
                for name, sha256 in folder_manifest(temporary / DATASET).items()
                if name.endswith(".parquet")
            },
            sources=sources_of(read.record),
            benchmarks=sources_of(lineage.made("benchmark_splits").record),
            made_at=lineage.chain[0].ended,
        )
        summary = training_summary(about, told, sources_of(read.record), read_at=read.ended)
        written = {
            EVENTS: "\n".join(lines) + "\n",
            BOM: bom,
            MODEL_CARD: model_card(about),
            SUMMARY: summary,
            "README.md": _readme(about, told, len(lines)),
        }
        for name, text in written.items():
            (temporary / name).write_text(text, encoding="utf-8")
        files = folder_manifest(temporary)
        (temporary / DIGESTS).write_text(
            json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n", encoding="utf-8"
        )
    return {
        "folder": str(out),
        "model": dict(about["model"]),
        "lineage_manifest_sha256": told["manifest"]["sha256"],
        "agrees_with_registry": told["manifest"]["agrees"],
        "events": len(lines),
        "totals": {
            name: told["totals"][name] for name in ("steps", "slots", "distinct_rows", "interpolated_slots")
        },
        "files": files,
    }


def _readme(about: Mapping[str, Any], told: Mapping[str, Any], events: int) -> str:
    held = (
        (EVENTS, f"[OpenLineage](https://openlineage.io): {events:,} run events, the oldest first"),
        (
            BOM,
            f"[CycloneDX](https://cyclonedx.org) {SPECIFICATION.to_version()}: bill of materials with a model card",
        ),
        (MODEL_CARD, "model card, with the header of the Hugging Face Hub"),
        (
            SUMMARY,
            "draft of a public summary after Article 53(1)(d) of the EU's AI Act, with blanks; no legal advice",
        ),
        (f"{DATASET}/", "the rows that the model was trained on, as Parquet, with a dataset card"),
        (f"{DATASET}/croissant.json", "the same rows as [Croissant](https://mlcommons.org/croissant)"),
        (DIGESTS, "SHA-256 of every other file; shows damage, not forgery"),
    )
    agrees = {
        True: "It is the one that the registry holds for this version.",
        False: "**It differs from the one that the registry holds for this version**: records were changed.",
        None: "The registry holds none for this version: `lineage_manifest` has not been materialized.",
    }[told["manifest"]["agrees"]]
    totals = told["totals"]
    return (
        "\n\n".join(
            (
                f"# Lineage of {cell(about['model']['name'])} version {about['model']['version']}",
                f"{totals['steps']:,} steps over {totals['slots']:,} slots with {totals['distinct_rows']:,} different "
                f"rows, made by {len(told['chain']):,} materializations. Read from the table versions that the model "
                "was made from.",
                f"Lineage manifest (SHA-256): `{cell(told['manifest']['sha256'])}`. {agrees}",
                markdown_table(["file", "what it is"], ([code(name), Markup(what)] for name, what in held)),
            )
        )
        + "\n"
    )
