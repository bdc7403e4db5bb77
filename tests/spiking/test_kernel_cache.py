"""The cache of the compiled kernels: nothing of somebody else is loaded."""

import functools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from robench import private_folder
from robench.spiking import kernels
from tests.support.needs import needs_kernels, needs_linux, needs_root

pytestmark = [needs_linux, needs_kernels]
BUILD = "from robench.spiking import kernels; print(kernels.library() is not None)"
PLANTED = '__attribute__((constructor)) static void run(void) { fopen("ran", "w"); }\n'


@pytest.fixture
def base(tmp_path, monkeypatch):
    """An empty cache, into which kernels are built in a tenth of the time."""
    cache, temporary = tmp_path / "cache" / "robench", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.chdir(tmp_path)  # where a planted library leaves its trace
    monkeypatch.setattr(kernels, "user_cache_path", lambda name: cache)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(kernels, "_compiled", functools.cache(kernels._compiled.__wrapped__))
    monkeypatch.setattr(kernels, "_FLAGS", (*kernels._FLAGS, "-O0"))
    return cache


def modes(folder):
    return {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def planted(base, tmp_path):
    """The name of the library, in which another one is that notes that it was loaded."""
    with private_folder.private_folder(base / "kernels", levels=2) as folder:
        name = kernels.build(folder)  # not loaded yet: a process loads a path once
    source = tmp_path / "planted.c"
    source.write_text("#include <stdio.h>\n" + PLANTED)
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(name)], check=True)
    name.write_bytes(name.read_bytes() + kernels._digest(name.read_bytes()))
    return name


def was_loaded(tmp_path):
    return (tmp_path / "ran").exists()


def test_a_planted_library_is_loaded_where_only_the_user_can_write(base, tmp_path):
    planted(base, tmp_path)
    kernels.library()
    assert was_loaded(tmp_path)  # so that the other tests show something


@pytest.mark.parametrize("exposed", ["kernels", ".", "file"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770])
def test_where_others_could_write_the_library_is_built_again(base, tmp_path, exposed, mode):
    library = planted(base, tmp_path)
    (library if exposed == "file" else base / exposed).chmod(mode)
    assert kernels.library() is not None
    assert not was_loaded(tmp_path)
    assert not any(mode & 0o022 for mode in modes(base))


@needs_root
@pytest.mark.parametrize("level", ["kernels", ".", "file"])
def test_of_another_user_nothing_is_loaded(base, tmp_path, level):
    library = planted(base, tmp_path)
    planted_bytes = library.read_bytes()
    os.chown(library if level == "file" else base / level, 12345, 12345)
    assert kernels.library() is not None
    assert not was_loaded(tmp_path)
    assert (library.read_bytes() == planted_bytes) == (level != "file")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_in_the_cache_of_another_user_nothing_is_loaded_or_written(base, tmp_path, monkeypatch):
    library = planted(base, tmp_path)
    planted_bytes, user = library.read_bytes(), os.geteuid()
    monkeypatch.setattr(private_folder.os, "geteuid", lambda: user + 1)
    assert kernels.library() is not None
    assert not was_loaded(tmp_path)
    assert library.read_bytes() == planted_bytes
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_the_umask_does_not_matter(base, umask):
    before = os.umask(umask)
    try:
        assert kernels.library() is not None
    finally:
        os.umask(before)
    assert modes(base) == {0o700, 0o600}


def test_where_no_cache_can_be_written_the_kernels_are_built_elsewhere(base, tmp_path):
    base.parent.mkdir()
    base.touch()
    assert kernels.library() is not None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_build_leaves_nothing_for_long(tmp_path, end):
    bin_folder, cache = tmp_path / "bin", tmp_path / "cache"
    bin_folder.mkdir()
    compiler = bin_folder / "cc"
    compiler.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    compiler.chmod(0o755)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    slow = environment | {"CC": str(compiler)}
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD], env=slow, start_new_session=True, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, end)
    process.wait()
    folder = cache / "robench" / "kernels"
    assert len(list(folder.iterdir())) == 1
    with private_folder.workspace(folder) as temporary:  # as the next build does
        assert list(folder.iterdir()) == [temporary]
    assert list(folder.iterdir()) == []


def test_the_folder_of_a_build_at_work_stays(tmp_path):
    with private_folder.workspace(tmp_path) as first, private_folder.workspace(tmp_path) as second:
        assert first.is_dir()
        assert second.is_dir()
        assert first != second
    assert list(tmp_path.iterdir()) == []


def test_triton_does_not_keep_its_libraries_where_others_can_write(base, tmp_path, monkeypatch):
    folder = tmp_path / "triton"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(kernels, "_on_gpu", lambda: None)
    for named in (str(folder), str(base / "triton")):
        monkeypatch.setenv("TRITON_CACHE_DIR", named)
        kernels.on_gpu()
        assert os.environ["TRITON_CACHE_DIR"] == str(base / "triton")
    assert modes(base) == {0o700}
    folder.chmod(0o700)
    kernels._triton_cache.cache_clear()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))
    kernels.on_gpu()
    assert os.environ["TRITON_CACHE_DIR"] == str(folder)
