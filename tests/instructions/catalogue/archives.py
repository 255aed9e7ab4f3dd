"""Compressed files and archives: damage, bombs, and what is not read at all."""

import bz2
import gzip

from tests.instructions.catalogue.case import GOOD, GZ, MANY, Case, random, zstd
from tests.instructions.catalogue.parquet_files import PARQUET

ARCHIVES = [
    Case("gz", "a.jsonl.gz", GZ, ["ok"] * 200),
    Case("gz without suffix", "a.jsonl", GZ, ["ok"] * 200),
    Case("gz of two members", "a.jsonl.gz", gzip.compress(GOOD) + gzip.compress(GOOD), ["ok", "ok"]),
    Case("gz truncated", "a.jsonl.gz", GZ[:-500], "ends in the middle"),
    Case("gz without its checksum", "a.jsonl.gz", GZ[:-8], "ends in the middle"),
    Case("gz bad checksum", "a.jsonl.gz", GZ[:-8] + b"\0\0\0\0" + GZ[-4:], "damaged gzip"),
    Case("gz trailing bytes", "a.jsonl.gz", GZ + b"junk", "damaged gzip"),
    Case("gz that is none", "a.jsonl.gz", GOOD, "does not begin as gzip"),
    Case("gz in gz", "a.jsonl.gz", gzip.compress(GZ), "another compressed file"),
    Case("gz bomb by ratio", "a.jsonl.gz", gzip.compress(b" " * 90_000), "unpacks to more than"),
    Case("gz bomb by size", "a.jsonl.gz", gzip.compress(random(200_000)), "unpacks to more than"),
    Case("gz of nothing", "a.jsonl.gz", gzip.compress(b""), "has no rows"),
    Case("zst", "a.jsonl.zst", zstd(MANY), ["ok"] * 200),
    Case("zst of two frames", "a.jsonl.zst", zstd(GOOD) + zstd(GOOD), ["ok", "ok"]),
    Case("zst truncated", "a.jsonl.zst", zstd(MANY)[:-10], "damaged zstd"),
    Case("zst trailing bytes", "a.jsonl.zst", zstd(MANY) + b"junk", "damaged zstd"),
    Case("parquet in gz", "a.parquet.gz", gzip.compress(PARQUET), ["ok", "ok"]),
    Case("zip", "a.jsonl", b"PK\x03\x04" + b"\0" * 60, "zip archive"),
    Case("xz", "a.jsonl.xz", b"\xfd7zXZ\x00" + b"\0" * 60, "is xz"),
    Case(
        "tar in gz",
        "a.jsonl.gz",
        gzip.compress(b"a.jsonl".ljust(257, b"\0") + b"ustar\0" + b"\0" * 300),
        "tar archive",
    ),
    Case("gz without content", "a.jsonl.gz", b"", "has no rows"),
    Case("gz bomb of one line", "a.jsonl.gz", gzip.compress(random(2000) * 20), ["line_too_long"]),
    Case("zst bomb by ratio", "a.jsonl.zst", zstd(b" " * 90_000), "unpacks to more than"),
    Case("zst in gz", "a.jsonl.gz", gzip.compress(zstd(MANY)), "another compressed file"),
    Case("zip in gz", "a.jsonl.gz", gzip.compress(b"PK\x03\x04" + b"\0" * 60), "zip archive"),
    Case("zst that is none", "a.jsonl.zst", GOOD, "does not begin as zstd"),
    Case("bzip2", "a.jsonl.bz2", bz2.compress(GOOD), "is bzip2"),
    Case("7z", "a.jsonl", b"7z\xbc\xaf\x27\x1c" + b"\0" * 60, "7z archive"),
    Case("rar", "a.jsonl", b"Rar!\x1a\x07\x00" + b"\0" * 60, "rar archive"),
    Case("tar", "a.jsonl", b"../../etc/passwd".ljust(257, b"\0") + b"ustar\0" + b"\0" * 300, "tar archive"),
    Case("csv in gz", "a.csv.gz", gzip.compress(b"instruction,output\na,b\n"), ["ok"]),
]
