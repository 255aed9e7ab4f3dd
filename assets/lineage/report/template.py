"""The templates of what is mailed: HTML that loads nothing, and escapes whatever it is given."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.text import escape_lines

if TYPE_CHECKING:
    from jinja2 import Template

LONGEST_TEXT = 1500
"""Characters of a text from rows that are shown."""


def template(name: str, filters: Mapping[str, Callable[..., Any]]) -> "Template":
    """A template of this folder; a value that it asks for and is not given is an error."""
    environment = _environment()
    environment.filters |= filters
    return environment.get_template(name)


def drawing(figure: str | None) -> Any:
    """A figure that was drawn here: it goes in as it is."""
    from markupsafe import Markup

    return None if figure is None else Markup(figure)


def commit_of(made: Mapping[str, Any]) -> str:
    """The commit that something was made with, marked where the code was changed."""
    if not made["git_commit"]:
        return "unknown"
    return made["git_commit"][:12] + ("-dirty" if made["git_dirty"] else "")


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Control and direction characters are spelt out, then the rest is escaped for HTML.
        finalize=lambda value: escape_lines(value, LONGEST_TEXT) if type(value) is str else value,
    )
