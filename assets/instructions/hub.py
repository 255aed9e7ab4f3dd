"""Datasets of the Hugging Face Hub: which files belong to one, and its pinned commit.

The datasets library decides which files are the dataset's (its card may say so); it parses none of them.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from resources.errors import SultanaError
from resources.files import file_states
from resources.hub import hub_explained
from resources.text import check_name, escape_terminal
from resources.yaml_text import parse_yaml

HUB_PREFIX = "hf://"
CARDS = ("README.md", ".huggingface.yaml")
"""The files in which a dataset says which of its files are its rows."""

_CARD_BYTES = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(?:/[A-Za-z0-9][A-Za-z0-9_.-]*){0,8}")
_ADDRESS = re.compile(r"hf://datasets/([^/@]+)/([^/@]+)(?:@([^/]+))?(?:/(.+))?")
_ONLINE = (
    "Set HF_HUB_OFFLINE=0 to fetch it, or fetch it once with 'hf download {repo} --repo-type dataset "
    "--local-dir <mirror>/{repo}' and set 'hub_mirror' of the source to that folder"
)


@dataclass(frozen=True)
class HubFiles:
    """The files of a dataset: (path in the repository, path on this machine), sorted."""

    uri: str
    revision: str | None
    licence: str | None
    files: list[tuple[str, Path]]


def hub_files(
    uri: str,
    *,
    revision: str | None,
    split: str | None,
    subset: str | None,
    mirror: Path | None,
    working_folder: Path,
) -> HubFiles:
    """The files of `hf://datasets/owner/name[@revision][/glob]`, fetched where they are not here.

    Without a glob, the files of one `split` (None: `train`, or the only one there is; `all`: every one) of
    one `subset` (None: the only or default one). `mirror` is a folder with copies of repositories as
    `owner/name`, read in place of the Hub; `revision` is then taken at its word. Otherwise the newest
    commit is looked up once and recorded. Raises SultanaError.
    """
    repo, revision, pattern = _parts(uri, revision)
    if mirror is not None:
        return _from_mirror(repo, mirror, revision, pattern, split, subset, working_folder)
    return _from_hub(repo, revision, pattern, split, subset, working_folder)


def hub_state(uri: str, *, revision: str | None, mirror: str | None) -> list[list[Any]]:
    """What tells cheaply whether a dataset has changed: its newest commit, or its mirror's files as they stand.

    A commit that is pinned is taken at its word, and the Hub is not asked. Raises SultanaError.
    """
    repo, revision, _ = _parts(uri, revision)
    if mirror is not None:
        return file_states((str(one), one) for one in (Path(mirror) / repo).rglob("*"))
    if revision and _COMMIT.fullmatch(revision):
        return [[repo, revision]]
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise SultanaError(
            f"The dataset {repo} is on the Hub, and this process is offline",
            _ONLINE.format(repo=repo),
            code="hub-offline",
        )
    with hub_explained(f"The dataset {repo}"):
        return [[repo, HfApi().dataset_info(repo, revision=revision).sha]]


def _parts(uri: str, revision: str | None) -> tuple[str, str | None, str | None]:
    """Repository, revision and glob of an address."""
    matched = _ADDRESS.fullmatch(uri)
    if matched is None:
        raise SultanaError(
            f"{escape_terminal(uri, 200)} is not the address of a dataset",
            "Expected hf://datasets/owner/name, with @revision and /glob behind it where wanted",
            code="address-invalid",
        )
    owner, name, pinned, pattern = matched.groups()
    repo = f"{check_name(owner, 'The owner')}/{check_name(name, 'The dataset')}"
    pinned = unquote(pinned) if pinned else None
    for one in (pinned, revision):
        if one is not None and (not _REVISION.fullmatch(one) or ".." in one or "//" in one):
            raise SultanaError(
                f"'{escape_terminal(one, 80)}' is no revision of the dataset {repo}",
                "Give a commit, a branch or a tag: letters, digits, '.', '_', '-' and '/'",
                code="address-invalid",
            )
    if pinned and revision and pinned != revision:
        raise SultanaError(
            f"{escape_terminal(uri, 200)} names revision '{pinned}', and its setting '{revision}'",
            "Name it once",
            code="settings-conflict",
        )
    return repo, pinned or revision, pattern


def _from_mirror(
    repo: str,
    mirror: Path,
    revision: str | None,
    pattern: str | None,
    split: str | None,
    subset: str | None,
    working_folder: Path,
) -> HubFiles:
    folder = (mirror / repo).resolve()
    if not folder.is_dir():
        raise SultanaError(
            f"The mirror {mirror} has no dataset {repo}",
            f"Expected the folder {folder}",
            code="hub-mirror-incomplete",
        )
    if pattern:
        found = [
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        ]
        names = _matching(found, pattern, repo)
    else:
        for name in CARDS:
            if (folder / name).exists():
                check_card(folder / name, repo)
        addresses = _addresses(str(folder), repo, split, subset, None, working_folder)
        names = sorted(os.path.relpath(address, folder) for address in addresses)
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder):
            raise SultanaError(
                f"{name} of {repo} leads out of the mirror",
                "Remove it from the dataset's card",
                code="path-leads-outside",
            )
    card = folder / "README.md"
    licence = _licence_of_card(card) if card.is_file() else None
    return HubFiles(_address(repo, revision), revision, licence, [(name, folder / name) for name in names])


def _from_hub(
    repo: str,
    revision: str | None,
    pattern: str | None,
    split: str | None,
    subset: str | None,
    working_folder: Path,
) -> HubFiles:
    from huggingface_hub import HfApi, constants, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        raise SultanaError(
            f"The dataset {repo} is on the Hub, and this process is offline",
            _ONLINE.format(repo=repo),
            code="hub-offline",
        )
    with hub_explained(f"The dataset {repo}"):
        info = HfApi().dataset_info(repo, revision=revision)
        commit = info.sha
        if pattern:
            names = _matching([one.rfilename for one in info.siblings or []], pattern, repo)
        else:
            for card in sorted({one.rfilename for one in info.siblings or []} & set(CARDS)):
                check_card(Path(hf_hub_download(repo, card, repo_type="dataset", revision=commit)), repo)
            prefix = f"hf://datasets/{repo}@{commit}/"
            addresses = _addresses(repo, repo, split, subset, commit, working_folder)
            names = sorted(address.removeprefix(prefix) for address in addresses)
        files = [
            (name, Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit))) for name in names
        ]
    licence = getattr(info.card_data, "license", None)
    return HubFiles(_address(repo, commit), commit, licence if isinstance(licence, str) else None, files)


def _address(repo: str, revision: str | None) -> str:
    return f"hf://datasets/{repo}@{revision}" if revision else f"hf://datasets/{repo}"


def _matching(found: list[str], pattern: str, repo: str) -> list[str]:
    from fsspec.utils import glob_translate

    expression = (
        re.compile(glob_translate(pattern)) if glob_has_magic(pattern) else re.compile(re.escape(pattern))
    )
    names = sorted(name for name in found if expression.fullmatch(name))
    if not names:
        raise SultanaError(
            f"No file of the dataset {repo} matches {escape_terminal(pattern, 100)}",
            f"It has {', '.join(sorted(found)[:8]) or 'no files'}",
            code="source-not-found",
        )
    return names


def glob_has_magic(pattern: str) -> bool:
    """Whether a pattern holds `*`, `?` or `[`."""
    return fnmatch.translate(pattern) != fnmatch.translate(re.sub(r"[*?\[]", "_", pattern))


def _addresses(
    location: str,
    repo: str,
    split: str | None,
    subset: str | None,
    revision: str | None,
    working_folder: Path,
) -> list[str]:
    """The data files that the datasets library finds for a split."""
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(
            location, name=subset, revision=revision, cache_dir=str(working_folder / "datasets")
        )
    except (OSError, ValueError) as error:
        raise SultanaError(
            f"The files of the dataset {repo} cannot be told: {escape_terminal(str(error), 300)}",
            f"Set 'subset', or name the files with a glob: hf://datasets/{repo}/data/*.parquet",
            code="hub-dataset-unclear",
        ) from error
    splits: dict[str, Any] = {str(name): files for name, files in (builder.config.data_files or {}).items()}
    if split == "all":
        return sorted({one for files in splits.values() for one in files})
    wanted = split or ("train" if "train" in splits or len(splits) != 1 else next(iter(splits)))
    if wanted not in splits:
        raise SultanaError(
            f"The dataset {repo} has no split '{wanted}'; it has {', '.join(sorted(splits)) or 'none'}",
            "Set 'split' of the source to one of them, or to 'all'",
            code="choice-unknown",
        )
    return sorted(set(splits[wanted]))


def check_card(path: Path, repo: str) -> None:
    """Raise SultanaError where a dataset's card names files that are not the dataset's own.

    The datasets library would fetch whatever address the card names, of this machine and its network too.
    """
    try:
        named = [one for one in _texts(front_matter(path).get("configs")) if not _is_own(one)]
    except ValueError as error:
        raise SultanaError(
            f"The card of the dataset {repo} cannot be read: {error}",
            f"Name the files with a glob: hf://datasets/{repo}/data/*.parquet",
            code="hub-dataset-unclear",
        ) from None
    if named:
        raise SultanaError(
            f"The card of the dataset {repo} names '{escape_terminal(named[0], 100)}', which is no file of its own",
            f"Name the files with a glob: hf://datasets/{repo}/data/*.parquet",
            code="hub-card-refused",
        )


def front_matter(path: Path) -> dict[str, Any]:
    """What a card says for programs: all of a YAML file, else the part before its text. Raises ValueError."""
    with path.open("rb") as file:
        text = file.read(_CARD_BYTES).decode("utf-8", "replace")
    if path.suffix != ".yaml":
        matched = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
        if matched is None:
            return {}
        text = matched.group(1)
    found = parse_yaml(text)
    return found if isinstance(found, dict) else {}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _is_own(name: str) -> bool:
    """Whether a name or pattern stays inside the dataset's folder."""
    return (
        "://" not in name
        and "::" not in name
        and not name.startswith(("/", "~"))
        and ".." not in name.split("/")
    )


def _licence_of_card(card: Path) -> str | None:
    """The licence that the front matter of a dataset's card names."""
    try:
        licence = front_matter(card).get("license")
    except ValueError:
        return None
    return licence if isinstance(licence, str) else None
