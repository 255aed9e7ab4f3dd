"""How each stage grows with its rows: time, memory and bytes at 10,000 to 10,000,000 rows, with the exponents.

    make bench BENCH=growth
    make bench BENCH="growth --stages sorting clusters --sizes 10000 100000 --results data/growth.jsonl"

Each measurement is a process of its own with one thread, its inputs made by this one before; a line of JSON is
appended to the file of results as each ends. What is in that file already is not measured again, unless
`--again` is given: a run that was broken off goes on. The table of all lines is printed at the end. Inputs of a
size are kept in `--folder` (by default a temporary one) while its stages run; 10,000,000 rows take up to 30 GB there.
`python -m tests.benchmarks.sizing` makes the page orchestration/sizing.md from the lines that are kept in
tests/benchmarks/measured/growth.jsonl.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resources.compute.alike import code_facts
from tests.benchmarks.growth_fit import Line, read_lines, table
from tests.benchmarks.growth_stages import SIZES, STAGES
from tests.benchmarks.runner import run_side, say

RESULTS = Path("data") / "growth.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Measures what is asked for, and prints the table of all that the file of results holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES), metavar="STAGE")
    parser.add_argument("--sizes", nargs="+", type=int, help="rows (default: the stage's own)")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="leave out sizes above (default: none)")
    parser.add_argument("--again", action="store_true", help="measure also what has been measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default {RESULTS}")
    parser.add_argument("--folder", type=Path, help="where inputs lie, and stay (default: nowhere)")
    asked = parser.parse_args(arguments)
    if any(size < 1 for size in asked.sizes or ()):
        parser.error("a size is at least 1")
    measure(asked.stages, asked.sizes, asked.most, asked.results, again=asked.again, folder=asked.folder)
    say(table(read_lines(asked.results), {name: stage.bound for name, stage in STAGES.items()}))
    return 0


def measure(
    stages: Sequence[str],
    sizes: Sequence[int] | None,
    most: int,
    results: Path,
    *,
    again: bool = False,
    folder: Path | None = None,
) -> int:
    """Measures stages size by size, the small ones first; how many measurements that took."""
    done = {(line.stage, line.rows) for line in read_lines(results)} if not again else set()
    wanted = [
        (rows, name)
        for name in stages
        for rows in (sizes or STAGES[name].sizes)
        if rows <= most and (name, rows) not in done
    ]
    for rows in sorted({rows for rows, _ in wanted}):
        here = folder or Path(tempfile.mkdtemp(prefix="sultana-growth-"))
        here.mkdir(parents=True, exist_ok=True)
        try:
            for name in (name for size, name in wanted if size == rows):
                _append(results, _measured(name, rows, here))
        finally:
            if folder is None:
                shutil.rmtree(here)
    return len(wanted)


def _measured(name: str, rows: int, folder: Path) -> Line:
    STAGES[name].prepare(folder, rows)
    found = run_side("growth_process", name, rows, folder)
    line = Line(name, rows, **found, machine=_machine(), load=round(os.getloadavg()[0], 2))
    say(
        f"growth, {name}, {rows:,} rows: {line.cpu_seconds:.2f} CPU-s, {line.wall_seconds:.2f} s, "
        f"peak {line.peak_mib:,.0f} MiB ({line.held_mib:,.0f} before), {line.bytes / rows:,.0f} bytes a row, "
        f"{json.dumps(line.found)}"
    )
    return line


def _append(results: Path, line: Line) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(line.to_json() + "\n")


def _machine() -> dict[str, Any]:
    """What was measured on, and what code."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return {"processor": model, "cores": os.cpu_count(), **code_facts()}
