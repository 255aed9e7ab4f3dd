"""No pickle is ever read: by the sources, by the graph, and by what a hook sees in every process of the tests."""

import ast
import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pickle_watch
import pytest

from orchestration.definitions import defs
from resources.definitions import NoValues

ROOT = Path(__file__).parents[2]
ROOMS = ("assets", "orchestration", "resources")
MODULES = {
    "pickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "pickletools",
}
CALLS = {"read_pickle", "load_model", "unpickle", "load_pickle"}
"""Functions of pandas, MLflow and others that read pickles, or may."""

LEAVING = {"assets/lineage/exports/loader_example.py"}
"""What leaves with an export, to be run by others with the model of their choice."""


class Running:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@functools.cache
def _sources() -> list[tuple[str, ast.AST]]:
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    ]


def test_no_source_names_a_module_or_function_that_reads_pickles() -> None:
    found = []
    for name, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [(name, one.name) for one in node.names if one.name.split(".")[0] in MODULES]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
                found.append((name, str(node.module)))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if node.func.attr in CALLS or called in ("torch.load", "torch.package", "numpy.load"):
                    found.append((name, called))
                if any(
                    one.arg in ("allow_pickle", "trust_remote_code", "weights_only") for one in node.keywords
                ):
                    values = {
                        one.arg: ast.unparse(one.value)
                        for one in node.keywords
                        if one.arg in ("allow_pickle", "trust_remote_code", "weights_only")
                    }
                    if set(values.values()) - {"False"} or "weights_only" in values:
                        found.append((name, f"{called}({values})"))
    assert not found
    assert len(_sources()) > 300


def test_every_tokenizer_and_model_is_opened_without_code_and_from_safetensors() -> None:
    opened = [
        (name, ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords})
        for name, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
        and not ast.unparse(node.func).startswith("dg.")
    ]
    conversion = {"gguf_file"}  # of the pinned file
    for name, called, settings in opened:
        if conversion & set(settings) or called == "PeftModel.from_pretrained" or name in LEAVING:
            continue
        assert settings.get("trust_remote_code") == "False", (name, called)
        if called in ("AutoModelForCausalLM.from_pretrained", "AutoModel.from_pretrained"):
            assert settings.get("use_safetensors") == "True", (name, called)
        if called.endswith("from_pretrained"):
            assert settings.get("local_files_only") == "True", (name, called)
    assert {name for name, _, _ in opened} - LEAVING == {
        "resources/language_model.py",
        "resources/embedder.py",
        "assets/lineage/exports/model_folder.py",
    }


def test_no_job_can_reach_an_io_manager_that_stores_values() -> None:
    """Dagster's own default is a pickle in a file."""
    repository = defs.get_repository_def()
    seen = 0
    for job in repository.get_all_jobs():
        graph = job.graph
        managers = {
            definition.io_manager_key for node in graph.iterate_op_defs() for definition in node.output_defs
        }
        for key in managers:
            made = job.resource_defs[key]
            assert _class_of(made) is NoValues, (job.name, key)
            seen += 1
    assert seen >= len(list(repository.get_all_jobs())) - 2
    with pytest.raises(TypeError, match="returned a value"):
        NoValues().handle_output(dg.build_output_context(asset_key=dg.AssetKey("a")), 1)


def _class_of(resource: Any) -> type:
    nested = getattr(resource, "inner_resource", None) or getattr(resource, "nested_resource", None)
    if nested is not None:
        return type(nested)
    for name in ("_resource", "configurable_resource_cls", "_configurable_resource_cls"):
        if (found := getattr(resource, name, None)) is not None:
            return found if isinstance(found, type) else type(found)
    return type(resource)


def test_the_hook_sees_a_pickle_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pickle_watch.FOLDER, str(tmp_path))
    marker = tmp_path / "ran"
    with pytest.raises(pickle_watch.PickleRead, match="mkdir"):
        pickle.loads(pickle.dumps(Running(marker)))  # noqa: S301
    assert not marker.exists()
    assert len(pickle_watch.take_notes(str(tmp_path))) == 1
    assert pickle.loads(pickle.dumps({"a": [1, "b"]})) == {"a": [1, "b"]}  # noqa: S301 - asks for no class


READING = """
import pickle, sys
{setup}
try:
    {read}
except BaseException as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("setup", "read"),
    [
        ("", "pickle.loads(bytes.fromhex(sys.argv[1]))"),
        ("", "pickle._loads(bytes.fromhex(sys.argv[1]))"),
        (
            "import numpy, io",
            "numpy.load(io.BytesIO(bytes.fromhex(sys.argv[1])), allow_pickle=True)",
        ),
        pytest.param(
            "import torch, io, zipfile\n"
            "made = io.BytesIO()\n"
            "with zipfile.ZipFile(made, 'w') as file:\n"
            "    file.writestr('a/data.pkl', bytes.fromhex(sys.argv[1]))\n"
            "    file.writestr('a/version', '3')\n"
            "made.seek(0)",
            "torch.load(made, weights_only=False)",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_hook_sees_one_in_a_process_that_a_test_starts(
    tmp_path: Path, setup: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pickle_watch.FOLDER, str(tmp_path))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # torch would not get so far
    marker = tmp_path.parent / f"{tmp_path.name}-ran"
    content = pickle.dumps(Running(marker)).hex()
    shown = subprocess.run(
        [sys.executable, "-c", READING.format(setup=setup, read=read), content],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.stdout.strip() in ("PickleRead", "UnpicklingError"), shown.stderr
    assert len(pickle_watch.take_notes(str(tmp_path))) == 1
    assert not marker.exists()


def test_torch_reads_no_pickle_even_where_it_is_told_to(tmp_path: Path) -> None:
    """The forced setting alone, without the hook."""
    script = (
        "from resources.environment import apply_safe_defaults; apply_safe_defaults()\n"
        "import torch, sys\n"
        "try: torch.load(sys.argv[1], weights_only=False)\n"
        "except BaseException as error: print(type(error).__name__)\n"
    )
    path, marker = tmp_path / "x.pt", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Running(marker)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert shown.stdout.strip() == "UnpicklingError" and not marker.exists()
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 of the environment is overruled" in shown.stderr
