"""A curated set as a folder that is complete by itself: rows, recipes, card, loader and digests.

    README.md, export.json     how it was made, for people and for programs
    originals, interpolated, parents     the rows, in the format asked for; a part without rows is absent
    loader/                    rebuilds batches of mixed rows without Sultana
    MANIFEST.json              SHA-256 of every other file

The folder is written beside its place and renamed whole. Equal inputs give equal bytes: nothing in it
depends on the time, on the machine or on where it is written, and no path of the machine is in it.
"""

import contextlib
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.lineage.exports.curated import Curated, portable_name
from assets.lineage.exports.dataset_card import dataset_card
from assets.lineage.exports.layout import ABOUT, DATA_FORMATS, DIGESTS, FORMAT, PARTS, part_path
from assets.lineage.exports.loader_package import loader_files
from assets.lineage.exports.parts import write_part
from resources.errors import SultanaError
from resources.files import disk_full_explained, folder_manifest, is_disk_full, publish_folder

STATEMENT = (
    "Interpolated rows have no text. Each is a recipe: two parents, a weight λ and an alignment, from "
    "which loader/ builds the embeddings and labels that a model is trained on."
)
NAMING_PATHS = ("raw_instructions", "benchmark_splits")
"""Assets whose settings name files of this machine; an export leaves their settings out."""


@dataclass(frozen=True)
class Description:
    """How a curated set was made. `chain` is `manifest.walk` of what it was selected by, itself first."""

    kind: str  # representatives or curriculum
    chain: Sequence[Mapping[str, Any]]
    sultana: Mapping[str, Any]  # version, git_commit, git_dirty of the exporting code
    diversity: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # of the models, where they are known

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without paths of this machine."""
        root = self.chain[0]
        records = {one["asset"]: one for one in self.chain}
        curriculum = records.get("curriculum")
        fingerprints = {"embedder": records["instruction_embeddings"]["facts"]["embedder_fingerprint"]}
        if curriculum:
            fingerprints["language_model"] = curriculum["settings"]["language_model"]
        found = {
            "kind": self.kind,
            "partition": root["partition"],
            "curriculum": dict(curriculum["facts"]) if curriculum else None,
            "maximum_length": curriculum["configuration"]["maximum_length"] if curriculum else None,
            "models": {
                name: {"name": self.names.get(name), "fingerprint": fingerprint}
                for name, fingerprint in fingerprints.items()
            },
            "diversity": dict(self.diversity),
            "materializations": [_materialization(one) for one in self.chain],
            "packages": {"python": root["environment"]["python"], **root["environment"]["packages"]},
            "sultana": dict(self.sultana),
        }
        told: dict[str, Any] = portable(found)
        return told


def _materialization(record: Mapping[str, Any]) -> dict[str, Any]:
    named = ("asset", "partition", "code_version", "data_version", "made_by_run", "tables")
    return {
        **{name: record[name] for name in named},
        "configuration": None if record["asset"] in NAMING_PATHS else record["configuration"],
        "git_commit": record["environment"]["git_commit"],
        "git_dirty": record["environment"]["git_dirty"],
    }


def portable(value: Any) -> Any:
    """A JSON value without paths of this machine: of each, its last part."""
    if isinstance(value, Mapping):
        return {name: portable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [portable(one) for one in value]
    return portable_name(value) if isinstance(value, str) else value


class Counts:
    """Rows by source, licence and task, counted as they pass."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Counter[str | None]]] = {}

    def count(self, part: str, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same rows. One with several origins counts once for each of their sources and licences."""
        by = self.rows[part] = {name: Counter[str | None]() for name in ("source", "licence", "task")}
        for row in rows:
            if part == "interpolated":
                by["task"].update({row["task_a"], row["task_b"]})
            else:
                by["task"][row["task"]] += 1
                by["source"].update({origin["source"] for origin in row["origins"]})
                by["licence"].update({origin["licence"] for origin in row["origins"]})
            yield row

    def to_json(self) -> dict[str, Any]:
        """Part -> what -> [name, rows], the largest first."""
        return {
            part: {what: sorted(found.items(), key=_largest_first) for what, found in by.items() if found}
            for part, by in self.rows.items()
        }


def _largest_first(item: tuple[str | None, int]) -> tuple[int, bool, str]:
    return -item[1], item[0] is None, item[0] or ""


def check_request(out: Path, data_format: str) -> None:
    """Raises SultanaError for an unknown format, and where `out` holds something or is a file."""
    if data_format not in DATA_FORMATS:
        raise SultanaError(
            f"There is no format '{data_format}'",
            f"Choose one of: {', '.join(DATA_FORMATS)}",
            code="choice-unknown",
        )
    check_target(out)


def check_target(out: Path) -> None:
    """Raises SultanaError where `out` holds something or is a file."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SultanaError(
            f"{out} exists already and is not an empty folder",
            "Name another folder, or remove this one if it is not needed",
            code="output-exists",
        )


