"""Addresses become files: folders, globs, fsspec, and datasets in the layout of the Hub."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.instructions.raw import SourceSpec, read_sources, source_fingerprint
from assets.instructions.sources import resolve, shown_uri
from resources.errors import SultanaError
from resources.files import sha256_file

ROW = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "rows"
    for name in (
        "b.jsonl",
        "a.json",
        "deep/er/c.jsonl.gz",
        "notes.md",
        ".hidden.jsonl",
        ".git/x.jsonl",
        "state.json",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ROW)
    return root


def _names(uri: str, tmp_path: Path, **settings: object) -> list[str]:
    return [one.name for one in resolve(uri, downloads=tmp_path, **settings)]  # type: ignore[arg-type]


def test_folder_glob_and_file(folder: Path, tmp_path: Path) -> None:
    assert _names(str(folder), tmp_path) == ["a.json", "b.jsonl", "deep/er/c.jsonl.gz"]
    assert _names(f"{folder}/*.jsonl", tmp_path) == ["b.jsonl"]
    assert _names(f"{folder}/**/*.jsonl*", tmp_path) == ["b.jsonl", "deep/er/c.jsonl.gz"]
    assert _names(f"{folder}/notes.md", tmp_path) == ["notes.md"]
    assert _names(f"file://{folder}/b.jsonl", tmp_path) == ["b.jsonl"]
    one = resolve(str(folder / "b.jsonl"), downloads=tmp_path)[0]
    assert one.sha256 == sha256_file(one.path) and one.revision is None


def test_a_name_that_looks_like_a_glob_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "rows[1].jsonl").write_bytes(ROW)
    assert _names(str(tmp_path / "rows[1].jsonl"), tmp_path) == ["rows[1].jsonl"]


def test_odd_names_are_shown_escaped(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    root.mkdir()
    (root / "a\u202e\n.jsonl").write_bytes(ROW)
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.jsonl")).write_bytes(ROW)
    rows = list(read_sources([SourceSpec("here", str(root))]))
    assert [row["file"] for row in rows] == ["a\\u202e\\n.jsonl", "\\xff.jsonl"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("missing.jsonl", "does not exist"),
        ("*.nothing", "No file matches"),
        ("empty", "no file to read"),
        ("pipe", "not a regular file"),
        ("out", "leads out of the source's folder"),
    ],
)
def test_nothing_to_read(tmp_path: Path, address: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out").mkdir()
    (tmp_path / "secret.jsonl").write_bytes(ROW)
    (tmp_path / "out" / "a.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(SultanaError, match=said) as caught:
        resolve(str(tmp_path / address), downloads=tmp_path)
    assert address in str(caught.value)


def test_links_within_a_folder_are_read(folder: Path, tmp_path: Path) -> None:
    (folder / "linked.jsonl").symlink_to(folder / "b.jsonl")
    assert "linked.jsonl" in _names(str(folder), tmp_path)


def test_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        for name in ("a.jsonl", "sub/b.jsonl", "sub/notes.md"):
            memory.pipe(f"/sultana-test/{name}", ROW)
        assert _names("memory://sultana-test", tmp_path) == ["a.jsonl", "sub/b.jsonl"]
        assert _names("memory://sultana-test/sub/*.jsonl", tmp_path) == ["b.jsonl"]
        rows = list(read_sources([SourceSpec("far", "memory://sultana-test/sub/b.jsonl")]))
        assert rows[0]["file"] == "b.jsonl" and rows[0]["problem"] is None
        with pytest.raises(SultanaError, match="cannot be read"):
            resolve("memory://sultana-test/c.jsonl", downloads=tmp_path)
    finally:
        memory.rm("/sultana-test", recursive=True)
    with pytest.raises(SultanaError, match="no address that is opened"):
        resolve("nonsense://x/y", downloads=tmp_path)


def test_http(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_ALLOWED_NETWORKS", "127.0.0.0/8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        rows = list(read_sources([SourceSpec("web", f"{base}/b.jsonl?token=hunter2")]))
        assert [row["file"] for row in rows] == ["b.jsonl"]
        assert "hunter2" not in str(source_fingerprint([SourceSpec("web", f"{base}/b.jsonl?token=hunter2")]))
        with pytest.raises(SultanaError, match="cannot be read") as caught:
            list(read_sources([SourceSpec("web", f"{base}/missing.jsonl?token=hunter2")]))
        assert "hunter2" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()


def test_secrets_in_addresses_are_not_shown() -> None:
    assert shown_uri("https://me:pw@host/a.jsonl?sig=x#y") == "https://host/a.jsonl"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A dataset as the Hub lays it out: a card, splits by name, Parquet shards."""
    root = tmp_path / "mirror" / "acme" / "chat"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Chat\n")
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(pa.table({"prompt": [name], "completion": ["b"]}), root / "data" / f"{name}.parquet")
    return root.parents[1]


