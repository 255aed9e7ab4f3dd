"""Compressed files, unpacked to a temporary file before any row comes out.

A truncated or damaged archive shows itself only at its end, after libraries have handed out hundreds
of rows. So the whole archive is unpacked and its checksum verified first, within caps on size and ratio.
"""

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from assets.instructions.rows import Limits
from resources.errors import SultanaError
from resources.files import disk_full_explained

_BLOCK = 1 << 20
SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
}
_TAR = slice(257, 262)
HEAD_BYTES = 512


def compression_of(head: bytes) -> str | None:
    """`gzip` or `zstd` where the first bytes of a file say so, else None."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def refuse_archive(name: str, head: bytes) -> None:
    """Raise SultanaError where a file's first bytes are those of an archive that is not read."""
    kind = next((kind for magic, kind in _ARCHIVES.items() if head.startswith(magic)), None)
    if head[_TAR] == b"ustar":
        kind = "a tar archive"
    if kind:
        raise SultanaError(
            f"{name} is {kind}",
            "Expected JSON, JSON Lines, CSV or Parquet, plain or packed with gzip or zstd; unpack it first",
            code="format-unsupported",
        )


@contextmanager
def unpacked(path: Path, name: str, limits: Limits) -> Iterator[Path]:
    """The path of the plain file: `path` itself, or a temporary file that is deleted afterwards.

    Raises SultanaError where the archive is damaged, holds another archive or exceeds the caps.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    refuse_archive(name, head)
    kind = compression_of(head)
    expected = SUFFIXES.get(path.suffix.lower())
    if head and expected and kind != expected:
        raise SultanaError(
            f"{name} is named as {expected}, but does not begin as {expected} does",
            f"Rename it without '{path.suffix}' if it is not compressed, or fetch it again",
            code="compression-mismatch",
        )
    if kind is None:
        yield path
        return
    handle, temporary = tempfile.mkstemp(prefix="sultana-unpacked-")
    try:
        with os.fdopen(handle, "wb") as target, disk_full_explained(Path(temporary).parent):
            _unpack(path, name, kind, target, limits)
        with open(temporary, "rb") as file:
            inner = file.read(HEAD_BYTES)
        refuse_archive(f"The content of {name}", inner)
        if compression_of(inner):
            raise SultanaError(
                f"{name} holds another compressed file",
                "Unpack it once, then name it as the source",
                code="compressed-twice",
            )
        yield Path(temporary)
    finally:
        os.unlink(temporary)


def _unpack(path: Path, name: str, kind: str, target: BinaryIO, limits: Limits) -> None:
    most = min(limits.unpacked_bytes, max(limits.ratio * path.stat().st_size, limits.ratio_from_bytes))
    written = 0
    try:
        with _stream(path, kind) as source:
            while block := source.read(_BLOCK):
                written += len(block)
                if written > most:
                    raise SultanaError(
                        f"{name} unpacks to more than {most:,} bytes",
                        f"At most {limits.unpacked_bytes:,} bytes and {limits.ratio} times the packed size "
                        "may come out, against archives made to fill a disk; unpack it first if you trust it",
                        code="archive-too-large",
                    )
                target.write(block)
    except EOFError as error:
        raise _damaged(name, kind, "it ends in the middle") from error
    except (gzip.BadGzipFile, zlib.error, pa.ArrowException) as error:
        raise _damaged(name, kind, str(error)) from error
    except OSError as error:
        # Arrow reports damage as an OSError without a number; with one, it is the machine's.
        if error.errno is not None:
            raise
        raise _damaged(name, kind, str(error)) from error


def _stream(path: Path, kind: str) -> BinaryIO:
    if kind == "gzip":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    # Arrow's, because it reports a truncated zstd frame as an error.
    return pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd")


def _damaged(name: str, kind: str, why: str) -> SultanaError:
    return SultanaError(
        f"{name} is a damaged {kind} file: {why}",
        "Nothing was read from it. Fetch or compress it again, and compare its checksum with the original's",
        code="file-damaged",
    )
