"""Freed memory stays with the process: allocating again costs no page faults."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource
from cogvit_jax.host_memory import keep_freed_memory
assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def fault_in():
    block = libc.malloc(1 << 27)
    ctypes.memset(block, 1, 1 << 27)
    libc.free(block)

fault_in()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fault_in()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_second_allocation_of_a_large_block_is_free_of_page_faults():
    run = [sys.executable, "-c", SCRIPT]
    faults = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert faults < 1000  # 4 × 32,768 pages of 4 KiB, if each had been mapped anew
