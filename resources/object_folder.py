"""The files of one table below a prefix of an S3-compatible object store.

An object is whole or absent, and stays once the store has said that it took it: no sync is needed, nor possible.
"""

import hashlib
from collections.abc import Collection
from typing import Any

from resources.errors import SultanaError
from resources.object_store import client, is_conflict, is_missing, lance_options, split_uri, store_explained
from resources.table_files import StoredFile
from resources.table_folder import FoundFile, TableFolder

_BLOCK = 1 << 20
_MOST_AT_ONCE = 1000
"""Objects that one request may name for removal."""


class ObjectFolder(TableFolder):
    """A prefix of a bucket; `uri` is `s3://BUCKET/PREFIX`, already checked. Asks the store at each call, never before.

    Every method raises SultanaError where the store does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.name = uri.rpartition("/")[2]
        self._bucket, self._prefix = split_uri(uri)

    @property
    def options(self) -> dict[str, str]:  # type: ignore[override]
        """What Lance has to be told to open the table."""
        return lance_options()

    def files(self, place: str = "") -> list[FoundFile]:
        """Every object below `place`."""
        start = self._key(f"{place}/" if place else "")
        found = []
        with store_explained(self.uri):
            pages = client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
            for page in pages:
                for one in page.get("Contents", ()):
                    path = one["Key"].removeprefix(self._key(""))
                    found.append(FoundFile(path, int(one["Size"]), one["LastModified"].timestamp()))
        return sorted(found, key=lambda one: one.path)

    def read(self, path: str) -> bytes:
        """The content of an object. Raises FileNotFoundError where it is missing."""
        with store_explained(self.uri):
            return bytes(self._get(path).read())

    def stored(self, path: str) -> StoredFile:
        """An object with its size and hash: all of it travels here. Raises FileNotFoundError where it is missing."""
        value, size = hashlib.sha256(), 0
        with store_explained(self.uri):
            for block in self._get(path).iter_chunks(_BLOCK):
                value.update(block)
                size += len(block)
        return StoredFile(path, size, value.hexdigest())

    def remove(self, paths: Collection[str]) -> None:
        """Remove objects; one that is missing is passed over."""
        keys = [{"Key": self._key(path)} for path in sorted(paths)]
        for start in range(0, len(keys), _MOST_AT_ONCE):
            with store_explained(self.uri):
                answer = client().delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": keys[start : start + _MOST_AT_ONCE], "Quiet": True},
                )
            if answer.get("Errors"):
                raise SultanaError(
                    f"The object store did not remove {len(answer['Errors'])} objects of {self.uri}",
                    "Give the credentials the right to delete there, or end the lock or retention of these objects, "
                    "and run the same command again",
                    code="object-store-refused",
                )

    def put(self, path: str, content: bytes) -> None:
        """Write an object, whatever was there; durable on return."""
        with store_explained(self.uri):
            client().put_object(Bucket=self._bucket, Key=self._key(path), Body=content)

    def put_new(self, path: str, content: bytes) -> bool:
        """Write an object unless it is there, which only one of several at once can do; whether it was written."""
        from botocore.exceptions import ClientError

        with store_explained(self.uri):
            try:
                client().put_object(Bucket=self._bucket, Key=self._key(path), Body=content, IfNoneMatch="*")
            except ClientError as error:
                if is_conflict(error):
                    return False
                raise
        return True

    def folders(self) -> list[str]:
        """The names of what would be folders directly below."""
        start = self._key("")
        found = []
        with store_explained(self.uri):
            pages = (
                client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=start, Delimiter="/")
            )
            for page in pages:
                for one in page.get("CommonPrefixes", ()):
                    found.append(one["Prefix"].removeprefix(start).rstrip("/"))
        return sorted(found)

    def probe(self) -> None:
        """Raises SultanaError where the store does not answer or does not let these credentials list."""
        with store_explained(self.uri):
            client().list_objects_v2(Bucket=self._bucket, Prefix=self._key(""), MaxKeys=1)

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _get(self, path: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return client().get_object(Bucket=self._bucket, Key=self._key(path))["Body"]
        except ClientError as error:
            if is_missing(error):
                raise FileNotFoundError(f"{self.uri}/{path}") from None
            raise
