"""What an asset's page shows before anything was made: columns, their lineage, and where the method is written."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.utils.warnings import BetaWarning

from assets.column_lineage import COLUMN_LINEAGE, TABLES
from assets.presentation import column_schema

PROJECT = Path(__file__).resolve().parent.parent
RECORDS = "assets/records.py"
METHODS = {
    "raw_instructions": "assets/instructions/raw.py",
    "benchmark_splits": "assets/evaluation/splits.py",
    "retractions": "assets/instructions/retractions.py",
    "instructions": "assets/instructions/sort.py",
    "quarantine": "assets/instructions/validate.py",
    "dropped_instructions": "assets/instructions/duplicates.py",
    "instruction_embeddings": "assets/embeddings/embed.py",
    "interpolated_instructions": "assets/interpolation/recipes.py",
    "diversity_clusters": "assets/diversity/clusters.py",
    "curriculum": "assets/selection/strategies.py",
    "checkpoint": "assets/finetuning/trainer.py",
    "baseline_evaluation": "assets/evaluation/harness.py",
    "evaluation": "assets/evaluation/harness.py",
    "leaderboard": "assets/evaluation/leaderboard.py",
    "lineage_manifest": "assets/lineage/manifest.py",
}
"""The file behind an asset that holds its method."""


def _references(files: dict[str, str]) -> dg.CodeReferencesMetadataValue:
    with warnings.catch_warnings():
        # The only way to a link from an asset's page to a file. A beta feature of Dagster 1.13.
        warnings.simplefilter("ignore", BetaWarning)
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(PROJECT / file), label=label)
                for label, file in files.items()
            ]
        )


def _lineage(asset: str) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=parent, column_name=name) for parent, name in sources]
            for column, sources in COLUMN_LINEAGE[asset].items()
        }
    )


def described(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with links to method and table, and columns with their lineage where they have a table."""

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.to_user_string()
        method = METHODS[name]
        files = {"method": method}
        where = f"Method: `{method}`."
        metadata: dict[str, Any] = {}
        if name in TABLES:
            files["table"] = RECORDS
            where += f" Table: `{TABLES[name].table.rstrip('_')}` in `{RECORDS}`."
            metadata["dagster/column_schema"] = column_schema(TABLES[name].schema)
        if name in COLUMN_LINEAGE:
            metadata["dagster/column_lineage"] = _lineage(name)
        metadata["dagster/code_references"] = _references(files)
        return spec.replace_attributes(
            description=f"{(spec.description or '').strip()}\n\n{where}",
            metadata={**spec.metadata, **metadata},
        )

    return [one.map_asset_specs(completed) for one in assets]
