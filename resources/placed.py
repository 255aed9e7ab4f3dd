"""Where the tables lie that a commit log acknowledges: recorded once, beside the commits, before the first of them."""

from resources.commits import CommitLog
from resources.side_chain import SideChain

_COLUMNS = {"uri": "TEXT", "log_id": "TEXT"}


def record_placed(log: CommitLog, uri: str, log_id: str) -> None:
    """Record that the tables lie at `uri`, and by which id this log claims that place; durable on return."""
    _chain(log).append([{"uri": uri, "log_id": log_id}])


def placed(log: CommitLog) -> tuple[str, str] | None:
    """The address and the id by which it is claimed; None where the tables lie beside the log."""
    records = _chain(log).records()
    return (str(records[-1]["uri"]), str(records[-1]["log_id"])) if records else None


def check_placed(log: CommitLog) -> str | None:
    """What is wrong with the record; None if nothing."""
    return _chain(log).problem()


def _chain(log: CommitLog) -> SideChain:
    return SideChain(log, "placed", _COLUMNS)
