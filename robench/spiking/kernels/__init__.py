"""The inner loops, in C for the CPU and in Triton for CUDA, built on first use.

``kernels.c`` is compiled once for each machine into the user's cache folder; ``gpu`` needs the
Triton that torch installs for CUDA. Without kernels, and inside :func:`reference`, callers use
plain PyTorch code, which computes the same function.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from platformdirs import user_cache_path
from torch import Tensor

from robench.private_folder import is_own, private_folder, workspace

SWITCH = "ROBENCH_KERNELS"
"""The environment variable that disables the kernels: ``off``."""
SOURCE = Path(__file__).with_name("kernels.c")
_FLAGS = (
    "-std=c11",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
)
_OPTIONAL = (("-march=native", "-fopenmp"), ("-march=native",), ("-fopenmp",), ())
"""Flags that not every compiler takes, in the order in which they are tried."""
_CPUINFO = Path("/proc/cpuinfo")
_FEATURES = ("flags", "Features", "CPU implementer", "CPU part")
"""Beginnings of the lines of ``/proc/cpuinfo`` that ``-march=native`` depends on."""
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_REAL = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}
_TRITON_CACHE = "TRITON_CACHE_DIR"
_temporary = ExitStack()
"""Folders that are removed at the end of the process."""
atexit.register(_temporary.close)
_plain = False  # global, so that it also applies to the threads of a sweep


@contextmanager
def reference() -> Iterator[None]:
    """Inside, all code is plain PyTorch: no kernels, no folded layers."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def is_reference() -> bool:
    """Whether the plain code is in use."""
    return _plain


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels accept these tensors.

    All must be on the CPU, in float32 or in float64, or all on one CUDA device in float32.
    """
    if is_reference() or len({(x.dtype, x.device) for x in tensors}) > 1:
        return False
    dtype, device = tensors[0].dtype, tensors[0].device.type
    if device == "cuda":
        return dtype == torch.float32 and available(device)
    return device == "cpu" and dtype in _SUFFIX and available(device)


def available(device: str) -> bool:
    """Whether there are kernels for a device, for example ``cuda:0``."""
    return (on_gpu if device.startswith("cuda") else library)() is not None


def call(name: str, *arguments: Tensor | float | int | None) -> None:
    """Call a kernel by its name in ``kernels.c`` on the device of its first argument, a tensor.

    Shapes and strides are not checked. In C, tensors are passed as pointers and floats in the type
    of the first argument.
    """
    first = arguments[0]
    assert isinstance(first, Tensor)
    if first.device.type == "cuda":
        with torch.cuda.device(first.device):
            getattr(on_gpu(), name)(*arguments)
        return
    loaded = library()
    assert loaded is not None
    real = _REAL[first.dtype]
    converted: list[object] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            converted.append(ctypes.c_void_p(None))
        elif isinstance(argument, float):
            converted.append(real(argument))
        else:
            converted.append(ctypes.c_int64(argument))
    suffix = _SUFFIX[first.dtype]
    threads = ctypes.c_int64(torch.get_num_threads())
    if getattr(loaded, f"{name}_{suffix}")(*converted, threads):
        raise MemoryError(f"kernel {name}: memory ran out")


def on_gpu() -> ModuleType | None:
    """The kernels for CUDA; None if they are not available."""
    named = os.environ.get(_TRITON_CACHE, "")
    if (private := _triton_cache(named)) != named:
        os.environ[_TRITON_CACHE] = private
    return None if switched_off() else _on_gpu()


@cache
def _on_gpu() -> ModuleType | None:
    try:
        found = importlib.import_module("robench.spiking.kernels.gpu")
        x = torch.zeros(1, device="cuda")
        found.lif_forward(x, 1, x.clone(), x.clone(), 1, 1, 0.5, 1.0, 0.0, 1.0, False)
        found.conv(x, torch.zeros(9, 8, device="cuda"), None, x.clone(), 1, 1, 1, 1, 1, 8)
    except Exception:  # Triton, its compiler or support for this GPU may be missing
        return None
    return found


@cache
def _triton_cache(named: str) -> str:
    """Where Triton keeps its libraries: in robench's cache if others can write where it would."""
    folder = Path(named or "~/.triton/cache").expanduser()
    if not folder.exists() or is_own(folder.stat()):
        return named
    return str(_temporary.enter_context(private_folder(_cache("triton"), levels=2)))


