"""What the rules of a server say of a request."""

from dataclasses import dataclass
from typing import Protocol

from orchestration.web.asked import Asked


@dataclass(frozen=True)
class Passed:
    """A request that is passed on. `body` replaces what was sent; a change is written to the audit log."""

    changes: bool = False
    body: bytes | None = None
    operation: str = ""
    fields: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the answer that differ from those of every answer."""
    is_graphql: bool = False


class Rules(Protocol):
    """What a server may be asked."""

    headers: dict[str, str]
    """Headers of every answer."""

    async def judge(self, asked: Asked, body: bytes, role: str) -> Passed:
        """Whether a request may be passed on. Raises Refused where it may not."""
        ...

    def judge_message(self, text: str) -> None:
        """Raises Refused where a message on an open connection may not be passed on."""
        ...
