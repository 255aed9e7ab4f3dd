"""Indices of a table version: made right after its rows, before it is tagged and acknowledged.

To Lance an index is a commit and so a version of its own. It carries the properties of the commit of the rows, with
the idempotency key and the digest among them: after a kill between the two the same write, run again, adopts the
rows and makes what is missing. The version that is acknowledged is the last, with the rows as they were written.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from resources import lance_folder
from resources.memory import return_unused
from resources.table_folder import TableFolder
from resources.table_refs import Record
from resources.time_limit import STORAGE_SECONDS, within_seconds, within_time

if TYPE_CHECKING:
    from lance import LanceDataset

LEAST_ROWS = 50_000
"""Rows without an index below which a table is read through: that takes some milliseconds."""

REBUILT_SHARE = 8
"""An index is made anew once the rows beside it are one in so many: appends in small parts stay cheap."""

SECONDS_PER_ROW = 0.001
"""Added to the time limit of an index for each row; an index of words of a million rows takes about a minute."""

INVERTED = "INVERTED"
"""Lance's name for an index of words."""

# Words as they stand, in any language, so that a text is found by each of its words.
_WORDS = {
    "base_tokenizer": "simple",
    "stem": False,
    "remove_stop_words": False,
    "with_position": False,
    # MiB. By default Lance takes 2 GiB for each core before it writes a part.
    "num_workers": 2,
    "memory_limit": 128,
}


def make_indices(
    dataset: "LanceDataset", folder: TableFolder, record: Record, fence: Callable[[], None]
) -> "LanceDataset":
    """The version of `dataset`, or a new one of the same rows with the indices that `record` declares.

    `fence` is asked before that one is committed. Where an error keeps an index from being made, its files are
    removed and the version stays as it is, not acknowledged.
    """
    from lance import LanceOperation
    from lance.dataset import Transaction

    wanted: list[tuple[str, str, dict[str, Any]]] = [(column, "BTREE", {}) for column in record.indexed]
    wanted += [(column, INVERTED, _WORDS) for column in record.searched]
    if not wanted:
        return dataset
    present = {one.name: one for one in within_time(f"listing {folder.name}", dataset.describe_indices)}
    rows = within_time(f"counting {folder.name}", dataset.count_rows)
    due = [one for one in wanted if _due(present.get(_name(one[0])), rows)]
    if not due:
        return dataset
    fragments = [one.fragment_id for one in dataset.get_fragments()]
    with lance_folder.new_files_removed_on_error(folder, lance_folder.INDICES):
        made = [_build(dataset, fragments, *one) for one in due]
        old = [segment for column, _, _ in due for segment in _segments(present.get(_name(column)))]
        fence()
        transaction = Transaction(
            read_version=dataset.version,
            operation=LanceOperation.CreateIndex(new_indices=made, removed_indices=old),
            transaction_properties=lance_folder.properties(dataset),
        )
        return lance_folder.commit(folder, transaction, f"indexing {folder.name}", upon=dataset.version)


def is_searched(dataset: "LanceDataset", column: str) -> bool:
    """Whether the opened version has an index of the words of `column`."""
    return any(one.name == _name(column) for one in dataset.describe_indices())


def build_words(dataset: "LanceDataset", fragments: Sequence[int], column: str) -> Any:
    """A new index of the words of `column` in these fragments, its files written, in no version yet.

    One worker makes it: of no more parts, and so of no other files, than several made of the same rows.
    """
    return _build(dataset, fragments, column, INVERTED, {**_WORDS, "num_workers": 1})


def _name(column: str) -> str:
    return column.replace(".", "_")


def _due(present: Any, rows: int) -> bool:
    covered = present.num_rows_indexed if present is not None else 0
    return bool(rows - covered >= max(LEAST_ROWS, covered // REBUILT_SHARE))


def _build(
    dataset: "LanceDataset", fragments: Sequence[int], column: str, kind: str, settings: dict[str, Any]
) -> Any:
    def make() -> Any:
        made = dataset.create_index_uncommitted(
            column, kind, name=_name(column), replace=True, fragment_ids=list(fragments), **settings
        )
        # Without this step an inverted index lacks the files by which it is read.
        return dataset.merge_existing_index_segments([made]) if kind == INVERTED else made

    return_unused()
    seconds = STORAGE_SECONDS + SECONDS_PER_ROW * dataset.count_rows()
    return within_seconds(seconds, f"making an index of {column}", make)


def _segments(present: Any) -> Iterator[Any]:
    """The parts of an index, as a commit names what it removes: two that cover one row crash Lance 14."""
    from lance.dataset import Index

    for segment in present.segments if present is not None else ():
        yield Index(
            uuid=segment.uuid,
            name=present.name,
            fields=list(present.fields),
            dataset_version=segment.dataset_version_at_last_update,
            fragment_ids=segment.fragment_ids,
            index_version=segment.index_version,
        )
