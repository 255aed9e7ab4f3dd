"""Read-only checks of the Lance tables against the commit log, for `sultana doctor`."""

from collections.abc import Container
from pathlib import Path

from resources import lance_folder
from resources.commits import Commit, CommitLog
from resources.errors import SultanaError
from resources.findings import Finding
from resources.reclaimed import check_reclaimed, reclaimed
from resources.rewritten import check_rewritten

_RESTORE = "Restore the folder from a backup, or move it away and materialize the table's asset again"


def check_tables(root: Path, commits: CommitLog) -> list[Finding]:
    """Everything wrong with the tables below `root`; nothing is changed."""
    findings = []
    if problem := commits.check():
        findings.append(Finding(commits.path.name, problem, "Restore the commit log from a backup"))
    for problem in filter(None, (check_reclaimed(commits), check_rewritten(commits))):
        findings.append(Finding(commits.path.name, problem, "Restore the commit log from a backup"))
    gone = reclaimed(commits)
    tables = commits.tables()
    for folder in sorted(root.glob("*.lance")):
        if folder.stem not in tables:
            findings.append(
                Finding(
                    folder.stem,
                    "no version is acknowledged: its first write did not finish",
                    "Materialize its asset; if no asset writes it, remove the folder",
                )
            )
    for table in tables:
        findings.extend(_check_table(root / f"{table}.lance", commits.history(table), gone))
    return findings


def _check_table(folder: Path, history: list[Commit], gone: Container[int]) -> list[Finding]:
    pointer = history[-1]
    table = pointer.table
    on_disk = lance_folder.versions_on_disk(folder)
    if not on_disk:
        return [Finding(table, f"the folder {folder} is gone", _RESTORE)]
    findings = [
        Finding(
            table,
            f"version {version}, above the acknowledged {pointer.version}, cannot be read",
            "Nothing to do: the next write removes it; it was never acknowledged",
        )
        for version in on_disk
        if version > pointer.version and lance_folder.readable_properties(folder, version) is None
    ]
    tags = lance_folder.tags(folder)
    # A folder that was removed and rebuilt gives its numbers again: only the last holder counts.
    for commit in {commit.version: commit for commit in history}.values():
        if commit.sequence in gone:
            continue
        stored = lance_folder.readable_properties(folder, commit.version)
        if stored is None:
            findings.append(
                Finding(
                    table, f"the acknowledged version {commit.version} is missing or unreadable", _RESTORE
                )
            )
        elif stored.get(lance_folder.DIGEST) != commit.digest:
            problem = f"version {commit.version} has another digest than was acknowledged"
            findings.append(Finding(table, problem, _RESTORE))
        elif tags.get(commit.tag) != commit.version:
            findings.append(
                Finding(
                    table,
                    f"the tag {commit.tag} of version {commit.version} is missing, torn or was moved",
                    f"Delete the tag if there is one, and tag version {commit.version} as {commit.tag} again",
                )
            )
    return findings + _check_keys(folder, pointer)


def _check_keys(folder: Path, pointer: Commit) -> list[Finding]:
    try:
        dataset = lance_folder.open_version(folder, pointer.version)
        keys = lance_folder.read_keys(dataset, pointer.key)
    except (ValueError, OSError, RuntimeError) as error:
        problem = f"the key column {pointer.key} cannot be read: {error}"
        return [Finding(pointer.table, problem, _RESTORE)]
    try:
        lance_folder.check_unique(keys, pointer.key, pointer.table)
    except SultanaError as error:
        return [Finding(pointer.table, error.problem, error.remedy)]
    if len(keys) != pointer.rows:
        problem = f"version {pointer.version} has {len(keys)} rows; {pointer.rows} were acknowledged"
        return [Finding(pointer.table, problem, _RESTORE)]
    return []
