"""What `sultana doctor --repair` has mended: recorded beside the commits before it is done."""

from resources.commits import CommitLog
from resources.side_chain import SideChain

_COLUMNS = {"code": "TEXT", "problem": "TEXT", "repair": "TEXT", "run_id": "TEXT"}


def record_repair(log: CommitLog, code: str, problem: str, repair: str, run_id: str) -> None:
    """Record that a damage is about to be mended; durable on return. Raises SultanaError where it cannot be written."""
    _chain(log).append([{"code": code, "problem": problem, "repair": repair, "run_id": run_id}])


def repairs(log: CommitLog) -> list[dict[str, object]]:
    """Every repair in order, with `recorded_at` in UTC (ISO 8601)."""
    return _chain(log).records()


def check_repaired(log: CommitLog) -> str | None:
    """What is wrong with the records; None if nothing."""
    return _chain(log).problem()


def _chain(log: CommitLog) -> SideChain:
    return SideChain(log, "repaired", _COLUMNS)
