"""The memory that a process may use and has used, on three systems."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from robench.runtime import memory

GIB = 2**30


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8 GiB, no container and no limit."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB))
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", ())
    limit_of_the_process(monkeypatch, memory.resource.RLIM_INFINITY)


def limit_of_the_process(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(memory.resource, "getrlimit", lambda what: (limit, limit))


def test_this_machine_has_some_memory_and_this_process_has_used_some() -> None:
    assert 2**20 < memory.peak() < memory.allowed() < 2**50


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("text", "allowed"), [("max\n", 8 * GIB), ("3000000\n", 3000000), ("", 8 * GIB)]
)
def test_a_container_may_allow_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, allowed: int
) -> None:
    (tmp_path / "memory.max").write_text(text, "ascii")
    limits = (tmp_path / "memory.max", tmp_path / "no such file")
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", limits)
    assert memory.allowed() == allowed


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("limit", "allowed"), [(2000000, 2000000), (9 * GIB, 8 * GIB)])
def test_a_limit_of_the_process_may_allow_less(
    monkeypatch: pytest.MonkeyPatch, limit: int, allowed: int
) -> None:
    limit_of_the_process(monkeypatch, limit)
    assert memory.allowed() == allowed


@pytest.mark.usefixtures("installed")
def test_windows_has_no_such_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_of_the_process(monkeypatch, 2000000)
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory.allowed() == 8 * GIB


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_in_the_unit_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, unit: int
) -> None:
    monkeypatch.setattr(memory.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=5000))
    monkeypatch.setattr(sys, "platform", system)
    assert memory.peak() == 5000 * unit


def test_the_peak_on_windows_is_that_of_its_working_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory_info(self: psutil.Process) -> SimpleNamespace:
        return SimpleNamespace(rss=1, peak_wset=7000)

    monkeypatch.setattr(psutil.Process, "memory_info", memory_info)
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory.peak() == 7000
