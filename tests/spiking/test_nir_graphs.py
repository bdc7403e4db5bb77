"""Networks that other libraries exported to NIR."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from norse.torch.utils.export_nir import to_nir
from snntorch.export_nir import export_to_nir as export_snntorch
from torch import Tensor, nn

import robench
from robench.compat import snntorch as compat
from robench.compat import torchvision
from robench.errors import ContentError, RobenchError, UsageError
from robench.spiking import LIF

torchvision.prepare()  # SpikingJelly's layers import it

from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402
from spikingjelly.activation_based.nir_exchange import (  # noqa: E402
    export_to_nir as export_spikingjelly,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:nirtorch.extract_nir_graph:DeprecationWarning"  # which snnTorch and Norse call
)
T = 6
X = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def spikingjelly_file(path: Path, **lif: float | bool) -> Tensor:
    """A network with hard reset; returns its mean spikes."""
    torch.manual_seed(1)
    net = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1),
        neuron.LIFNode(**{"tau": 2.0, "v_threshold": 0.2, **lif}),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(128, 10),
        neuron.IFNode(v_threshold=0.3),
    )
    export_spikingjelly(net, X[:2], save_path=path)
    functional.reset_net(net)
    with torch.no_grad():
        return torch.stack([net(X) for _ in range(T)]).mean(0)


class Leaky(nn.Module):
    """A linear network of snnTorch; the logits are the sum of its output spikes."""

    def __init__(self, reset: str, beta: float) -> None:
        super().__init__()
        torch.manual_seed(2)
        kind = {"init_hidden": True, "reset_mechanism": reset}
        self.net = nn.Sequential(
            nn.Linear(192, 40),
            snntorch.Leaky(beta=torch.full((40,), beta), threshold=torch.full((40,), 0.4), **kind),
            nn.Linear(40, 10),
            snntorch.Leaky(beta=torch.full((10,), 0.8), threshold=torch.full((10,), 0.3), **kind),
        )

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        compat.reset(self)
        return torch.stack([self.net(x.flatten(1)) for _ in range(T)]).sum(0)


def snntorch_file(path: Path, reset: str, beta: float = 0.9) -> Tensor:
    net = Leaky(reset, beta)
    logits = net(X)
    compat.reset(net)
    graph = export_snntorch(net.net, X[0].flatten())  # a sample without batch axis
    nodes, edges = {"flat": nir.Flatten(np.array(X[0].shape), 0, -1)} | graph.nodes, graph.edges
    nodes["input"] = nir.Input(np.array(X[0].shape))
    edges = [(a, b) for a, b in edges if a != "input"] + [("input", "flat"), ("flat", "0")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return logits


@pytest.mark.parametrize(
    "lif",
    [{}, {"decay_input": False}, {"v_reset": -0.05, "v_threshold": 0.1}],
    ids=["", "current", "rest"],
)
def test_a_network_of_spikingjelly_is_read(tmp_path: Path, lif: dict[str, float | bool]) -> None:
    logits = spikingjelly_file(tmp_path / "net.nir", **lif)
    net = robench.from_nir(tmp_path / "net.nir", images=X, logits=logits, timesteps=T)
    assert 0.05 < logits.mean() < 0.95
    assert torch.equal(net(X), logits)
    assert len([part for part in net.modules() if isinstance(part, LIF)]) == 2


@pytest.mark.parametrize(("reset", "beta"), [("zero", 0.9), ("subtract", 0.9), ("zero", 1.0)])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # snnTorch's export of β = 1
def test_a_network_of_snntorch_is_read(tmp_path: Path, reset: str, beta: float) -> None:
    logits = snntorch_file(tmp_path / "net.nir", reset, beta)
    before = torch.get_rng_state()
    net = robench.from_nir(
        tmp_path / "net.nir", images=X, logits=logits, timesteps=T, reset=reset, readout="sum"
    )
    assert torch.equal(net(X), logits)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_was_read_is_attacked(tmp_path: Path) -> None:
    logits = spikingjelly_file(tmp_path / "net.nir")
    net = robench.from_nir(tmp_path / "net.nir", images=X, logits=logits, timesteps=T)
    result = robench.evaluate(
        net, "spgd[steps=2,pgd_steps=2]", images=X, labels=logits.argmax(1), eps="32/255",
        progress=False,
    )  # fmt: skip
    frame = result.to_frame()
    assert frame["accuracy"].tolist()[0] == 1
    assert frame["accuracy"].tolist()[-1] < 1


def test_another_reset_than_the_originals_is_an_error_that_says_which(tmp_path: Path) -> None:
    logits = snntorch_file(tmp_path / "net.nir", "subtract")
    line = (
        r"net.nir: the logits of \d+ of 12 images differ from the given ones by up to [\d.]+; "
        "with reset='subtract' and readout='sum' they agree$"
    )
    with pytest.raises(UsageError, match=line):
        robench.from_nir(tmp_path / "net.nir", images=X, logits=logits, timesteps=T)


def test_another_number_of_steps_is_an_error(tmp_path: Path) -> None:
    logits = spikingjelly_file(tmp_path / "net.nir")
    line = (
        "also with another reset and readout; give the dt of the export and the timesteps of the "
        r"logits \(not 0.0001 and 3\?\), or attack the original network$"
    )
    with pytest.raises(UsageError, match=line):
        robench.from_nir(tmp_path / "net.nir", images=X, logits=logits, timesteps=3)


def norse_file(path: Path) -> Tensor:
    """Norse exports τ in units of its own; returns the mean spikes."""
    torch.manual_seed(3)

    def neurons(size: int) -> nn.Module:
        parts = {"v_th": 0.02, "v_leak": 0.0, "tau_mem_inv": 100.0}
        return norse.LIFBoxCell(
            norse.LIFBoxParameters(**{name: torch.full((size,), v) for name, v in parts.items()})
        )

    net = norse.SequentialState(nn.Linear(192, 40), neurons(40), nn.Linear(40, 10), neurons(10))
    graph = to_nir(net, X[0].flatten())
    nodes = graph.nodes | {"flat": nir.Flatten(np.array(X[0].shape), 0, -1)}
    edges = [(a, b) for a, b in graph.edges if a != "input"] + [("input", "flat"), ("flat", "0")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    state, out = None, []
    with torch.no_grad():
        for _ in range(T):
            spikes, state = net(X.flatten(1), state)
            out.append(spikes)
    return torch.stack(out).mean(0)


def test_the_unit_of_norse_is_an_error_until_dt_says_it(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    logits = norse_file(path)
    line = r"net.nir: node '1' \(LIF\): the leak factor 1 − dt/τ is -9 and has to lie in"
    with pytest.raises(ContentError, match=line):
        robench.from_nir(path, images=X, logits=logits, timesteps=T)
    with pytest.raises(UsageError, match=r"differ from the given ones .*; give the dt of the"):
        robench.from_nir(path, images=X, logits=logits, timesteps=T, dt=1e-7)
    net = robench.from_nir(path, images=X, logits=logits, timesteps=T, dt=1e-6)
    assert 0.05 < logits.mean() < 0.95
    torch.testing.assert_close(net(X), logits)


def written(path: Path, *nodes: nir.NIRNode) -> Path:
    nir.write(path, nir.NIRGraph.from_list(*nodes, type_check=False))
    return path


def neurons(**changed: list[float]) -> nir.LIF:
    given = {"tau": [2e-4], "r": [1], "v_leak": [0], "v_threshold": [1], "v_reset": [0]}
    return nir.LIF(**{k: np.array(v, float) * np.ones(3) for k, v in (given | changed).items()})


AFFINE = nir.Affine(np.ones((3, 3)), np.ones(3))


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (nir.Threshold(np.ones(3)), r"node 'threshold' \(Threshold\) is not supported; attack the"),
        (nir.LI(np.ones(3), np.ones(3), np.ones(3)), r"node 'li' \(LI\) is not supported"),
        (neurons(tau=[1e-4, 2e-4, 3e-4]), r"node 'lif' \(LIF\) has more than one time constant"),
        (neurons(v_leak=[0.5]), "leaks to another value than it is reset to"),
        (neurons(tau=[5e-5]), "the leak factor 1 − dt/τ is -1 and has to lie in"),
        (neurons(v_threshold=[-1]), "the threshold is -1 above the reset"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, node: nir.NIRNode, line: str) -> None:
    path = written(tmp_path / "net.nir", AFFINE, node)
    with pytest.raises(ContentError, match=line) as found:
        robench.from_nir(path, images=torch.rand(4, 3), logits=torch.rand(4, 3), timesteps=T)
    assert "\n" not in str(found.value)


def test_thresholds_of_single_neurons_and_a_sum_pool_are_read(tmp_path: Path) -> None:
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    fires = nir.IF(*(np.array(v) for v in ([1e4, 5e3, 1e4], [8.0, 8.0, 1e9], [0.0, 0.0, 0.0])))
    shapes = nir.Input(np.array([3, 2, 2])), nir.Output(np.array([3]))
    flat = nir.Flatten(np.array([3, 1, 1]), 0, -1)
    path = written(tmp_path / "net.nir", shapes[0], pool, flat, fires, shapes[1])
    ones = torch.ones(2, 3, 2, 2)  # 4 or 2 in a step, and a spike above 8
    logits = torch.tensor([2.0, 1.0, 0.0]).expand(2, 3)
    net = robench.from_nir(path, images=ones, logits=logits, timesteps=T, readout="sum")
    assert torch.equal(net(ones), logits)


def test_a_graph_with_branches_is_refused(tmp_path: Path) -> None:
    shape = np.array([3])
    nodes = {"input": nir.Input(shape), "a": AFFINE, "b": AFFINE, "output": nir.Output(shape)}
    edges = [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges))
    with pytest.raises(ContentError, match="not a chain: 'input' leads to 2 nodes"):
        robench.from_nir(tmp_path / "net.nir", images=X, logits=X, timesteps=T)


def test_a_graph_with_two_inputs_is_refused(tmp_path: Path) -> None:
    shape = np.array([3])
    nodes = {"a": nir.Input(shape), "b": nir.Input(shape), "f": AFFINE, "o": nir.Output(shape)}
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [("a", "f"), ("f", "o")]))
    with pytest.raises(ContentError, match="not a chain: b"):
        robench.from_nir(tmp_path / "net.nir", images=X, logits=X, timesteps=T)


def test_a_file_that_is_missing_or_damaged_is_one_line(tmp_path: Path) -> None:
    given = {"images": X, "logits": X, "timesteps": T}
    with pytest.raises(ContentError, match=r"none.nir: no such file; nir.write\(path, graph\)"):
        robench.from_nir(tmp_path / "none.nir", **given)
    (tmp_path / "text.nir").write_text("text", "utf-8")
    with pytest.raises(ContentError, match=r"text.nir: not a NIR file \(OSError: .*\)$"):
        robench.from_nir(tmp_path / "text.nir", **given)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"reset": "soft"},
            "reset='soft', .*: choose reset from subtract, zero, readout from mean, sum",
        ),
        ({"readout": "none"}, "readout='none', .* readout from mean, sum, last, max, and"),
        ({"timesteps": 0}, "timesteps=0, dt=0.0001: choose .* and positive numbers$"),
        ({"images": X[:, :2]}, r"the network cannot take images \(12, 2, 8, 8\): "),
        ({"logits": torch.zeros(12, 3)}, r"returns logits \(12, 10\), not \(12, 3\)"),
    ],
)
def test_an_invalid_argument_is_one_line(
    tmp_path: Path, changed: dict[str, object], line: str
) -> None:
    given = {"images": X, "logits": spikingjelly_file(tmp_path / "net.nir"), "timesteps": T}
    with pytest.raises(RobenchError, match=line) as found:
        robench.from_nir(tmp_path / "net.nir", **given | changed)
    assert "\n" not in str(found.value)


def test_the_package_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    line = re.escape("from_nir needs the package nir: pip install 'robench[snn]'")
    with pytest.raises(UsageError, match=f"^{line}$"):
        robench.from_nir(tmp_path / "net.nir", images=X, logits=X, timesteps=T)
