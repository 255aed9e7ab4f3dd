"""Commands that keep what was made: `backup` and `restore`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import AsJson, TrackingUri, answer, explained

BACKUP_EXAMPLES = (
    "sultana backup /mnt/disk/sultana",
    "sultana backup /mnt/disk/sultana --json | jq '.bytes'",
)
RESTORE_EXAMPLES = ("sultana restore /mnt/disk/sultana",)


def backup(
    folder: Annotated[
        Path, typer.Argument(help="Where backups are kept; each gets a folder of its own, under its time.")
    ],
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Copy the data folder as it is at one moment, while others go on writing; every file is verified.

    What the backup before has already is linked to, not copied. A database in PostgreSQL is not in it: save that with
    pg_dump before.
    """
    from orchestration.backing_up import back_up, show_backup

    with explained(as_json=as_json) as console:
        made = back_up(folder, tracking_uri)
        if not as_json:
            show_backup(made, console)
    answer(made, as_json)


def restore(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder of backups, of which the newest is taken, or one of the backups in it."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Put a backup into the data folder, which must be empty; every file is verified.

    Interrupted, the same command goes on. Runs that were in progress when the backup was made count as failed then.
    """
    from orchestration.restoring import restore as put_back
    from orchestration.restoring import show_restored

    with explained(as_json=as_json) as console:
        found = put_back(folder)
        if not as_json:
            show_restored(found, console)
    answer(found, as_json)
