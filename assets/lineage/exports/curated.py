"""The rows of a curated set as they leave Sultana: originals with their text, mixed rows as recipes.

Three parts. `originals`: chosen instructions. `interpolated`: chosen recipes, which have no text.
`parents`: instructions that only recipes need, so that the parts together are complete. Rows keep the
order of their tables and stream by, so that a set of any size needs little memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.ledger import read_curriculum
from assets.lineage.exports.layout import NO_TEXT
from assets.records import INTERPOLATED_INSTRUCTIONS, MESSAGE
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter

BATCH_ROWS = 4096

_ORIGIN = pa.struct(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("file_sha256", pa.string()),
        ("position", pa.int64()),
        ("licence", pa.string()),
    ]
)
_PLACE = [
    ("cluster", pa.int32()),
    ("rank", pa.int32()),
    ("density", pa.float32()),
    ("distance", pa.float32()),
]
_USES = pa.list_(pa.struct([("step", pa.int32()), ("slot", pa.int32()), ("weight", pa.float64())]))
_INSTRUCTION = [
    ("id", pa.string()),
    ("messages", pa.list_(pa.struct([(one.name, one.type) for one in MESSAGE]))),
    ("task", pa.string()),
    *_PLACE,
    ("origins", pa.list_(_ORIGIN)),
]
_RECIPE = [
    ("note", pa.string()),
    ("id", pa.string()),
    ("parent_a", pa.string()),
    ("parent_b", pa.string()),
    ("lambda", pa.float64()),
    ("layer", pa.int32()),
    ("alignment", pa.string()),
    ("seed", pa.int64()),
    ("task_a", pa.string()),
    ("task_b", pa.string()),
    *_PLACE,
]


@dataclass(frozen=True)
class Sources:
    """The table versions that a curated set is read from. Without a curriculum: the representatives."""

    instructions: TableRef
    recipes: TableRef
    clusters: TableRef
    curriculum: TableRef | None = None
    curriculum_id: str | None = None


class Curated:
    """A curated set: which rows it has, and its parts row by row."""

    def __init__(self, tables: LanceTables, sources: Sources) -> None:
        """Reads which rows are chosen, their places in the clusters and the recipes' parents.

        Raises SultanaError where the curriculum is incomplete or names a row that is not clustered.
        """
        self._tables = tables
        self._sources = sources
        clusters = tables.read(
            sources.clusters,
            columns=["row_id", "kind", "representative", *(name for name, _ in _PLACE)],
        )
        self._uses = self._read_uses() if sources.curriculum is not None else None
        if self._uses is None:
            chosen = set(clusters.filter(clusters["representative"])["row_id"].to_pylist())
        else:
            chosen = set(self._uses)
        kinds = dict(zip(clusters["row_id"].to_pylist(), clusters["kind"].to_pylist(), strict=True))
        _refuse_missing(chosen - kinds.keys(), "is not in the clusters")
        originals = {row_id for row_id in chosen if kinds[row_id] == "original"}
        recipes = chosen - originals
        parents = {
            row[side]
            for row in self._recipes(["recipe_id", "parent_a", "parent_b"])
            if row["recipe_id"] in recipes
            for side in ("parent_a", "parent_b")
        }
        _refuse_missing(parents - kinds.keys(), "is a parent, but not in the clusters")
        self._ids = {"originals": originals, "interpolated": recipes, "parents": parents - originals}
        needed = set().union(*self._ids.values())
        columns = [clusters[name].to_pylist() for name, _ in _PLACE]
        self._places = {
            row_id: place
            for row_id, *place in zip(clusters["row_id"].to_pylist(), *columns, strict=True)
            if row_id in needed
        }
        self.cut_names: dict[str, int] = {}
        """File names that were cut because they told a path of this machine, with the number of rows."""

    def count(self, part: str) -> int:
        """Rows of a part."""
        return len(self._ids[part])

    def schema(self, part: str) -> pa.Schema:
        """Columns of a part."""
        used = [("uses", _USES)] if self._uses is not None and part != "parents" else []
        return pa.schema([*(_RECIPE if part == "interpolated" else _INSTRUCTION), *used])

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        """The rows of a part, once each, with the columns of its schema.

        Raises SultanaError where a table lacks one.
        """
        names = self.schema(part).names
        used = self._uses if "uses" in names else None
        seen: set[str] = set()
        for row in self._recipe_rows() if part == "interpolated" else self._instruction_rows(part):
            seen.add(row["id"])
            row |= dict(zip((name for name, _ in _PLACE), self._places[row["id"]], strict=True))
            if used is not None:
                row["uses"] = used[row["id"]]
            yield {name: row[name] for name in names}
        _refuse_missing(self._ids[part] - seen, "is not in the tables that the selection was made from")

    def _recipe_rows(self) -> Iterator[dict[str, Any]]:
        wanted = self._ids["interpolated"]
        columns = [name for name in INTERPOLATED_INSTRUCTIONS.schema.names if name != "recipe_id"]
        for row in self._recipes(["recipe_id", *columns]):
            if row["recipe_id"] in wanted:
                yield {"note": NO_TEXT, "id": row["recipe_id"], **{name: row[name] for name in columns}}

    def _instruction_rows(self, part: str) -> Iterator[dict[str, Any]]:
        wanted = pa.array(sorted(self._ids[part]), pa.string())
        for batch in self._tables.batches(self._sources.instructions, batch_size=BATCH_ROWS):
            for row in batch.filter(pc.is_in(batch["instruction_id"], value_set=wanted)).to_pylist():
                yield {"id": row.pop("instruction_id"), **row, "origins": self._origins(row["origins"])}

    def _recipes(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for batch in self._tables.batches(self._sources.recipes, columns, batch_size=BATCH_ROWS):
            yield from batch.to_pylist()

    def _origins(self, origins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for origin in origins:
            name = portable_name(origin["file"])
            if name != origin["file"]:
                self.cut_names[name] = self.cut_names.get(name, 0) + 1
            found.append({field.name: origin[field.name] for field in _ORIGIN} | {"file": name})
        return found

    def _read_uses(self) -> dict[str, list[dict[str, Any]]]:
        if self._sources.curriculum is None or self._sources.curriculum_id is None:
            raise ValueError("a curriculum has a table and an id")
        identity = self._sources.curriculum_id
        ledger = self._tables.read(self._sources.curriculum, filter=id_filter("curriculum_id", [identity]))
        uses: dict[str, list[dict[str, Any]]] = {}
        for selection in read_curriculum(ledger, identity).steps:
            for slot, entry in enumerate(selection):
                use = {"step": selection.step, "slot": slot, "weight": entry.weight}
                uses.setdefault(entry.row_id, []).append(use)
        return uses


def portable_name(text: str) -> str:
    """`text` where it is no path of this machine, else its last part: the name of a file or folder."""
    path = text.removeprefix("file://")
    windows = PureWindowsPath(path)
    local = (
        path != text
        or path.startswith("~")
        or PurePosixPath(path).is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in windows.parts
    )
    return windows.name if local else text


def _refuse_missing(missing: set[str], where: str) -> None:
    if missing:
        raise SultanaError(
            f"Row {min(missing)} of the curated set {where} ({len(missing):,} such rows)",
            "Materialize diversity_clusters and what follows it again",
            code="lineage-broken",
        )
