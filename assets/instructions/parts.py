"""Reading sources on an engine with workers elsewhere: the rows, ids and counts of `raw.read_sources`, in its order.

A part is files of about `PART_BYTES`, or some of the lines of a larger one; a large array, CSV or compressed file is a
part of its own. A worker reads its part, whose bytes must be those that this machine saw, and writes its rows into
the table's folder; back come their keys and hashes, and what was counted. Only a sample of the rows comes back as rows.
What is wrong with a file is told in the order of the files, whichever worker finds it first.
"""

import contextlib
import hashlib
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from assets.instructions.batches import Tally, batches_of, sample
from assets.instructions.file_rows import OnBadFile, RawRow, rows_of_file
from assets.instructions.raw import check_names, check_not_empty, check_scores, source_files
from assets.instructions.reader import Limits, Lines, line_parts
from assets.instructions.retractions import Standing
from assets.instructions.sources import SourceFile, check_unchanged
from assets.instructions.specs import FileCounts, ReadCounts, SourceSpec
from resources.compute.alike import not_shared
from resources.compute.boundary import Compute, in_order
from resources.errors import SultanaError
from resources.files import sha256_file
from resources.table_fragments import Target, Written, write_rows

PART_BYTES = 16 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A file of a source, or some of its lines; `last` where no piece of that file follows. `copy` is as in
    `rows_of_file`."""

    spec: SourceSpec
    file: SourceFile
    copy: str
    lines: Lines | None = None
    last: bool = True


Part = tuple[Piece, ...]


@dataclass
class PartRead:
    """What a worker read: counts for each piece, and its rows, written or as a sample.

    Where a file is bad, its piece is the last, and `wrong` says why: no error yet, since one before it may come later.
    """

    counts: list[FileCounts] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    wrong: SultanaError | None = None
    written: Written | None = None
    sampled: list[pa.RecordBatch] = field(default_factory=list)


@dataclass(frozen=True)
class _Reading:
    """Builds what reads a part."""

    target: Target
    limits: Limits
    on_bad_file: OnBadFile
    maximum_rows: int
    erasures: Standing

    def __call__(self) -> Callable[[Part], PartRead]:
        return self.read

    def read(self, part: Part) -> PartRead:
        """Raises SultanaError where this machine does not see a file, or sees other bytes."""
        found = PartRead()
        if self.maximum_rows:
            # What is erased is emptied, and rows are counted, once it is known which are kept.
            rows = sample(self._rows(part, found), self.maximum_rows)
            found.sampled = list(batches_of(rows, Tally(), Standing()))
        else:
            rows = self._rows(part, found)
            found.written = write_rows(self.target, batches_of(rows, found.tally, self.erasures))
        return found

    def _rows(self, part: Part, found: PartRead) -> Iterator[RawRow]:
        for piece in part:
            _check_same(piece)
            count = FileCounts(piece.spec.name, piece.file.name, piece.file.sha256)
            found.counts.append(count)
            try:
                yield from rows_of_file(
                    piece.spec,
                    piece.file,
                    count,
                    copy=piece.copy,
                    limits=self.limits,
                    on_bad_file=self.on_bad_file,
                    lines=piece.lines,
                )
            except SultanaError as error:
                found.wrong = error
                return


def _check_same(piece: Piece) -> None:
    """Raises SultanaError where what this machine sees is not what was hashed by the one that gave the part."""
    path, lines = piece.file.path, piece.lines
    try:
        if lines is None:
            same = sha256_file(path) == piece.file.sha256
        else:
            found, left = hashlib.sha256(), lines.end - lines.start
            with path.open("rb") as stream:
                stream.seek(lines.start)
                while left and (block := stream.read(min(left, _BLOCK))):
                    found.update(block)
                    left -= len(block)
            same = found.hexdigest() == lines.sha256
    except (FileNotFoundError, NotADirectoryError):
        raise not_shared(path) from None
    except OSError as error:
        raise SultanaError(
            f"{piece.file.name} cannot be read by the worker on {socket.gethostname()}: {error.strerror or error}",
            "Check the file, its permissions and its disk on every node",
            code="file-unreadable",
        ) from error
    if not same:
        raise SultanaError(
            f"{piece.file.name} of the source '{piece.spec.name}' is another file for the worker on "
            f"{socket.gethostname()}, or changed since it was looked at",
            "Let all nodes share the folder of the source, and read it again when nothing writes to it any more",
            code="source-changed",
        )


def cut(pieces: Iterable[Piece], limits: Limits) -> Iterator[Part]:
    """Parts of about `PART_BYTES`: small files together, large ones by their lines where they have any."""
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        own = piece.file.path.stat().st_size
        lines = None
        if own > PART_BYTES:
            lines = line_parts(
                piece.file.path,
                name=piece.file.name,
                format=piece.spec.format,
                limits=limits,
                size=PART_BYTES,
            )
        if held and (lines or size + own > PART_BYTES):
            yield tuple(held)
            held, size = [], 0
        if lines:
            for one in lines:
                yield (replace(piece, lines=one, last=one is lines[-1]),)
        else:
            held.append(piece)
            size += own
    if held:
        yield tuple(held)


def read_parts(
    specs: Sequence[SourceSpec],
    target: Target,
    compute: Compute,
    *,
    copies: Path,
    counts: ReadCounts,
    limits: Limits | None = None,
    on_bad_file: OnBadFile = "fail",
    maximum_rows: int = 0,
    erasures: Standing | None = None,
) -> Iterator[PartRead]:
    """What is read of each part, in order; raises what `raw.read_sources` raises.

    `copies` is a folder that all workers see, for copies of remote files. With `maximum_rows` each part gives the rows
    of its own that a `sample` of so many rows may hold.
    """
    check_names(specs)
    given: deque[Part] = deque()
    reading = _Reading(target, limits or Limits(), on_bad_file, maximum_rows, erasures or Standing())
    with contextlib.ExitStack() as sources:

        def parts() -> Iterator[Part]:
            for part in cut(_pieces(specs, copies, sources), reading.limits):
                given.append(part)
                yield part

        source = _Checked(counts)
        for found in in_order(compute, reading, parts()):
            if source.takes(given.popleft(), found):
                yield found
        source.ends()


def _pieces(specs: Sequence[SourceSpec], copies: Path, sources: contextlib.ExitStack) -> Iterator[Piece]:
    seen: set[str] = set()
    for spec in specs:
        for file in sources.enter_context(source_files(spec, copies=copies)):
            # As in `raw.read_sources`: copies of one file have equal hashes.
            copy = f"{spec.name}:{file.name}:" if file.sha256 in seen else ""
            seen.add(file.sha256)
            yield Piece(spec, replace(file, path=file.path.absolute()), copy)


class _Checked:
    """Holds what was read to the rules for files and sources, in their order."""

    def __init__(self, counts: ReadCounts) -> None:
        self._counts = counts
        self._spec: SourceSpec | None = None
        self._first = 0
        self._begun = self._given_up = False

    def takes(self, part: Part, found: PartRead) -> bool:
        """Counts a part; whether it counts at all: lines behind those where a file could not be read do not."""
        for place, (piece, count) in enumerate(zip(part, found.counts, strict=False)):
            if not self._begun:
                self._source_of(piece)
                self._given_up = False
            elif self._given_up:
                self._end_of_file(piece)
                return False
            last = place == len(found.counts) - 1
            if last and found.wrong is not None:
                check_unchanged(piece.file, piece.spec.name)
                raise found.wrong
            if self._begun:
                self._counts.files[-1].add(count)
            else:
                self._counts.files.append(count)
            self._given_up = bool(count.problems["unreadable_file"])
            self._begun = True
            self._end_of_file(piece)
        return True

    def _end_of_file(self, piece: Piece) -> None:
        if piece.last:
            check_unchanged(piece.file, piece.spec.name)
            check_not_empty(piece.spec, self._counts.files[-1])
            self._begun = False

    def _source_of(self, piece: Piece) -> None:
        if self._spec is not piece.spec:
            self.ends()
            self._spec, self._first = piece.spec, len(self._counts.files)

    def ends(self) -> None:
        """The source that was read last has no more files."""
        if self._spec is not None:
            check_scores(self._spec, self._counts.files[self._first :])
