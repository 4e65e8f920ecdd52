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
