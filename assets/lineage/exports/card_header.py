"""The YAML in front of a dataset card: what the Hugging Face Hub and `load_dataset` read."""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

# The identifiers of https://huggingface.co/docs/hub/repositories-licenses that data come under.
_LICENCES = """
apache-2.0 mit openrail afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda
cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0
cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc mpl-2.0 ms-pl odc-by odbl osl-3.0
postgresql ofl-1.1 ncsa unlicense zlib pddl
"""
LICENCES = frozenset(_LICENCES.split())
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_LICENCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


def card_header(about: Mapping[str, Any], schemas: Mapping[str, pa.Schema], title: str) -> str:
    """The front matter with its two fences. `schemas` are those of the parts that have rows."""
    parts = {part: about["parts"][part] for part in schemas}
    header: dict[str, Any] = {
        "pretty_name": title,
        **licence_fields(licences(about)),
        "size_categories": [_size(sum(one["rows"] for one in parts.values()))],
        "task_categories": ["text-generation"],
        "tags": ["instruction-tuning", "task-interpolation", "sultana"],
    }
    if about["data_format"] != "datasets":  # a dataset on disk is not read by load_dataset
        header["configs"] = [{"config_name": part, "data_files": one["path"]} for part, one in parts.items()]
        header["configs"][0]["default"] = True
        header["dataset_info"] = [
            {"config_name": part, "features": _fields(schema)} for part, schema in schemas.items()
        ]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, width=120)}---\n"


def licences(about: Mapping[str, Any]) -> dict[str | None, int]:
    """Every licence of the originals and parents, with its rows, the commonest first."""
    found: dict[str | None, int] = {}
    for part in ("originals", "parents"):
        for name, rows in about["counts"].get(part, {}).get("licence", []):
            found[name] = found.get(name, 0) + rows
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0] is None, item[0] or "")))


def licence_fields(found: Mapping[str | None, int]) -> dict[str, str]:
    """`license` where all rows have one and the same, `other` where they differ, `unknown` where none is known."""
    if set(found) <= {None}:
        return {"license": "unknown"}
    if len(found) > 1:
        return {"license": "other", "license_name": "mixed"}
    (name,) = found
    text = str(name).strip()
    if text.lower() in LICENCES:
        return {"license": text.lower()}
    named = {"license_name": text} if _LICENCE_NAME.fullmatch(text) else {}
    return {"license": "other", **named}


def _size(rows: int) -> str:
    return next((name for most, name in SIZES if rows < most), "100M<n<1B")


def _fields(schema: Any) -> list[dict[str, Any]]:
    """Columns in the form of `datasets`: without them, JSON with a column of nulls gets another type."""
    return [{"name": one.name, **_feature(one.type)} for one in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"list": _fields(kind.value_type)}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}
