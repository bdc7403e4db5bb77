"""Compiling the kernels, and running without them."""

import subprocess
import sys

import pytest
import torch

from robench.architectures.pooling import Window, max_pool
from robench.runtime.batch_size import is_out_of_memory
from robench.spiking import kernels
from tests.spiking.test_kernels import values_and_gradient
from tests.support.needs import needs_kernels
from tests.support.networks import ARCHITECTURES, CLOSE, network

BUILD = "from robench.spiking import kernels; print(kernels.library() is not None)"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for the compiled library; the one in use does not change."""
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def load_again(library=kernels.library):
    return library.__wrapped__()


@needs_kernels
def test_two_processes_build_at_once_and_a_damaged_library_is_built_again(cache):
    command = [sys.executable, "-c", BUILD]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["True\n"] * 2
    (library,) = cache.rglob("*.so")
    assert list(library.parent.iterdir()) == [library]  # no temporary file is left

    whole = library.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:8192] + bytes(len(whole) - 8192)):
        library.write_bytes(damaged)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", "/nonexistent")
            assert load_again() is None  # not loaded, since loading it would crash the process
    assert load_again() is not None
    assert library.read_bytes() == whole


@pytest.mark.parametrize(("name", "value"), [("CC", "/nonexistent"), ("ROBENCH_KERNELS", "off")])
def test_without_kernels_a_network_is_the_same(cache, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert load_again() is None
    assert not list(cache.rglob("*.so"))
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    for architecture in ARCHITECTURES:
        model = network(architecture).requires_grad_(False)
        model.prepare(x)
        expected, gradient = values_and_gradient(model, x, None)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "library", load_again)
            assert not kernels.usable(x)
            values, ours = values_and_gradient(model, x, None)
        torch.testing.assert_close(values, expected, **CLOSE)
        torch.testing.assert_close(ours, gradient, atol=1e-6, rtol=1e-6)  # see test_fusion


def test_the_compiler_may_have_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/ccache cc")
    with pytest.raises(FileNotFoundError, match="'/nonexistent/ccache'"):
        kernels.build(tmp_path)


@needs_kernels
def test_memory_that_runs_out_in_a_kernel_is_an_error(cache, monkeypatch):
    header = cache / "no_memory.h"
    header.write_text("#include <stdlib.h>\n#define malloc(size) NULL\n", "utf-8")
    monkeypatch.setattr(kernels, "_FLAGS", (*kernels._FLAGS, "-include", str(header)))
    library = load_again()
    assert library is not None
    monkeypatch.setattr(kernels, "library", lambda: library)
    x = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for compute in (lambda: max_pool(x, Window(2, 2, 0)), lambda: network("flex-vgg16")(x)):
        with pytest.raises(MemoryError, match="memory ran out") as raised:
            compute()
        assert is_out_of_memory(raised.value)
