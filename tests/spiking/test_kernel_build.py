"""Compiling the kernels, and running without them."""

import functools
import shutil
import subprocess
import sys

import pytest
import torch

from robench.architectures.pooling import Window, max_pool
from robench.cli import doctor
from robench.runtime.batch_size import is_out_of_memory
from robench.spiking import kernels
from tests.spiking.test_kernels import values_and_gradient
from tests.support.needs import needs_kernels, needs_linux
from tests.support.networks import ARCHITECTURES, CLOSE, network

BUILD = "from robench.spiking import kernels; print(kernels.library() is not None)"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for the compiled library; the one in use does not change."""
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def load_again(compiled=kernels._compiled):
    return compiled.__wrapped__()[0]


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


@pytest.fixture
def compiler(tmp_path, monkeypatch, cache):
    """Make ``cc`` a script in which ``cc`` is the real one; nothing is cached."""
    real = shutil.which("cc")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(kernels, "_compiled", functools.cache(kernels._compiled.__wrapped__))
    # compiles in a tenth of the time
    monkeypatch.setattr(kernels, "_FLAGS", (*kernels._FLAGS, "-O0"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(kernels.SWITCH, raising=False)

    def install(script):
        path = folder / "cc"
        text = f'#!/bin/sh\necho called >> {tmp_path}/calls\ncc() {{ {real} "$@"; }}\n{script}\n'
        path.write_text(text, "utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return install


def refusing(*flags):
    cases = "".join(
        f"*' {flag} '*) echo \"clang: error: unsupported option '{flag}'\" >&2; exit 1;;\n"
        for flag in flags
    )
    return f'case " $* " in\n{cases}esac\ncc "$@"'


LINKER_OF_MACOS = """
for last; do :; done
case " $* " in
*" -shared "*) cc "$@" -Wl,--no-undefined -lm;;
*) cc "$@";;
esac
"""
"""It does not leave the functions of OpenMP undefined."""


@needs_linux
@needs_kernels
@pytest.mark.parametrize(
    "script",
    [refusing("-fopenmp"), refusing("-march=native"), refusing("-march=native", "-fopenmp"),
     LINKER_OF_MACOS],
    ids=["no OpenMP", "no native", "neither", "macOS"],
)  # fmt: skip
def test_a_compiler_that_refuses_a_flag_is_used_without_it(compiler, monkeypatch, script):
    model, x = network("vgg16").requires_grad_(False), torch.rand(2, 3, 8, 8)
    expected, gradient = values_and_gradient(model, x, None)
    compiler(script)
    library = kernels.library()
    assert library is not None
    assert kernels.obstacle() == ""
    assert doctor._kernels() == "compiled"
    monkeypatch.setattr(kernels, "library", lambda: library)
    values, ours = values_and_gradient(model, x, None)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(ours, gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'cc: fatal error: no input' >&2; echo more >&2; exit 1",
            "cc: fatal error: no input",
        ),
        ("echo 'x.c: In function f' >&2; echo 'x.c:3: error: no' >&2; exit 1", "x.c:3: error: no"),
        ("echo 'cl : D8021: invalid argument'; exit 2", "cl : D8021: invalid argument"),
        ("printf 'xcrun: \\377 missing\\n\\n' >&2; exit 1", "xcrun: \ufffd missing"),
        ("exit 69", "cc ended with code 69"),
    ],
)
def test_the_doctor_gives_the_reason_of_a_compiler_that_fails(compiler, script, reason):
    compiler(script)
    assert kernels.library() is None
    assert kernels.obstacle() == reason
    assert doctor._kernels() == f"none: {reason}; plain PyTorch is used"


def test_the_doctor_says_that_there_is_no_compiler(compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._kernels() == "none: cc: No such file or directory; plain PyTorch is used"
    kernels._compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-cc -m64")
    assert doctor._kernels().startswith("none: no-such-cc: No such file")
    kernels._compiled.cache_clear()
    monkeypatch.setenv("CC", "'/opt/my cc")
    assert doctor._kernels() == "none: No closing quotation; plain PyTorch is used"


def test_the_doctor_names_the_compiler_where_the_system_does_not(compiler, monkeypatch):
    def run(*args, **rest):
        raise FileNotFoundError(2, "The system cannot find the file specified")  # as on Windows

    monkeypatch.setattr(subprocess, "run", run)
    assert doctor._kernels().startswith("none: cc: The system cannot find the file")


def test_a_library_that_cannot_be_loaded_is_no_obstacle_without_a_reason(
    compiler, monkeypatch, tmp_path
):
    monkeypatch.setattr(kernels, "build", lambda folder, optional: tmp_path / "no.so")
    assert kernels.library() is None
    assert "no.so" in kernels.obstacle()


def test_a_compiler_that_hangs_is_called_once(compiler, monkeypatch, tmp_path):
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *args, timeout, **rest: run(*args, timeout=1.5, **rest)
    )
    compiler("exec sleep 30")
    assert doctor._kernels() == "none: cc took longer than 1.5 s; plain PyTorch is used"
    assert (tmp_path / "calls").read_text() == "called\n"


ARM = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU part\t: 0xd0c

processor\t: 1
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""
INTEL = "model name\t: a CPU\nflags\t\t: fpu avx2\nvmx flags\t: ept\n"


@pytest.mark.parametrize(
    ("there", "changed"),
    [
        (ARM, ARM.replace("aes", "aes sve")),
        (ARM, ARM.replace("0xd0c\n\nprocessor", "0xd05\n\nprocessor")),
        (INTEL, INTEL.replace("avx2", "avx2 avx512f")),
    ],
)
def test_another_processor_has_another_library(monkeypatch, tmp_path, there, changed):
    monkeypatch.setattr(kernels, "_CPUINFO", tmp_path / "cpuinfo")
    found = []
    for text in (there, changed, there, there.replace("100.00", "50.00")):
        (tmp_path / "cpuinfo").write_text(text, "utf-8")
        found.append(kernels._processor())
    assert found[0] == found[2] == found[3] != found[1]


def test_a_processor_without_a_description_is_that_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "_CPUINFO", tmp_path / "cpuinfo")  # as on macOS and Windows
    monkeypatch.setattr(kernels.platform, "node", lambda: "here")
    assert kernels._processor() == "here"
    (tmp_path / "cpuinfo").write_text("cpu\t\t: POWER9\n", "utf-8")
    assert kernels._processor() == "here"
