"""The workarounds for third-party libraries: each works, and does nothing the second time."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

from robench.compat import advertorch, snntorch, torchvision


def test_torchvision_imports_and_transforms() -> None:
    torchvision.load()
    from torchvision.transforms import v2

    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    transformed = v2.Compose([v2.Resize((4, 4)), v2.ToDtype(torch.float32, scale=True)])(image)
    assert transformed.shape == (3, 4, 4)
    assert transformed.dtype == torch.float32


def test_torchvision_is_prepared_once() -> None:
    torchvision.load()
    assert torchvision.prepare() is False


def test_advertorch_runs_pgd() -> None:
    library = advertorch.load()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
    attack = library.attacks.LinfPGDAttack(network, eps=0.1, nb_iter=3, eps_iter=0.05)
    adversarial = attack.perturb(images, labels)
    assert 0 < (adversarial - images).abs().max() <= 0.1 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_advertorch_is_prepared_once() -> None:
    assert advertorch.load() is advertorch.load()
    assert advertorch.prepare() is False


@pytest.mark.parametrize("name", ["torchvision", "advertorch", "snntorch"])
def test_a_fresh_process_can_load(name: str) -> None:
    code = f"from robench.compat import {name} as c; assert c.load().__name__ == {name!r}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_zero_gradients_clears_in_place() -> None:
    advertorch.load()
    from torch.autograd.gradcheck import zero_gradients

    x = torch.ones(2, requires_grad=True)
    zero_gradients(x)  # without a gradient nothing happens
    assert x.grad is None
    x.sum().backward()
    zero_gradients(x)
    assert x.grad is not None
    assert not x.grad.any()


def _network() -> nn.Sequential:
    library = snntorch.load()
    inner = nn.Sequential(nn.Linear(2, 2), library.Leaky(beta=0.5, init_hidden=True))
    return nn.Sequential(inner, library.Leaky(beta=0.5, init_hidden=True))


def _membranes(network: nn.Module) -> list[float]:
    kind = snntorch.load().SpikingNeuron
    neurons = [module for module in network.modules() if isinstance(module, kind)]
    return [float(neuron.mem.detach().abs().sum()) for neuron in neurons]


def test_snntorch_reset_reaches_nested_neurons_of_one_model_only() -> None:
    torch.manual_seed(0)
    ours, other = _network(), _network()
    x = torch.ones(3, 2)
    for network in (ours, other):
        nn.init.constant_(network[0][0].weight, 1.0)
        network(x)
    before = _membranes(other)
    assert all(_membranes(ours))
    assert all(before)
    for _ in range(2):
        snntorch.reset(ours)
        assert _membranes(ours) == [0, 0]
        assert _membranes(other) == before


def test_snntorch_reset_works_after_forget() -> None:
    network = _network()
    nn.init.constant_(network[0][0].weight, 1.0)
    snntorch.forget(network)
    network(torch.ones(3, 2))
    snntorch.reset(network)
    assert _membranes(network) == [0, 0]


def test_snntorch_forget_frees_one_model_only() -> None:
    instances = snntorch.load().SpikingNeuron.instances
    ours, other = _network(), _network()
    freed = weakref.ref(ours[1])
    count = len(instances)
    for _ in range(2):
        snntorch.forget(ours)
        assert len(instances) == count - 2
    del ours
    gc.collect()
    assert freed() is None
    assert any(instance is other[1] for instance in instances)
    snntorch.forget(other)


library = snntorch.load()
WIDTH = 20
STATEFUL = {
    "Leaky": lambda: library.Leaky(beta=0.7, init_hidden=True),
    "Synaptic": lambda: library.Synaptic(alpha=0.5, beta=0.7, init_hidden=True),
    "Alpha": lambda: library.Alpha(alpha=0.9, beta=0.7, init_hidden=True),
    "Lapicque": lambda: library.Lapicque(beta=0.7, init_hidden=True),
    "RLeaky": lambda: library.RLeaky(beta=0.7, linear_features=WIDTH, init_hidden=True),
    "RSynaptic": lambda: library.RSynaptic(
        alpha=0.5, beta=0.7, linear_features=WIDTH, init_hidden=True
    ),
    "DeltaLeaky": lambda: library.DeltaLeaky(0.1, beta=0.7, init_hidden=True),
    "SLSTM": lambda: library.SLSTM(WIDTH, WIDTH, threshold=0.01, init_hidden=True),
    "SConv2dLSTM": lambda: library.SConv2dLSTM(3, 3, 3, threshold=0.01, init_hidden=True),
    "LeakyParallel": lambda: library.LeakyParallel(WIDTH, WIDTH),
    "StateLeaky": lambda: library.StateLeaky(beta=0.7, channels=WIDTH),
    "LinearLeaky": lambda: library.LinearLeaky(beta=0.7, in_features=WIDTH, out_features=WIDTH),
    "AssociativeLeaky": lambda: library.AssociativeLeaky(WIDTH, 4, 5, WIDTH),
}


def test_the_list_of_snntorchs_neurons_is_complete() -> None:
    kinds = {
        name
        for name, kind in vars(library).items()
        if isinstance(kind, type) and issubclass(kind, library.SpikingNeuron)
    }
    assert kinds - {"SpikingNeuron", "LIF"} <= set(STATEFUL)


@pytest.mark.parametrize("kind", STATEFUL)
def test_a_reset_neuron_gives_what_it_gave_at_first(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Identity(), STATEFUL[kind]())
        shape = {"SConv2dLSTM": (4, 3, 8, 8)}.get(kind, (4, WIDTH))
        sequence = kind in ("LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky")
        x = torch.rand(5, *shape) * 3 if sequence else torch.rand(*shape) * 3

    def run() -> torch.Tensor:
        out = [net(x) for _ in range(1 if sequence else 4)]
        return torch.stack([part[0] if isinstance(part, tuple) else part for part in out])

    first = run()
    again = run()
    assert sequence or not torch.equal(again, first)
    for _ in range(2):
        snntorch.reset(net)
        assert torch.equal(run(), first)
