"""The page orchestration/sizing.md, computed from the lines of `growth`: `python -m tests.benchmarks.sizing`.

Nothing on the page is written by hand but its words: every figure follows from a measurement in
tests/benchmarks/measured/growth.jsonl, by the rules and assumptions that the page states.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.growth_fit import Line, by_stage, read_lines, table, time_exponent
from tests.benchmarks.growth_stages import STAGES
from tests.benchmarks.sizing_model import model_section

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(__file__).parent / "measured" / "growth.jsonl"
PAGE = ROOT / "orchestration" / "sizing.md"
ROWS = 100_000_000
GIB, GB = 2**30, 10**9

SPREAD_OUT = ("duplicates", "contamination", "embedding")
"""Stages whose rows are worked on side by side, by Ray's workers or not at all; the others are one process."""

CHAIN = ("reading", "sorting", "embedding", "embedding_commits", "recipes", "clusters", "static")
"""What a run makes, one after the other, up to a curriculum."""

STORED = {
    "reading": "`raw_instructions`",
    "sorting": "`instructions`, `quarantine`, `dropped_instructions`",
    "embedding_commits": "`instruction_embeddings`",
    "recipes": "`interpolated_instructions`, one a row",
    "clusters": "`diversity_clusters`, of originals and a tenth as many mixes",
    "static": "three curricula of 1 % each",
}


@dataclass(frozen=True)
class Machine:
    """A common machine: `examples` are what clouds call it; two vCPUs are one core."""

    name: str
    examples: str
    cores: int
    gigabytes: int


MACHINES = (
    Machine("16 vCPU, 64 GB", "m7i.4xlarge, n2-standard-16, D16s v5", 8, 64),
    Machine("64 vCPU, 512 GB", "r7i.16xlarge, n2-highmem-64, E64s v5", 32, 512),
    Machine("8 × H100 80 GB, 192 vCPU, 2 TB", "p5.48xlarge, a3-highgpu-8g, ND H100 v5", 96, 2048),
)


@dataclass(frozen=True)
class Extrapolated:
    """A stage at `ROWS` rows: CPU-seconds, bytes of memory and on disk, and what they are extrapolated from.

    `a_row` are the CPU-seconds a row of the largest measurement.
    """

    a_row: float
    cpu_seconds: float
    memory: float
    disk: float
    origin: str


def extrapolate(lines: Sequence[Line], rows: int = ROWS) -> Extrapolated:
    """From the largest measurement, by the fitted exponent where that is above 1; memory and bytes by their growth.

    Memory grows by what the two largest measurements differ by, or where there is one, as its rows do; not at all
    where the work on a row does not depend on others.
    """
    last = lines[-1]
    times = rows / last.rows
    power = max(1.0, time_exponent(lines) or 1.0)
    earlier = [one for one in lines if one.rows < last.rows]
    a_row = last.work_mib / last.rows
    if STAGES[last.stage].alike:
        a_row = 0.0  # rows come and go in batches
    elif earlier:
        a_row = max(0.0, (last.work_mib - earlier[-1].work_mib) / (last.rows - earlier[-1].rows))
    memory = (last.peak_mib + a_row * (rows - last.rows)) * 2**20
    shown = f"{last.rows:,} rows: {last.cpu_seconds:,.2f} CPU-s, {last.peak_mib:,.0f} MiB"
    origin = shown + (f", n^{power:.2f}" if power > 1 else "")
    return Extrapolated(
        last.cpu_seconds / last.rows, last.cpu_seconds * times**power, memory, last.bytes * times, origin
    )


def hours(stage: str, found: Mapping[str, Extrapolated], machine: Machine) -> float:
    """Hours of a stage on one machine: spread over its cores what can be, the rest on one core."""
    seconds = found[stage].cpu_seconds
    if stage in SPREAD_OUT:
        return seconds / machine.cores / 3600
    share = 0.0
    if stage == "sorting":
        parts = sum(found[part].a_row for part in ("duplicates", "contamination") if part in found)
        share = min(1.0, parts / found[stage].a_row)
    return seconds * (1 - share + share / machine.cores) / 3600


def page(lines: Sequence[Line]) -> str:
    """The whole page."""
    stages = by_stage(lines)
    found = {
        name: extrapolate(stages[name])
        for name, stage in STAGES.items()
        if name in stages and name != "training" and not stage.candidates
    }
    return "\n".join(
        [
            HEAD.format(machine=_machines(lines)),
            *_stage_section(found),
            *_storage_section(found, stages),
            *model_section([line for line in lines if line.stage == "training"]),
            "## Measured",
            "",
            table(lines, {name: stage.bound for name, stage in STAGES.items()}),
            "",
        ]
    )


def _machines(lines: Sequence[Line]) -> str:
    stages: dict[str, list[str]] = {}
    for one in lines:
        if one.name != one.stage:
            continue  # a device that its own section names
        name = f"{one.machine.get('processor')}, {one.machine.get('cores')} cores"
        if one.stage not in stages.setdefault(name, []):
            stages[name].append(one.stage)
    loads = sorted(one.load for one in lines if one.name == one.stage)
    named = " and ".join(f"{name} ({', '.join(sorted(ones))})" for name, ones in sorted(stages.items()))
    return f"{named}, load {loads[0]:g} to {loads[-1]:g}"


