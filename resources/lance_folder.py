"""One Lance table on disk: its versions, what a version says of itself, and the heads that cannot be read.

Lance's file layout appears in this module only. No function here takes a lock or moves the pointer.
"""

import contextlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from resources.errors import SultanaError
from resources.files import sync_path
from resources.row_hashes import ROW_HASH
from resources.text import escape_terminal
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

# Lance names the manifest of version v by 2^64 - 1 - v, so that the newest sorts first.
_NEWEST_FIRST = 2**64 - 1
_KEY_MARK = {b"lance-schema:unenforced-primary-key": b"true"}
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]+")
_TAG_NAME_LENGTH = 64
IDEMPOTENCY_KEY = "sultana.idempotency_key"
RUN_ID = "sultana.run_id"
ASSET_KEY = "sultana.asset_key"
DIGEST = "sultana.digest"
DATA_VERSION = "sultana.data_version"
BASE = "sultana.base"
"""The sequence number of the commit whose rows were added to; empty where the rows are all there is."""
COMMIT_MESSAGE = "__lance_commit_message"


def versions_on_disk(folder: Path) -> list[int]:
    """The versions that have a manifest, readable or not, the newest first."""
    names = (path.stem for path in (folder / "_versions").glob("*.manifest"))
    return sorted(
        (_NEWEST_FIRST - int(name) for name in names if len(name) == 20 and name.isdigit()), reverse=True
    )


def manifest(folder: Path, version: int) -> Path:
    """The file that is a version: it lists the others."""
    return folder / "_versions" / f"{_NEWEST_FIRST - version:020d}.manifest"


def remove_version(folder: Path, version: int) -> None:
    """Remove the manifest of a version that cannot be read, so that Lance opens the one before it.

    Its tags go first: the next commit gets the same number, and other content.
    """
    for name, tagged in tags(folder).items():
        if tagged in (version, None):
            _tag_path(folder, name).unlink()
    manifest(folder, version).unlink()
    sync_path(folder / "_versions")


def open_version(folder: Path, version: int) -> "LanceDataset":
    """A fresh handle at `version`. Raises ValueError, OSError or RuntimeError where it cannot be read."""
    import lance

    dataset = within_time(f"opening {folder.name}", lance.dataset, str(folder), version=version)
    # A manifest of zeros opens as the empty version 0, without an error.
    if dataset.version != version:
        raise ValueError(f"version {version} opens as version {dataset.version}")
    return dataset


def properties(dataset: "LanceDataset") -> dict[str, str]:
    """What the commit of the opened version says of itself; empty where another program wrote it."""
    return dict(dataset.read_transaction(dataset.version).transaction_properties or {})


def readable_properties(folder: Path, version: int) -> dict[str, str] | None:
    """The properties of a version's commit, or None where the version cannot be read."""
    try:
        dataset = open_version(folder, version)
        within_time(f"counting {folder.name}", dataset.count_rows)
        return properties(dataset)
    except (ValueError, OSError, RuntimeError):  # Lance has no error class of its own for a torn file
        return None


def restore_version(folder: Path, version: int) -> int:
    """Make the content of `version` the newest version again; returns the newest version's number."""
    if versions_on_disk(folder)[0] != version:
        within_time(f"restoring {folder.name}", open_version(folder, version).restore)
    return versions_on_disk(folder)[0]


def _tag_path(folder: Path, name: str) -> Path:
    return folder / "_refs" / "tags" / f"{name}.json"


def tags(folder: Path) -> dict[str, int | None]:
    """Every tag's version; None where the tag's file is torn, which makes Lance refuse to list any."""
    found: dict[str, int | None] = {}
    for path in sorted((folder / "_refs" / "tags").glob("*.json")):
        try:
            found[path.stem] = int(json.loads(path.read_bytes())["version"])
        except (ValueError, KeyError, TypeError):
            found[path.stem] = None
    return found


def tag_stem(asset_key: str, digest: str) -> str:
    """What the name of the tag begins with that holds a version of this content by this asset."""
    return f"{_NOT_IN_TAGS.sub('-', asset_key)[:_TAG_NAME_LENGTH]}-{digest[:12]}"


def own_tags(folder: Path, version: int) -> set[str]:
    """The names that `tag_version` could have given to a version, by what it says of itself."""
    stored = readable_properties(folder, version) or {}
    if ASSET_KEY not in stored or DIGEST not in stored:
        return set()
    stem = tag_stem(stored[ASSET_KEY], stored[DIGEST])
    return {stem, f"{stem}-v{version}"}


def tag_version(folder: Path, dataset: "LanceDataset", stem: str) -> str:
    """Tag the opened version, so that no clean-up removes it; returns the tag's name.

    The name is `stem`, or `stem-v<version>` where `stem` is the tag of another version: a tag is
    never moved. Lance allows letters, digits, `.`, `-` and `_` in a tag.
    """
    for name in (stem, f"{stem}-v{dataset.version}"):
        path = _tag_path(folder, name)
        tagged = tags(folder).get(name) if path.exists() else None
        if tagged == dataset.version:
            return name
        if tagged is None:
            path.unlink(missing_ok=True)
            within_time(f"tagging {folder.name}", dataset.tags.create, name, dataset.version)
            return name
    raise SultanaError(
        f"The tag {stem}-v{dataset.version} of {folder} belongs to another version",
        "Somebody moved it: run `sultana doctor`, then delete the tag",
        code="tag-moved",
    )


