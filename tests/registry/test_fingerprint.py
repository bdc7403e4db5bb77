"""Networks with equal weights and different fingerprints."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robench import Cell, Settings, find_attack
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import PluginError
from robench.registry import Model
from robench.registry.fingerprint import network_sha256
from tests.support.commands import Finished

Cli = Callable[..., Finished]
CODE = """
from torch import nn
from robench import Model
import fingerhelp

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = {scale}

    def forward(self, x):
        return {forward}.flatten(1)[:, :10]

def net():
    return Model(Net(), "digits/net", 10)
"""
RUN = ("run", "--models", "fingercode:net", "--attacks", "fgsm", "--limit", "2", "--eps", "8/255")


def forget() -> None:
    for name in ("fingercode", "fingerhelp"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the code of the model into the current folder, to be imported again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # bytecode of the same second would hide a change

    def write(scale: str = "1.0", forward: str = "x", helper: str = "") -> None:
        Path("fingercode.py").write_text(CODE.format(scale=scale, forward=forward), "utf-8")
        Path("fingerhelp.py").write_text(helper, "utf-8")
        forget()

    return write


@pytest.mark.parametrize("change", [{"forward": "(x - 0.5)"}, {"scale": "2.0"}])
def test_a_cell_is_kept_until_the_code_of_its_model_changes(
    cli: Cli, written: Callable[..., None], change: dict[str, str]
) -> None:
    written()
    assert cli(*RUN).code == 0
    forget()
    assert "1 of them done already" in cli(*RUN).out
    written(**change)
    assert "0 of them done already" in cli(*RUN).out
    forget()


@pytest.mark.parametrize("forward", ["fingerhelp.SCALE * x", "fingerhelp.scaled(x)"])
def test_a_cell_is_kept_until_the_imported_code_of_its_model_changes(
    cli: Cli, written: Callable[..., None], forward: str
) -> None:
    helper = "SCALE = {}\n\ndef scaled(x):\n    return SCALE * x\n"
    written(forward=forward, helper=helper.format(1))
    assert cli(*RUN).code == 0
    written(forward=forward, helper=f"OTHER = 2\n{helper.format(1)}")
    assert "1 of them done already" in cli(*RUN).out
    written(forward=forward, helper=helper.format(3))
    assert "0 of them done already" in cli(*RUN).out
    forget()


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


class Holder(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


def test_structure_attributes_and_functions_count() -> None:
    nets: list[nn.Module] = [
        nn.Sequential(linear(), nn.ReLU()),
        nn.Sequential(linear(), nn.Tanh()),
        nn.Sequential(linear(), nn.LeakyReLU(0.1)),
        nn.Sequential(linear(), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.ReLU(), linear()),
        *map(
            Holder,
            (F.relu, torch.tanh, partial(F.softplus, beta=2), partial(F.softplus, beta=3),
             torch.zeros(2), torch.zeros(3), torch.ones(2, dtype=torch.bfloat16), {"a": 1},
             {"a": 2}, [1, 2], (1, 3), nn.ReLU, object()),
        ),
    ]  # fmt: skip
    digests = [network_sha256(net) for net in nets]
    assert len(set(digests)) == len(nets)
    assert digests == [network_sha256(net) for net in nets]
    assert network_sha256(nn.Sequential(linear(), nn.ReLU())) == digests[0]


def test_buffers_that_are_not_saved_count() -> None:
    def net(value: float) -> nn.Module:
        module = linear()
        module.register_buffer("mean", torch.tensor(value), persistent=False)
        return module

    assert network_sha256(net(0.0)) != network_sha256(net(1.0))


def test_a_given_fingerprint_is_kept() -> None:
    assert Model(linear(), "digits/a", 2, sha256="f" * 64).fingerprint == "f" * 64
    assert Model(linear(), "digits/a", 2).fingerprint == network_sha256(linear())


def identified(**options: object) -> str:
    model = Model(linear(), "digits/a", 10, **options)
    images, settings = DIGITS.load("test").first(2), Settings(parse_grid(["0.1"]))
    return Cell(model, find_attack("fgsm"), DIGITS, images, settings).identity.digest()


def test_the_counterpart_of_a_network_counts() -> None:
    def scaled(factor: float) -> nn.Module:
        net = linear()
        net.weight.data *= factor
        return net

    nets = (linear, partial(scaled, 2), lambda: nn.Sequential(linear(), nn.ReLU()), None)
    cells = [identified(make_counterpart=make) for make in nets]
    assert len(set(cells)) == len(cells)
    assert identified(make_counterpart=lambda: linear()) == cells[0]
    versions = [identified(make_counterpart=make, version="1") for make in nets]
    assert len(set(versions)) == 2  # with one, and without


def test_a_counterpart_that_cannot_be_built_is_one_line() -> None:
    with pytest.raises(PluginError, match="digits/a: make_counterpart failed: ZeroDivisionError"):
        identified(make_counterpart=lambda: 1 / 0)
    with pytest.raises(PluginError, match="make_counterpart returned int, not a torch"):
        identified(make_counterpart=lambda: 1)


def test_a_counterpart_is_built_again_for_the_next_run() -> None:
    net, built = linear(), []
    model = Model(net, "digits/a", 2, make_counterpart=lambda: built.append(1) or linear())
    for _ in range(2):
        model.counterpart()
        model.counterpart()
        model.release()
    assert len(built) == 2
    assert model.module is net
