"""`sultana promote` and `sultana rollback`: the alias champion, moved by a rule and on the record.

The decision is written first (table, then tags and a file of the MLflow run), the alias is moved last, after
the version's files have been hashed. A command that is killed in between is finished by the same command.
"""

import getpass
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from assets.identity import decision_id
from assets.lineage.promotion import (
    Comparison,
    Decision,
    PromotionRule,
    in_words,
    read_history,
    standing,
)
from assets.records import PROMOTIONS
from orchestration.instance import open_instance
from orchestration.promotion_evidence import gather_evidence
from orchestration.registered import find_registered, open_registry
from orchestration.reporting import attach_report
from orchestration.retraction_models import held_by_version
from orchestration.retraction_models import in_words as in_words_held
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.model_reference import parse_reference
from resources.table_refs import Provenance
from resources.tables import LanceTables
from resources.text import escape_terminal
from resources.tracking import CANDIDATE, CHAMPION, Tracking

LOCK_SECONDS = 60.0


def promote(
    reference: str,
    rule: PromotionRule,
    console: Console,
    *,
    force: bool = False,
    reason: str = "",
    tracking_uri: str = "",
) -> dict[str, Any]:
    """Makes a version the champion where the rule holds, and says what was compared; returns the decision.

    A report of the new champion is kept with its MLflow run. Raises SultanaError where the rule does not hold and
    is not waived (`force`, with a reason), where there is nothing to compare, or where the version's files are
    not those that were published.
    """
    if force and not reason.strip():
        raise SultanaError(
            "The rule is to be waived without a reason", 'Add --reason "..."', code="reason-missing"
        )
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    name = parse_reference(reference).name
    with exclusive_lock(data_folder() / "locks" / f"promotion-{name}.lock", LOCK_SECONDS):
        candidate = find_registered(tracking, reference, CANDIDATE)
        present = tracking.aliases(name).get(CHAMPION)
        if present == candidate.version:
            raise SultanaError(
                f"{candidate.title} is the champion already",
                f"Name another version: sultana promote {name}/VERSION",
                code="champion-already",
            )
        tracking.verify(name, candidate.version)
        with open_instance(data_folder()) as instance:
            held = held_by_version(instance, tables, candidate) or ()
            if held and not force:
                raise SultanaError(
                    f"{candidate.title} is not promoted: {in_words_held(candidate.title, held)}",
                    'Train one without those rows, or waive it: --force --reason "..."',
                    code="promotion-refused",
                )
            comparisons, evidence, waived = gather_evidence(
                instance, tables, tracking, candidate, present, rule, force
            )
        _show(comparisons, candidate.title, evidence["against"]["title"], console)
        failed = [one for one in comparisons if not one.passed]
        if failed and not force:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise SultanaError(
                f"{candidate.title} is not promoted: {in_words(failed[0])}{more}",
                'Train a better one, state another rule, or waive it: --force --reason "..."',
                code="promotion-refused",
            )
        decided = decide(
            tracking,
            tables,
            name,
            {
                "action": "promote",
                "version": candidate.version,
                "previous_version": present,
                "forced": bool(failed or held) or waived is not None,
                "reason": reason.strip() or None,
                "rule": asdict(rule),
                "evidence": {**evidence, **({"retracted": [one.to_json() for one in held]} if held else {})},
            },
        )
    console.print(
        escape_terminal(f"{candidate.title} is the champion")
        + (f"; before it was version {present}" if present else ""),
        markup=False,
    )
    return {**decided, "report": _keep_report(f"{name}/{candidate.version}", console, tracking_uri)}


def _keep_report(reference: str, console: Console, tracking_uri: str) -> str | None:
    """The place of the new champion's report in its MLflow run; None, and why, where a forced one cannot have one."""
    try:
        return attach_report(reference, console, tracking_uri=tracking_uri)["artifact"]
    except SultanaError as error:
        console.print(escape_terminal(f"There is no report of it: {error}"), markup=False, soft_wrap=True)
        return None


