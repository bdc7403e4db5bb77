"""The reasons for which a test may be skipped: what a machine lacks, never a missing package.

With ``CI=true`` a test that is skipped for any other reason fails, see ``tests/conftest.py``.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys

import pytest
import torch

from robench.datasets import Images, files, find_dataset
from robench.errors import MissingDataError
from robench.spiking import kernels

REASONS: list[str] = []


def needs(available: bool, reason: str) -> pytest.MarkDecorator:
    """A mark that skips a test for an allowed reason."""
    REASONS.append(reason)
    return pytest.mark.skipif(not available, reason=reason)


needs_cuda = needs(torch.cuda.is_available(), "no CUDA device")
needs_no_cuda = needs(not torch.cuda.is_available(), "a CUDA device is present")
needs_compiler = needs(shutil.which("cc") is not None, "no C compiler")
needs_kernels = needs(kernels.library() is not None, "no compiled kernels")
needs_linux = needs(sys.platform == "linux", "Linux only")
needs_root = needs(sys.platform != "win32" and os.geteuid() == 0, "root only")
needs_glibc = needs(platform.libc_ver()[0] == "glibc", "glibc only")
needs_device_in_python = needs(
    hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    "this torch cannot register a device in Python",
)
NO_IMAGES = f"no images: {files.VARIABLE} is not set"
needs_images = needs(bool(os.environ.get(files.VARIABLE)), NO_IMAGES)


def load_images(dataset: str) -> Images:
    """The test images of a data set; skips the test without them, if ROBENCH_DATA is not set."""
    try:
        return find_dataset(dataset).load("test")
    except MissingDataError:
        if os.environ.get(files.VARIABLE):
            raise
        pytest.skip(NO_IMAGES)
