"""One Lance table as it is stored: its versions, what a version says of itself, and the heads that cannot be read.

Lance's file layout appears in this module only. No function here takes a lock or moves the pointer.
"""

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from resources.errors import SultanaError, TransientError
from resources.files import sync_path
from resources.row_hashes import ROW_HASH
from resources.table_folder import TableFolder
from resources.text import escape_terminal
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

# Lance names the manifest of version v by 2^64 - 1 - v, so that the newest sorts first.
_NEWEST_FIRST = 2**64 - 1
_KEY_MARK = {b"lance-schema:unenforced-primary-key": b"true"}
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]+")
_TAG_NAME_LENGTH = 64
_VERSIONS, _TAGS = "_versions", "_refs/tags"
DATA, DELETIONS, INDICES = "data", "_deletions", "_indices"
"""Where Lance keeps the files of versions, below a table's folder."""
IDEMPOTENCY_KEY = "sultana.idempotency_key"
RUN_ID = "sultana.run_id"
ASSET_KEY = "sultana.asset_key"
DIGEST = "sultana.digest"
DATA_VERSION = "sultana.data_version"
BASE = "sultana.base"
"""The sequence number of the commit whose rows were added to; empty where the rows are all there is."""
COMMIT_MESSAGE = "__lance_commit_message"


def versions_on_disk(folder: TableFolder) -> list[int]:
    """The versions that have a manifest, readable or not, the newest first."""
    paths = (PurePosixPath(one.path) for one in folder.files(_VERSIONS))
    names = (path.stem for path in paths if path.suffix == ".manifest")
    return sorted(
        (_NEWEST_FIRST - int(name) for name in names if len(name) == 20 and name.isdigit()), reverse=True
    )


def manifest(version: int) -> str:
    """The file that is a version: it lists the others."""
    return f"{_VERSIONS}/{_NEWEST_FIRST - version:020d}.manifest"


def remove_version(folder: TableFolder, version: int) -> None:
    """Remove the manifest of a version that cannot be read, so that Lance opens the one before it.

    Its tags go first: the next commit gets the same number, and other content.
    """
    folder.remove([tag_path(name) for name, tagged in tags(folder).items() if tagged in (version, None)])
    folder.remove([manifest(version)])


def open_version(folder: TableFolder, version: int) -> "LanceDataset":
    """A fresh handle at `version`. Raises ValueError, OSError or RuntimeError where it cannot be read."""
    import lance

    dataset = within_time(
        f"opening {folder.name}",
        lance.dataset,
        folder.uri,
        version=version,
        storage_options=folder.options,
    )
    # A manifest of zeros opens as the empty version 0, without an error.
    if dataset.version != version:
        raise ValueError(f"version {version} opens as version {dataset.version}")
    return dataset


def properties(dataset: "LanceDataset") -> dict[str, str]:
    """What the commit of the opened version says of itself; empty where another program wrote it."""
    return dict(dataset.read_transaction(dataset.version).transaction_properties or {})


def readable_properties(folder: TableFolder, version: int) -> dict[str, str] | None:
    """The properties of a version's commit, or None where the version cannot be read.

    Raises SultanaError where it is the store that cannot be reached.
    """
    for _ in range(
        2 if folder.path is None else 1
    ):  # an object store fails now and then, and is whole the next time
        try:
            dataset = open_version(folder, version)
            within_time(f"counting {folder.name}", dataset.count_rows)
            return properties(dataset)
        except (ValueError, OSError, RuntimeError):  # Lance has no error class of its own for a torn file
            folder.probe()
    return None


def commit(folder: TableFolder, transaction: Any, what: str, upon: int | None = None) -> "LanceDataset":
    """Commit what was staged; the new version. `upon` is the version that it has to follow directly.

    Lance builds upon whatever is newest at that moment. Under the writer lock nobody else commits, but a request of
    a writer that was killed can still arrive at an object store: then the version is removed again and TransientError
    raised.
    """
    import lance

    made = within_time(
        what, lance.LanceDataset.commit, folder.uri, transaction, storage_options=folder.options
    )
    if upon is not None:
        _must_follow(folder, made, upon)
    return made


def _must_follow(folder: TableFolder, made: "LanceDataset", upon: int) -> None:
    if made.version == upon + 1:
        return
    remove_version(folder, made.version)
    raise TransientError(
        f"The table {folder.table} got a version from elsewhere while it was written",
        "Run the same command again; nothing was acknowledged",
        code="table-written-meanwhile",
    )


