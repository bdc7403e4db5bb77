"""The files of a network: where its code may be, and which changes of it count."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from robench.registry.fingerprint import network_sha256

NET = """
import logging
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
import mathhelp
from mathhelp import double, TABLE, Block

logger = logging.getLogger(__name__)
STREAM = (i for i in [1])


class Base(nn.Module):
    def pre(self, x):
        return x - 1


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x > 0).float()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Net(Base):
    factor = 2

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        from lateimport import late
        logger.debug("called")
        x = F.relu(self.linear(self.pre(x) * self.factor))
        return late(Spike.apply(mathhelp.more(double(x))) + TABLE["b"] + Block(2).run(x)) * np.pi

    def fit(self):
        STREAM.send(1)


def make():
    return Net()


if __name__ == "__main__":
    from robench.registry.fingerprint import network_sha256

    print(network_sha256(make()))
"""
HELPER = """
import morehelp

SCALE = 2.0
TABLE = {"b": 3}

def double(x):
    return x * SCALE

def more(x):
    return morehelp.most(x)

def unused(x):
    return x

class Block:
    def __init__(self, k):
        self.k = k

    def run(self, x):
        return x * self.k
"""
MORE = """
K = 1

def most(x):
    return x + K
"""
FILES = {
    "netfile.py": NET,
    "mathhelp.py": HELPER,
    "morehelp.py": MORE,
    "lateimport.py": "def late(x):\n    return x\n",
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., nn.Module]]:
    """Builds the network from its files in ``tmp_path``, which it writes with some changes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would hide a change

    def import_again(file: str = "", old: str = "", new: str = "") -> nn.Module:
        for name, text in FILES.items():
            changed = text.replace(old, new) if name == file else text
            (tmp_path / name).write_text(changed, "utf-8")
            sys.modules.pop(Path(name).stem, None)
        importlib.invalidate_caches()
        return importlib.import_module("netfile").make()

    yield import_again
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def test_the_place_of_the_code_does_not_matter(build: Callable[..., nn.Module]) -> None:
    net = build()
    digest = network_sha256(net)
    for _ in range(20):  # Python adapts the bytecode of what is called often
        net(torch.rand(2, 4))
    assert network_sha256(net) == digest
    cell: dict[str, Callable[[], nn.Module]] = {"__name__": "a cell"}  # type: ignore[dict-item]
    exec(NET, cell)
    assert network_sha256(cell["make"]()) == digest
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    assert network_sha256(torch.load(file, weights_only=False)) == digest


def test_another_process_finds_the_same(build: Callable[..., nn.Module], tmp_path: Path) -> None:
    """There the file is the script, and the order of sets is another one."""
    digest = network_sha256(build())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    command = [sys.executable, str(tmp_path / "netfile.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest


CHANGES = {
    "method": ("netfile.py", "x - 1", "x - 2"),
    "class attribute": ("netfile.py", "factor = 2", "factor = 3"),
    "function of a library": ("netfile.py", "F.relu", "F.gelu"),
    "derivative": ("netfile.py", "return grad", "return 2 * grad"),
    "argument": ("netfile.py", "Block(2)", "Block(3)"),
    "imported function": ("mathhelp.py", "x * SCALE", "x + SCALE"),
    "constant": ("mathhelp.py", "SCALE = 2.0", "SCALE = 3.0"),
    "table": ("mathhelp.py", '"b": 3', '"b": 4'),
    "function of a module": ("mathhelp.py", "morehelp.most(x)", "-morehelp.most(x)"),
    "method of an object": ("mathhelp.py", "x * self.k", "x + self.k"),
    "constructor": ("mathhelp.py", "self.k = k", "self.k = -k"),
    "helper of a helper": ("morehelp.py", "x + K", "x - K"),
    "constant of a helper": ("morehelp.py", "K = 1", "K = 2"),
    "import in a function": ("lateimport.py", "return x", "return -x"),
}
NO_CHANGES = {
    "comment": ("netfile.py", "        x = F.relu", "        # why\n        x = F.relu"),
    "factory": ("netfile.py", "    return Net()", "    print(end='')\n    return Net()"),
    "training": ("netfile.py", "STREAM.send(1)", "STREAM.send(2)"),
    "unused function": ("mathhelp.py", "def unused(x):", "def unused(y, x):"),
}


@pytest.mark.parametrize("kind", [*CHANGES, *NO_CHANGES])
def test_a_change_of_the_code_counts_where_it_is_used(
    build: Callable[..., nn.Module], kind: str
) -> None:
    change = {**CHANGES, **NO_CHANGES}[kind]
    assert FILES[change[0]].count(change[1]) == 1
    digest = network_sha256(build())
    assert (network_sha256(build(*change)) != digest) == (kind in CHANGES)
