"""Ways to change tables and their commit log, one for each kind of artifact."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tampering_scene import Generator, Scene, Words, flip, rewrite

from assets.records import CURRICULUM, DIVERSITY_CLUSTERS, EVALUATIONS, INSTRUCTIONS, PROMOTIONS
from resources.table_refs import TableRef
from resources.tables import LanceTables


def _table(scene: Scene, generator: Generator) -> TableRef:
    return scene.tables[int(generator.integers(len(scene.tables)))]


def _file(scene: Scene, generator: Generator, below: str) -> tuple[TableRef, Path]:
    ref = _table(scene, generator)
    found = [path for path in scene.files(ref) if path.parent.name == below]
    return ref, found[int(generator.integers(len(found)))]


def bit_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def bit_of_a_table_manifest(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "_versions")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def bit_of_a_transaction(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "_transactions")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def missing_file_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    scene.keep(path)
    path.unlink()
    return ref.table, path.name, "is missing"


def truncated_file_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    scene.keep(path)
    path.write_bytes(path.read_bytes()[: int(generator.integers(path.stat().st_size))])
    return ref.table, path.name, "were written"


def missing_table(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    folder, aside = scene.folder(ref.table), scene.data / "aside"
    folder.rename(aside)
    scene.undo.append(lambda: aside.rename(folder))
    return ref.table, "is missing"


def moved_tag(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    log = LanceTables(scene.data / "lance").commits
    commit = next(one for one in log.history(ref.table)[::-1] if one.version == ref.version)
    path = scene.folder(ref.table) / "_refs" / "tags" / f"{commit.tag}.json"
    scene.keep(path)
    path.unlink()
    return ref.table, commit.tag


def ref_of(scene: Scene, table: str) -> TableRef:
    return next(ref for ref in scene.tables if ref.table == table)


def _any(rows: list[Any], generator: Generator) -> Any:
    return rows[int(generator.integers(len(rows)))]


def edited_row(scene: Scene, generator: Generator) -> Words:
    """A number of a row, the hash beside it left as it is."""
    named: list[str] = []

    def change(rows: list[dict[str, Any]]) -> None:
        row = _any(rows, generator)
        row["distance"] += 0.5
        named.append(row["row_id"])

    rewrite(scene, ref_of(scene, DIVERSITY_CLUSTERS.table), change, hashes=False)
    return DIVERSITY_CLUSTERS.table, named[0]


def swapped_rows(scene: Scene, generator: Generator) -> Words:
    """What two rows say exchanged, every hash beside them made to fit."""

    def change(rows: list[dict[str, Any]]) -> None:
        one, other = generator.choice(len(rows), 2, replace=False)
        rows[one]["distance"], rows[other]["distance"] = rows[other]["distance"], rows[one]["distance"]

    rewrite(scene, ref_of(scene, DIVERSITY_CLUSTERS.table), change)
    return DIVERSITY_CLUSTERS.table, "do not give the digest"


def edited_response(scene: Scene, generator: Generator) -> Words:
    """The text of a row with all hashes: where its file gets another size, Lance does not read it any more."""

    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["messages"][-1]["content"] += "."

    rewrite(scene, ref_of(scene, INSTRUCTIONS.table), change)
    return (INSTRUCTIONS.table,)


def edited_score_of_the_ledger(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["score"] += 1.0

    rewrite(scene, ref_of(scene, CURRICULUM.table), change)
    return CURRICULUM.table, "do not give the digest"


def other_row_in_a_slot(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        one, other = _any(rows, generator), _any(rows, generator)
        one["row_id"] = other["row_id"][::-1]

    rewrite(scene, ref_of(scene, CURRICULUM.table), change)
    return CURRICULUM.table, "do not give the digest"


def edited_evaluation(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["value"] -= 0.125

    rewrite(scene, ref_of(scene, EVALUATIONS.table), change)
    return EVALUATIONS.table, "do not give the digest"


def edited_decision(scene: Scene, generator: Generator) -> Words:
    """Who decided, with every hash beside it: no chain names the files of this table."""

    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["decided_by"] = "nobody"

    rewrite(scene, ref_of(scene, PROMOTIONS.table), change)
    return PROMOTIONS.table, "do not give the digest"


def edited_commit(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        scene.data / "lance" / "commits.sqlite",
        "UPDATE commits SET run_id = 'another' WHERE sequence = (SELECT max(sequence) FROM commits)",
    )
    return ("commits.sqlite", "does not follow")


def removed_commit(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    database = scene.data / "lance" / "commits.sqlite"
    scene.restore_database(database)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(
            "DELETE FROM commits WHERE table_name = ? AND version = ?", (ref.table, ref.version)
        )
    return ("commits.sqlite", "does not follow")
