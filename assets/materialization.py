"""What every asset does at its door: find its inputs, tell whether they changed, and record what it made.

An asset whose inputs digest equals that of its last materialization is not made again: the same
materialization is recorded once more. What is recorded is described in `materialized.py`.
"""

import functools
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.identity import digest
from assets.materialized import LINEAGE, Materialized, materializations, require
from assets.presentation import cell
from resources.definitions import ModelRegistry, Storage
from resources.memory import peak_mebibytes, restart_peak
from resources.progress import stage_began, stage_ended, track
from resources.run_process import check_in_progress
from resources.table_refs import Provenance, Record, TableRef
from resources.tables import LanceTables, Mode, Rows

if TYPE_CHECKING:
    from resources.tracking import Tracking

OWNER = "team:sultana"
PACKAGES = (
    "dagster",
    "lancedb",
    "pylance",
    "mlflow",
    "torch",
    "transformers",
    "peft",
    "pyarrow",
    "scikit-learn",
)


@functools.cache
def environment() -> dict[str, Any]:
    """Git commit and state of the code, Python and package versions: what the run was made with."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain")
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
    }


_STARTED_BY = (
    ("dagster/schedule_name", "schedule"),
    ("dagster/sensor_name", "sensor"),
    ("dagster/backfill", "backfill"),
    ("user", "user"),
    ("sultana/started_by", ""),
)


def started_by(tags: Mapping[str, str]) -> str:
    """Who or what started a run with these tags, in words."""
    found = [f"{what} {tags[tag]}".strip() for tag, what in _STARTED_BY if tag in tags]
    return found[0] if found else "by hand, through Dagster"


def installed_packages() -> list[str]:
    """Every distribution of this Python environment as name==version, sorted."""
    return sorted({f"{one.name}=={one.version}" for one in distributions()})


@dataclass
class Stage:
    """One materialization in the making."""

    context: dg.AssetExecutionContext
    storage: Storage
    asset: str
    partition: str | None
    code_version: str
    configuration: dict[str, Any]
    settings: dict[str, Any]
    upstream: dict[str, Materialized]
    started: float = field(default_factory=time.monotonic)

    @property
    def title(self) -> str:
        """Asset and partition, for people."""
        return f"{self.asset} {self.partition}" if self.partition else self.asset

    @property
    def inputs_digest(self) -> str:
        """Hash of everything the result depends on: code version, configuration, settings, upstream data."""
        return digest(
            {
                "asset": self.asset,
                "partition": self.partition,
                "code_version": self.code_version,
                "configuration": self.configuration,
                "settings": self.settings,
                "upstream": {name: one.data_version for name, one in self.upstream.items()},
            }
        )

    @functools.cached_property
    def tables(self) -> LanceTables:
        """The Lance tables, fenced: a run that has ended cannot commit."""
        return self.storage.tables(fence=self.fence)

    def fence(self) -> None:
        """Raises SultanaError when this run has already ended: it was cancelled, or its process is gone."""
        check_in_progress(self.context.instance, self.context.run_id, self.asset)

    def registry(self, registry: ModelRegistry) -> "Tracking":
        """MLflow, fenced as the tables are."""
        return registry.open(self.storage, self.fence)

    def write(
        self,
        record: Record,
        rows: Rows,
        *,
        mode: Mode,
        asset: str | None = None,
        content: str | None = None,
        part: Any = None,
    ) -> TableRef:
        """Write a version of a table whose Lance commit names this run, the asset and its data version.

        `asset` and `content` are what `result` will be given; `part` tells apart the commits of a stage that makes
        several of one table.
        """
        return self.tables.write(
            record,
            rows,
            mode=mode,
            provenance=Provenance(
                run_id=self.context.run_id,
                asset_key=asset or self.asset,
                idempotency_key=digest(
                    [record.table, part] if part is not None else [self.inputs_digest, record.table]
                )[:32],
                data_version=lambda root: self.data_version(content or digest([root])),
            ),
        )

    def data_version(self, content: str) -> str:
        """The data version of what is made with this configuration: 32 hexadecimal digits."""
        return digest([content, self.configuration, self.settings.get("seed")])[:32]

    def progress(self, label: str, total: float | None, unit: str = "rows") -> Any:
        """A context manager that shows progress; see `resources.progress.track`."""
        return track(f"{self.asset}: {label}", total, unit, self._tell)

    def _tell(self, line: str) -> None:
        self.fence()
        self.context.log.info(line)

    def previous(self, assets: Sequence[str]) -> list[dg.MaterializeResult] | None:
        """The last materialization of each of `assets` again, if made from these very inputs; else None.

        Raises SultanaError when this run has already ended.
        """
        results: list[dg.MaterializeResult] = []
        for asset in assets:
            found = materializations(self.context.instance, asset, self.partition)
            if not found or found[0].record["inputs_digest"] != self.inputs_digest:
                return None
            last = found[0]
            made_by = last.record["made_by_run"]
            self.context.log.info(f"{asset}: nothing it depends on has changed; reused from run {made_by}")
            metadata = {name: value for name, value in last.metadata.items() if name != "reused_from_run"}
            self.fence()
            results.append(
                dg.MaterializeResult(
                    asset_key=asset,
                    metadata={
                        **metadata,
                        "reused_from_run": dg.MetadataValue.dagster_run(made_by),
                    },
                    data_version=dg.DataVersion(last.data_version),
                )
            )
        stage_ended(self.title, "unchanged, reused")
        return results

    def result(
        self,
        tables: Sequence[TableRef],
        metadata: Mapping[str, Any],
        *,
        asset: str | None = None,
        content: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> dg.MaterializeResult:
        """The materialization to return.

        `content` is the digest of what was made where no table holds it; `facts` are further entries of
        the lineage record (hashes, model versions), as JSON values. Raises SultanaError when this run has ended.
        """
        self.fence()
        seconds = time.monotonic() - self.started
        content = content or digest([ref.digest for ref in tables])
        name = asset or self.asset
        record = {
            "asset": name,
            "partition": self.partition,
            "inputs_digest": self.inputs_digest,
            "code_version": self.code_version,
            "configuration": self.configuration,
            "settings": self.settings,
            "upstream": {key: one.pointer() for key, one in self.upstream.items()},
            "tables": {ref.table: ref.to_json() for ref in tables},
            "content_digest": content,
            "made_by_run": self.context.run_id,
            "started_by": started_by(self.context.run.tags),
            "environment": environment(),
            "facts": dict(facts or {}),
        }
        # In the order in which the UI lists them: what was made, what it took, where it is.
        shown: dict[str, Any] = {
            **{key: cell(one) if isinstance(one, float) else one for key, one in metadata.items()},
            "seconds": round(seconds, 2),
            "peak_memory_mib": round(peak_mebibytes() or 0.0, 1),
            LINEAGE: dg.MetadataValue.json(record),
        }
        if tables:
            shown["dagster/uri"] = self.tables.folder(tables[0].table).uri
            shown["lance_version"] = tables[0].version
            shown["lance_tag"] = tables[0].tag
        rows = f"{sum(ref.rows for ref in tables):,} rows, " if tables else ""
        stage_ended(f"{name} {self.partition}" if self.partition else name, f"{rows}{seconds:,.1f} s")
        return dg.MaterializeResult(
            asset_key=name, metadata=shown, data_version=dg.DataVersion(self.data_version(content))
        )


def begin(
    context: dg.AssetExecutionContext,
    storage: Storage,
    config: dg.Config,
    *,
    asset: str,
    code_version: str,
    reads: Sequence[str] = (),
    reads_partition: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Stage:
    """Opens a stage: upstream materializations and configuration.

    `reads` names unpartitioned upstream assets, `reads_partition` those of this run's own partition;
    `settings` is what else the result depends on (file hashes, a model's fingerprint), as JSON values.
    Raises SultanaError where an upstream asset has no materialization.
    """
    restart_peak()
    partition = str(context.partition_key) if context.has_partition_key else None
    stage_began(f"{asset} {partition}" if partition else asset)
    upstream = {name: require(context.instance, name) for name in reads}
    upstream |= {name: require(context.instance, name, partition) for name in reads_partition}
    return Stage(
        context=context,
        storage=storage,
        asset=asset,
        partition=partition,
        code_version=code_version,
        configuration=config.model_dump(mode="json"),
        settings=dict(settings or {}),
        upstream=upstream,
    )