def write_export(
    out: Path,
    curated: Curated,
    description: Description,
    data_format: str,
    on_rows: Callable[[int], object] = lambda count: None,
    also: Callable[[Path, Mapping[str, Any]], object] = lambda folder, about: None,
) -> dict[str, Any]:
    """Write the folder `out`, which must not exist or be empty; returns the content of its export.json.

    `on_rows` is told of every 1,024 rows; `also` may add files, with the folder and that content. Raises
    SultanaError where `check_request` does, where the place cannot be written to, the disk is full, or
    the tables do not have what the selection names. Then nothing of the export is left; one that is killed may
    leave `.NAME.….partial` beside `out`.
    """
    check_request(out, data_format)
    with written_beside(out) as temporary:
        return _write(temporary, curated, description, data_format, on_rows, also)


@contextlib.contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which takes its place when the block ends well and is gone otherwise.

    Raises SultanaError where the place cannot be written to or the disk is full.
    """
    # Not mkdtemp, whose folders only their owner may open.
    temporary = out.parent / f".{out.name[:100]}.{secrets.token_hex(4)}.partial"
    with disk_full_explained(out.parent):
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            if is_disk_full(error):
                raise
            raise SultanaError(
                f"{out.parent} cannot be written to ({error.strerror})",
                "Name a folder in another place",
                code="output-not-writable",
            ) from error
        try:
            yield temporary
            publish_folder(temporary, out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _write(
    folder: Path,
    curated: Curated,
    description: Description,
    data_format: str,
    on_rows: Callable[[int], object],
    also: Callable[[Path, Mapping[str, Any]], object],
) -> dict[str, Any]:
    counts = Counts()
    parts = {}
    for part in PARTS:
        rows = _watched(counts.count(part, curated.rows(part)), on_rows)
        written = write_part(folder, part, data_format, curated.schema(part), rows)
        parts[part] = {"path": part_path(part, data_format), "rows": written}
    about = {
        "interpolated_rows": STATEMENT,
        "format": FORMAT,
        "data_format": data_format,
        "parts": parts,
        "counts": counts.to_json(),
        "cut_file_names": dict(sorted(curated.cut_names.items())),
        **description.to_json(),
    }
    _write_json(folder / ABOUT, about)
    schemas = {part: curated.schema(part) for part in PARTS if parts[part]["rows"]}
    (folder / "README.md").write_text(dataset_card(about, schemas), encoding="utf-8")
    (folder / "loader").mkdir()
    for name, source in loader_files().items():
        (folder / "loader" / name).write_text(source, encoding="utf-8")
    also(folder, about)
    _write_json(folder / DIGESTS, {"format": FORMAT, "files": folder_manifest(folder)})
    return about


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _watched(rows: Iterator[dict[str, Any]], on_rows: Callable[[int], object]) -> Iterator[dict[str, Any]]:
    count = 0
    for count, row in enumerate(rows, 1):
        yield row
        if count % 1024 == 0:
            on_rows(1024)
    on_rows(count % 1024)
