"""Where the tables of a commit log lie: in the folder beside it, or below a prefix of an object store.

On an object store the log stays on this machine, and two things in the bucket keep another log from writing there.
An owner, written once and only if there is none, holds the id of the one log that may write. And after each commit
the hash of its row in the log is put beside the table: a log that does not know it is older than the table, or a
copy of the one that wrote.
"""

import json
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

from resources.commits import Commit, CommitLog
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.object_folder import ObjectFolder
from resources.object_store import check_object_uri
from resources.placed import placed, record_placed
from resources.table_folder import LocalFolder, TableFolder

TABLES_URI = "SULTANA_TABLES_URI"
"""The environment variable with the place of the tables of a whole deployment."""

_OWNED = "_sultana"
_OWNER = f"{_OWNED}/owner.json"
_SUFFIX = ".lance"


class TablePlace(ABC):
    """Where tables lie. `where` names it for people."""

    where: str

    @abstractmethod
    def folder(self, table: str) -> TableFolder:
        """Where the files of a table lie; nothing is asked or made."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of all folders of tables, acknowledged or not, sorted."""

    @abstractmethod
    def confirm(self, table: str) -> None:
        """Before a table is written. Raises SultanaError where this log may not write it."""

    @abstractmethod
    def note(self, commit: Commit) -> None:
        """After a version was acknowledged."""

    @abstractmethod
    def owned_by_another(self) -> str | None:
        """What is wrong where another log owns the place; None otherwise."""

    @abstractmethod
    def is_behind(self, table: str) -> bool:
        """Whether the place remembers an acknowledgement of the table that this log does not know."""

    @abstractmethod
    def let_stand(self, table: str, commit: Commit | None) -> None:
        """From now on the place remembers what this log acknowledged last of the table; None: nothing."""


class LocalPlace(TablePlace):
    """The folder of the commit log itself, which its lock files guard."""

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)

    def folder(self, table: str) -> LocalFolder:
        """The folder of a table."""
        return LocalFolder(self.root / f"{table}{_SUFFIX}")

    def tables(self) -> list[str]:
        """The names of all folders of tables."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self.root.glob(f"*{_SUFFIX}"))

    def confirm(self, table: str) -> None:
        """Whoever holds the lock may write."""

    def note(self, commit: Commit) -> None:
        """The log says it all."""

    def owned_by_another(self) -> None:
        """Whoever has the folder has the log."""

    def is_behind(self, table: str) -> bool:
        """Nothing but the log remembers."""
        return False

    def let_stand(self, table: str, commit: Commit | None) -> None:
        """The log says it all."""


class ObjectPlace(TablePlace):
    """A prefix of an object store, and the log that owns it."""

    def __init__(self, uri: str, log: CommitLog, log_id: str) -> None:
        self.where, self._log, self._id = uri, log, log_id
        self._store = ObjectFolder(uri)
        self._owned = False

    def folder(self, table: str) -> ObjectFolder:
        """Where the files of a table lie."""
        return ObjectFolder(f"{self.where}/{table}{_SUFFIX}")

    def tables(self) -> list[str]:
        """The names of all prefixes of tables."""
        return sorted(name.removesuffix(_SUFFIX) for name in self._store.folders() if name.endswith(_SUFFIX))

    def confirm(self, table: str) -> None:
        """Raises SultanaError where another log owns the place, or this log is behind the table."""
        if not self._owned:
            self._claim()
            self._owned = True
        if self.is_behind(table):
            raise SultanaError(
                f"The commit log {self._log.path} does not know what was acknowledged last of the table {table} in "
                f"{self.where}: it is older than the tables, or a copy of the log that goes on elsewhere",
                "Use the data folder that wrote last; if it is lost for good, `sultana doctor --repair` lets the "
                "tables stand as this log knows them",
                code="commit-log-behind",
            )

    def is_behind(self, table: str) -> bool:
        """Whether the place remembers an acknowledgement of the table that this log does not know."""
        noted = self._noted(table)
        return noted is not None and not self._log.knows(noted)

    def owner(self) -> str | None:
        """The id of the log that may write here; None where there is none yet."""
        return self._value(_OWNER, "log")

    def owned_by_another(self) -> str | None:
        """What is wrong where another log owns the place; None otherwise."""
        owner = self.owner()
        if owner in (None, self._id):
            return None
        return f"{self.where} belongs to another data folder: the log of its tables is {owner}"

    def note(self, commit: Commit) -> None:
        """Remember the acknowledgement beside the table."""
        content = {"sequence": commit.sequence, "version": commit.version, "hash": commit.hash}
        self._store.put(self._note_path(commit.table), json.dumps(content).encode())

    def let_stand(self, table: str, commit: Commit | None) -> None:
        """Remember what this log says of the table."""
        if commit is None:
            self._store.remove([self._note_path(table)])
        else:
            self.note(commit)

    def _claim(self) -> None:
        if self.owner() is None:
            probe = f"{_OWNED}/probe-{uuid.uuid4().hex}"
            twice = self._store.put_new(probe, b"") and self._store.put_new(probe, b"")
            self._store.remove([probe])
            if twice:
                raise SultanaError(
                    f"The object store of {self.where} writes an object though it was asked to only if there is none "
                    "(If-None-Match): a version could be lost when two write at once",
                    "Use a store that knows conditional writes, such as Amazon S3, MinIO or Ceph in a release of 2024 "
                    "or later",
                    code="object-store-unsuitable",
                )
            self._store.put_new(_OWNER, json.dumps({"log": self._id}).encode())
        if problem := self.owned_by_another():
            raise SultanaError(
                problem,
                "Use another prefix for this data folder, or the data folder whose tables these are",
                code="tables-of-another-log",
            )

    def _noted(self, table: str) -> str | None:
        return self._value(self._note_path(table), "hash")

    @staticmethod
    def _note_path(table: str) -> str:
        return f"{_OWNED}/{table}.json"

    def _value(self, path: str, name: str) -> str | None:
        try:
            content = self._store.read(path)
        except FileNotFoundError:
            return None
        try:
            return str(json.loads(content)[name])
        except (ValueError, KeyError, TypeError) as error:
            raise SultanaError(
                f"{self.where}/{path} was changed: it is not what Sultana writes there",
                "Find out who writes to the bucket, and restore the object from an earlier version of it",
                code="object-store-changed",
            ) from error


def place_of(log: CommitLog, setting: str) -> TablePlace:
    """Where the tables of a log lie: as it has recorded; at first as `setting` says, which is empty for its own folder.

    Nothing is asked of the store. Raises SultanaError where the setting is no address or not the place on record.
    """
    wanted = check_object_uri(setting, TABLES_URI) if setting else ""
    known = placed(log)
    if wanted and (known is None or known[0] != wanted):
        with exclusive_lock(log.path.parent / ".locks" / ".place.lock"):
            known = placed(log)
            if (known is None or known[0] != wanted) and not log.tables():
                record_placed(log, wanted, uuid.uuid4().hex)
                known = placed(log)
    if known is None and not wanted:
        return LocalPlace(log.path.parent)
    if known is None or (wanted and known[0] != wanted):
        raise SultanaError(
            f"The tables of {log.path.parent} lie in {known[0] if known else 'that folder'}, and {TABLES_URI} (or "
            f"resources.storage.config.tables_uri) says {wanted}",
            "Unset it, or set SULTANA_DATA to a new data folder and materialize there: tables are not moved",
            code="tables-elsewhere",
        )
    return ObjectPlace(known[0], log, known[1])
