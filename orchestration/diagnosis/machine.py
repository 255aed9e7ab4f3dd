"""Has this machine room enough: disk, memory and the port of the UI?"""

import http.client
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestration.diagnosis.finding import Examined, Finding, mebibytes
from resources.memory import available_bytes
from resources.ports import HOST, is_free

LEAST_FREE_BYTES = 2 * 2**30
LEAST_TEMPORARY_BYTES = 2**29
LEAST_MEMORY_BYTES = 3 * 2**30
"""What training the embedded model takes at the sizes of the demo."""


def check_disk(examined: Examined) -> Iterator[Finding]:
    """The data folder can be written to and has room, and temporary files have."""
    folder = examined.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield Finding(f"{folder} cannot be written to", "Give this user write access, or set SULTANA_DATA")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            f"Only {mebibytes(free)} are free where {folder} lies", "Free some space, or set SULTANA_DATA"
        )
    temporary = Path(tempfile.gettempdir())
    free = shutil.disk_usage(temporary).free
    if free < LEAST_TEMPORARY_BYTES:
        yield Finding(
            f"Only {mebibytes(free)} are free for temporary files in {temporary}",
            "Free some space, or set TMPDIR to a folder on another disk",
        )


def check_memory(_: Examined) -> Iterator[Finding]:
    """Enough memory is available to train the embedded model."""
    available = available_bytes()
    if available is not None and available < LEAST_MEMORY_BYTES:
        yield Finding(
            f"Only {mebibytes(available)} of memory are available; training the embedded model takes about "
            f"{mebibytes(LEAST_MEMORY_BYTES)}",
            "End other programs, or lower training.micro_batch and maximum_length",
            "warning",
        )


def check_port(examined: Examined) -> Iterator[Finding]:
    """The UI's port is free, or a Dagster UI answers there."""
    if is_free(examined.port) or _is_dagster(examined.port):
        return
    yield Finding(
        f"Port {examined.port} is taken by a program that is no Dagster UI",
        f"End that program, or take another port: sultana ui --port {examined.port % 65535 + 1}",
        "warning",
    )


def _is_dagster(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        found = json.loads(connection.getresponse().read(10_000))
    except (OSError, http.client.HTTPException, ValueError):  # it speaks something else, or nothing
        return False
    finally:
        connection.close()
    return isinstance(found, dict) and "dagster_webserver_version" in found
