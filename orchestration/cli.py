"""The `sultana` command: its commands in flow order. It drives the Dagster definitions, and nothing beside them."""

from collections.abc import Callable
from typing import Any

import typer

from orchestration.commands import auditing, judging, machine, making, retracting, using
from orchestration.commands.shared import EXIT_STATUS, examples
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
        (machine.ui, machine.UI_EXAMPLES),
    ),
}
for _panel, _commands in _COMMANDS.items():
    for _command, _examples in _commands:
        app.command(rich_help_panel=_panel, epilog=f"{examples(*_examples)}\n\n{EXIT_STATUS}")(_command)


def main() -> None:
    """Entry point of the `sultana` command."""
    app()


if __name__ == "__main__":
    main()
