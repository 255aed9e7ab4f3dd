"""What lies where in an exported folder; the exported loader holds a copy of this file."""

FORMAT = "sultana.export/1"
ABOUT = "export.json"
"""The file that says what the folder is: format, parts, and how it was made."""

DIGESTS = "MANIFEST.json"
"""The file with the SHA-256 of every other file."""

DATA_FORMATS = ("jsonl", "parquet", "datasets")
PARTS = ("originals", "interpolated", "parents")
NO_TEXT = "This row has no text: it is mixed from its two parents when a batch is built; see README.md."


def part_path(part: str, data_format: str) -> str:
    """Where a part lies: a file, or for `datasets` a folder."""
    return part if data_format == "datasets" else f"{part}.{data_format}"