def is_direct(folder: TableFolder, version: int) -> bool:
    """Whether a version that can be read follows directly the one that it was made from."""
    made_from = open_version(folder, version).read_transaction(version).read_version
    return bool(made_from + 1 == version)


def name_content(folder: TableFolder, dataset: "LanceDataset", metadata: Mapping[str, str]) -> None:
    """Set metadata of the schema in a version of its own, which the handle is at then. Raises as `commit` does."""
    upon = dataset.version
    within_time(f"naming {folder.name}", dataset.update_schema_metadata, dict(metadata))
    _must_follow(folder, dataset, upon)


def restore_version(folder: TableFolder, version: int) -> "LanceDataset":
    """Make the content of `version` the newest version again; that version, opened."""
    dataset = open_version(folder, version)
    if versions_on_disk(folder)[0] != version:
        within_time(f"restoring {folder.name}", dataset.restore)
    return dataset


def tag_path(name: str) -> str:
    """The file that is a tag."""
    return f"{_TAGS}/{name}.json"


def _tagged(folder: TableFolder, name: str) -> int | None:
    """The version of a tag; None where its file is torn. Raises FileNotFoundError where there is no such tag."""
    content = folder.read(tag_path(name))
    try:
        return int(json.loads(content)["version"])
    except (ValueError, KeyError, TypeError):
        return None


def tags(folder: TableFolder) -> dict[str, int | None]:
    """Every tag's version; None where the tag's file is torn, which makes Lance refuse to list any."""
    paths = (PurePosixPath(one.path) for one in folder.files(_TAGS))
    return {path.stem: _tagged(folder, path.stem) for path in paths if path.suffix == ".json"}


def tag_stem(asset_key: str, digest: str) -> str:
    """What the name of the tag begins with that holds a version of this content by this asset."""
    return f"{_NOT_IN_TAGS.sub('-', asset_key)[:_TAG_NAME_LENGTH]}-{digest[:12]}"


def own_tags(folder: TableFolder, version: int) -> set[str]:
    """The names that `tag_version` could have given to a version, by what it says of itself."""
    stored = readable_properties(folder, version) or {}
    if ASSET_KEY not in stored or DIGEST not in stored:
        return set()
    stem = tag_stem(stored[ASSET_KEY], stored[DIGEST])
    return {stem, f"{stem}-v{version}"}


def tag_version(folder: TableFolder, dataset: "LanceDataset", stem: str) -> str:
    """Tag the opened version, so that no clean-up removes it; returns the tag's name.

    The name is `stem`, or `stem-v<version>` where `stem` is the tag of another version: a tag is
    never moved. Lance allows letters, digits, `.`, `-` and `_` in a tag.
    """
    for name in (stem, f"{stem}-v{dataset.version}"):
        with contextlib.suppress(FileNotFoundError):
            tagged = _tagged(folder, name)
            if tagged == dataset.version:
                return name
            if tagged is not None:
                continue
            folder.remove([tag_path(name)])
        within_time(f"tagging {folder.name}", dataset.tags.create, name, dataset.version)
        return name
    raise SultanaError(
        f"The tag {stem}-v{dataset.version} of {folder.uri} belongs to another version",
        "Somebody moved it: run `sultana doctor`, then delete the tag",
        code="tag-moved",
    )


def set_tag(folder: TableFolder, dataset: "LanceDataset", name: str) -> None:
    """Let the tag hold the opened version, whatever it held before, or torn as it was."""
    folder.remove([tag_path(name)])
    within_time(f"tagging {folder.name}", dataset.tags.create, name, dataset.version)


def remove_tags(folder: TableFolder, versions: Collection[int]) -> None:
    """Remove every tag of these versions, durably: a clean-up may take them then."""
    folder.remove([tag_path(name) for name, tagged in tags(folder).items() if tagged in versions])
    if folder.path is not None and (folder.path / _TAGS).is_dir():
        sync_path(folder.path / _TAGS)  # also those that a removal took that was killed


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
def new_files_removed_on_error(folder: TableFolder, *places: str) -> Iterator[None]:
    """On an error remove the files that appeared meanwhile in these places of the table.

    Only for use under the writer lock and before the commit: nothing refers to those files, and
    after a full disk they would keep it full.
    """

    def names() -> set[str]:
        return {one.path for place in places for one in folder.files(place)}

    before = names()
    try:
        yield
    except BaseException:
        # Where the store fails there is no clean-up either: what made it fail is what is told.
        with contextlib.suppress(SultanaError, OSError):
            folder.remove(names() - before)
        raise
