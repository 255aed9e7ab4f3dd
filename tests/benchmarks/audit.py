"""What an audit of a large model costs: backward totals, the whole ledger as a file, a row traced forward, proofs,
two versions compared row by row, and every hash recomputed, beside the SHA-256 of the same files alone.

Each is a process of its own, with as many threads as its libraries like, on tables written as a run writes them.
"""

import json
import os
import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.audit_tables import write_world
from tests.benchmarks.runner import run_side, say

CASES = ((10_000, 100_000), (100_000, 1_000_000), (1_000_000, 10_000_000))
"""Slots of the ledger and rows of the pool."""

BOUNDS = {"totals": 10.0, "trace": 1.0}
"""Seconds that the largest case may take."""

MOST_MIB = 2048


def audit(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """The line for data/bench.jsonl: medians of `runs` of each case.

    `rows` are the slots of one ledger instead, over a pool ten times as large.
    """
    cases = []
    for ledger, pool in ((rows, 10 * rows),) if rows else CASES:
        told = told_world(folder / f"tables-{ledger}", ledger, pool)
        place = folder / f"world-{ledger}.json"
        place.write_text(json.dumps(told), encoding="utf-8")
        found: dict[str, Any] = {}
        for what in ("totals", "rows", "trace", "compare", "prove", "verify", "verify rows", "floor"):
            results = [run_side("audit_sides", what, place, threads=None) for _ in range(runs)]
            found[what] = {
                name: round(statistics.median(one[name] for one in results), 3)
                for name in ("seconds", "cpu_seconds", "peak_mib", "imports_mib")
            } | {"found": results[0]["found"], "slowest": round(max(one["seconds"] for one in results), 3)}
            one = found[what]
            say(
                f"audit, {ledger:,} slots over {pool:,} rows: {what} {one['seconds']:.2f} s "
                f"(slowest {one['slowest']:.2f}), {one['cpu_seconds']:.2f} CPU-s, peak {one['peak_mib']:,.0f} MiB"
            )
        cases.append({"ledger": ledger, "pool": pool, **found})
    largest = cases[-1]
    for what, most in BOUNDS.items():
        verdict = "within" if largest[what]["seconds"] < most else "ABOVE"
        say(f"audit: {what} of the largest case is {verdict} {most:g} s")
    return {
        "name": "audit",
        "unit": "seconds by the clock, CPU-seconds and MiB at the peak, of one process",
        "cases": cases,
        "bounds": {"seconds": BOUNDS, "peak_mib": MOST_MIB},
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "runs": runs,
    }


def told_world(folder: Path, ledger: int, pool: int) -> dict[str, Any]:
    """Writes the tables of a ledger of so many slots over a pool of so many rows, and says where they are."""
    world = write_world(folder, pool, ledger)
    return {
        "tables": str(world.tables.root),
        "refs": {
            name: getattr(world, name).to_json()
            for name in ("raw", "instructions", "edited", "dropped", "recipes", "curriculum")
        },
        "curriculum_id": world.curriculum_id,
        "ledger": ledger,
        "pool": pool,
    }