def rollback(name: str, console: Console, *, reason: str = "", tracking_uri: str = "") -> dict[str, Any]:
    """Takes the promotion that stands back: the champion is again the version before it, or none.

    Returns the decision. Raises SultanaError where nothing was promoted, or the alias was moved by something
    else since.
    """
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    reference = parse_reference(name)
    if reference.alias is not None or reference.version is not None:
        raise SultanaError(
            f"A roll-back takes a model, not a version: {escape_terminal(name, 80)}",
            f"Write: sultana rollback {reference.name}",
            code="model-reference-invalid",
        )
    with exclusive_lock(data_folder() / "locks" / f"promotion-{name}.lock", LOCK_SECONDS):
        find_registered(tracking, name)
        history = read_history(tables, name)
        present = tracking.aliases(name).get(CHAMPION)
        last = history[-1] if history else None
        if (
            last is not None
            and last.action == "rollback"
            and present == last.previous_version != last.version
        ):
            target = last.version  # of a roll-back that was killed before it moved the alias
            decided: dict[str, Any] = {"model": name, **asdict(last)}
            _move(tracking, name, target)
        else:
            stands = standing(history)
            if stands is None:
                raise SultanaError(
                    f"No promotion of the model '{name}' stands",
                    f"Promote a version: sultana promote {name}",
                    code="promotion-missing",
                )
            if stands.version != present:
                raise SultanaError(
                    f"The champion of '{name}' is {f'version {present}' if present else 'not set'}, but version "
                    f"{stands.version} was promoted last: the alias was moved by something else",
                    f"Say which one it is to be: sultana promote {name}/VERSION",
                    code="champion-moved",
                )
            target = stands.previous_version
            _refuse_retracted(tables, tracking, name, target)
            decided = decide(
                tracking,
                tables,
                name,
                {
                    "action": "rollback",
                    "version": target,
                    "previous_version": present,
                    "forced": False,
                    "reason": reason.strip() or None,
                    "rule": {},
                    "evidence": {"takes_back": stands.promotion_id},
                },
            )
    told = f"version {target} is the champion again" if target else "there is no champion any more"
    console.print(f"{name}: {told}", markup=False)
    return decided


def _refuse_retracted(tables: LanceTables, tracking: Tracking, name: str, version: int | None) -> None:
    """Raises SultanaError where a roll-back would lead to a version that was trained on something retracted."""
    if version is None:
        return
    with open_instance(data_folder()) as instance:
        before = find_registered(tracking, f"{name}/{version}")
        if held := held_by_version(instance, tables, before):
            raise SultanaError(
                f"Not rolled back: {in_words_held(before.title, held)}",
                f'Say that it is to be so: sultana promote {name}/{version} --force --reason "..."',
                code="promotion-refused",
            )


def decide(tracking: Tracking, tables: LanceTables, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Put a decision about a model on the record, then move the alias. The same decision, cut short, is finished.

    Returns what was put on the record, as JSON values.
    """
    history = read_history(tables, name)
    before = history[:-1] if _is_unfinished(history, document) else history
    identity = decision_id(before[-1].promotion_id if before else None, document)
    now = datetime.now(UTC)
    row = {
        "promotion_id": identity,
        "model": name,
        "sequence": len(before) + 1,
        **{key: document[key] for key in ("action", "version", "previous_version", "forced", "reason")},
        "rule": json.dumps(document["rule"], sort_keys=True),
        "evidence": json.dumps(document["evidence"], sort_keys=True),
        "decided_by": getpass.getuser(),
        "decided_at": now,
    }
    tables.write(
        PROMOTIONS,
        pa.Table.from_pylist([row], schema=PROMOTIONS.schema),
        mode="upsert",
        provenance=Provenance(f"command line {now.isoformat()}", f"promotion of {name}", identity),
    )
    about = document["version"] if document["action"] == "promote" else document["previous_version"]
    told = {**row, **document, "decided_at": now.isoformat()}
    version = find_registered(tracking, f"{name}/{about}")
    tracking.log_artifacts(
        version.run_id,
        {
            f"promotions/{row['sequence']:04d}-{row['action']}.json": json.dumps(
                told, indent=1, sort_keys=True
            ).encode()
        },
    )
    tracking.set_version_tags(
        name,
        version.version,
        {
            f"sultana.{row['action']}": f"{now.isoformat(timespec='seconds')} by {row['decided_by']}",
            f"sultana.{row['action']}.record": identity,
            f"sultana.{row['action']}.previous_version": str(document["previous_version"]),
            f"sultana.{row['action']}.rule": row["rule"],
            f"sultana.{row['action']}.forced": f"yes: {row['reason']}" if row["forced"] else "no",
        },
    )
    _move(tracking, name, document["version"])
    return told


def _is_unfinished(history: Sequence[Decision], document: Mapping[str, Any]) -> bool:
    """Whether the last decision on the record is this one, from the same champion: it was cut short."""
    if not history:
        return False
    before = history[-2].promotion_id if len(history) > 1 else None
    return history[-1].promotion_id == decision_id(before, document)


def _move(tracking: Tracking, name: str, version: int | None) -> None:
    if version is None:
        tracking.remove_alias(name, CHAMPION)
    else:
        tracking.set_alias(name, CHAMPION, version)


def _show(comparisons: Sequence[Comparison], candidate: str, champion: str, console: Console) -> None:
    if not comparisons:
        return
    board = Table(title=f"{candidate} against {champion}, test split", title_justify="left")
    for column in ("", "task", "metric", "candidate", "champion", "better by", "asked", "holds"):
        board.add_column(column, justify="left" if column in ("", "task", "metric", "holds") else "right")
    for one in comparisons:
        board.add_row(
            one.what,
            escape_terminal(one.task, 60),
            one.metric,
            f"{one.candidate:.4f}",
            f"{one.champion:.4f}",
            f"{one.gain:+.4f}",
            f"{one.least:+.4f}",
            "yes" if one.passed else "no",
        )
    console.print(board)