def _read(mirror: Path, uri: str, **settings: str) -> list[dict[str, object]]:
    return list(read_sources([SourceSpec("hub", uri, hub_mirror=str(mirror), **settings)]))  # type: ignore[arg-type]


def test_hub_layout(mirror: Path) -> None:
    rows = _read(mirror, "hf://datasets/acme/chat@0123abc")
    assert [row["file"] for row in rows] == [f"data/train-0000{n}-of-00002.parquet" for n in (0, 1)]
    assert {row["licence"] for row in rows} == {"apache-2.0"}
    assert len(_read(mirror, "hf://datasets/acme/chat", split="test")) == 1
    assert len(_read(mirror, "hf://datasets/acme/chat", split="all")) == 3
    assert len(_read(mirror, "hf://datasets/acme/chat/data/t*-00000-*.parquet")) == 2
    fingerprint = source_fingerprint(
        [SourceSpec("hub", "hf://datasets/acme/chat@0123abc", hub_mirror=str(mirror))]
    )
    assert fingerprint[0]["revision"] == "0123abc" and len(fingerprint[0]["files"]) == 2


def test_the_card_of_a_dataset_says_which_files_are_its_rows(mirror: Path) -> None:
    root = mirror / "acme" / "chat"
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files: data/test-*.parquet\n"
        "- config_name: two\n  data_files: data/train-00001-*.parquet\n---\n"
    )
    rows = _read(mirror, "hf://datasets/acme/chat", subset="two")
    assert [row["file"] for row in rows] == ["data/train-00001-of-00002.parquet"]
    with pytest.raises(SultanaError, match="subset"):
        _read(mirror, "hf://datasets/acme/chat")


@pytest.mark.parametrize(
    ("uri", "settings", "said"),
    [
        ("hf://datasets/acme/none", {}, "has no dataset"),
        ("hf://datasets/acme/chat/x*.parquet", {}, "No file of the dataset"),
        ("hf://datasets/acme/chat", {"split": "dev"}, "no split 'dev'"),
        ("hf://datasets/acme", {}, "not the address of a dataset"),
        ("hf://datasets/../chat", {}, "not a legal name"),
        ("hf://datasets/acme/chat@a", {"revision": "b"}, "Name it once"),
    ],
)
def test_hub_errors(mirror: Path, uri: str, settings: dict[str, str], said: str) -> None:
    with pytest.raises(SultanaError, match=said):
        _read(mirror, uri, **settings)


def test_a_card_that_leads_out_of_the_mirror_is_refused(mirror: Path) -> None:
    root = mirror / "acme" / "chat"
    (root.parent / "other.jsonl").write_bytes(ROW)
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: ../other.jsonl\n---\n"
    )
    with pytest.raises(SultanaError):
        _read(mirror, "hf://datasets/acme/chat")


def test_offline_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SultanaError, match="HF_HUB_OFFLINE=0"):
        resolve("hf://datasets/acme/chat", downloads=tmp_path)


def test_a_revision_is_only_for_the_hub(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SultanaError, match="only hf:// addresses"):
        resolve(str(folder), downloads=tmp_path, revision="main")