def _stage_section(found: Mapping[str, Extrapolated]) -> list[str]:
    text = [
        "## 100,000,000 rows, stage by stage",
        "",
        "| stage | what | core-hours | memory | "
        + " | ".join(one.name for one in MACHINES)
        + " | extrapolated from |",
        "|---|---|---|---|" + "---|" * len(MACHINES) + "---|",
    ]
    for name, one in found.items():
        cells = [_on(name, found, machine) for machine in MACHINES]
        text.append(
            f"| {name} | {STAGES[name].what} | {one.cpu_seconds / 3600:,.1f} | {one.memory / GB:,.0f} GB | "
            f"{' | '.join(cells)} | {one.origin} |"
        )
    chain = [name for name in CHAIN if name in found]
    sums = []
    for machine in MACHINES:
        fitting = all(found[name].memory <= machine.gigabytes * GB for name in chain)
        total = sum(hours(name, found, machine) for name in chain)
        sums.append(f"{total:,.1f} h" if fitting else "does not fit")
    text.append(
        f"| **a run** | {', '.join(chain)} | {sum(found[name].cpu_seconds for name in chain) / 3600:,.1f} | "
        f"{max(found[name].memory for name in chain) / GB:,.0f} GB | {' | '.join(sums)} | the sum |"
    )
    bounded = [name for name, stage in STAGES.items() if stage.candidates]
    return [
        *text,
        "",
        f"Not extrapolated, since they are quadratic in what they may choose from: {', '.join(bounded)}. "
        f"{STAGES[bounded[0]].bound.capitalize()}.",
        "",
    ]


def _on(stage: str, found: Mapping[str, Extrapolated], machine: Machine) -> str:
    if found[stage].memory > machine.gigabytes * GB:
        return "does not fit"
    return _hours(hours(stage, found, machine))


def _hours(found: float) -> str:
    return f"{found:,.1f} h" if found >= 0.1 else "below 0.1 h"


def _storage_section(found: Mapping[str, Extrapolated], stages: Mapping[str, Sequence[Line]]) -> list[str]:
    text = [
        "## Storage",
        "",
        "| table | bytes a row | 100,000,000 rows | measured at |",
        "|---|---|---|---|",
    ]
    total = 0.0
    for name, what in STORED.items():
        if name in found:
            last = stages[name][-1]
            total += found[name].disk
            text.append(
                f"| {what} | {last.bytes / last.rows:,.0f} | {found[name].disk / GB:,.0f} GB | {last.rows:,} rows |"
            )
    text.append(f"| **one version of each** | | **{total / GB:,.0f} GB** | the sum |")
    sources = next((one for one in reversed(stages.get("reading", [])) if "source_bytes" in one.found), None)
    text += ["", KEPT.format(twice=2 * total / GB)]
    if sources:
        a_row = sources.found["source_bytes"] / sources.rows
        text.append(SOURCES.format(total=a_row * ROWS / GB, a_row=a_row))
    return [*text, ""]


HEAD = """# Sizing

<!-- Made from tests/benchmarks/measured/growth.jsonl: python -m tests.benchmarks.sizing -->

What 100,000,000 rows and a model of 7 billion parameters take. Figures are extrapolated from measurements that stand
beside them and at the end of the page; nobody has run 100,000,000 rows. To measure on a machine of yours:

```
make bench BENCH="growth --results tests/benchmarks/measured/growth.jsonl --again"
.venv/bin/python -m tests.benchmarks.sizing
```

Measured on {machine}, one thread; CPU-seconds, which another
processor and a busy one change about twofold: compare sizes of one stage, not stages of two machines. Assumed:

- a core elsewhere is as quick as the one measured, and two vCPUs are one core;
- time grows from the largest measurement as fitted, and never more slowly than the rows; memory as between the two
  largest;
- near-duplicate signatures, contamination and embeddings are spread over all cores (by Ray's workers: `engine: ray`),
  without loss; all else is counted as one process on one core, though k-means uses as many threads as there are;
- disks and networks keep up.

Memory is the roughest: what is held once and what is held for each row are told apart by two measurements alone, so a
figure that stands on 100,000 rows can be several times too large. Where more rows were measured, the page takes those.

Where a stage does not fit into a machine's memory, take the larger machine: of all stages, clusters hold every vector.
Vectors that would take more than half of the free memory lie in a file of TMPDIR: at 10,000,000 rows, on a machine of
24 GB, 15.1 of the 19 GB of clusters were such pages, and 3.2 GB the process's own. Where such a file is larger than
memory, a stage is as quick as its disk, which was not measured.
"""

KEPT = """A refresh writes new versions beside the old ones, which `sultana maintain` reclaims after 30 days: plan for
two versions of everything, {twice:,.0f} GB, and more where everything is made anew more often than that."""

SOURCES = """The sources themselves are {total:,.0f} GB here ({a_row:,.0f} bytes a row of JSON Lines). Sorting keeps its
rows, as JSON and so about as large, in files of TMPDIR while it runs."""


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(read_lines(MEASURED)), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
