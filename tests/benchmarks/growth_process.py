"""One measurement of `growth` as a process: `python -m tests.benchmarks.growth_process STAGE ROWS FOLDER`.

Its inputs are in FOLDER. Prints a line of JSON: CPU-seconds and seconds by the clock of the work, the peak of memory
while it ran, what the process held before it (what it imported, and inputs that the work takes from memory), and the
bytes that it left on disk.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from resources.memory import peak_mebibytes, restart_peak
from tests.benchmarks.growth_stages import STAGES


def main() -> None:
    name, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    import lance  # noqa: F401 - what every stage imports is held before

    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder) as kept:
        out = Path(kept) / "tables"
        work = STAGES[name].open(folder, out, rows)
        before = size_of(out)
        restart_peak()
        held = peak_mebibytes()
        cpu, wall = time.process_time(), time.perf_counter()
        found = work()
        result = {
            "cpu_seconds": round(time.process_time() - cpu, 4),
            "wall_seconds": round(time.perf_counter() - wall, 4),
            "peak_mib": round(peak_mebibytes() or 0.0, 1),
            "held_mib": round(held or 0.0, 1),
            "bytes": size_of(out) - before,
            "found": found,
        }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def size_of(folder: Path) -> int:
    """Bytes of the files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
