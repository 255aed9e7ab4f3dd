"""How the address of a source is written, and how it is shown."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from resources.errors import SultanaError
from resources.text import escape_terminal

MAGIC = re.compile(r"[*?\[]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
NOT_ROWS = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})
"""What the datasets library writes beside the rows."""

_LONGEST = 4096
_MOST_RECURSIVE = 2


def check_uri(uri: str) -> None:
    """Raise SultanaError where an address cannot be one of a file, a folder, a glob or a server."""
    problem = None
    try:
        if len(uri.encode()) > _LONGEST:
            problem = f"is longer than {_LONGEST:,} bytes"
    except UnicodeEncodeError:
        problem = "is not UTF-8 text"
    if "\0" in uri:
        problem = "holds a NUL character"
    if uri.count("**") > _MOST_RECURSIVE:
        problem = f"looks through all folders ('**') more than {_MOST_RECURSIVE} times"
    if problem:
        raise SultanaError(
            f"The address {shown_uri(uri)} {problem}",
            "Correct the address of the source",
            code="address-invalid",
        )


def is_remote(uri: str) -> bool:
    """Whether an address is one of a server: neither a path of this machine nor `file://`."""
    return SCHEME.match(local_path(uri)) is not None or "::" in uri


def local_path(uri: str) -> str:
    """A path without the `file://` that may stand before it."""
    return uri[len("file://") :] if uri[:7].lower() == "file://" else uri


def shown_uri(uri: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    if SCHEME.match(uri):
        try:
            parts = urlsplit(uri)
            uri = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        except ValueError:  # no legal host
            scheme, _, rest = uri.partition("://")
            uri = f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
    return shown_name(uri, 300)


def shown_name(name: str, limit: int | None = None) -> str:
    """A file's name, or a path, as people may see it: one line, without invisible characters."""
    raw = name.encode("utf-8", "surrogatepass") if _LONE.search(name) else os.fsencode(name)
    return escape_terminal(raw.decode("utf-8", "backslashreplace"), limit)


# Surrogates that stand for no byte of a file's name.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def fixed_parts(pattern: Path) -> list[str]:
    """The leading parts of a glob that hold no pattern."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if MAGIC.search(part):
            break
        fixed.append(part)
    return fixed
