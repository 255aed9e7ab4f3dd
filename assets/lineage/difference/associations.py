"""Which change of the data goes with which change of a score: an association, never said to be a cause.

A score of a task stands beside the share of slots whose rows are of that task, or came from a source of its name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

NOTE = "what changed together; that one caused the other is not shown by it"


def beside_shares(scores: Sequence[Mapping[str, Any]], curricula: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each score with the change in share of the rows of the same task, or else of the same source.

    `scores` have `benchmark`, `task`, `metric`, `a`, `b` and `difference` (of `paired_bootstrap`, or None);
    `curricula` is `CurriculumDifference.to_json`, or that of one curriculum, whose shares are the same. `changed`
    says whether the interval of the difference leaves out 0; the largest such change comes first. `share` is None
    where no row is of that name.
    """
    found = [
        {
            **{name: row[name] for name in ("benchmark", "task", "metric", "a", "b", "difference")},
            "changed": has_changed(row["difference"]),
            "share": _share(row, curricula),
        }
        for row in scores
    ]

    def order(row: Mapping[str, Any]) -> tuple[bool, float, str, str]:
        mean = row["difference"]["mean"] if row["difference"] else 0.0
        return not row["changed"], -abs(mean), row["task"], row["metric"]

    return sorted(found, key=order)


def has_changed(difference: Mapping[str, Any] | None) -> bool:
    """Whether the interval of a paired difference leaves out 0."""
    return difference is not None and not difference["low"] <= 0 <= difference["high"]


def _share(row: Mapping[str, Any], curricula: Mapping[str, Any]) -> dict[str, Any] | None:
    """Shares by the score's task, or else by its task or benchmark as a source, whatever the case of letters."""
    if curricula["same"]:
        return None
    names = [row["task"].casefold(), row["benchmark"].casefold()]
    for what, key in (("tasks", "task"), ("sources", "source")):
        for name in names if key == "source" else names[:1]:
            there = [one for one in curricula[what] if one[key].casefold() == name]
            if there:
                a, b = (sum(one[side] for one in there) for side in "ab")
                return {"of": key, "name": there[0][key], "a": a, "b": b, "change": a - b}
    return None
