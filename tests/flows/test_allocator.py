"""The allocator of processes that xv starts: what was freed is used again; see :mod:`flows.allocator`."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is set")

FAULTS = """
import resource, sys
import numpy as np
{before}
def work():
    for _ in range(20):
        np.ones(12_000_000)  # 96 MB, above what glibc keeps by itself
work()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""
KEEP = "from flows.allocator import keep_memory\nprint(keep_memory(), keep_memory())"


def printed(before: str, **environment: str) -> list[str]:
    command = [sys.executable, "-c", FAULTS.format(before=before)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_freed_memory_is_used_again_where_xv_starts_the_process_and_nowhere_else():
    *said, kept = printed(KEEP)
    assert said == ["True", "True"]
    (imported,) = printed("import xvcore.models")
    assert int(kept) < int(imported) / 10


def test_a_variable_leaves_the_allocator_as_it_is():
    *said, faults = printed(KEEP, XV_KEEP_MEMORY="0")
    assert said == ["False", "False"]
    assert int(faults) > 20 * 40  # pages of 2 MB at the largest


HOLES = """
import numpy as np
from flows.allocator import giving_back, keep_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
keep_memory()
said = []
tell = giving_back(lambda done, total: said.append((done, total)), seconds={seconds})
for number in range(3):
    pinned = [(np.ones(4_000_000), bytearray(64)) for _ in range(8)]
    kept = [each[1] for each in pinned]
    del pinned
    tell(number, 3)
print(len(said), resident())
"""


def test_what_is_not_used_is_given_back_now_and_then():
    found = {}
    for seconds in (0, 1000):
        command = [sys.executable, "-c", HOLES.format(seconds=seconds)]
        done = subprocess.run(
            command, env={**os.environ, "XV_KEEP_MEMORY": "1"}, capture_output=True, text=True, check=True
        )
        told, found[seconds] = done.stdout.split()
        assert told == "3"
    assert float(found[0]) < float(found[1000]) - 150, "256 MB were free"
