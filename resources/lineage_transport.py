"""Where OpenLineage events go: the transport that openlineage-python's own configuration names, if any.

`OPENLINEAGE_URL`, `OPENLINEAGE__TRANSPORT__TYPE` and what else the client reads from the environment, or an
`openlineage.yml` in the folder that Sultana runs in, under `OPENLINEAGE_CONFIG` or in `~/.openlineage`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import SultanaError
from resources.standards import standards

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

NAMESPACE = "OPENLINEAGE_NAMESPACE"
"""The environment variable with the namespace of jobs and datasets, as other OpenLineage integrations read it."""

DEFAULT_NAMESPACE = "sultana"
CLOSING_SECONDS = 10.0
_CONFIGURATION = "openlineage.yml"
_FOLDER = ".openlineage"


def namespace() -> str:
    """The namespace of jobs and datasets."""
    return os.environ.get(NAMESPACE) or DEFAULT_NAMESPACE


def is_configured() -> bool:
    """Whether the environment or a file names a transport. Imports nothing: every process asks."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    named = os.environ.get("OPENLINEAGE_URL") or os.environ.get("OPENLINEAGE_CONFIG")
    if named or any(name.startswith("OPENLINEAGE__TRANSPORT__") for name in os.environ):
        return True
    return any((folder / _CONFIGURATION).is_file() for folder in (Path.cwd(), Path.home() / _FOLDER))


def emit(events: Iterable["RunEvent"]) -> int:
    """Sends events in order through the transport that is configured; their number, 0 where none is.

    Raises SultanaError where the client is not installed, its configuration cannot be used, or the transport fails;
    events after one that failed are not sent.
    """
    with standards():
        from openlineage.client.client import OpenLineageClient
    try:
        client = OpenLineageClient()
        # Without a transport the client prints to standard output, which is for the answers of commands.
        if not (client.config.transport or {}).get("type") and not os.environ.get("OPENLINEAGE_URL"):
            return 0
        sent = 0
        try:
            for event in events:
                client.emit(event)
                sent += 1
        finally:
            client.close(CLOSING_SECONDS)
    except SultanaError:
        raise  # of what makes the events
    except Exception as error:
        # Transports raise what their libraries raise; the text of an error may hold an address with a password.
        raise SultanaError(
            f"OpenLineage events could not be sent ({type(error).__name__})",
            "Check the OPENLINEAGE variables or openlineage.yml, and the server that they name",
            code="lineage-events-not-sent",
        ) from error
    return sent
