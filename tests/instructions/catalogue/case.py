"""What a case of the catalogue is, and what its files are made from."""

import gzip
import io
import zlib
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from assets.instructions.rows import Limits

GOOD = b'{"instruction": "Add 2 and 3.", "input": "", "output": "5"}\n'
SMALL = Limits(row_bytes=4000, field_bytes=1000, unpacked_bytes=100_000, ratio=20, ratio_from_bytes=40_000)


@dataclass(frozen=True)
class Case:
    """A file, and what comes of it: per row "ok" where it is kept, else the reason it is quarantined for; or a text
    that the error about the whole file holds.
    """

    id: str
    file: str
    content: bytes
    outcome: list[str] | str
    format: str | None = None


def lines(*rows: bytes) -> bytes:
    return b"".join(row if row.endswith(b"\n") else row + b"\n" for row in rows)


def row(**fields: object) -> bytes:
    return orjson.dumps(fields)


def alpaca(output: bytes) -> bytes:
    """A row whose output is given as JSON text."""
    return b'{"instruction": "a", "output": ' + output + b"}"


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def parquet(**columns: pa.Array) -> bytes:
    return parquet_of(list(columns), list(columns.values()))


def parquet_of(names: list[str], columns: list[pa.Array]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names=names), sink)
    return sink.getvalue()


def invalid_text(*rows: bytes) -> pa.Array:
    """A string column that holds bytes as they are."""
    return pa.array(rows, pa.binary()).view(pa.string())


def random(size: int) -> bytes:
    """Text that does not compress."""
    return b"".join(
        zlib.crc32(bytes([n % 256, n // 256])).to_bytes(4, "big").hex().encode() for n in range(size // 8)
    )


MANY = lines(*[row(instruction=f"Say {n}.", output=random(80).decode()[:60] + str(n)) for n in range(200)])
GZ = gzip.compress(MANY)
