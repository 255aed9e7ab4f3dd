"""What `growth` measures: each stage's work on a number of rows, as its asset does it, without Dagster.

A stage prepares its inputs on disk, in a process that is not measured; then, in one that is, it opens them and
gives the function that is measured. What that writes goes to a folder of its own, whose size is taken.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import growth_choices, growth_rows, growth_training
from tests.benchmarks import growth_inputs as inputs
from tests.benchmarks.audit import told_world
from tests.benchmarks.audit_sides import WHAT
from tests.benchmarks.growth_rows import Work

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Stage:
    """`what` is measured, on `sizes` rows unless others are asked for.

    `bound` says what keeps a stage small whose time or memory grows faster than its rows; empty: it does not.
    `candidates` says that it is of what may be chosen from, which a setting keeps small.
    `alike` says of a stage whose work on a row does not depend on other rows that a sample stands for all.
    """

    what: str
    prepare: Callable[[Path, int], object]
    open: Callable[[Path, Path, int], Work]
    sizes: tuple[int, ...] = SIZES
    bound: str = ""
    candidates: bool = False
    alike: bool = False


def _world(folder: Path, rows: int) -> Mapping[str, Any]:
    """Tables of a pool of `rows` and a ledger of a tenth as many slots, as `audit` has them."""
    place = folder / f"world-{rows}.json"
    if not place.exists():
        place.write_text(json.dumps(told_world(folder / f"world-{rows}", rows // 10, rows)), encoding="utf-8")
    world: Mapping[str, Any] = json.loads(place.read_bytes())
    return world


def _audited(what: str) -> Callable[[Path, Path, int], Work]:
    def opened(folder: Path, out: Path, rows: int) -> Work:
        world = _world(folder, rows)
        return lambda: WHAT[what](world)

    return opened


def _nothing(folder: Path, rows: int) -> None:
    """Its inputs are made in memory."""


CANDIDATES = (
    "selection looks at `candidates` of a pool, 1,024 unless set otherwise; quadratic where they are all"
)
COMMITS = (
    "each commit reads the key and hash of every row that is there and makes their root anew; from 320,000 rows on one "
    "has a sixteenth of them, so that sixteen times all rows are read and sorted at any size: 10,000,000 rows took "
    "22 times as long as 1,000,000, on a busy machine"
)
STAGES = {
    "reading": Stage("sources into `raw_instructions`, indexed", inputs.corpus, growth_rows.reading),
    "sorting": Stage(
        "`instructions`: normalised, merged, decontaminated, deduplicated",
        inputs.raw_table,
        growth_rows.sorting,
    ),
    "duplicates": Stage("near-duplicates alone (MinHash)", inputs.corpus, growth_rows.duplicates),
    "contamination": Stage("contamination by 1,000 examples alone", inputs.corpus, growth_rows.contamination),
    "embedding": Stage(
        "vectors by the embedded model",
        inputs.instruction_table,
        growth_rows.embedding,
        sizes=(1_000, 10_000),
        alike=True,
    ),
    "embedding_commits": Stage(
        "`instruction_embeddings` without the model: texts read, vectors committed part by part",
        inputs.instruction_table,
        growth_rows.embedding_commits,
        bound=COMMITS,
    ),
    "recipes": Stage("`interpolated_instructions`, one a row", _nothing, growth_choices.recipes),
    "clusters": Stage(
        f"`diversity_clusters`, {growth_choices.CLUSTERS} of them",
        inputs.embedded_tables,
        growth_choices.clusters,
    ),
    "raise_features": Stage("RAISE's features of a pool", _nothing, growth_choices.raise_features),
    "raise_step": Stage(
        "RAISE scores a pool and chooses a batch", inputs.features, growth_choices.raise_step
    ),
    "static": Stage("random, longest and kmeans_quality, 1 % of a pool", _nothing, growth_choices.static),
    "dsir": Stage("dsir, 1 % of a pool", inputs.corpus, growth_choices.dsir),
    "k_center": Stage(
        "k_center, 1 % of a pool",
        _nothing,
        growth_choices.k_center,
        sizes=SIZES[:2],
        bound=CANDIDATES,
        candidates=True,
    ),
    "deita": Stage(
        "deita, 1 % of a pool",
        _nothing,
        growth_choices.deita,
        bound=CANDIDATES,
        candidates=True,
    ),
    "training": Stage(
        "LoRA steps, tokens by the model's own tokenizer",
        _nothing,
        growth_training.training,
        sizes=(32, 64),
        alike=True,
    ),
    "tables": Stage("a table committed, indexed and read", inputs.instructions, growth_rows.tables),
    "upsert": Stage("1 % of a table's rows replaced", _nothing, growth_rows.upsert),
    "totals": Stage("audit: totals of a ledger of a tenth as many slots", _world, _audited("totals")),
    "compare": Stage("audit: two versions compared row by row", _world, _audited("compare")),
    "verify": Stage("audit: every file of the tables hashed", _world, _audited("verify")),
}
"""Every stage by name, in the order of the flow."""
