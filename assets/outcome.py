"""What a check finds: whether a rule holds, the numbers it rests on, and what to do where it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One rule held against data.

    `measured` are the numbers, the bound among them; `finding` says in a sentence what was found, and `remedy`
    what to do where the rule does not hold.
    """

    passed: bool
    measured: Mapping[str, Any]
    finding: str
    remedy: str

    @property
    def sentence(self) -> str:
        """What was found, and where the rule does not hold, what to do."""
        said = (self.finding,) if self.passed else (self.finding, self.remedy)
        return " ".join(f"{one.rstrip('. ')}." for one in said)


def share_at_most(part: int, whole: int, bound: float, *, what: str, remedy: str) -> Outcome:
    """`part` of `whole` rows has to be at most the share `bound` (0 to 1); none of none is a share of 0.

    `what` goes on after the share: "of the raw rows are duplicates".
    """
    share = part / whole if whole else 0.0
    return _share(share <= bound, part, whole, share, "at most", bound, what, remedy)


def share_at_least(part: int, whole: int, bound: float, *, what: str, remedy: str) -> Outcome:
    """`part` of `whole` rows has to be at least the share `bound` (0 to 1); none of none is a share of 0."""
    share = part / whole if whole else 0.0
    return _share(share >= bound, part, whole, share, "at least", bound, what, remedy)


def _share(
    passed: bool, part: int, whole: int, share: float, side: str, bound: float, what: str, remedy: str
) -> Outcome:
    return Outcome(
        passed,
        {"rows": part, "of_rows": whole, "share": share, f"{side.replace(' ', '_')}": bound},
        f"{share:.1%} {what} ({part:,} of {whole:,}; the bound is {side} {bound:.1%})",
        remedy,
    )


def no_faults(faults: Mapping[str, int], *, sound: str, remedy: str) -> Outcome:
    """Every count of faults, named in words with `_` for spaces, has to be 0; `sound` is said where it is."""
    found = [f"{count:,} {name.replace('_', ' ')}" for name, count in faults.items() if count]
    return Outcome(
        not found, {**faults, "allowed": 0}, f"Found {', '.join(found)}" if found else sound, remedy
    )
