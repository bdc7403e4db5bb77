"""Freed memory that stays with the process, so that fewer pages are requested again."""

import platform
import subprocess
import sys

import pytest

from robench.runtime import allocator
from tests.support.needs import needs_glibc

FAULTS = """
import resource
import torch
from robench.runtime.allocator import give_back_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(10_000_000)  # 40 MB: above every threshold of glibc's own
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
assert keep_freed_memory()
kept = (faults(), faults())[1]  # the first call fetches the memory that is kept
give_back_memory()
print(before, kept, faults())
"""


@needs_glibc
def test_pages_are_fetched_once_and_come_back_after_they_were_given_back():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    before, kept, again = map(int, done.stdout.split())
    assert before > 20 * kept
    assert again > 20 * kept


def no_answer():
    raise OSError("the interpreter of the Microsoft Store cannot be opened")


@pytest.mark.parametrize(
    ("system", "answer"),
    [("linux", lambda: ("", "")), ("darwin", lambda: ("", "")), ("win32", no_answer)],
)
def test_another_c_library_is_left_alone(monkeypatch, system, answer):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", answer)
    allocator._glibc.cache_clear()
    allocator.keep_freed_memory.cache_clear()
    try:
        assert allocator.keep_freed_memory() is False
        allocator.give_back_memory()
    finally:
        allocator._glibc.cache_clear()
        allocator.keep_freed_memory.cache_clear()
