"""Two chains of materializations beside each other: which are the same, and why the others are not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Link = Mapping[str, Any]
"""A materialization as `manifest.walk` gives it."""

SAME, SAME_DATA, DIFFERENT, ONLY_A, ONLY_B = "same", "same data", "different", "only in A", "only in B"


def compare_chains(ours: Sequence[Link], theirs: Sequence[Link]) -> list[dict[str, Any]]:
    """Every asset of two chains, in the order of A's, as JSON values.

    `state` is SAME (the very materialization), SAME_DATA (made twice, with equal data), DIFFERENT, or that one
    chain alone has it. `why` holds what differs as `what`, `name`, `a` and `b` (null: there is no such thing);
    an upstream differs where its data do.
    """
    left, right = by_asset(ours), by_asset(theirs)
    versions = {one["storage_id"]: one["data_version"] for one in (*ours, *theirs)}
    return [
        _compared(asset, left.get(asset), right.get(asset), versions)
        for asset in [*left, *(asset for asset in right if asset not in left)]
    ]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        place = f"{prefix}.{name}" if prefix else name
        found |= flat(value, place) if isinstance(value, Mapping) and value else {place: value}
    return found


def by_asset(chain: Sequence[Link]) -> dict[str, Link]:
    """The links of a chain by asset; the second of one asset, where a chain has several, as `asset #2`."""
    found: dict[str, Link] = {}
    for one in chain:
        number = sum(name.partition(" #")[0] == one["asset"] for name in found)
        found[f"{one['asset']} #{number + 1}" if number else one["asset"]] = one
    return found


def _compared(
    asset: str, ours: Link | None, theirs: Link | None, versions: Mapping[int, str]
) -> dict[str, Any]:
    told: dict[str, Any] = {"asset": asset, "a": _named(ours), "b": _named(theirs), "why": []}
    if ours is None or theirs is None:
        return told | {"state": ONLY_B if ours is None else ONLY_A}
    if ours["storage_id"] == theirs["storage_id"]:
        return told | {"state": SAME}
    same = ours["data_version"] == theirs["data_version"]
    return told | {
        "state": SAME_DATA if same else DIFFERENT,
        "why": list(_reasons(ours, theirs, versions)),
    }


def _named(one: Link | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {name: one[name] for name in ("partition", "data_version", "made_at", "made_by_run")}


def _reasons(ours: Link, theirs: Link, versions: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    def upstream(one: Link) -> dict[str, str]:
        return {name: versions[place] for name, place in one["upstream"].items()}

    def packages(one: Link) -> Mapping[str, Any]:
        return one["environment"].get("packages") or {}

    def commit(one: Link) -> dict[str, Any]:
        code = one["environment"]
        return {name: code.get(name) for name in ("git_commit", "git_dirty", "python")}

    yield from _differing("code version", *({"": one["code_version"]} for one in (ours, theirs)))
    yield from _differing("partition", *({"": one["partition"]} for one in (ours, theirs)))
    yield from _differing("configuration", flat(ours["configuration"]), flat(theirs["configuration"]))
    yield from _differing("setting", flat(ours["settings"]), flat(theirs["settings"]))
    yield from _differing("upstream data", upstream(ours), upstream(theirs))
    yield from _differing("code", commit(ours), commit(theirs))
    yield from _differing("package", packages(ours), packages(theirs))


def _differing(what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield {"what": what, "name": name, "a": ours.get(name), "b": theirs.get(name)}
