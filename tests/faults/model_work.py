"""Publications of models by the one function, and what must be there of each that was acknowledged."""

import json
import os
import random
import shutil
from pathlib import Path

from resources.tracking import Tracking


class Told:
    """Numbers of what was acknowledged, written where no power is cut."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, number: int) -> None:
        """One more."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, json.dumps(number).encode() + b"\n")
        os.close(handle)

    def read(self, most: int) -> list[int]:
        """Those in the first `most` bytes."""
        return [json.loads(line) for line in self.path.read_bytes()[:most].splitlines()]


def go_on(root: Path, journal: Path, seed: int) -> None:
    """Publish one model after the other, and tell what was acknowledged."""
    told = Told(journal)
    for number in range(1000):
        publish(root, seed, number)
        told.add(number)


def publish(root: Path, seed: int, number: int) -> None:
    """Publish the model of this number."""
    files = root.parent / f"files-{number}"
    files.mkdir(exist_ok=True)
    content = random.Random(f"{seed}:{number}")
    for name in ("a", "b"):
        (files / name).write_bytes(content.randbytes(100_000))
    Tracking(None, root).publish(
        name="m",
        idempotency_key=str(number),
        files=files,
        parameters={"number": number},
        step_metrics=[{"step": 0, "loss": 1.0}],
        inputs=[],
        tags={"number": str(number)},
        aliases=["newest"],
        artifacts={"page.html": b"page" * 1000},
    )
    shutil.rmtree(files)


def compare(root: Path, journal: Path, most: int, seed: int) -> list[str]:
    """What is wrong with the registry after `most` bytes of what was told, and after one more publication."""
    numbers = Told(journal).read(most)
    tracking = Tracking(None, root)
    wrong = [one.problem for one in tracking.check() if "did not finish" not in one.problem]
    versions = {int(one.tags["number"]): one for one in tracking.versions("m")}
    for number in numbers:
        if number not in versions:
            wrong.append(f"the model published as {number} is gone")
        elif tracking.read_artifact(str(versions[number].run_id), "page.html") != b"page" * 1000:
            wrong.append(f"the artifact of the model published as {number} is torn")
    if numbers and not wrong:
        tracking.verify("m", tracking.aliases("m")["newest"])
    following = numbers[-1] + 1 if numbers else 0
    publish(root, seed, following)
    tracking.verify("m", tracking.aliases("m")["newest"])
    if len(tracking.versions("m")) != len(numbers) + 1:
        wrong.append(f"{len(tracking.versions('m'))} versions after {len(numbers) + 1} publications")
    return wrong
