"""Peak memory is that of the stretch, not of the process; what was freed goes back to the system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.memory import peak_mebibytes, restart_peak

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
FREED = """
import ctypes
from pathlib import Path
from resources.memory import return_unused
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS"))
return_unused()
before = resident()
blocks = [c.malloc(4096) for _ in range(50_000)]
for block in blocks:
    ctypes.memset(block, 1, 4096)
for block in blocks[:-1]:  # the last keeps the C library from giving the others back by itself
    c.free(block)
idle = resident() - before
return_unused()
print(idle, resident() - before)
"""
ARENAS = """
import ctypes, os, sys, threading
from resources.memory import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
most = max(2, os.cpu_count())
began = threading.Barrier(4 * most)
def allocate():
    began.wait()
    kept = [bytes(1000) for _ in range(100)]
    began.wait()
threads = [threading.Thread(target=allocate) for _ in range(4 * most)]
for one in threads: one.start()
for one in threads: one.join()
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(c.fopen(sys.argv[2].encode(), b"w"))
c.malloc_info(0, file)
c.fclose(file)
print(most, open(sys.argv[2]).read().count("<heap nr="))
"""


def told(program: str, *arguments: str) -> list[int]:
    """The numbers that a program in a process of its own says."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=True, env=environment, timeout=120,
    )  # fmt: skip
    return [int(one) for one in done.stdout.split()]


@linux
def test_the_peak_starts_anew() -> None:
    big = bytearray(300 * 2**20)
    for place in range(0, len(big), 4096):
        big[place] = 1
    before = peak_mebibytes()
    assert before is not None and before > 300
    del big
    restart_peak()
    after = peak_mebibytes()
    assert after is not None and after < before - 200


@linux
def test_what_was_freed_goes_back_to_the_system() -> None:
    idle, left = told(FREED)
    assert idle > 150 and left < 20


@linux
def test_threads_share_an_arena_for_each_core(tmp_path: Path) -> None:
    most, arenas = told(ARENAS, "limited", f"{tmp_path}/limited.xml")
    assert arenas <= most
    most, arenas = told(ARENAS, "as it is", f"{tmp_path}/free.xml")
    assert arenas > most, "the C library limits them by itself: `limit_arenas` can go"
