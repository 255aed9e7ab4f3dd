"""Whether every raw row went somewhere, and how many could not be read, were fit to learn from, or were left out."""

import pyarrow as pa
import pyarrow.compute as pc

from assets.outcome import Outcome, no_faults, share_at_least, share_at_most

LOOK = "Look at the tables quarantine and dropped_instructions, which name file, line and reason"


def readable(problems: pa.Array, minimum_share: float) -> Outcome:
    """The share of raw rows that could be read; `problems` is null where one could."""
    return share_at_least(
        problems.null_count,
        len(problems),
        minimum_share,
        what="of the raw rows could be read",
        remedy="Look at the column problem of raw_instructions, and set the source's shape or format; if the rows "
        "are truly worthless, lower minimum_readable_share of raw_instructions_checks",
    )


def rows_accounted(
    raw: pa.Array, kept: pa.Array, merged_origins: pa.Array, quarantined: pa.Array, dropped: pa.Array
) -> Outcome:
    """Whether each raw row is kept, quarantined or dropped, and only one of them.

    All are origin ids, but `kept`, the ids of the kept rows; `merged_origins` are all origins of those, of which
    the first stands for the row and the others are among `dropped`.
    """
    somewhere = pa.concat_arrays([merged_origins, quarantined, dropped])
    counted = len(kept) + len(quarantined) + len(dropped)
    lost = len(raw) - (pc.sum(pc.is_in(raw, value_set=somewhere)).as_py() or 0)
    unknown = len(somewhere) - (pc.sum(pc.is_in(somewhere, value_set=raw)).as_py() or 0)
    found = no_faults(
        {"raw_rows_lost": lost, "rows_of_no_raw_row": unknown, "rows_miscounted": abs(len(raw) - counted)},
        sound=f"{len(raw):,} raw rows = {len(kept):,} kept + {len(quarantined):,} quarantined + "
        f"{len(dropped):,} merged or dropped",
        remedy="Materialize instructions again; if the count stays wrong, report it: no row may be lost in silence",
    )
    numbers = {"raw": len(raw), "kept": len(kept), "quarantined": len(quarantined)}
    return Outcome(
        found.passed,
        {**numbers, "merged_or_dropped": len(dropped), **found.measured},
        found.finding,
        found.remedy,
    )


def quarantined_share(quarantined: int, raw: int, maximum: float) -> Outcome:
    """The share of raw rows that were not fit to learn from."""
    return share_at_most(
        quarantined,
        raw,
        maximum,
        what="of the raw rows were quarantined",
        remedy=f"{LOOK}; mend the source, or raise maximum_quarantined_share of instructions_checks",
    )


def duplicate_share(reasons: pa.Array, raw: int, maximum: float) -> Outcome:
    """The share of raw rows left out as exact or near-duplicates; `reasons` are those of the dropped rows."""
    duplicates = pa.array(["exact_duplicate", "near_duplicate"])
    return share_at_most(
        pc.sum(pc.is_in(reasons, value_set=duplicates)).as_py() or 0,
        raw,
        maximum,
        what="of the raw rows are duplicates of others",
        remedy=f"{LOOK}: a source may have been named twice; drop it, or raise maximum_duplicate_share of "
        "instructions_checks",
    )


def contaminated_share(reasons: pa.Array, raw: int, maximum: float) -> Outcome:
    """The share of raw rows left out because they share text with a benchmark."""
    return share_at_most(
        pc.sum(pc.equal(reasons, "contaminated")).as_py() or 0,
        raw,
        maximum,
        what="of the raw rows share text with a benchmark",
        remedy=f"{LOOK}: a source may hold the benchmark itself; drop it, or raise maximum_contaminated_share of "
        "instructions_checks",
    )
