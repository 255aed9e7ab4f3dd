"""Croissant (https://docs.mlcommons.org/croissant/): the rows of a curated set, described for programs.

Made with the classes of mlcroissant, which check it. It names the Parquet files that lie beside it, so it is read
back with `mlcroissant.Dataset(FOLDER / "croissant.json").records("originals")`.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlcroissant as mlc
import pyarrow as pa
from cyclonedx.spdx import fixup_id
from mlcroissant._src.core.context import CroissantVersion  # mlcroissant exports no name for it

from assets.lineage.exports.card_header import licences
from assets.lineage.exports.dataset_card import COLUMNS
from resources.errors import SultanaError
from resources.files import sha256_file

FILE_NAME = "croissant.json"
NO_LICENCE = "no licence named by the source"
HELD = {
    "originals": "Instructions with their text that the model was trained on.",
    "interpolated": "Recipes of rows mixed from two instructions; they have no text.",
    "parents": "Instructions with their text that only recipes need; not trained on as rows.",
}


def write_croissant(
    folder: Path,
    about: Mapping[str, Any],
    schemas: Mapping[str, pa.Schema],
    *,
    title: str,
    version: int,
    made_at: float,
) -> None:
    """Write croissant.json beside the Parquet files of `folder`, which is an export in the format parquet.

    `about` is the content of its export.json, `schemas` those of the parts that have rows. `version` is that of the
    curriculum's table, `made_at` when it was made (seconds since 1970). Raises SultanaError where mlcroissant finds
    an error in what was written.
    """
    document = croissant(folder, about, schemas, title=title, version=version, made_at=made_at)
    (folder / FILE_NAME).write_text(json.dumps(document, indent=1, sort_keys=False) + "\n", encoding="utf-8")
    if errors := problems(folder / FILE_NAME):
        raise SultanaError(
            f"The Croissant file is not valid: {errors[0]}",
            "This is a defect of Sultana",
            code="export-invalid",
        )


def croissant(
    folder: Path,
    about: Mapping[str, Any],
    schemas: Mapping[str, pa.Schema],
    *,
    title: str,
    version: int,
    made_at: float,
) -> dict[str, Any]:
    """The JSON-LD document of `write_croissant`."""
    files = {part: about["parts"][part]["path"] for part in schemas}
    named = [NO_LICENCE if name is None else _licence(name) for name in licences(about)]
    with _quiet():
        metadata = mlc.Metadata(
            ctx=mlc.Context(conforms_to=CroissantVersion.V_1_1),
            name=title,
            description=f"{about['interpolated_rows']} README.md, beside this file, tells how the rows were made.",
            license=named or [NO_LICENCE],
            version=f"{version}.0.0",
            date_created=datetime.fromtimestamp(made_at, UTC),
            distribution=[
                mlc.FileObject(
                    id=file,
                    name=file,
                    content_url=file,
                    content_size=f"{(folder / file).stat().st_size} B",
                    encoding_formats=[mlc.EncodingFormat.PARQUET],
                    sha256=sha256_file(folder / file),
                )
                for file in files.values()
            ],
            record_sets=[
                mlc.RecordSet(
                    id=part,
                    name=part,
                    description=f"{HELD[part]} {about['parts'][part]['rows']} rows.",
                    key=[f"{part}/id"],
                    fields=[_field(part, files[part], field) for field in schema],
                )
                for part, schema in schemas.items()
            ],
            data_collection="Read from the sources that the column origins names, file by file and row by row.",
            data_preprocessing_protocol=[
                "Normalised (NFC), validated, without exact and near-duplicates and without rows that share text with "
                "the benchmarks; then selected as README.md tells."
            ],
            data_limitations=[
                "Nobody has read all texts: they may be wrong, biased or personal. Licences are as sources state them."
            ],
        )
        document: dict[str, Any] = metadata.to_json()
    return document


def problems(file: Path) -> list[str]:
    """What mlcroissant finds wrong with a Croissant file: its errors."""
    with _quiet():
        try:
            found = mlc.Dataset(jsonld=str(file)).metadata.ctx.issues.errors
        except mlc.ValidationError as error:
            return [str(error)]
    return sorted(str(one) for one in found)


def _licence(name: str) -> str:
    """The address of a licence that SPDX knows under this name, else the name as the source states it."""
    known = fixup_id(name.strip())
    return f"https://spdx.org/licenses/{known}.html" if known else name


def _field(part: str, file: str, field: pa.Field) -> mlc.Field:
    described = {"id": f"{part}/{field.name}", "name": field.name, "description": COLUMNS[field.name]}
    if not pa.types.is_list(field.type):
        return mlc.Field(**described, data_types=[_type(field.type)], source=_source(file, field.name))
    return mlc.Field(
        **described,
        is_array=True,
        array_shape="-1",
        sub_fields=[
            mlc.Field(
                id=f"{part}/{field.name}/{one.name}",
                name=one.name,
                data_types=[_type(one.type)],
                source=_source(file, field.name, one.name),
            )
            for one in field.type.value_type
        ],
    )


def _source(file: str, column: str, inside: str | None = None) -> mlc.Source:
    transforms = [mlc.Transform(json_path=inside)] if inside else []
    return mlc.Source(file_object=file, extract=mlc.Extract(column=column), transforms=transforms)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return str(mlc.DataType.INTEGER)
    return str(mlc.DataType.FLOAT if pa.types.is_floating(kind) else mlc.DataType.TEXT)


@contextmanager
def _quiet() -> Iterator[None]:
    """mlcroissant logs what it recommends besides, such as an address on the web, through absl."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
