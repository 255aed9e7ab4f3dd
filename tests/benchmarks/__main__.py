"""Benchmarks: Sultana beside its peers, in one run. `python -m tests.benchmarks [names] [--runs N]`.

Each side of a comparison with a peer runs in a process of its own with one thread, the two in turn, and
tells rows per CPU-second and peak memory; what MDIT costs (recipes, mixing) is measured within one process, and
the deployment as a user meets it (starting the UI, refreshes) by the clock.
A line per subject is appended to data/bench.jsonl. Peers live in a virtual environment of their own, so
that they decide no version here:

    python -m venv PEERS && PEERS/bin/pip install torch sentence-transformers py-data-juicer aiohttp datasets
    SULTANA_BENCH_PEERS=PEERS make bench BENCH=deduplication

Without it, subjects that need it are skipped, and said to be; deita_filter, ifd and selection_overhead
need checkouts of their peers too (selection.py says which). Rows come from the starter corpus, or from the
folder that SULTANA_SHARED_DATA names. `growth` has options of its own and takes hours: it runs where it is named first.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import (
    audit,
    deployment,
    evaluation,
    growth,
    interpolation,
    kmeans,
    raise_selection,
    selection,
    training,
)
from tests.benchmarks.runner import SUBJECTS, SkippedError, compare, say

MEASURES = {
    "audit": audit.audit,
    "deployment": deployment.deployment,
    "evaluation": evaluation.evaluation,
    "recipes": interpolation.recipes,
    "mixing": interpolation.mixing,
    "kmeans": kmeans.kmeans,
    "deita_filter": selection.deita_filter,
    "ifd": selection.ifd,
    "selection_overhead": selection.selection_overhead,
    "raise_selection": raise_selection.raise_selection,
    "training": training.training,
}
"""Subjects that are not a pair of processes: (folder, runs, rows) to a line of results."""

NAMES = (*SUBJECTS, *MEASURES)
RESULTS = Path("data") / "bench.jsonl"


def main() -> int:
    if sys.argv[1:2] == ["growth"]:
        return growth.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"subjects: {', '.join(NAMES)}; all where none is named")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs per subject (default 3)")
    parser.add_argument("--rows", type=int, default=0, help="rows of the corpus (default: the subject's own)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown or arguments.runs < 1:
        parser.error(f"no such subject: {', '.join(unknown)}" if unknown else "--runs is at least 1")
    for name in arguments.names or NAMES:
        with tempfile.TemporaryDirectory(prefix="sultana-bench-") as folder:
            try:
                if name in MEASURES:
                    line = MEASURES[name](Path(folder), arguments.runs, arguments.rows)
                else:
                    line = compare(name, Path(folder), runs=arguments.runs, rows=arguments.rows)
            except SkippedError as reason:
                say(f"{name}: SKIPPED, {reason}")
                continue
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
