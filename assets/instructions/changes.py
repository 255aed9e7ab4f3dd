"""Whether sources have changed: by content, looked at only where a cheap look says that it may have.

The cheap look (size, times and inode of local files; the Hub's newest commit; entity tags) decides nothing
but whether files are worth hashing. What a file holds counts only once two looks in a row agree, so that a
file which is still being written starts no work.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from assets.identity import digest
from assets.instructions.addresses import check_uri, is_remote
from assets.instructions.hub import HUB_PREFIX, hub_state
from assets.instructions.raw import source_fingerprint
from assets.instructions.remote import remote_state
from assets.instructions.sources import Hashes, local_files
from assets.instructions.specs import SourceSpec
from resources.files import file_states

UNVERSIONED_SECONDS = 3600
"""How often a file is read whose server tells no version of it."""


_HASHES = Hashes()


@dataclass(frozen=True)
class Watch:
    """What is remembered of a set of sources from look to look; all digests, empty at first."""

    settled: str = ""  # the look whose content is known
    pending: str = ""  # the newest look, when it was not settled yet
    requested: str = ""  # the content that was last asked for
    requests: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What a look led to: what to remember, whether to read the sources now, and why or why not."""

    watch: Watch
    read: bool
    reason: str


def look(specs: Sequence[SourceSpec], *, now: float | None = None) -> str:
    """A digest that differs when the sources may have changed. Reads no file; raises SultanaError.

    `now` is the time in seconds since 1970; it counts for files whose server tells no version of them.
    """
    return digest([[asdict(spec), _state(spec, time.time() if now is None else now)] for spec in specs])


def content(specs: Mapping[str, Sequence[SourceSpec]] | Sequence[SourceSpec]) -> str:
    """The digest of `source_fingerprint`, of each group of sources where there are several.

    A process that looks again reads only files whose state has changed since.
    """
    if isinstance(specs, Mapping):
        return digest({name: source_fingerprint(group, _HASHES) for name, group in specs.items()})
    return digest(source_fingerprint(specs, _HASHES))


def judge(watch: Watch, look: Callable[[], str], content: Callable[[], str], known: str | None) -> Verdict:
    """Decides after one look. `known` is the content that was read last, None where none was.

    One change is asked for once: neither a failed run nor a touched file makes it asked for again.
    """
    seen = look()
    if seen == watch.settled:
        return Verdict(replace(watch, pending=""), False, "nothing has changed")
    if seen != watch.pending:
        return Verdict(
            replace(watch, pending=seen),
            False,
            "something may have changed; waiting until nothing is written",
        )
    found = content()
    again = look()
    if again != seen:
        return Verdict(replace(watch, pending=again), False, "something is still being written")
    settled = replace(watch, settled=seen, pending="")
    if found == known:
        return Verdict(replace(settled, requested=""), False, "the content is what was read last")
    if found == watch.requested:
        return Verdict(settled, False, "a run for this content has been requested before")
    return Verdict(
        replace(settled, requested=found, requests=watch.requests + 1), True, "the content has changed"
    )


def _state(spec: SourceSpec, now: float) -> list[Any]:
    check_uri(spec.uri)
    if spec.uri.startswith(HUB_PREFIX):
        return hub_state(spec.uri, revision=spec.revision, mirror=spec.hub_mirror)
    if is_remote(spec.uri):
        found = remote_state(spec.uri)
        unversioned = any(version is None for _, _, version in found)
        return [found, int(now // UNVERSIONED_SECONDS) if unversioned else None]
    return file_states(local_files(spec.uri))
