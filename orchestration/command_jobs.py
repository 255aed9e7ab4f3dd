"""What jobs that do the work of a command share: the command's print, its answer, and the job around one op.

Every such job calls what its command calls, with the store that the resource `registry` names. What a command prints
stands in the run's log, what it answers with `--json` in the metadata of the op's output: there others may read it,
so keys, e-mail addresses and the like are named by their kind alone.
"""

import io
from collections.abc import Callable
from typing import Any

import dagster as dg
from rich.console import Console

from orchestration.console import open_console
from orchestration.run_workers import claiming
from resources.private import mask_private, masked_values

LONGEST_SECONDS = 6 * 3600
"""An audit that trains again takes the longest of them."""


def new_console() -> Console:
    """A console that keeps what is printed on it, for `tell`."""
    return open_console(io.StringIO())


def tell(context: dg.OpExecutionContext, console: Console, answer: dict[str, Any]) -> None:
    """Puts what was printed into the run's log, and the answer into the metadata of the op's output."""
    text = console.file.getvalue()  # type: ignore[attr-defined]
    context.log.info(mask_private(text))
    context.add_output_metadata({"answer": dg.MetadataValue.json(masked_values(answer))})


def tell_shown(
    context: dg.OpExecutionContext, found: dict[str, Any], show: Callable[[dict[str, Any], Console], None]
) -> None:
    """`tell` of an answer that `show` prints, as its command does."""
    console = new_console()
    show(found, console)
    tell(context, console, found)


def command_job(op: dg.OpDefinition, name: str, command: str) -> dg.JobDefinition:
    """A job of one op that does what `sultana <command>` does, in the process of the run.

    Run monitoring ends it after LONGEST_SECONDS; jobs that make assets may take as long as dagster.yaml says.
    """
    return dg.GraphDefinition(name=name, node_defs=[op], description=op.description).to_job(
        tags={"sultana/command": command, "dagster/max_runtime": str(LONGEST_SECONDS)},
        executor_def=claiming(dg.in_process_executor),
    )
