"""The engine of one machine is a plain loop, and nothing of it knows Ray."""

import asyncio
import copy
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from assets.instructions.shingles import Vocabulary
from orchestration.settings import RESOURCES, check_configuration
from resources.compute import ray_process
from resources.compute.alike import check_alike, check_model, code_facts
from resources.compute.boundary import Message, in_order
from resources.compute.ray_cluster import RayCluster, connect
from resources.compute.ray_group import Progress
from resources.compute.ray_process import Mailbox, check_shared
from resources.compute.this_machine import THIS_MACHINE
from resources.definitions import ComputeSetting, Engine, Storage
from resources.embedder import SentenceEmbedder
from resources.errors import SultanaError, TransientError
from resources.language_model import LanguageModel


def test_results_come_in_order_as_parts_are_taken_and_the_work_is_built_once() -> None:
    built: list[str] = []
    taken: list[int] = []

    def parts() -> Iterator[int]:
        for number in range(4):
            taken.append(number)
            yield number

    def factory() -> Callable[[int, int], int]:
        built.append("here")
        return lambda part, shared: part * shared

    with THIS_MACHINE.workers(factory) as workers:
        assert built == []  # nothing is loaded for no part
        results = workers.map(parts(), 10)
        assert next(results) == 0 and taken == [0]  # one part in memory at a time
        assert list(results) == [10, 20, 30]
        assert list(workers.map([5], 2)) == [10]
    assert built == ["here"]


def test_what_the_work_raises_is_raised() -> None:
    def factory() -> Callable[[int], float]:
        return lambda part: 1 / part

    results = in_order(THIS_MACHINE, factory, [2, 0])
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_engine_is_a_setting_and_this_machine_unless_it_says_otherwise() -> None:
    assert ComputeSetting().open() is THIS_MACHINE
    assert RESOURCES["compute"].engine is Engine.local
    setting = ComputeSetting(engine=Engine.ray, address="10.0.0.1:6379", workers=3, gpus_per_worker=1)
    assert setting.open() == RayCluster("10.0.0.1:6379", count=3, cpus=1.0, gpus=1.0, wait_seconds=300.0)
    check_configuration({"resources": {"compute": {"config": {"engine": "ray", "workers": 2}}}})
    for wrong in ({"engine": "spark"}, {"workers": -1}, {"cpus_per_worker": 0.0}):
        with pytest.raises(SultanaError):
            check_configuration({"resources": {"compute": {"config": wrong}}})
    with pytest.raises(ValidationError):
        ComputeSetting(wait_seconds=0.0)


def test_nothing_imports_ray_where_the_engine_is_this_machine() -> None:
    code = (
        "import sys, orchestration.definitions, assets.embeddings.embed, assets.diversity.clusters, "
        "assets.instructions.sort, assets.selection.inputs, assets.finetuning.processes, "
        "assets.finetuning.worker, resources.compute.ray_process, resources.compute.ray_group\n"
        "from resources.definitions import ComputeSetting\n"
        "from resources.compute.boundary import in_order\n"
        "list(in_order(ComputeSetting().open(), lambda: abs, [1]))\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_a_missing_ray_is_one_sentence_with_a_remedy() -> None:
    with pytest.raises(SultanaError) as raised:
        list(in_order(RayCluster(), lambda: abs, [1]))
    assert raised.value.code == "ray-not-installed" and "sultana[ray]" in raised.value.remedy


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_an_address_of_ray_client_is_refused() -> None:
    with pytest.raises(SultanaError) as raised:
        connect("ray://10.0.0.1:10001")
    assert raised.value.code == "ray-client-address"


def test_a_worker_with_other_code_or_another_model_is_refused() -> None:
    check_alike(code_facts(), "here")
    with pytest.raises(SultanaError) as raised:
        check_alike({**code_facts(), "torch": "0.1"}, "node-7")
    assert raised.value.code == "worker-differs" and "node-7 has torch" in raised.value.problem
    with pytest.raises(SultanaError) as raised:
        check_model(SentenceEmbedder(dtype="float32"), "of another model")
    assert raised.value.code == "worker-model-differs"


def test_a_folder_that_a_node_does_not_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_process, "SHARED_SECONDS", 0.0)
    (tmp_path / "name").write_text("nonce")
    check_shared(tmp_path, "name", "nonce", "node-7")
    for folder, nonce in ((tmp_path / "absent", "nonce"), (tmp_path, "of another training")):
        with pytest.raises(SultanaError, match="node-7 does not see the folder") as raised:
            check_shared(folder, "name", nonce, "node-7")
        assert raised.value.code == "folder-not-shared"


def test_a_training_lies_where_all_nodes_see_it(tmp_path: Path) -> None:
    storage, shared = Storage(folder=str(tmp_path / "data")), tmp_path / "shared"
    ray = ComputeSetting(engine=Engine.ray, shared_folder=str(shared))
    own = tmp_path / "data" / "checkpoints" / "name"
    assert ray.training_folder(storage, 2, "name") == shared / "name"
    assert ray.training_folder(storage, 1, "name") == own and own.is_dir()
    assert ComputeSetting(engine=Engine.ray).training_folder(storage, 2, "name") == own
    with pytest.raises(ValidationError):
        ComputeSetting(shared_folder="somewhere")


def test_a_group_that_gets_further_is_never_given_up() -> None:
    progress = Progress()
    found = []
    for furthest in (3, 6, 6, 5, 9, 9):
        progress.furthest = max(progress.furthest, furthest)
        found.append(progress.lost())
    assert found == [1, 1, 2, 3, 1, 2]


def test_a_mailbox_gives_each_message_once_and_in_order() -> None:
    async def used() -> list[list[Message]]:
        mailbox = Mailbox()
        waits = asyncio.create_task(mailbox.take(30.0))
        await asyncio.sleep(0)
        for number in range(3):
            await mailbox.tell({"step": number})
        return [await waits, await mailbox.take(0.0)]

    assert asyncio.run(used()) == [[{"step": 0}, {"step": 1}, {"step": 2}], []]


def test_models_travel_as_settings_and_errors_whole() -> None:
    embedder = SentenceEmbedder(dtype="float32", batch_tokens=512)
    embedder.embed(["loaded"])
    assert embedder._loaded is not None
    sent = copy.copy(embedder)  # by the same methods as a pickle
    assert sent._loaded is None and sent.fingerprint() == embedder.fingerprint()
    model = LanguageModel(dtype="float32")
    assert vars(copy.copy(model)) == vars(LanguageModel(dtype="float32"))
    for kind in (SultanaError, TransientError):
        error = copy.copy(kind("It is wrong", "Correct it", code="wrong"))
        assert type(error) is kind
        assert (error.problem, error.remedy, error.code) == ("It is wrong", "Correct it", "wrong")


def test_a_vocabulary_travels_empty() -> None:
    words = Vocabulary(limit=10)
    number = words["fruit"]
    found = copy.copy(words)
    assert dict(found) == {} and found.limit == 10 and found["fruit"] == number
