"""Peak memory is that of the stretch, not of the process."""

import sys

import pytest

from resources.memory import peak_mebibytes, restart_peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
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
