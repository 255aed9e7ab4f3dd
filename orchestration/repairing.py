"""`sultana doctor --repair`: what can be mended without touching anything that was acknowledged, is.

Each repair is recorded in the commit log before it is done. Nothing is mended while the commit log itself is damaged or
does not fit the data: what was acknowledged is known from nowhere else.
"""

from typing import Any

from orchestration.dead_runs import runs_in_progress
from orchestration.diagnosis.finding import Examined, Finding
from orchestration.diagnosis.stores import instance_of
from orchestration.doctor import Check, look, told
from resources.commits import CommitLog
from resources.databases import LOG
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.repaired import record_repair
from resources.table_checks import LOG_BEHIND, LOG_DAMAGED

UNSOUND = {
    LOG_DAMAGED,
    LOG_BEHIND,
    "commit-log-gone",
    "database-gone",
    "data-of-earlier-release",
    "data-of-later-release",
    "restore-unfinished",
}
"""What makes it impossible to know which versions were acknowledged."""

BY_COMMAND = "sultana doctor --repair"
MOST_ROUNDS = 4
"""One repair can bring the next to light: the files of a version that was removed belong to none."""

LONGEST_WAIT = 60.0


def repair(port: int, run_id: str = "") -> dict[str, Any]:
    """Mends what can be mended; what `examine` tells afterwards, and under `repairs` each repair and what became of it.

    `run_id` is that of the Dagster run that asks, or empty. Raises SultanaError where another repair or a maintenance
    is at work.
    """
    examined = Examined(data_folder(), port, run_id)
    done: list[dict[str, Any]] = []
    tried: set[tuple[str, str]] = set()
    checks = look(examined)
    for _ in range(MOST_ROUNDS):
        due = [one for one in _findings(checks) if one.repair and (one.code, one.problem) not in tried]
        if not due:
            break
        unsound = sorted({one.code for one in _findings(checks)} & UNSOUND)
        done += _mend_all(examined, due, unsound)
        tried |= {(one.code, one.problem) for one in due}
        checks = look(examined)
    return {**told(examined, checks), "repairs": done}


def _findings(checks: list[Check]) -> list[Finding]:
    return [finding for check in checks for finding in check.findings]


def _mend_all(examined: Examined, due: list[Finding], unsound: list[str]) -> list[dict[str, Any]]:
    if unsound:
        why = f"Nothing is repaired while what was acknowledged is not known ({', '.join(unsound)})"
        return [_outcome(one, why) for one in due]
    tables = examined.folder / "lance"
    # Files that a backup is copying, or that a maintenance removes, stay as they are meanwhile.
    with exclusive_lock(tables / ".locks" / ".maintenance.lock", LONGEST_WAIT):
        return [_outcome(one, _mend(examined, one)) for one in due]


def _mend(examined: Examined, finding: Finding) -> str:
    """Why it was not mended; empty where it was."""
    repair = finding.repair
    assert repair is not None
    try:
        if repair.quiet and (running := _running(examined)):
            return f"Run {running[0]} is in progress; wait until it has ended, and give the command again"
        log = CommitLog(examined.folder / LOG)
        record_repair(log, finding.code, finding.problem, repair.told, examined.run_id or BY_COMMAND)
        repair.mend()
    except (SultanaError, OSError) as error:
        return f"It failed: {error}".rstrip(".")
    return ""


def _running(examined: Examined) -> list[str]:
    with instance_of(examined.folder) as instance:
        return runs_in_progress(instance, examined.run_id) if instance is not None else []


def _outcome(finding: Finding, why: str) -> dict[str, Any]:
    assert finding.repair is not None
    about = {"code": finding.code, "problem": finding.problem, "repair": finding.repair.told}
    return {**about, "done": not why, "why": why}
