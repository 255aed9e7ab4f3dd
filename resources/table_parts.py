"""Rows of a table version by their places: a part that travels without its rows, and is read where it is worked on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt
import pyarrow as pa

from resources import lance_folder
from resources.compute.alike import not_shared
from resources.errors import SultanaError
from resources.table_folder import TableFolder, failing_store_explained
from resources.table_refs import TableRef
from resources.time_limit import within_time

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class TablePart:
    """Some rows of a version: `folder` is the table's, `places` (n,) int64 count its rows from 0 in their order."""

    folder: TableFolder
    ref: TableRef
    places: "npt.NDArray[np.int64]"
    columns: tuple[str, ...]


def read_part(part: TablePart) -> pa.Table:
    """The rows of a part, n of them, in the order of its places.

    Raises SultanaError where this machine does not see the table, or has another version under that number.
    """
    folder = part.folder
    if folder.path is not None and not folder.path.is_dir():
        raise not_shared(folder.path)
    try:
        with failing_store_explained(folder):
            dataset = lance_folder.open_version(folder, part.ref.version)
            stored = lance_folder.properties(dataset).get(lance_folder.DIGEST)
            if stored != part.ref.digest:
                raise ValueError(f"its digest is {stored}, not {part.ref.digest}")
            return within_time(
                f"reading {part.ref.table}", dataset.take, part.places, columns=list(part.columns)
            )
    except (ValueError, OSError, RuntimeError) as error:
        raise SultanaError(
            f"Version {part.ref.version} of {folder.uri} cannot be read: {error}",
            f"Restore {folder.uri} from a backup, or move it away and materialize its asset again",
            code="table-version-unreadable",
        ) from error
