"""One measurement of an audit, as a process of its own: `python -m tests.benchmarks.audit_sides WHAT WORLD`.

WORLD is a JSON file that `audit.py` writes. Prints a line of JSON: seconds by the clock, CPU-seconds, and peak
memory of the work, without what starting Python and importing libraries takes.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assets.lineage.audit.backward import LEDGER_ROW, Backward
from assets.lineage.audit.forward import Snapshot, choices, fate, find_origins, mixes, parse
from assets.lineage.audit.influence import gains_of
from assets.lineage.audit.rows_file import write_rows_file
from assets.lineage.difference.tables import compare_tables
from assets.lineage.training_set import training_set
from assets.selection.realised import FACT, measured_losses
from resources.files import sha256_file
from resources.memory import peak_mebibytes, restart_peak
from resources.table_refs import TableRef
from resources.table_verification import verify_version
from resources.tables import LanceTables
from tests.benchmarks.audit_tables import STEP_ROWS, ids


def backward_of(world: Mapping[str, Any]) -> Backward:
    steps = world["ledger"] // STEP_ROWS
    losses = measured_losses(np.linspace(3, 2, steps + 1).tolist(), -(-steps // 16))
    refs = {name: TableRef.from_json(ref) for name, ref in world["refs"].items()}
    return Backward(
        LanceTables(Path(world["tables"])),
        refs["curriculum"],
        world["curriculum_id"],
        refs["instructions"],
        refs["recipes"],
        gains_of({FACT: losses}),
    )


def totals(world: Mapping[str, Any]) -> dict[str, Any]:
    found = backward_of(world).totals()
    return {name: found[name] for name in ("slots", "distinct_rows", "distinct_instructions")}


def rows(world: Mapping[str, Any]) -> dict[str, Any]:
    file = Path(world["tables"]).parent / f"rows-{world['ledger']}.parquet"
    try:
        return {"written": write_rows_file(file, LEDGER_ROW, backward_of(world).batches())}
    finally:
        file.unlink(missing_ok=True)


def trace(world: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the middle of the pool: where it stood, what became of it, its mixes and its slots."""
    tables = LanceTables(Path(world["tables"]))
    refs = {name: TableRef.from_json(ref) for name, ref in world["refs"].items()}
    row = ids("row", np.array([world["pool"] // 2])).to_pylist()[0]
    origins = find_origins(tables, refs["raw"], parse(row))
    found = fate(tables, Snapshot(refs["instructions"], refs["dropped"]), origins)
    mixed = mixes(tables, refs["recipes"], [row])
    chosen = choices(tables, [row, *(one["recipe_id"] for one in mixed)])
    return {"origins": len(found), "mixes": len(mixed), "slots": len(chosen)}


def verify(world: Mapping[str, Any], every_row: bool = False) -> dict[str, Any]:
    """Every file of every table of the world, from stored bytes; with `every_row` every row's values too."""
    tables = LanceTables(Path(world["tables"]))
    refs = [TableRef.from_json(ref) for ref in world["refs"].values()]
    found = [verify_version(tables, ref, every_row=every_row) for ref in refs]
    problems = [one.problem for table in found for one in table.problems]
    if problems:
        raise AssertionError(problems)
    return {"rows": sum(one.rows for one in found), "bytes": sum(one.size for one in found)}


def verify_rows(world: Mapping[str, Any]) -> dict[str, Any]:
    return verify(world, every_row=True)


def floor(world: Mapping[str, Any]) -> dict[str, Any]:
    """SHA-256 of the same files and nothing else: what no verification can be quicker than."""
    size = 0
    for file in sorted(Path(world["tables"]).rglob("*.lance")):
        if file.is_file():
            size += file.stat().st_size
            sha256_file(file)
    return {"bytes": size}


def prove(world: Mapping[str, Any]) -> dict[str, Any]:
    """The training set of the ledger, its root, and the proof of one row."""
    backward = backward_of(world)
    found = training_set(backward.tables, backward.curriculum, backward.curriculum_id, backward.recipes)
    proof = found.proof(found.ids[0].as_py(), "{}", None)
    return {"instructions": len(found.ids), "proof_bytes": len(json.dumps(proof))}


def compare(world: Mapping[str, Any]) -> dict[str, Any]:
    """Two versions of the instructions: rows added, removed and changed, by source and task."""
    refs = {name: TableRef.from_json(world["refs"][name]) for name in ("instructions", "edited")}
    found = compare_tables(LanceTables(Path(world["tables"])), refs["instructions"], refs["edited"])
    assert found is not None
    told = found.to_json()
    return {what: told[what]["rows"] for what in ("added", "removed", "changed")}


WHAT: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "totals": totals,
    "rows": rows,
    "trace": trace,
    "prove": prove,
    "verify": verify,
    "verify rows": verify_rows,
    "floor": floor,
    "compare": compare,
}


def main() -> None:
    import lance  # noqa: F401 - importing is not measured

    work = WHAT[sys.argv[1]]
    world = json.loads(Path(sys.argv[2]).read_bytes())
    restart_peak()
    before = peak_mebibytes() or 0.0
    cpu, wall = time.process_time(), time.perf_counter()
    found = work(world)
    result = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": peak_mebibytes(),
        "imports_mib": before,
        "found": found,
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