def set_tag(folder: Path, dataset: "LanceDataset", name: str) -> None:
    """Let the tag hold the opened version, whatever it held before, or torn as it was."""
    _tag_path(folder, name).unlink(missing_ok=True)
    within_time(f"tagging {folder.name}", dataset.tags.create, name, dataset.version)


def remove_tags(folder: Path, versions: Collection[int]) -> None:
    """Remove every tag of these versions, durably: a clean-up may take them then."""
    for name, tagged in tags(folder).items():
        if tagged in versions:
            _tag_path(folder, name).unlink()
    if (folder / "_refs" / "tags").is_dir():
        sync_path(folder / "_refs" / "tags")


def declare_key(schema: pa.Schema, key: str) -> pa.Schema:
    """`schema` with `key` declared as Lance's unenforced primary key.

    Without it two upserts at once insert the same new key twice, and neither sees an error.
    """
    field = schema.field(key)
    if field.nullable:
        raise ValueError(f"the key column {key} must not be nullable")
    merged = {**(field.metadata or {}), **_KEY_MARK}
    return schema.set(schema.get_field_index(key), field.with_metadata(merged))


def _forbidden_nulls(array: pa.Array, field: pa.Field) -> str | None:
    """The path of the field, at or below `field`, that has nulls against its declaration.

    Arrow's own validation lets them pass.
    """
    if array.null_count and not field.nullable:
        return field.name
    if pa.types.is_struct(field.type):
        present = array.drop_null() if array.null_count else array
        children = [(present.field(child.name), child) for child in field.type]
    elif pa.types.is_list(field.type):
        children = [(array.flatten(), field.type.value_field)]
    else:
        return None
    for values, child in children:
        if path := _forbidden_nulls(values, child):
            return f"{field.name}.{path}"
    return None


def conform(batch: pa.RecordBatch, schema: pa.Schema, table: str) -> pa.RecordBatch:
    """`batch` with exactly the columns of `schema`, in its order and types, its content validated.

    Raises SultanaError naming the column where one is missing, unknown, of another type, or null
    where the schema says it may not be.
    """
    if set(batch.schema.names) != set(schema.names) or len(batch.schema.names) != len(schema.names):
        missing = sorted(set(schema.names) - set(batch.schema.names)) or "none"
        extra = sorted(set(batch.schema.names) - set(schema.names)) or "none"
        raise SultanaError(
            f"Rows for the table {table} do not have its columns: missing {missing}, unknown {extra}",
            "Give exactly the columns that assets/records.py declares for it",
            code="columns-differ",
        )
    columns = []
    for field in schema:
        column = batch.column(field.name)
        try:
            column = column if column.type.equals(field.type) else column.cast(field.type)
            column.validate(full=True)
        except pa.ArrowException as error:
            raise SultanaError(
                f"Column {field.name} of the table {table} expects {field.type}, but: {error}",
                "Convert the column, or correct the rows it comes from",
                code="column-type-wrong",
            ) from error
        if empty := _forbidden_nulls(column, field):
            raise SultanaError(
                f"Column {empty} of the table {table} has empty values; it may have none",
                "Fill the values, or put those rows into quarantine",
                code="column-value-missing",
            )
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def check_unique(keys: pa.ChunkedArray, key: str, table: str) -> None:
    """Raises SultanaError naming one repeated key where the values of `keys` are not all different."""
    if pc.count_distinct(keys, mode="all").as_py() == len(keys):
        return
    counts = pc.value_counts(keys)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    first = repeated[0]
    raise SultanaError(
        f"{len(repeated)} values of {key} occur more than once in the table {table}, for example "
        f'"{escape_terminal(str(first["values"]), 80)}" {first["counts"]} times; '
        "the version was not published",
        "Remove the duplicates before writing: the key identifies a row",
        code="key-twice",
    )


def read_keys(dataset: "LanceDataset", key: str) -> pa.ChunkedArray:
    """The key column alone, without the rest of the rows."""
    return within_time("reading keys", dataset.to_table, columns=[key]).column(key)


def read_keys_and_hashes(dataset: "LanceDataset", key: str) -> pa.Table:
    """The key column and the rows' hashes, without the rest of the rows."""
    return within_time("reading keys and hashes", dataset.to_table, columns=[key, ROW_HASH])


@contextlib.contextmanager
def new_files_removed_on_error(folder: Path) -> Iterator[None]:
    """On an error remove the files that appeared meanwhile in the table's data folders.

    Only for use under the writer lock and before the commit: nothing refers to those files, and
    after a full disk they would keep it full.
    """
    places = [folder / "data", folder / "_deletions"]

    def names() -> set[Path]:
        return {path for place in places if place.is_dir() for path in place.iterdir()}

    before = names()
    try:
        yield
    except BaseException:
        for path in names() - before:
            path.unlink(missing_ok=True)
        raise
