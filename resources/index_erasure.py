"""Words of erased rows removed from the full-text indices of every version of a table.

An index is a folder of files that versions share. It is made anew from the rows as they are after the erasure, and
its files take the places of the old ones: versions, tags and the names of indices stay what they were.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from resources import lance_folder
from resources.errors import SultanaError
from resources.manifest_sizes import forget_index_sizes
from resources.rewritten import Replacing, exchange
from resources.table_folder import LocalFolder
from resources.table_indices import INVERTED, build_words

if TYPE_CHECKING:
    from lance import LanceDataset

_ABOUT = "metadata.lance"
"""The file of an index that names its parts."""


@dataclass
class _Index:
    """An index of words: its column, its fragments, and the versions that have it."""

    column: str
    fragments: set[int]
    versions: list[int] = field(default_factory=list)


def erase_words(folder: Path, columns: Collection[str], replacing: Replacing) -> None:
    """Makes every index of words in `columns` anew, in all versions. `replacing` as in `lance_erasure.erase_rows`.

    Only under the writer lock of the table, after its rows were erased, and while nobody reads it. A call that was
    cut short is finished by the next. Raises SultanaError where a version cannot be read, or has an index of another
    form than this release writes.
    """
    place = folder / "_indices"
    if not place.is_dir():
        return
    found, used = _indices(folder)
    for path in place.iterdir():  # of a write or an erasure that was killed: nothing refers to it
        if path.name not in used:
            shutil.rmtree(path)
    for index, about in found.items():
        if about.column.split(".")[0] in columns:
            _exchange_index(folder, index, about, replacing)


def _indices(folder: Path) -> tuple[dict[str, _Index], set[str]]:
    """The indices of words by UUID, and the UUIDs of all indices that a version has."""
    found: dict[str, _Index] = {}
    used: set[str] = set()
    table = LocalFolder(folder)
    for version in lance_folder.versions_on_disk(table):
        try:
            described = lance_folder.open_version(table, version).describe_indices()
        except (ValueError, OSError, RuntimeError) as error:
            raise SultanaError(
                f"Version {version} of {folder} cannot be read, so its indices may keep words of erased rows: {error}",
                f"Run `sultana doctor`; restore {folder} from a backup, then give the same command again",
                code="table-version-unreadable",
            ) from error
        for one in described:
            used |= {str(segment.uuid) for segment in one.segments}
            if one.index_type.upper() == INVERTED:
                for segment in one.segments:
                    # Lance names the level between a list and its values; whoever asks for an index does not.
                    column = one.field_names[0].replace(".item.", ".")
                    about = _Index(column, set(segment.fragment_ids))
                    found.setdefault(str(segment.uuid), about).versions.append(version)
    return found, used


def _exchange_index(folder: Path, index: str, about: _Index, replacing: Replacing) -> None:
    old = folder / "_indices" / index
    names = {path.name for path in old.glob("*.lance")}
    dataset = _fullest(folder, about)
    fragments = [one.fragment_id for one in dataset.get_fragments() if one.fragment_id in about.fragments]
    new = folder / "_indices" / str(build_words(dataset, fragments, about.column).uuid)
    try:
        made = {path.name for path in new.glob("*.lance")}
        if not made <= names:
            raise SultanaError(
                f"The index {old} cannot be made anew in the files that it has: {', '.join(sorted(made - names))}",
                f"Move {folder} away, which loses its versions, and materialize its asset again",
                code="table-layout-unknown",
            )
        manifests = [folder / lance_folder.manifest(version) for version in about.versions]
        forget_index_sizes(manifests, index, names, replacing)
        for name in sorted(names - made):
            # A part without rows any more. The versions' lists of files still name it.
            shutil.copyfile(new / _ABOUT, new / name)
        for name in sorted(names):
            exchange(old / name, new / name, replacing)
    finally:
        shutil.rmtree(new)


def _fullest(folder: Path, about: _Index) -> "LanceDataset":
    """The version with the index that has most of its rows: later ones may have lost some, and none has others."""
    opened = [lance_folder.open_version(LocalFolder(folder), version) for version in about.versions]

    def rows(dataset: "LanceDataset") -> int:
        return sum(one.count_rows() for one in dataset.get_fragments() if one.fragment_id in about.fragments)

    return max(opened, key=rows)
