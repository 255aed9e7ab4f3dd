"""How people name a registered model version: MODEL, MODEL@ALIAS or MODEL/VERSION."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.errors import SultanaError
from resources.text import check_name, escape_terminal
from resources.tracking import CANDIDATE, CHAMPION, Tracking, check_alias

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
FORM = "MODEL, MODEL@ALIAS or MODEL/VERSION"


@dataclass(frozen=True)
class Reference:
    """A parsed reference: at most one of `alias` and `version` is set."""

    name: str
    alias: str | None = None
    version: int | None = None


def parse_reference(text: str) -> Reference:
    """The parts of a reference. Raises SultanaError where it has another form."""
    name, at, alias = text.partition("@")
    if at:
        return Reference(check_name(name, "Model"), alias=check_alias(alias))
    name, slash, version = text.partition("/")
    if slash and not _VERSION.fullmatch(version):
        raise SultanaError(
            f'"{escape_terminal(text, 80)}" names no model version: what follows "/" is not a number',
            f"Write {FORM}",
            code="model-reference-invalid",
        )
    return Reference(check_name(name, "Model"), version=int(version) if slash else None)


def resolve(
    tracking: Tracking, reference: Reference, defaults: Sequence[str] = (CHAMPION, CANDIDATE)
) -> "ModelVersion":
    """The version that a reference means. Of a bare name: that of the first of `defaults` which is set,
    else the newest.

    Raises SultanaError that names what there is where the model, the version or the alias is not there.
    """
    found = {int(one.version): one for one in tracking.versions(reference.name)}
    if not found:
        known = ", ".join(tracking.models()) or "none yet; make one with: sultana run"
        raise SultanaError(
            f"There is no registered model '{reference.name}'",
            f"Registered models: {known}",
            code="model-not-found",
        )
    aliases = tracking.aliases(reference.name)
    if reference.version is not None:
        if reference.version not in found:
            raise SultanaError(
                f"The model '{reference.name}' has no version {reference.version}",
                f"Its versions: {', '.join(map(str, sorted(found)))}",
                code="model-not-found",
            )
        return found[reference.version]
    if reference.alias is not None:
        if reference.alias not in aliases:
            known = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items()))
            raise SultanaError(
                f"The model '{reference.name}' has no alias '{reference.alias}'",
                f"Its aliases: {known or 'none'}",
                code="model-not-found",
            )
        return found[aliases[reference.alias]]
    chosen = next((aliases[alias] for alias in defaults if alias in aliases), max(found))
    return found[chosen]
