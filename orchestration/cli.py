"""The `sultana` command: its commands in flow order. It drives the Dagster definitions, and nothing beside them."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from orchestration.commands import auditing, judging, keeping, machine, making, retracting, using
from orchestration.commands.shared import EXIT_STATUS, PROBLEM, examples
from orchestration.console import error as print_error
from resources.environment import apply_safe_defaults

apply_safe_defaults()
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Versioned lineage for instruction tuning: from raw instructions to a registered, evaluated model.\n\n"
    "First time: sultana run --preset demo, then sultana status and sultana ui. What a command does is in "
    "sultana COMMAND --help.",
    epilog=f"{EXIT_STATUS}\nEverything lies in data/, or in the folder that SULTANA_DATA names.",
)

_COMMANDS: dict[str, tuple[tuple[Callable[..., Any], tuple[str, ...]], ...]] = {
    "Make a model": (
        (making.run, making.RUN_EXAMPLES),
        (making.status, making.STATUS_EXAMPLES),
    ),
    "Judge it": (
        (judging.compare, judging.COMPARE_EXAMPLES),
        (judging.report, judging.REPORT_EXAMPLES),
        (judging.promote, judging.PROMOTE_EXAMPLES),
        (judging.rollback, judging.ROLLBACK_EXAMPLES),
    ),
    "Audit it": (
        (auditing.audit, auditing.AUDIT_EXAMPLES),
        (auditing.trace, auditing.TRACE_EXAMPLES),
        (auditing.prove, auditing.PROVE_EXAMPLES),
        (using.export_lineage, using.EXPORT_LINEAGE_EXAMPLES),
        (retracting.retract, retracting.RETRACT_EXAMPLES),
        (retracting.retractions, retracting.RETRACTIONS_EXAMPLES),
    ),
    "Use it": (
        (using.generate, using.GENERATE_EXAMPLES),
        (using.export, using.EXPORT_EXAMPLES),
        (using.export_model, using.EXPORT_MODEL_EXAMPLES),
    ),
    "This machine": (
        (machine.doctor, machine.DOCTOR_EXAMPLES),
        (machine.maintain, machine.MAINTAIN_EXAMPLES),
        (keeping.backup, keeping.BACKUP_EXAMPLES),
        (keeping.restore, keeping.RESTORE_EXAMPLES),
        (machine.ui, machine.UI_EXAMPLES),
    ),
}
for _panel, _commands in _COMMANDS.items():
    for _command, _examples in _commands:
        app.command(rich_help_panel=_panel, epilog=f"{examples(*_examples)}\n\n{EXIT_STATUS}")(_command)


def _called(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command and the names of its options in a command line, without any value."""
    known: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    name = next((one for one in arguments if one in known), None)
    if name is None:
        return "sultana", []
    options = {
        option for parameter in known[name].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    given = {one.split("=", 1)[0] for one in arguments}
    return f"sultana {name}", sorted(one for one in options & given if one.startswith("-"))


def main() -> None:
    """Entry point of the `sultana` command. A crash ends as one sentence, which says where its report lies."""
    try:
        app()
    except Exception as error:
        from assets.failures import TRACEBACK, crashed
        from resources.definitions import data_folder

        if os.environ.get(TRACEBACK):
            raise
        doing, options = _called(sys.argv[1:])
        print_error(str(crashed(error, data_folder(), doing, options)))
        raise SystemExit(PROBLEM) from None


if __name__ == "__main__":
    main()
