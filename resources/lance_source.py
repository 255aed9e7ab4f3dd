"""Versions of Lance tables as inputs of MLflow runs, which MLflow's own `mlflow.data.get_source` opens again.

MLflow finds `LanceSource` by the entry point `mlflow.dataset_source` of this package.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Object, Property

from resources.object_store import options_of

if TYPE_CHECKING:
    from lance import LanceDataset

    from resources.publishing import InputTable

SOURCE_TYPE = "lance"
LONGEST_DIGEST = 36
"""MLflow's limit; the source holds the digest whole."""

_TYPES = {
    "int32": DataType.integer,
    "int64": DataType.long,
    "float": DataType.float,
    "double": DataType.double,
}
_TYPES |= {"bool": DataType.boolean}


@dataclass(frozen=True)
class LanceSource(DatasetSource):
    """One version of a table; `digest` is that of its content."""

    uri: str
    version: int
    digest: str

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, LanceSource)

    @classmethod
    def _resolve(cls, raw_source: "LanceSource") -> "LanceSource":
        return raw_source

    def load(self) -> "LanceDataset":
        """The table at this very version, where its folder or bucket can be reached from here."""
        import lance

        return lance.dataset(self.uri, version=self.version, storage_options=options_of(self.uri))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"uri": self.uri, "version": self.version, "digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "LanceSource":
        """The reverse of `to_dict`."""
        return cls(str(source_dict["uri"]), int(source_dict["version"]), str(source_dict["digest"]))


def dataset_input(table: "InputTable") -> DatasetInput:
    """A table as MLflow lists it among the inputs of a run: name, digest, source, columns and rows."""
    described = MetaDataset(
        LanceSource(table.uri, table.version, table.digest),
        name=table.name,
        digest=table.digest[:LONGEST_DIGEST],
        schema=_columns(table.schema) if table.schema is not None else None,
    ).to_dict()
    entity = Dataset(**{**described, "profile": json.dumps({"num_rows": table.rows})})
    return DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])


def _columns(schema: pa.Schema) -> Schema:
    return Schema([ColSpec(_type(one.type), one.name, required=not one.nullable) for one in schema])


def _type(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return Array(_type(kind.value_type))
    if pa.types.is_struct(kind):
        return Object([Property(one.name, _type(one.type), required=not one.nullable) for one in kind])
    return _TYPES.get(str(kind), DataType.string)