def _cache(name: str) -> Path:
    return user_cache_path("robench") / name


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they are not available."""
    return _compiled()[0]


def obstacle() -> str:
    """Why the compiled kernels are not available, on one line; empty if they are."""
    return _compiled()[1]


@cache
def _compiled() -> tuple[ctypes.CDLL | None, str]:
    """The kernels, or None and the reason."""
    if switched_off():
        return None, f"{SWITCH}=off"
    reason = ""
    with private_folder(_cache("kernels"), levels=2) as folder:
        for optional in _OPTIONAL:
            try:
                return ctypes.CDLL(str(build(folder, optional))), ""
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                reason = _reason(error)
                if isinstance(error, subprocess.TimeoutExpired):  # other flags would take as long
                    break
    return None, reason


def _reason(error: Exception) -> str:
    """Why there is no library, on one line: the compiler's own reason if it has one."""
    text = str(error)
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{compiler()} took longer than {error.timeout:g} s"
    if isinstance(error, subprocess.CalledProcessError):
        text = (error.stderr or error.stdout).decode("utf-8", "replace")
        text = text.strip() or f"{compiler()} ended with code {error.returncode}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or compiler()}: {error.strerror}"
    lines = text.splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[0]).strip()


def switched_off() -> bool:
    """Whether the user disabled the kernels."""
    return os.environ.get(SWITCH) == "off"


def compiler() -> str:
    """The command of the C compiler."""
    return os.environ.get("CC") or "cc"


def build(folder: Path, optional: tuple[str, ...] = _OPTIONAL[0]) -> Path:
    """The path of the library for this source, these flags and this processor; built if missing.

    Args:
        folder: the folder of the library, in which nobody else can write.
        optional: flags that a compiler may refuse. Without OpenMP a kernel uses one thread.

    Raises:
        OSError: there is no compiler, or the folder cannot be written.
        subprocess.SubprocessError: the compiler fails.
        ValueError: the command of the compiler cannot be read.
    """
    flags = (*_FLAGS, *optional)
    key = hashlib.sha256(SOURCE.read_bytes())
    key.update(repr((compiler(), flags, platform.machine(), _processor())).encode())
    path = folder / f"{key.hexdigest()[:16]}.so"
    if _is_whole(path):
        return path
    with workspace(folder) as temporary:
        module, shared = temporary / "kernels.o", temporary / "kernels.so"
        _run(*flags, "-c", str(SOURCE), "-o", str(module))
        # not linked against OpenMP: its symbols are found in the copy that torch has loaded; a
        # second copy would have a second pool of threads
        _run("-shared", str(module), "-o", str(shared))
        with shared.open("ab") as file:
            file.write(_digest(shared.read_bytes()))  # data after the sections is never loaded
        shared.chmod(0o600)
        shared.replace(path)
    return path


def _is_whole(path: Path) -> bool:
    """Whether a library is the user's own and ends with its digest.

    Loading a damaged one would crash the process.
    """
    try:
        with path.open("rb") as file:
            content = file.read() if is_own(os.fstat(file.fileno())) else b""
    except FileNotFoundError:
        return False
    size = hashlib.sha256().digest_size
    return _digest(content[:-size]) == content[-size:]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _run(*arguments: str) -> None:
    command = (*shlex.split(compiler(), posix=os.name == "posix"), *arguments)
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _processor() -> str:
    """What ``-march=native`` depends on; the name of the machine where that is not known."""
    try:
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(sorted({x for x in lines if x.startswith(_FEATURES)})) or platform.node()
