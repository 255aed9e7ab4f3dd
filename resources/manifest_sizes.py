"""The sizes of files that Lance's manifests tell, set to 0, which means unknown, once a file changes its size.

A reader finds the end of a file by that number. It is a varint of protobuf's and is written in as many bytes as it
had, so that nothing in the manifest moves.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from resources.errors import SultanaError
from resources.rewritten import Replacing, exchange

# DataFile of Lance's table.proto: the path is field 1. IndexMetadata: the UUID is field 1. IndexFile: path, size.
_DATA_FILE_SIZE = 6
_INDEX_FILES = 10
_INDEX_FILE_SIZE = 2
_VARINT, _BYTES = 0, 2


def forget_data_size(manifests: Iterable[Path], name: str, replacing: Replacing) -> None:
    """Forgets the size of a data file. Raises SultanaError where a manifest tells it otherwise than expected."""
    for manifest in manifests:
        content = manifest.read_bytes()
        sizes = []
        for place in _places(content, name.encode()):
            fields = {number: start for number, start, _ in _fields(content, place, 2, _DATA_FILE_SIZE)}
            if not fields:
                raise _unexpected(manifest, name)
            sizes += [fields[_DATA_FILE_SIZE]] if _DATA_FILE_SIZE in fields else []  # else unknown already
        _zero(manifest, content, sizes, replacing)


def forget_index_sizes(
    manifests: Iterable[Path], index: str, names: Collection[str], replacing: Replacing
) -> None:
    """Forgets the sizes of the files `names` of the index with the UUID `index`, which each manifest has.

    Raises SultanaError where a manifest tells of them otherwise than expected.
    """
    for manifest in manifests:
        content = manifest.read_bytes()
        sizes, told = [], set()
        for place in _places(content, uuid.UUID(index).bytes):
            for number, start, end in _fields(content, place, 2, _INDEX_FILES):
                if number == _INDEX_FILES:
                    about = list(_fields(content[start:end], 0, 1, _INDEX_FILE_SIZE))
                    told |= {
                        content[start + one : start + last].decode()
                        for field, one, last in about
                        if field == 1
                    }
                    sizes += [start + one for field, one, _ in about if field == _INDEX_FILE_SIZE]
        if not set(names) <= told:
            raise _unexpected(manifest, f"_indices/{index}")
        _zero(manifest, content, sizes, replacing)


def _zero(manifest: Path, content: bytes, sizes: Iterable[int], replacing: Replacing) -> None:
    changed = bytearray(content)
    for place in sizes:
        length = _varint_end(content, place) - place
        changed[place : place + length] = b"\x80" * (length - 1) + b"\x00"
    if changed != content:
        temporary = manifest.with_name(f".erasing-{manifest.stem}")
        temporary.write_bytes(changed)
        exchange(manifest, temporary, replacing)


def _places(content: bytes, wanted: bytes) -> Iterator[int]:
    """The ends of every occurrence."""
    start = content.find(wanted)
    while start >= 0:
        yield start + len(wanted)
        start = content.find(wanted, start + 1)


def _fields(content: bytes, place: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message from `place` on: number, start and end of the value.

    They are written in the order of their numbers: where that goes down, or beyond `last`, another message begins.
    """
    while place < len(content):
        number, kind = content[place] >> 3, content[place] & 7
        if not first <= number <= last or kind not in (_VARINT, _BYTES):
            return
        start = place + 1
        end = _varint_end(content, start)
        if kind == _BYTES:
            length = sum((byte & 0x7F) << (7 * power) for power, byte in enumerate(content[start:end]))
            start, end = end, end + length
        yield number, start, end
        first, place = number, end


def _varint_end(content: bytes, place: int) -> int:
    while content[place] & 0x80:
        place += 1
    return place + 1


def _unexpected(manifest: Path, name: str) -> SultanaError:
    return SultanaError(
        f"{manifest} does not tell the size of {name} as this release expects it",
        f"Move {manifest.parents[1]} away, which loses its versions, and materialize its asset again",
        code="table-layout-unknown",
    )
